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

// start starts cmd and reaps it in a goroutine, which ends with it.
func start(ctx context.Context, cmd *exec.Cmd) (*program, error) {
	cmd.WaitDelay = endGrace
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &program{cmd: cmd, done: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { p.signal(syscall.SIGTERM) })
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

// end waits for a program whose connection was closed; one that goes on is
// terminated, then killed.
func (p *program) end() {
	for _, step := range []struct {
		patience time.Duration
		signal   os.Signal
	}{{closeGrace, syscall.SIGTERM}, {endGrace, syscall.SIGKILL}} {
		t := time.NewTimer(step.patience)
		select {
		case <-p.done:
			t.Stop()
			return
		case <-t.C:
			p.signal(step.signal)
		}
	}
	<-p.done
}

// startError returns what exec says without the name that the caller adds.
func startError(err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return syscall.ENOENT
	}
	return err
}
