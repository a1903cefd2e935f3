package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
)

// TestHostileDaemon plays daemons that break the rules.
func TestHostileDaemon(t *testing.T) {
	const hello = "@RSYNCD: 31.0 sha256 md5\n"
	long := strings.Repeat("x", 100000)
	for _, tc := range []struct {
		name, says string
		code       exitcode.Code
		text       string
	}{
		{"nothing", "", exitcode.StartClient, "rsync: did not see server greeting"},
		{"no newline", "@RSYNCD: 31.0", exitcode.StartClient, "rsync: did not see server greeting"},
		{"endless line", long, exitcode.StartClient, "rsync: did not see server greeting"},
		{"NUL", "@RSYNCD: 31\x00.0\n", exitcode.StartClient, "rsync: did not see server greeting"},
		{"other protocol", "220 mail\r\n", exitcode.StartClient, `rsync: server sent "220 mail" rather than greeting`},
		{"no number", "@RSYNCD: x\n", exitcode.StartClient, `rsync: server sent "@RSYNCD: x" rather than greeting`},
		{"huge number", "@RSYNCD: 99999999999999999999.0\n", exitcode.StartClient, `rsync: server sent "@RSYNCD: 99999999999999999999.0" rather than greeting`},
		{"no sub", "@RSYNCD: 31\n", exitcode.StartClient, "rsync: the server omitted the subprotocol value: @RSYNCD: 31"},
		{"no digests", "@RSYNCD: 32.0\n", exitcode.StartClient, "rsync: the server omitted the digest name list: @RSYNCD: 32.0"},
		{"greeting alone", hello, exitcode.StartClient, "rsync: didn't get server startup line"},
		{"long message", hello + long, exitcode.StartClient, "rsync: didn't get server startup line"},
		{"error", hello + "motd\n@ERROR: go away\n", exitcode.StartClient, "@ERROR: go away"},
		{"error of its own", hello + "@ERRORS\n", exitcode.StartClient, "@ERRORS"},
		{"foreign digests", "@RSYNCD: 32.0 rot13 none\n@RSYNCD: AUTHREQD x\n", exitcode.Unsupported,
			"Failed to negotiate a daemon auth checksum choice.\nServer list: rot13 none\nClient list: sha512 sha256 sha1 md5 md4"},
		{"never content", hello + strings.Repeat("@RSYNCD: AUTHREQD x\n", 20), exitcode.StartClient, "rsync: the daemon asked for a password 17 times"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			port := serve(t, func(c net.Conn, in *bufio.Reader) {
				fmt.Fprint(c, tc.says)
				_ = c.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, in)
			})
			_, err := dial(t, "127.0.0.1", port, Env{Lookup: variables("RSYNC_PASSWORD", "p")})
			wantError(t, err, tc.code, tc.text)
		})
	}
}

// TestSilentDaemon: --timeout and the context end the wait for a line.
func TestSilentDaemon(t *testing.T) {
	port := serve(t, func(_ net.Conn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) })
	_, err := dial(t, "127.0.0.1", port, Env{}, "--timeout=1")
	wantError(t, err, exitcode.Timeout, "[Receiver] io timeout after 1 seconds -- exiting")

	ctx, cancel := context.WithCancel(context.Background())
	o, _ := parse(t, "a", "b")
	port = serve(t, func(_ net.Conn, in *bufio.Reader) {
		_, _ = in.ReadString('\n') // the greeting: now the client waits
		cancel()
		_, _ = io.Copy(io.Discard, in)
	})
	_, _, err = Daemon(ctx, o, options.Hostspec{Host: "127.0.0.1", Port: port, Daemon: true}, []string{"m"}, false, Env{}, nil)
	if exitcode.Of(err, 0) != exitcode.Signal || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestNothingIsConsumed: the bytes behind the admission stay for the protocol.
func TestNothingIsConsumed(t *testing.T) {
	port := serve(t, func(c net.Conn, in *bufio.Reader) {
		fmt.Fprint(c, "@RSYNCD: 30.0\nmotd\n@RSYNCD: OK\nproper")
		_, _ = io.Copy(io.Discard, in)
	})
	c, err := dial(t, "127.0.0.1", port, Env{}, "--timeout=5")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var b [6]byte
	if _, err := io.ReadFull(c.In, b[:]); err != nil || string(b[:]) != "proper" {
		t.Errorf("%q %v", b[:], err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// TestDowngrade: the lower version counts, and one less for a pre-release.
func TestDowngrade(t *testing.T) {
	for _, tc := range []struct {
		greeting string
		args     []string
		want     int
	}{
		{"@RSYNCD: 29", nil, 29}, {"@RSYNCD: 31.2", nil, 30}, {"@RSYNCD: 33.0 md5", nil, 32}, {"@RSYNCD: 32.0 md5", []string{"--protocol=30"}, 30},
		{"@RSYNCD: 32.1 md5", nil, 31},
	} {
		sent := make(chan string, 1)
		port := serve(t, func(c net.Conn, in *bufio.Reader) {
			line, _ := in.ReadString('\n')
			sent <- line
			fmt.Fprint(c, tc.greeting+"\n@RSYNCD: OK\n")
			_, _ = io.Copy(io.Discard, in)
		})
		c, err := dial(t, "127.0.0.1", port, Env{}, tc.args...)
		if err != nil {
			t.Fatal(err)
		}
		if c.Protocol != tc.want {
			t.Errorf("%s: protocol %d, want %d", tc.greeting, c.Protocol, tc.want)
		}
		want := "@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n"
		if tc.args != nil {
			want = strings.Replace(want, "32", "30", 1)
		}
		if got := <-sent; got != want {
			t.Errorf("sent %q", got)
		}
	}
}

type nopOut struct{ bytes.Buffer }

func (*nopOut) Close() error { return nil }

// FuzzDaemon: whatever a daemon says, the handshake ends, with an error of
// rsync's or with a connection that is ready.
func FuzzDaemon(f *testing.F) {
	for _, s := range []string{
		"", "@RSYNCD: 32.0 sha512 md5\n@RSYNCD: OK\n", "@RSYNCD: 29\nmotd\n@RSYNCD: AUTHREQD abc\n@RSYNCD: OK\nrest",
		"@RSYNCD: 31.0\n\r\nlist\tx\n@RSYNCD: EXIT\n", "@RSYNCD: 30.1 md5 \n@ERROR: x\n", "@RSYNCD: 32.0 x\n@RSYNCD: AUTHREQD\n@RSYNCD: AUTHREQD \n",
	} {
		f.Add([]byte(s), true)
	}
	o, _ := parse(f, "-s", "h::mod", "d")
	plain, _ := parse(f, "h::mod", "d")
	f.Fuzz(func(t *testing.T, says []byte, secluded bool) {
		out := &nopOut{}
		lines := 0
		h := handshake{
			Conn: &Conn{In: io.NopCloser(bytes.NewReader(says)), Out: out}, ctx: context.Background(), o: plain,
			env: &Env{Lookup: variables("RSYNC_PASSWORD", "p")}, paths: []string{"mod/a"}, say: func(string) { lines++ },
		}
		if secluded {
			h.o = o
		}
		listed, err := h.run()
		var e *exitcode.Error
		switch {
		case err != nil:
			if !errors.As(err, &e) || e.Code != exitcode.StartClient && e.Code != exitcode.Unsupported || listed {
				t.Errorf("%T %v", err, err)
			}
		case listed:
			if !bytes.Contains(says, []byte("EXIT")) {
				t.Error("listed without an end")
			}
		case !bytes.HasSuffix(out.Bytes(), []byte{0}) && h.Protocol >= 30 || h.Protocol > 32 || h.Remote < h.Protocol:
			t.Errorf("protocol %d, theirs %d, sent %q", h.Protocol, h.Remote, out)
		}
		if lines > len(says) || out.Len() > 1<<16 {
			t.Errorf("%d lines, %d bytes sent", lines, out.Len())
		}
	})
}

// TestLongList: every module of a long list arrives.
func TestLongList(t *testing.T) {
	port := serve(t, func(c net.Conn, in *bufio.Reader) {
		w := bufio.NewWriter(c)
		fmt.Fprint(w, "@RSYNCD: 31.0\n")
		for i := range 10000 {
			fmt.Fprintf(w, "module%d\tx\n", i)
		}
		fmt.Fprint(w, "@RSYNCD: EXIT\n")
		w.Flush()
		_, _ = io.Copy(io.Discard, in)
	})
	o, _ := parse(t, "a", "b")
	lines := 0
	_, listed, err := Daemon(context.Background(), o, options.Hostspec{Host: "127.0.0.1", Port: port, Daemon: true}, nil, false, Env{}, func(string) { lines++ })
	if err != nil || !listed || lines != 10000 {
		t.Errorf("%d lines, %v %v", lines, listed, err)
	}
}
