package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/exitcode"
)

// maxHookOutput is how much a pre-xfer exec can tell a client.
const maxHookOutput = 4096 + 1024 - 1

// hooks are the commands of a module, with their variables resolved.
type hooks struct {
	early, preXfer, postXfer, nameConverter string
}

// expandHooks resolves the commands of a module; none when the environment
// says RSYNC_NO_XFER_EXEC. The error is a *conf.MetacharError when the client
// sent something that must not reach a shell.
func expandHooks(m *conf.Module, look conf.LookupFunc) (hooks, error) {
	if _, off := look("RSYNC_NO_XFER_EXEC"); off {
		return hooks{}, nil
	}
	var h hooks
	for _, e := range []struct {
		to   *string
		from string
	}{{&h.early, m.EarlyExec}, {&h.preXfer, m.PreXferExec}, {&h.postXfer, m.PostXferExec}, {&h.nameConverter, m.NameConverter}} {
		var err error
		if *e.to, err = conf.ExpandShell(e.from, look); err != nil {
			return hooks{}, err
		}
	}
	return h, nil
}

const systemShell = "/bin/sh"

// hookShell is the shell that runs commands.
func hookShell(env []string) string {
	if s, ok := lookup(env, "RSYNC_SHELL"); ok {
		return s
	}
	return systemShell
}

// runShell runs a command with env and input and waits for its end.
func runShell(command string, env []string, input []byte) (syscall.WaitStatus, error) {
	shell := hookShell(env)
	cmd := exec.Command(shell, "-c", command)
	if shell == systemShell {
		cmd.Args[0] = "sh" // as system(3) calls it, in its messages too
	}
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), os.Stdout, os.Stderr
	return waitStatus(cmd.Run(), cmd)
}

// waitStatus separates how a command ended from why it could not be run.
func waitStatus(err error, cmd *exec.Cmd) (syscall.WaitStatus, error) {
	var exit *exec.ExitError
	if cmd.ProcessState == nil {
		return 0, err
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || err != nil && !errors.As(err, &exit) && !errors.Is(err, syscall.EPIPE) {
		return 0, err
	}
	return status, nil
}

// requestEnv adds what a client asked for to an environment. An empty
// argument ends the list, as in rsync.
func requestEnv(env []string, paths string, args []string) []string {
	if paths == "" {
		paths = "(NONE)"
	}
	out := make([]string, 0, len(env)+1+len(args))
	for _, e := range env {
		if !strings.HasPrefix(e, "RSYNC_REQUEST=") && !strings.HasPrefix(e, "RSYNC_ARG") {
			out = append(out, e)
		}
	}
	out = append(out, "RSYNC_REQUEST="+paths)
	for i, a := range args {
		if a == "" {
			break
		}
		out = append(out, "RSYNC_ARG"+strconv.Itoa(i)+"="+a)
	}
	return out
}

// helper is a process that was started with the daemon's own privileges and
// root directory, and waits to be told which command to become.
type helper struct {
	cmd     *exec.Cmd
	control *os.File
	stdin   *os.File // nil unless asked for
	stdout  *os.File // nil unless asked for
}

// startHelper starts a helper; with pipes its standard input or output are
// ours, else it reads nothing and writes where the daemon does.
func (d *daemon) startHelper(pipeIn, pipeOut bool) (*helper, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	h := &helper{control: w, cmd: d.self(stageHook, r)}
	h.cmd.Stdout, h.cmd.Stderr = os.Stdout, os.Stderr
	theirs := []*os.File{r}
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	if pipeIn {
		in, out, err := os.Pipe()
		if err != nil {
			h.close()
			return nil, err
		}
		h.stdin, h.cmd.Stdin = out, in
		theirs = append(theirs, in)
	}
	if pipeOut {
		in, out, err := os.Pipe()
		if err != nil {
			h.close()
			return nil, err
		}
		h.stdout, h.cmd.Stdout = in, out
		theirs = append(theirs, out)
	}
	if err := h.cmd.Start(); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *helper) close() {
	for _, f := range []*os.File{h.control, h.stdin, h.stdout} {
		if f != nil {
			f.Close()
		}
	}
}

// become tells the helper its command.
func (h *helper) become(command string, env []string) error {
	defer h.control.Close()
	return writeWords(h.control, append([]string{hookShell(env), command}, env...)...)
}

// finishPreXfer lets the pre-xfer exec run and returns what to tell the client
// when it failed (rsync 3.5.0 clientserver.c:finish_pre_exec).
func (h *helper) finishPreXfer(command string, env []string) error {
	sent := h.become(command, env)
	output, _ := io.ReadAll(io.LimitReader(h.stdout, maxHookOutput))
	h.stdout.Close()
	status, err := waitStatus(h.cmd.Wait(), h.cmd)
	if err = errors.Join(sent, err); err != nil {
		return exitcode.New(exitcode.Unsupported, "pre-xfer exec returned failure (-1): %w", err)
	}
	if status.Exited() && status.ExitStatus() == 0 {
		return nil
	}
	raw := 1 << 8 // what a shell that died of a signal becomes
	if status.Exited() {
		raw = status.ExitStatus() << 8
	}
	text := fmt.Sprintf("pre-xfer exec returned failure (%d)", raw)
	if len(output) > 0 {
		text += ":"
	}
	text += "\n" + strings.ReplaceAll(string(output), "\r\n", "\n")
	return exitcode.New(exitcode.Unsupported, "%s", strings.TrimSuffix(text, "\n"))
}
