// Package client makes the connections of an rsync client: to a server behind
// a remote shell, to a daemon by TCP, through a web proxy or a program, and to
// a daemon behind a remote shell.
//
//	operands ── PlanOperands ──► Plan ─┬─ Shell ──► RemoteShell ─┐
//	                                   ├─ Daemon ─► Daemon ──────┼─► Conn ──► rsyncproto.Negotiate
//	                                   └─ Local (no connection)  ┘
//
// Nothing here prints: what a daemon says goes to a callback, and errors are
// *exitcode.Error with rsync's code and the complete line or lines that rsync
// 3.5.0 prints. The daemon's lines are passed on as they came, so whoever
// prints them must make control characters harmless.
package client

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
)

// Env is what connecting needs from the world. Nil functions answer nothing.
type Env struct {
	// Lookup answers for USER, LOGNAME, RSYNC_PASSWORD, RSYNC_PROXY,
	// RSYNC_CONNECT_PROG and RSYNC_SHELL, as os.LookupEnv does: an empty
	// password is one.
	Lookup func(name string) (string, bool)
	// Environ is the environment of programs that are started; nil is that of
	// this process.
	Environ []string
	Stdin   io.Reader // of --password-file=-
	// Stderr is where programs that are started print. A remote shell that
	// asks for a password is best given the *os.File itself.
	Stderr io.Writer
	// ReadPassword prompts on the terminal and reads a line without echo.
	ReadPassword func(prompt string) (string, error)
	// OpenFile opens a file that the operator named, by the ownership walk
	// (fsroot.OwnerOpen). What it returns must have the Stat of an *os.File.
	OpenFile func(name string) (io.ReadCloser, error)
	// SetSockopts applies the words of --sockopts to a socket.
	SetSockopts func(c syscall.RawConn, words string) []error
	// Acking returns a reader of a connection to a daemon that acknowledges what
	// has come before it waits for more; nil leaves that to the kernel.
	Acking func(c *net.TCPConn) io.Reader
	// Convert turns an argument into the other side's character set; nil
	// leaves all as they are. (--iconv together with --secluded-args)
	Convert func(arg string) string
	Trace   func(code report.Code, line string) // takes the lines of --debug=cmd,connect,nstr
	Warn    func(line string)                   // takes problems that do no harm
	// Offer is what the capability string ends with, see options.PeerArgs.
	Offer string
}

func (e *Env) lookup(name string) (string, bool) {
	if e.Lookup == nil {
		return "", false
	}
	return e.Lookup(name)
}

func (e *Env) getenv(name string) string {
	s, _ := e.lookup(name)
	return s
}

func (e *Env) trace(line string) {
	if e.Trace != nil {
		e.Trace(report.Info, line)
	}
}

// traceUnlogged traces an argument list, which the log file does not get.
// rsync 3.5.0 util1.c:print_child_argv.
func (e *Env) traceUnlogged(line string) {
	if e.Trace != nil {
		e.Trace(report.Client, line)
	}
}

func (e *Env) warn(line string) {
	if e.Warn != nil {
		e.Warn(line)
	}
}

// Conn is a connection on which the protocol proper comes next.
type Conn struct {
	// In and Out are one net.Conn or two *os.File: closing unblocks, and both
	// have deadlines.
	In  io.ReadCloser
	Out io.WriteCloser
	// Remote is the version of the daemon's greeting, 0 when versions are
	// still to be exchanged.
	Remote int
	// Protocol is the version that the greetings led to, else --protocol.
	Protocol int
	Daemon   bool // a daemon is at the other end

	program *program // nil for a plain socket
	once    sync.Once
	closed  error
}

// Wait waits until the remote shell has ended and returns its exit status as
// rsync counts it: 124 to 127 and 255 come from shells, 15 and 16 stand for a
// death by a signal with and without a core file. A socket answers 0 at once.
// (rsync 3.5.0 main.c:wait_process_with_flush)
func (c *Conn) Wait() (status int, err error) {
	if c.program == nil || c.program.socket {
		return 0, nil
	}
	return c.program.wait()
}

// Kill tells a remote shell to end at once: what the other side would still say
// of a lost connection is no news. rsync 3.5.0 util1.c:kill_all.
func (c *Conn) Kill() {
	if c.program != nil && !c.program.socket {
		c.program.signal(syscall.SIGUSR1)
	}
}

// Close closes both directions and ends a remote shell that still runs.
func (c *Conn) Close() error {
	c.once.Do(func() {
		c.closed = c.Out.Close()
		if err := c.In.Close(); c.closed == nil && !errors.Is(err, os.ErrClosed) && !isSame(c.In, c.Out) {
			c.closed = err
		}
		if errors.Is(c.closed, os.ErrClosed) {
			c.closed = nil
		}
		if c.program != nil {
			c.program.end()
		}
	})
	return c.closed
}

func isSame(in io.Reader, out io.Writer) bool {
	w, ok := in.(io.Writer)
	return ok && w == out
}

// role names this side in rsync's lines (rsync 3.5.0 rsync.c:who_am_i).
func role(amSender bool) string {
	if amSender {
		return "sender"
	}
	return "Receiver"
}

// failed is the line about a failed system call.
func failed(code exitcode.Code, amSender bool, err error, text string) error {
	return exitcode.New(code, "rsync: [%s] %s: %s", role(amSender), text, report.Reason(err))
}

// canceled is the error of a context that ended; nil while it has not.
func canceled(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return exitcode.New(exitcode.Of(context.Cause(ctx), exitcode.Signal), "%w", context.Cause(ctx))
}

// debug reports whether --debug asks for a flag at a level.
func debug(o *options.Options, flag report.DebugFlag, level uint8) bool {
	return o.Debug[flag] >= level
}
