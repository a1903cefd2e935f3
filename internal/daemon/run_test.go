package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
)

// TestStockClientRequests records what stock clients ask for.
func TestStockClientRequests(t *testing.T) {
	h := newHost(t, "uid = 0\n[m]\npath = DIR/m\nuse chroot = no\nread only = no\n")
	file := filepath.Join(h.dir, "told")
	run(t, h, func(c *Config) { c.Env = setenv(c.Env, "PRSYNC_TEST_OUT", file) })
	for _, tc := range []struct {
		args    []string
		want    string // arguments from "." on
		paths   string
		sender  bool
		version int
	}{
		{[]string{"-r", "URL/m/foo*", "/tmp/none"}, ". foo1 foo2", "m/foo*", true, 32},
		{[]string{"-r", "URL/m", "/tmp/none"}, ". .", "m/", true, 32},
		{[]string{"-rs", "URL/m/foo*", "/tmp/none"}, ". foo1 foo2", "m/foo*", true, 32},
		{[]string{"-rs", "URL/m/foo1 m/foo2", "/tmp/none"}, ". foo1[ ]m/foo2", "m/foo1[ ]m/foo2", true, 32},
		{[]string{"-r", "URL/m/sub/a b", "/tmp/none"}, ". sub/a b", "m/sub/a b", true, 32},
		{[]string{"-r", "--protocol=29", "URL/m/foo1", ":/x", "/tmp/none"}, "", "", true, 29},
		{[]string{"-r", "--protocol=29", "URL/m/foo1", "/tmp/none"}, ". foo1", "m/foo1", true, 29},
		{[]string{"-r", "--groupmap=*:x", "/etc/hostname", "URL/m/sub/"}, ". sub/", "m/sub/", false, 32},
		{[]string{"-r", "/etc/hostname", "URL/m/../../etc"}, ". etc", "m/../../etc", false, 32},
	} {
		os.Remove(file)
		_, errs, _ := h.rsync(t, nil, tc.args...)
		b, err := os.ReadFile(file)
		if tc.want == "" {
			continue
		}
		for deadline := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			b, err = os.ReadFile(file)
		}
		var s told
		if err := json.Unmarshal(b, &s); err != nil {
			t.Errorf("%q: %v; rsync says %q", tc.args, err, errs)
			continue
		}
		line := strings.Join(s.Args, " ")
		if i := strings.Index(line, " . "); i < 0 || line[i+1:] != tc.want || s.Paths != tc.paths || s.Sender != tc.sender || s.Protocol != tc.version || s.Err != "" {
			t.Errorf("%q: %q %q sender %v protocol %d error %q", tc.args, s.Args, s.Paths, s.Sender, s.Protocol, s.Err)
		}
	}
}

// program writes a script that is the test's daemon program in a mode.
func program(t *testing.T, h *host, mode string) string {
	t.Helper()
	p := filepath.Join(h.dir, "rsyncd-"+mode)
	text := fmt.Sprintf("#!/bin/sh\n%s='%s/conf' %s=%s exec '%s' \"$@\"\n", testConfVar, h.dir, testModeVar, mode, os.Args[0])
	if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRemoteShell(t *testing.T) {
	h := newHost(t, "[one]\ncomment = via a shell\n[m]\npath = DIR/m\npost-xfer exec = echo done > DIR/post.out\n[denied]\nhosts deny = 10.1.2.3\n")
	shell := filepath.Join(h.dir, "shell")
	os.WriteFile(shell, []byte("#!/bin/sh\nshift\nexport SSH_CONNECTION='10.1.2.3 5 6 7'\nexec \"$@\"\n"), 0o755)
	args := []string{"-e", shell, "--rsync-path=" + program(t, h, "shell")}
	out, errs, code := h.rsync(t, nil, append(args, "host::")...)
	if code != 0 || !strings.Contains(out, "one            \tvia a shell\n") {
		t.Errorf("list: %q %q %d", out, errs, code)
	}
	_, errs, _ = h.rsync(t, nil, append(args, "host::denied/")...)
	if !strings.Contains(errs, "@ERROR: access denied to denied from UNDETERMINED (10.1.2.3)") {
		t.Errorf("denied: %q", errs)
	}
	h.rsync(t, nil, append(args, "host::m/")...)
	h.wantLog(t, `rsync on m/ from UNDETERMINED \(10\.1\.2\.3\)`)
	wantFile(t, filepath.Join(h.dir, "post.out"), "done\n")
}

func TestConnectionOnStandardInput(t *testing.T) {
	h := newHost(t, "[m]\npath = DIR/m\n")
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", h.port))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := h.dial(t)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	f, _ := conn.(*net.TCPConn).File()
	cmd := exec.Command(program(t, h, "inetd"))
	cmd.Stdin = f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	conn.Close()
	c.line()
	c.send("%sm\n", hello)
	if s := c.request("--server", "--sender", ".", "m/"); s.Addr != "127.0.0.1" {
		t.Errorf("%+v", s)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestDetach(t *testing.T) {
	h := newHost(t, "address = 127.0.0.1\nport = PORT\npid file = DIR/pid\n[m]\npath = DIR/m\n")
	conf := filepath.Join(h.dir, "conf")
	text := strings.Replace(readFile(t, conf), "PORT", strconv.Itoa(h.port), 1)
	os.WriteFile(conf, []byte(text), 0o644)
	cmd := exec.Command(program(t, h, "detach"))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(readFile(t, filepath.Join(h.dir, "pid"))))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGKILL)
	s := h.visit(t, "m", "--server", ".", "m/")
	if s.Module != "m" || s.PID == pid {
		t.Errorf("%+v", s)
	}
	h.wantLog(t, fmt.Sprintf(`rsyncd version test starting, listening on port %d`, h.port))
	if sid, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); !bytes.Contains(sid, []byte(fmt.Sprintf(" %d %d ", pid, pid))) {
		t.Errorf("the daemon leads no session: %s", sid)
	}

	// A second one finds the pid file locked and says so.
	again, err := exec.Command(program(t, h, "detach")).CombinedOutput()
	if err == nil || !strings.Contains(string(again), "failed to lock pid file") {
		t.Errorf("a second daemon: %v %s", err, again)
	}
	// The text is that of the first.
	if got := readFile(t, filepath.Join(h.dir, "pid")); got != fmt.Sprintf("%d\n", pid) {
		t.Errorf("pid file %q", got)
	}

	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(h.dir, "pid")); os.IsNotExist(err) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the pid file is still there")
		}
	}
	h.wantLog(t, `rsync error: received SIGINT, SIGTERM, or SIGHUP \(code 20\) at .* \[Receiver=.*\]`)
}

func TestDetachReportsErrors(t *testing.T) {
	h := newHost(t, "blorp = 1\n")
	out, err := exec.Command(program(t, h, "detach")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), `/conf:3: unknown parameter "blorp"`) {
		t.Errorf("%v: %s", err, out)
	}
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", h.port))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h.write(t, "conf", fmt.Sprintf("log file = DIR/log\naddress = 127.0.0.1\nport = %d\n", h.port))
	cmd := exec.Command(program(t, h, "detach"))
	out, err = cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != int(exitcode.SocketIO) || !strings.Contains(string(out), "unable to bind any inbound sockets on port") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestPIDFileIsNoLink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	os.WriteFile(victim, []byte("precious"), 0o644)
	path := filepath.Join(dir, "pid")
	os.Symlink(victim, path)
	p, err := createPIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, path); got != fmt.Sprintf("%d\n", os.Getpid()) || readFile(t, victim) != "precious" {
		t.Errorf("pid file %q, victim %q", got, readFile(t, victim))
	}
	p.remove()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Error("the pid file is still there")
	}
	os.WriteFile(path, bytes.Repeat([]byte("x"), 100), 0o644)
	if _, err := createPIDFile(path); err == nil || len(readFile(t, path)) != 100 {
		t.Errorf("a file that is no pid file was overwritten (%v)", err)
	}
}

// TestLockFileInterop shares a lock file with a stock daemon.
func TestLockFileInterop(t *testing.T) {
	path, err := exec.LookPath("rsync")
	if err != nil {
		t.Skip("needs rsync")
	}
	h := start(t, "[m]\npath = DIR/m\nmax connections = 1\nlock file = DIR/lock\nuse chroot = no\n")
	// A stock daemon on a pipe holds the only place while it waits for arguments.
	cmd := exec.Command(path, "--server", "--daemon", "--config="+filepath.Join(h.dir, "conf"), ".")
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(in, "%sm\n", hello)
	held := make([]byte, len(hello)+len("@RSYNCD: OK\n"))
	for n := 0; n < len(held); {
		k, err := out.Read(held[n:])
		if err != nil {
			t.Fatalf("%q: %v", held[:n], err)
		}
		n += k
	}
	c := h.dial(t)
	c.line()
	c.send("%sm\n", hello)
	if got := c.rest(); got != "@ERROR: max connections (1) reached -- try again later\n" {
		t.Errorf("while stock holds the place: %q", got)
	}
	in.Close()
	cmd.Wait()
	if s := h.visit(t, "m", "--server", ".", "m/"); s.Module != "m" {
		t.Errorf("%+v", s)
	}
}

func TestUnknownSocketOptionIsTolerated(t *testing.T) {
	h := start(t, "socket options = TCP_NODELAY SO_SNDBUF=65536,SO_NONSENSE IPTOS_LOWDELAY=3\n[m]\npath = DIR/m\n")
	if s := h.visit(t, "m", "--server", ".", "m/"); s.Module != "m" {
		t.Errorf("%+v", s)
	}
	h.wantLog(t, "Unknown socket option SO_NONSENSE")
	h.wantLog(t, "syntax error -- IPTOS_LOWDELAY does not take a value")
}

func TestConfigurationIsReadPerConnection(t *testing.T) {
	hup := make(chan os.Signal, 1)
	h := newHost(t, "[m]\npath = DIR/m\n")
	run(t, h, func(c *Config) { c.Hangup = hup })
	h.visit(t, "m", "--server", ".", "m/")
	h.write(t, "conf", "log file = DIR/log\nreverse lookup = no\n[new]\npath = DIR/m\n")
	h.visit(t, "new", "--server", ".", "new/")
	hup <- syscall.SIGHUP
	h.wantLog(t, `configuration .* checked: 1 modules`)
	h.write(t, "conf", "log file = DIR/log\nnonsense = 1\n")
	hup <- syscall.SIGHUP
	h.wantLog(t, `the configuration cannot be read.*:2: unknown parameter "nonsense"`)
}

func TestThreadsOfAConnection(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\n")
	c := h.dial(t)
	c.line()
	c.send("%sm\n", hello)
	c.line()
	text := readFile(t, h.log)
	i := strings.LastIndex(text, "[")
	pid, _, _ := strings.Cut(text[i+1:], "]")
	tasks, err := os.ReadDir("/proc/" + pid + "/task")
	if err != nil || len(tasks) < 2 || len(tasks) > 9 {
		t.Errorf("process %s has %d threads (%v)", pid, len(tasks), err)
	}
}

func TestListenEndsWithItsContext(t *testing.T) {
	h := newHost(t, "[m]\npath = DIR/m\n")
	cfg := testConfig(filepath.Join(h.dir, "conf"))
	cfg.Address, cfg.Port = "127.0.0.1", h.port
	ctx, cancel := context.WithCancel(context.Background())
	err := Listen(ctx, cfg, func([]net.Addr) { cancel() })
	if exitcode.Of(err, 1) != exitcode.Signal {
		t.Errorf("%v", err)
	}
}

func TestFamilies(t *testing.T) {
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skip("needs IPv6")
	} else {
		l.Close()
	}
	for _, tc := range []struct {
		family Family
		want   string
	}{{AnyFamily, "0.0.0.0 ::"}, {IPv4, "0.0.0.0"}, {IPv6, "::"}} {
		h := newHost(t, "[m]\npath = DIR/m\nhosts allow = ::1\n")
		cfg := testConfig(filepath.Join(h.dir, "conf"))
		cfg.Port, cfg.Family = h.port, tc.family
		ctx, cancel := context.WithCancel(context.Background())
		got, reply := "", ""
		Listen(ctx, cfg, func(addrs []net.Addr) {
			for _, a := range addrs {
				got += " " + a.(*net.TCPAddr).IP.String()
			}
			go func() {
				defer cancel()
				if tc.family == IPv4 {
					return
				}
				conn, err := net.Dial("tcp6", fmt.Sprintf("[::1]:%d", h.port))
				if err != nil {
					reply = err.Error()
					return
				}
				defer conn.Close()
				fmt.Fprintf(conn, "%sm\n", hello)
				buf := make([]byte, 200)
				for !strings.Contains(reply, "OK\n") {
					n, err := conn.Read(buf)
					reply += string(buf[:n])
					if err != nil {
						return
					}
				}
			}()
		})
		if strings.TrimSpace(got) != tc.want {
			t.Errorf("family %d listens on%s", tc.family, got)
		}
		if tc.family != IPv4 && !strings.HasSuffix(reply, "@RSYNCD: OK\n") {
			t.Errorf("family %d: %q", tc.family, reply)
		}
	}
}
