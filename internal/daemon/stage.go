package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/prsync/prsync/internal/exitcode"
)

// stageVar tells a process of this program what part of the daemon it is.
const stageVar = "PRSYNC_DAEMON_STAGE"

// The stages. A process without one was started by an operator, by inetd or by
// a remote shell.
const (
	stageDetached   = "detached"   // a listener without a terminal; reports to descriptor 3
	stageConnection = "connection" // one client on standard input
	stageTransfer   = "transfer"   // the part after authentication; its state is on descriptor 3
	stageHook       = "hook"       // waits on descriptor 3 for a command to become
)

// extraFd is the descriptor on which a stage finds its pipe.
const extraFd = 3

// connectionProcs is how many threads of a connection run Go code at once; with
// those blocked in system calls that stays below what operators expect of a
// process of rsync's.
const connectionProcs = 2

// Stage reports whether this process is a part of a daemon that was started
// before, so that its command line was checked and its standard input is no
// terminal's. env is the environment.
func Stage(env []string) bool {
	_, ok := lookup(env, stageVar)
	return ok
}

// self returns a command that runs this program again as a stage.
func (d *daemon) self(stage string, extra *os.File) *exec.Cmd {
	path := "/proc/self/exe"
	if d.Program != "" {
		path = d.Program
	} else if _, err := os.Stat(path); err != nil {
		if path, err = os.Executable(); err != nil {
			path = d.Argv[0]
		}
	}
	cmd := &exec.Cmd{Path: path, Args: d.Argv, Env: setenv(d.Env, stageVar, stage)}
	if extra != nil {
		cmd.ExtraFiles = []*os.File{extra}
	}
	return cmd
}

// Run is the daemon of a command line: it serves the client on standard input
// when that is a socket, and listens otherwise, in a process of its own when
// detach is set. It returns when the context ends, with rsync's exit code for
// a signal, or when the client is gone.
func Run(ctx context.Context, cfg Config, detach bool) error {
	d := newDaemon(cfg)
	stage, _ := lookup(d.Env, stageVar)
	d.Env = unsetenv(d.Env, stageVar)
	switch stage {
	case stageHook:
		return runHook()
	case stageTransfer:
		runtime.GOMAXPROCS(connectionProcs)
		return d.serveHandoff(d.untilHangup(ctx))
	case stageConnection:
		runtime.GOMAXPROCS(connectionProcs)
		return d.serveSocket(d.untilHangup(ctx))
	case stageDetached:
		return d.listenDetached(ctx)
	}
	if isSocket(d.Stdin) {
		for _, f := range []int{1, 2} {
			if err := toNull(f); err != nil {
				return exitcode.New(exitcode.FileIO, "cannot leave the standard streams: %w", err)
			}
		}
		return d.serveSocket(d.untilHangup(ctx))
	}
	if detach {
		return d.detach()
	}
	return d.listen(ctx, nil)
}

// untilHangup returns a context that SIGHUP ends too: for a process that serves
// one client it is a signal as any other.
func (d *daemon) untilHangup(ctx context.Context) context.Context {
	if d.Hangup == nil {
		return ctx
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-d.Hangup:
			cancel(exitcode.Silent(exitcode.Signal))
		case <-ctx.Done():
		}
	}()
	return ctx
}

// ServeShell serves the client of a daemon that a remote shell started: the
// connection is standard input and output, and its limits of time are those of
// the shell.
func ServeShell(ctx context.Context, cfg Config) error {
	d := newDaemon(cfg)
	stage, _ := lookup(d.Env, stageVar)
	d.Env = unsetenv(d.Env, stageVar)
	switch stage {
	case stageHook:
		return runHook()
	case stageTransfer:
		return d.serveHandoff(ctx)
	}
	c := &connection{d: d, in: d.Stdin, out: d.Stdout, reader: d.Stdin, shell: true}
	return c.untilSignal(ctx, c.serve)
}

// serveSocket serves the client whose socket is standard input.
func (d *daemon) serveSocket(ctx context.Context) error {
	conn, err := pollable(d.Stdin, "client")
	if err != nil {
		return exitcode.New(exitcode.SocketIO, "cannot use the socket on standard input: %w", err)
	}
	defer conn.Close()
	c := &connection{d: d, in: conn, out: conn, reader: Acking(conn)}
	return c.untilSignal(ctx, c.serve)
}

// pollable returns a copy of a descriptor whose reads can have a deadline.
func pollable(f *os.File, name string) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, extraFd)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// inheritedPipe returns the pipe on which a stage is spoken to; no process that
// this one starts gets it.
func inheritedPipe(name string) *os.File {
	unix.CloseOnExec(extraFd)
	return os.NewFile(extraFd, name)
}

// handoff is what a stageTransfer process needs to know.
type handoff struct {
	Module     string
	Protocol   int
	Addr, Host string
	User       string
	ReadOnly   bool
	EarlyInput []byte
	Shell      bool
}

func (h *handoff) words() []string {
	flag := map[bool]string{true: "y"}
	return []string{h.Module, strconv.Itoa(h.Protocol), h.Addr, h.Host, h.User, flag[h.ReadOnly], flag[h.Shell], string(h.EarlyInput)}
}

func readHandoff(r io.Reader) (handoff, error) {
	w, err := readWords(r, 8)
	if err != nil {
		return handoff{}, err
	}
	h := handoff{Module: w[0], Addr: w[2], Host: w[3], User: w[4], ReadOnly: w[5] != "", Shell: w[6] != ""}
	if w[7] != "" {
		h.EarlyInput = []byte(w[7])
	}
	h.Protocol, err = strconv.Atoi(w[1])
	return h, err
}

// serveHandoff goes on with a client that another process authenticated.
func (d *daemon) serveHandoff(ctx context.Context) error {
	pipe := inheritedPipe("handoff")
	defer pipe.Close()
	h, err := readHandoff(pipe)
	if err != nil {
		return exitcode.New(exitcode.IPC, "cannot read what to serve: %w", err)
	}
	c := &connection{d: d, in: d.Stdin, out: d.Stdout, reader: d.Stdin, shell: h.Shell, last: true,
		protocol: h.Protocol, addr: h.Addr, host: h.Host, earlyInput: h.EarlyInput}
	if !h.Shell {
		conn, err := pollable(d.Stdin, "client")
		if err != nil {
			return exitcode.New(exitcode.SocketIO, "cannot use the socket on standard input: %w", err)
		}
		defer conn.Close()
		c.in, c.out, c.reader = conn, conn, Acking(conn)
	}
	return c.untilSignal(ctx, func(ctx context.Context) error {
		m := c.file.Module(h.Module)
		if m == nil {
			return c.refuse(exitcode.Syntax, "module '%s' is gone from the configuration", h.Module)
		}
		return c.serveModule(ctx, m, h.User, h.ReadOnly)
	})
}

// handOver runs the part after authentication in another process and returns
// how that ended, as waitpid(2) says it.
func (c *connection) handOver(h handoff) (syscall.WaitStatus, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer w.Close()
	cmd := c.d.self(stageTransfer, r)
	cmd.Dir = c.cwd // names of the configuration may be relative to it
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.d.Stdin, os.Stdout, os.Stderr
	if c.shell {
		cmd.Stdout = c.d.Stdout
	}
	err = cmd.Start()
	r.Close()
	if err != nil {
		return 0, err
	}
	err = writeWords(w, h.words()...)
	w.Close()
	// The client is the other process's alone now.
	for _, f := range []*os.File{c.in, c.out, c.d.Stdin} {
		f.Close()
	}
	waitErr := cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	var exit *exec.ExitError
	if !ok || waitErr != nil && !errors.As(waitErr, &exit) {
		return 0, errors.Join(err, waitErr)
	}
	return status, nil
}

func unsetenv(env []string, name string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			out = append(out, e)
		}
	}
	return out
}

func isSocket(f *os.File) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	is := false
	raw.Control(func(fd uintptr) {
		_, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
		is = err == nil
	})
	return is
}

// toNull makes a standard descriptor refer to /dev/null.
func toNull(fd int) error {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	return unix.Dup2(int(null.Fd()), fd)
}

// runHook waits for a command, shell, command line and environment, and
// becomes it. When the daemon ends without sending one, so does the process.
func runHook() error {
	pipe := inheritedPipe("hook")
	words, err := readWords(pipe, 2)
	pipe.Close()
	switch {
	case errors.Is(err, io.EOF):
		return exitcode.Silent(exitcode.IPC)
	case err != nil:
		return exitcode.New(exitcode.IPC, "cannot read which command to run: %w", err)
	}
	name, command, env := words[0], words[1], words[2:]
	shell, err := exec.LookPath(name)
	if err != nil {
		return exitcode.New(exitcode.IPC, "cannot find the shell of a daemon's hook: %w", err)
	}
	err = unix.Exec(shell, []string{name, "-c", command}, env)
	return exitcode.New(exitcode.IPC, "cannot run %s: %w", fmt.Sprintf("%s -c", shell), err)
}
