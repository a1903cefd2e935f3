package session

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// TestClientThatFailsReadsOn is a client that fails while much is under way to
// it: because it cannot keep what a file replaces, and because of what is in the
// file list. The server must not meet a connection that was closed with data
// unread, is told once, and answers.
func TestClientThatFailsReadsOn(t *testing.T) {
	top := t.TempDir()
	src, dst := filepath.Join(top, "src"), filepath.Join(top, "dst")
	for name, text := range map[string]string{"src/a": "new text", "src/d/a": "", "dst/a": "old", "list": "d/../d/a\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(top, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("backup", func(t *testing.T) {
		failReading(t, exitcode.FileIO, []string{"-Wbre.iLsfxCIvu", ".", src + "/"},
			"-rWb", "--backup-dir="+top+"/bak", "--confine-root="+dst, "host:"+src+"/", dst)
	})
	t.Run("list", func(t *testing.T) {
		failReading(t, exitcode.Unsupported, []string{"-dRe.iLsfxCIvu", "--files-from=-", "--from0", ".", src + "/"},
			"--files-from="+top+"/list", "host:"+src+"/", dst)
	})
}

func failReading(t *testing.T, code exitcode.Code, server []string, args ...string) {
	getenv := func(string) string { return "" }
	so, sargs, err := options.ParseServer(append([]string{"--server", "--sender"}, server...),
		options.Env{Getenv: getenv, ReadFile: os.ReadFile, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	near, far := connected(t)
	toRelay, fromS := wire.Pipe()
	toS, fromRelay := wire.Pipe()
	served := make(chan error, 1)
	go func() {
		err := Run(context.Background(), Params{
			Opts: so, Server: true, Sender: true, In: toS, Out: fromS, Close: func() { toS.Close(); fromS.Close() }, Args: sargs[1:],
			Env: Env{
				Cwd: "/", Umask: 022, EUID: uint32(os.Geteuid()), PID: 1, Now: time.Now, Getenv: getenv,
				Stdin: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Names: meta.NewSystemNames(),
			},
		})
		fromS.Close()
		served <- err
	}()
	relayed := make(chan error, 1)
	go func() {
		_, err := io.Copy(far, toRelay)
		far.CloseWrite()
		relayed <- err
	}()
	told := make(chan int, 1)
	var lost error
	go func() {
		n, buf := 0, make([]byte, 64<<10)
		for {
			k, err := far.Read(buf)
			if c := bytes.Count(buf[:k], frame(wire.MsgErrorExit, string([]byte{byte(code), 0, 0, 0}))); c > 0 {
				n += c
				// The server waits for the client here: no frame of its own is cut in two.
				_, lost = far.Write(bytes.Repeat(frame(wire.MsgData, string(make([]byte, 64<<10))), 200))
			}
			fromRelay.Write(buf[:k])
			if err != nil {
				break
			}
		}
		fromRelay.Close()
		told <- n
	}()

	printed, err := client(t, near, near, func() { near.Close() }, args...)
	near.Close()
	if got := exitcode.Of(err, exitcode.OK); got != code {
		t.Errorf("the client ends with %v: %s", err, printed)
	}
	if n := <-told; n != 1 || lost != nil {
		t.Errorf("the server was told %d times; what was under way: %v", n, lost)
	}
	if err := <-relayed; err != nil {
		t.Errorf("the server's end did not arrive: %v", err)
	}
	if err := <-served; exitcode.Of(err, exitcode.OK) != code {
		t.Errorf("the server ends with %v, not with the client's code", err)
	}
}

// connected returns the two ends of a connection.
func connected(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return a.(*net.TCPConn), b.(*net.TCPConn)
}
