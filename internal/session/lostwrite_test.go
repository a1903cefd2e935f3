package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/rsyncproto"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// frame is a message as the other side sends it.
func frame(code wire.Msg, payload string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(7+code)<<24|uint32(len(payload)))
	return append(b, payload...)
}

// lastWords are those of a server that cannot go on.
var lastWords = append(frame(wire.MsgError, "the disk is on fire\n"), frame(wire.MsgErrorExit, "\x0b\x00\x00\x00")...)

// client runs a client with args against what in says; what it writes goes to
// out. It returns what was printed as well.
func client(t *testing.T, in io.Reader, out io.Writer, closing func(), args ...string) (string, error) {
	t.Helper()
	getenv := func(string) string { return "" }
	o, operands, err := options.Parse(args, options.Env{Getenv: getenv, ReadFile: os.ReadFile, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	p := Params{
		Opts: o, In: in, Out: out, Close: closing, Sender: strings.HasPrefix(operands[1], "host:"),
		Env: Env{
			Cwd: "/", Umask: 022, EUID: uint32(os.Geteuid()), PID: 1, Now: time.Now, Getenv: getenv,
			Stdin: strings.NewReader(""), Out: io.Discard, Err: &printed, Names: meta.NewSystemNames(),
		},
	}
	p.Args = operands[1:]
	if p.Sender {
		p.Args = operands[:1]
	} else if o.FilesFrom != "" {
		p.Implied = filter.NewImplied(filter.ImpliedConfig{Relative: o.Relative, Dirs: o.Dirs})
	}
	if err := p.Prepare(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute/2)
	defer cancel()
	err = Run(ctx, p)
	if ctx.Err() != nil {
		t.Error("the client waits for a server that has gone")
	}
	return printed.String(), err
}

// TestWordsOfLostServer is a server that closes its standard input before the
// client has written anything, and then says why: the client must tell that,
// not that it could not write, wherever it notices.
func TestWordsOfLostServer(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	for i := range 50 {
		name := filepath.Join(src, fmt.Sprintf("%s%d", strings.Repeat("n", 200), i))
		if err := os.WriteFile(name, bytes.Repeat([]byte{byte(i)}, 50000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rules := []string{"-a"}
	for i := range 1000 {
		rules = append(rules, fmt.Sprintf("--exclude=%s%d", strings.Repeat("x", 200), i))
	}
	for _, tc := range []struct {
		name string
		args []string
	}{
		{"pull", []string{"-a", "host:src/", dst}},
		{"pull with a long list of rules", slices.Concat(rules, []string{"host:src/", dst})},
		{"push", []string{"-a", src, "host:dst"}},
		{"push with a long list of rules", slices.Concat(rules, []string{"--delete", src, "host:dst"})},
	} {
		in, peerOut, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		peerIn, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		peerIn.Close()
		var hello []byte
		hello = binary.LittleEndian.AppendUint32(hello, 31)
		hello = append(hello, 0)                            // no compatibility flags
		hello = binary.LittleEndian.AppendUint32(hello, 42) // checksum seed
		peerOut.Write(append(hello, lastWords...))
		peerOut.Close()
		printed, err := client(t, in, out, func() { in.Close(); out.Close() }, tc.args...)
		if exitcode.Of(err, exitcode.OK) != exitcode.FileIO || printed != "the disk is on fire\n" {
			t.Errorf("%s: ended with %v and %q", tc.name, err, printed)
		}
		in.Close()
		out.Close()
	}
}

// cutStream is what a server writes until cut says its last words.
type cutStream struct {
	mu   sync.Mutex
	to   *wire.PipeWriter
	gone bool
}

func (c *cutStream) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return 0, io.ErrClosedPipe
	}
	return c.to.Write(p) // whole frames
}

func (c *cutStream) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	c.to.Write(lastWords)
	c.to.Close()
}

// cutAfter takes so many bytes of a client, calls cut and fails from then on.
type cutAfter struct {
	io.Writer
	left int
	cut  func()
}

func (c *cutAfter) Write(p []byte) (int, error) {
	if c.left < len(p) {
		if c.cut != nil {
			c.cut()
			c.cut = nil
		}
		c.left = 0
		return 0, syscall.EPIPE
	}
	c.left -= len(p)
	return c.Writer.Write(p)
}

// TestWordsOfServerLostMidway pulls from a server, and pushes to one, that goes
// in the middle of the transfer.
func TestWordsOfServerLostMidway(t *testing.T) {
	src := t.TempDir()
	for i := range 400 {
		if err := os.WriteFile(filepath.Join(src, fmt.Sprintf("%0100d", i)), make([]byte, 5000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, push := range []bool{false, true} {
		for _, limit := range []int{100, 200, 1000, 3000} {
			if push {
				limit *= 10
			}
			dst := t.TempDir()
			serverArgs := []string{"--server", "--sender", "-logDtpre.iLsfxCIvu", ".", src + "/"}
			clientArgs := []string{"-a", "host:" + src + "/", dst}
			if push {
				serverArgs = []string{"--server", "-logDtpre.iLsfxCIvu", ".", dst}
				clientArgs = []string{"-a", src + "/", "host:" + dst}
			}
			getenv := func(string) string { return "" }
			so, sargs, err := options.ParseServer(serverArgs, options.Env{Getenv: getenv, ReadFile: os.ReadFile, Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			toC, fromS := wire.Pipe()
			toS, fromC := wire.Pipe()
			stream := &cutStream{to: fromS}
			done := make(chan struct{})
			go func() {
				defer close(done)
				Run(context.Background(), Params{
					Opts: so, Server: true, Sender: !push, In: toS, Out: stream, Close: func() { toS.Close() }, Args: sargs[1:],
					Env: Env{
						Cwd: "/", Umask: 022, EUID: uint32(os.Geteuid()), PID: 1, Now: time.Now, Getenv: getenv,
						Stdin: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Names: meta.NewSystemNames(),
					},
				})
			}()
			out := &cutAfter{Writer: fromC, left: limit, cut: stream.cut}
			printed, err := client(t, toC, out, func() { toC.Close(); fromC.Close() }, clientArgs...)
			if exitcode.Of(err, exitcode.OK) != exitcode.FileIO || printed != "the disk is on fire\n" {
				t.Errorf("push=%v after %d bytes: ended with %v and %q", push, limit, err, printed)
			}
			fromC.Close()
			<-done
		}
	}
}

// TestWordsOfReceiverThatTakesNoFiles is the sender of a local copy whose
// receiver has ended: what it cannot hand over is no write that fails, and what
// the receiver said before is read all the same.
func TestWordsOfReceiverThatTakesNoFiles(t *testing.T) {
	r := wire.NewReader(bytes.NewReader(frame(wire.MsgErrorExit, "\x04\x00\x00\x00")))
	r.StartMux()
	s := &side{p: &Params{Sender: true}, o: options.New(), r: r, w: wire.NewWriter(io.Discard)}
	r.OnMsg = s.message
	if err := s.lostWrites(io.ErrClosedPipe); exitcode.Of(err, exitcode.StreamIO) != exitcode.Unsupported {
		t.Errorf("the run ends with %v, not with the receiver's code", err)
	}
}

// TestResetByMoment is a connection that the other side resets: while the two
// agree on how to speak, and later. The texts and codes are rsync's.
func TestResetByMoment(t *testing.T) {
	bare := os.NewSyscallError("read", syscall.ECONNRESET) // as a daemon's connection says it
	for _, tc := range []struct {
		s    *side
		code exitcode.Code
		want string
	}{
		{&side{p: &Params{Remote: 31, Sender: true}}, exitcode.StreamIO, "rsync: [sender] safe_read failed to read 1 bytes: Connection reset by peer (104)"},
		{&side{p: &Params{Sender: true}}, exitcode.StreamIO, "rsync: [sender] safe_read failed to read 4 bytes: Connection reset by peer (104)"},
		{&side{p: &Params{Remote: 31, Sender: true}, setup: &rsyncproto.Setup{}}, exitcode.SocketIO, "rsync: [sender] read error: Connection reset by peer (104)"},
	} {
		for _, reset := range []error{&net.OpError{Op: "read", Err: bare}, bare} {
			err := tc.s.connError(reset)
			if exitcode.Of(err, exitcode.OK) != tc.code || err.Error() != tc.want {
				t.Errorf("%T: code %d, %q; want code %d, %q", reset, exitcode.Of(err, exitcode.OK), err, tc.code, tc.want)
			}
		}
	}
}
