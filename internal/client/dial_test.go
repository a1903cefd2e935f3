package client

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
)

// dial connects to host and port.
func dial(t *testing.T, host string, port int, env Env, args ...string) (*Conn, error) {
	t.Helper()
	o, _ := parse(t, append(args, "a", "b")...)
	c, _, err := Daemon(context.Background(), o, options.Hostspec{Host: host, Port: port, Daemon: true}, []string{"mod"}, false, env, nil)
	if c != nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// greets plays a daemon that lets everybody in.
func greets(c net.Conn, in *bufio.Reader) {
	fmt.Fprint(c, "@RSYNCD: 31.0 md5\n@RSYNCD: OK\n")
	_, _ = io.Copy(io.Discard, in)
}

func closedPort(t *testing.T) int {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestDial(t *testing.T) {
	port := serve(t, greets)
	var words string
	for _, tc := range []struct {
		host string
		args []string
	}{
		{"127.0.0.1", nil}, {"localhost", []string{"-4"}}, {"u@127.0.0.1", []string{"--contimeout=5", "--timeout=5"}},
		{"127.0.0.1", []string{"--address=127.0.0.2"}}, {"127.0.0.1", []string{"--sockopts=TCP_NODELAY,SO_SNDBUF=9999"}},
	} {
		c, err := dial(t, tc.host, port, Env{SetSockopts: func(_ syscall.RawConn, s string) []error {
			words = s
			return []error{errors.New("tried")}
		}}, tc.args...)
		if err != nil {
			t.Errorf("%s %q: %v", tc.host, tc.args, err)
			continue
		}
		if a := c.In.(net.Conn).LocalAddr().(*net.TCPAddr).IP.String(); a != "127.0.0.2" && tc.args != nil && tc.args[0] == "--address=127.0.0.2" {
			t.Errorf("from %s", a)
		}
		if c.Protocol != 31 || c.Remote != 31 {
			t.Errorf("protocol %d, theirs %d", c.Protocol, c.Remote)
		}
	}
	if words != "TCP_NODELAY,SO_SNDBUF=9999" {
		t.Errorf("--sockopts: %q", words)
	}
}

// TestDialErrors compares errors with those of the real rsync.
func TestDialErrors(t *testing.T) {
	port := closedPort(t)
	for _, tc := range []struct {
		host, proxy string
		args        []string
	}{
		{host: "127.0.0.1"},
		{host: "127.0.0.1", args: []string{"-6"}},
		{host: "127.0.0.1", args: []string{"--address=nosuch.invalid"}},
		{host: "h", proxy: "nocolon"},
		{host: "h", proxy: "user@127.0.0.1:1"},
		{host: "h", proxy: "127.0.0.1:service"},
		{host: "h", proxy: "127.0.0.1:" + strconv.Itoa(port)},
	} {
		_, err := dial(t, tc.host, port, Env{Lookup: variables("RSYNC_PROXY", tc.proxy)}, tc.args...)
		_, stderr, code := runStock(t, []string{"RSYNC_PROXY=" + tc.proxy}, append(tc.args, fmt.Sprintf("rsync://%s:%d/mod", tc.host, port), "/tmp/none")...)
		wantError(t, err, exitcode.Code(code), message(stderr))
	}
}

// TestConTimeout connects to a listener whose queue is full, so that the kernel
// answers nothing.
func TestConTimeout(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = syscall.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := name.(*syscall.SockaddrInet4).Port
	for {
		c, err := net.DialTimeout("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), 200*time.Millisecond)
		if err != nil {
			break
		}
		defer c.Close()
	}
	_, err = dial(t, "127.0.0.1", port, Env{}, "--contimeout=1")
	var e *exitcode.Error
	if !errors.As(err, &e) || e.Code != exitcode.ConTimeout || !strings.Contains(e.Error(), "timeout waiting for daemon connection") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	o, _ := parse(t, "a", "b")
	if _, _, err := Daemon(ctx, o, options.Hostspec{Host: "127.0.0.1", Port: port, Daemon: true}, []string{"m"}, false, Env{}, nil); exitcode.Of(err, 0) != exitcode.Timeout {
		t.Errorf("%v", err)
	}
}

func TestProxy(t *testing.T) {
	var got atomic.Value
	answer := func(text string) func(net.Conn, *bufio.Reader) {
		return func(c net.Conn, in *bufio.Reader) {
			var request strings.Builder
			for {
				line, err := in.ReadString('\n')
				if request.WriteString(line); err != nil || line == "\r\n" {
					break
				}
			}
			got.Store(request.String())
			fmt.Fprint(c, text)
			if tcp, ok := c.(*net.TCPConn); ok && !strings.Contains(text, "@RSYNCD") {
				_ = tcp.CloseWrite()
			}
			_, _ = io.Copy(io.Discard, in)
		}
	}
	const daemon = "@RSYNCD: 31.0\n@RSYNCD: OK\n"
	auth := "\r\nProxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("u:p@:q"))
	for _, tc := range []struct {
		name, login, host, answer string
		request, err              string
	}{
		{"plain", "", "h", "HTTP/1.0 200 ok\r\n\r\n" + daemon, "CONNECT h:873 HTTP/1.0\r\n\r\n", ""},
		{"login", "u:p@:q@", "h", "HTTP/1.1 200\nA: b\r\nC\n\n" + daemon, "CONNECT h:873 HTTP/1.0" + auth + "\r\n\r\n", ""},
		{"address", "", "::1", "HTTP/1.0   299 ok\r\n\r\n" + daemon, "CONNECT [::1]:873 HTTP/1.0\r\n\r\n", ""},
		{"refused", "", "h", "HTTP/1.0 503 Service Unavailable\r\n\r\n", "", "bad response from proxy -- HTTP/1.0 503 Service Unavailable"},
		{"no HTTP", "", "h", "220 hello\r\n", "", "bad response from proxy -- 220 hello"},
		{"long line", "", "h", "HTTP/1.0 200 " + strings.Repeat("x", 2000) + "\r\n\r\n", "", "proxy response line too long"},
		{"long header", "", "h", "HTTP/1.0 200 ok\r\nA: " + strings.Repeat("x", 2000) + "\r\n\r\n", "", "proxy response header line too long"},
		{"endless header", "", "h", "HTTP/1.0 200 ok\r\n" + strings.Repeat("A: b\r\n", 1001), "", "proxy response has more than 1000 header lines"},
		{"end in line", "", "h", "HTTP/1.0 200", "", "rsync: [Receiver] failed to read from proxy: EOF"},
		{"end in header", "", "h", "HTTP/1.0 200 ok\r\nA: b\r\n", "", "rsync: [Receiver] failed to read from proxy: EOF"},
		{"long host", "", strings.Repeat("h", 1500), "", "", "proxy CONNECT request too long"},
		{"long login", "u:" + strings.Repeat("p", 1000) + "@", "h", "", "", "authentication information is too long"},
		{"control in host", "", "h\r\nX: y", "", "", "invalid control character in proxy CONNECT host"},
		{"no password", "u@", "h", "", "", "invalid proxy specification: should be USER:PASS@HOST:PORT"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got.Store("")
			port := serve(t, answer(tc.answer))
			c, err := dial(t, tc.host, 0, Env{Lookup: variables("RSYNC_PROXY", tc.login+"127.0.0.1:"+strconv.Itoa(port))})
			if tc.err != "" {
				wantError(t, err, exitcode.SocketIO, tc.err)
			} else if err != nil {
				t.Fatal(err)
			}
			if tc.request != "" && got.Load() != tc.request {
				t.Errorf("request %q, want %q", got.Load(), tc.request)
			}
			if c != nil {
				c.Close()
			}
		})
	}
}

// TestSilentProxy: --timeout bounds the wait for the proxy, too.
func TestSilentProxy(t *testing.T) {
	port := serve(t, func(_ net.Conn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) })
	_, err := dial(t, "h", 0, Env{Lookup: variables("RSYNC_PROXY", "127.0.0.1:"+strconv.Itoa(port))}, "--timeout=1")
	if exitcode.Of(err, 0) != exitcode.SocketIO {
		t.Error(err)
	}
}

func TestConnectProgHost(t *testing.T) {
	const refusal = "unsafe host characters for RSYNC_CONNECT_PROG"
	for _, host := range []string{"", "-h", "+h", "~h", "%h", "a b", "a;b", "a'b", "a\"b", "a$b", "a\nb", "a/b", "a|b", "é", "a@b\x00", "a\\b", "a*b"} {
		_, err := dial(t, host, 0, Env{Lookup: variables("RSYNC_CONNECT_PROG", "echo %H")})
		wantError(t, err, exitcode.SocketIO, refusal)
	}
	for _, host := range []string{"example.com", "host_name", "host+alias", "host~alias", "fe80::1%eth0", "127.0.0.1"} {
		// The shell reads the host twice, as nested commands do.
		prog := `sh -c 'printf "%%s\n" %H'; sleep 0.2`
		_, err := dial(t, host, 0, Env{Lookup: variables("RSYNC_CONNECT_PROG", prog)})
		wantError(t, err, exitcode.StartClient, "rsync: server sent \""+host+"\" rather than greeting")
	}
	for prog, want := range map[string]string{"a %% %x %H %": "a % %x 'h' %", "%%H": "%H", "plain": "plain"} {
		if got, err := fillHost(prog, "h"); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", prog, got, err, want)
		}
	}
	if got, err := fillHost("no host here", "a;b"); err != nil || got != "no host here" {
		t.Errorf("%q %v", got, err)
	}
}

// TestConnectProgShell: RSYNC_SHELL runs the command, standard error is ours,
// and the program's socket blocks.
func TestConnectProgShell(t *testing.T) {
	shell := tempFile(t, "#!/bin/sh\necho \"$1 $2\" >&2\nprintf '@RSYNCD: 31.0\\n@ERROR: '\ngrep flags /proc/self/fdinfo/0\ncat >/dev/null\n", 0o755)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = dial(t, "h", 0, Env{Stderr: w, Lookup: variables("RSYNC_CONNECT_PROG", "run me", "RSYNC_SHELL", shell)})
	w.Close()
	line, _ := bufio.NewReader(r).ReadString('\n')
	if line != "-c run me\n" {
		t.Errorf("%q", line)
	}
	words := strings.Fields(err.Error())
	flags, perr := strconv.ParseInt(words[len(words)-1], 8, 64)
	if perr != nil || flags&syscall.O_NONBLOCK != 0 {
		t.Errorf("%v %v", err, perr)
	}
}
