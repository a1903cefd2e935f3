package client

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
)

// How long a program gets to end by itself once its connection is closed, and
// then once it was asked to.
const (
	closeGrace = 200 * time.Millisecond
	endGrace   = 2 * time.Second
)

// program is a remote shell, or what RSYNC_CONNECT_PROG names.
type program struct {
	cmd    *exec.Cmd
	socket bool // it plays a socket: nobody asks for its status
	done   chan struct{}
	err    error // of Wait, behind done
}

// start starts cmd and reaps it in a goroutine, which ends with it. The end of
// ctx ends a remote shell; what plays a socket sees its connection close.
func start(ctx context.Context, cmd *exec.Cmd, socket bool) (*program, error) {
	cmd.WaitDelay = endGrace
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &program{cmd: cmd, socket: socket, done: make(chan struct{})}
	stop := func() bool { return true }
	if !socket {
		stop = context.AfterFunc(ctx, p.terminate)
	}
	go func() {
		p.err = cmd.Wait()
		stop()
		close(p.done)
	}()
	return p, nil
}

func (p *program) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) } // it may have ended

func (p *program) wait() (int, error) {
	<-p.done
	state := p.cmd.ProcessState
	if state == nil {
		return int(exitcode.WaitChild), exitcode.New(exitcode.WaitChild, "rsync: waitpid: %w", p.err)
	}
	ws, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case !ok || ws.Exited():
		return state.ExitCode(), nil
	case ws.CoreDump():
		return int(exitcode.Crashed), nil
	case ws.Signaled():
		return int(exitcode.Terminated), nil
	}
	return int(exitcode.WaitChild), nil
}

// end waits for a program whose connection was closed. A remote shell that
// goes on is terminated; what plays a socket may do so, as a daemon that still
// runs its hooks does.
func (p *program) end() {
	if !p.within(closeGrace) && !p.socket {
		p.terminate()
	}
}

func (p *program) terminate() {
	p.signal(syscall.SIGTERM)
	if !p.within(endGrace) {
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// within reports whether the program ends in time.
func (p *program) within(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.done:
		return true
	case <-t.C:
		return false
	}
}

// startError returns what exec says without the name that the caller adds.
func startError(err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return syscall.ENOENT
	}
	return err
}
