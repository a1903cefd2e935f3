package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
)

// RemoteShell starts a server behind the remote shell of -e, RSYNC_RSH or ssh:
//
//	rsh [-l USER] [-4|-6] HOST rsync --server [--sender] OPTIONS . PATH...
//
// With --secluded-args the options and paths are sent over the connection
// instead. host is [USER@]HOST, paths are those on the other side. Whether the
// command exists there shows in Conn.Wait. (rsync 3.5.0 main.c:do_cmd)
func RemoteShell(ctx context.Context, o *options.Options, host string, paths []string, amSender bool, env Env) (*Conn, error) {
	words, secluded, err := serverCommand(o, host, paths, amSender, env.Offer)
	if err != nil {
		return nil, err
	}
	env.traceTarget(o, host, paths[0])
	c, err := startShell(ctx, o, words, amSender, &env)
	if err != nil {
		return nil, err
	}
	if o.SecludedArgs {
		if err := sendSecluded(c.Out, o, secluded, &env); err != nil && !isGone(err) {
			c.Close()
			return nil, failed(exitcode.StreamIO, amSender, err, "cannot send the arguments")
		}
	}
	return c, nil
}

// traceTarget gives the line of --debug=CMD2 about whom a shell is to reach.
// rsync 3.5.0 main.c:start_client.
func (e *Env) traceTarget(o *options.Options, host, path string) {
	if !debug(o, report.DebugCmd, 2) {
		return
	}
	user, given, machine := cutUser(host)
	if !given {
		user = nothing
	}
	shell := o.Rsh
	if shell == "" {
		shell = nothing
	}
	e.trace(fmt.Sprintf("cmd=%s machine=%s user=%s path=%s", shell, machine, user, path))
}

// nothing is how rsync's debugging lines show a text that is not there.
const nothing = "<NULL>"

// TraceWords is the line of --debug=CMD2 about the words of a command. rsync
// 3.5.0 main.c:do_cmd.
func TraceWords(words []string) string {
	var b strings.Builder
	for i, w := range words {
		fmt.Fprintf(&b, "cmd[%d]=%s ", i, w)
	}
	return b.String()
}

// TraceLocal are the lines of --debug=CMD2 of a local copy.
func TraceLocal(o *options.Options, dest string) []string {
	if !debug(o, report.DebugCmd, 2) {
		return nil
	}
	return []string{
		fmt.Sprintf("cmd=%s machine=%[1]s user=%[1]s path=%s", nothing, dest),
		TraceWords([]string{".", dest}),
	}
}

// isGone reports whether a write failed because nobody reads any more. What the
// other side has said before, or that it closed the connection, is the better
// message, which the next read meets: rsync prints one or the other as the two
// processes happen to run.
func isGone(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// serverCommand returns the words of the command, and the arguments to be sent
// over the connection.
func serverCommand(o *options.Options, host string, paths []string, amSender bool, offer string) (words, secluded []string, err error) {
	words, err = shellWords(o, host, false)
	if err != nil {
		return nil, nil, err
	}
	args := o.PeerArgs(amSender, o.Protocol, offer)
	words = append(words, args.Exposed...)
	rest := append(args.Secluded, ".")
	for _, path := range paths {
		rest = append(rest, o.FileArg(path, amSender))
	}
	if o.SecludedArgs {
		return words, rest, nil
	}
	return append(words, rest...), nil, nil
}

// shellWords returns the command up to the name of the remote rsync.
func shellWords(o *options.Options, host string, daemon bool) ([]string, error) {
	words, err := splitCommand(o.RemoteShell())
	if err != nil {
		return nil, err
	}
	if err := checkShellHost(host); err != nil {
		return nil, err
	}
	user, given, machine := cutUser(host)
	if given && !(daemon && namesUser(words)) {
		words = append(words, "-l", user)
	}
	if len(words) > 0 && words[0][strings.LastIndexByte(words[0], '/')+1:] == "ssh" {
		switch o.Family {
		case options.IPv4:
			words = append(words, "-4")
		case options.IPv6:
			words = append(words, "-6")
		}
	}
	return append(words, machine, o.RsyncPath), nil
}

// namesUser reports whether a remote-shell command has a "-l USER" already.
func namesUser(words []string) bool {
	for i := range len(words) - 1 {
		if words[i] == "-l" && !strings.HasPrefix(words[i+1], "-") {
			return true
		}
	}
	return false
}

// splitCommand splits a remote-shell command at spaces. Both kinds of quotes
// keep spaces and may begin within a word; a doubled quote within its own kind
// stands for itself; a backslash has no meaning.
func splitCommand(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote byte
	inWord := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote == 0 && c == ' ':
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
			continue
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote != 0 && c == quote:
			if i+1 < len(s) && s[i+1] == quote {
				i++
				word.WriteByte(c)
			} else {
				quote = 0
			}
		default:
			word.WriteByte(c)
		}
		inWord = true
	}
	if quote != 0 {
		return nil, syntax("Missing trailing-%c in remote-shell command.", quote)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// startShell starts a command with a pipe each way. The program's ends block,
// as --blocking-io asks for: no program minds, and a pipe that does not block
// confuses some.
func startShell(ctx context.Context, o *options.Options, words []string, amSender bool, env *Env, setenv ...string) (*Conn, error) {
	if debug(o, report.DebugCmd, 2) {
		env.traceUnlogged(TraceWords(words))
	}
	if debug(o, report.DebugCmd, 1) {
		env.traceUnlogged(traceArgs("opening connection using:", words))
	}
	if err := canceled(ctx); err != nil {
		return nil, err
	}
	childIn, out, err := os.Pipe()
	if err != nil {
		return nil, failed(exitcode.IPC, amSender, err, "pipe")
	}
	in, childOut, err := os.Pipe()
	if err != nil {
		childIn.Close()
		out.Close()
		return nil, failed(exitcode.IPC, amSender, err, "pipe")
	}
	roomy(childIn)
	roomy(childOut)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = childIn, childOut, env.Stderr
	cmd.Env = append(environ(cmd, env), setenv...)
	p, err := start(ctx, cmd, false)
	childIn.Close()
	childOut.Close()
	if err != nil {
		in.Close()
		out.Close()
		return nil, failed(exitcode.IPC, amSender, startError(err), "Failed to exec "+words[0])
	}
	return &Conn{In: in, Out: out, Protocol: o.Protocol, program: p}, nil
}

// roomy lets a pipe hold more than the 64 KiB it has by default, so that both
// sides wait for each other less often; where the system does not allow it the
// pipe stays as it is.
func roomy(f *os.File) {
	if c, err := f.SyscallConn(); err == nil {
		c.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}

// pipeSize is about what the sockets hold that rsync puts here.
const pipeSize = 256 << 10

func environ(cmd *exec.Cmd, env *Env) []string {
	if env.Environ != nil {
		return append([]string(nil), env.Environ...)
	}
	return cmd.Environ()
}

// sendSecluded sends the arguments that no shell may see: each ends with a NUL,
// an empty one is ".", and an empty string ends the list. (rsync 3.5.0
// rsync.c:send_protected_args)
func sendSecluded(w io.Writer, o *options.Options, args []string, env *Env) error {
	if debug(o, report.DebugCmd, 1) {
		env.traceUnlogged(traceArgs("protected args:", args))
	}
	var b strings.Builder
	b.WriteString("rsync\x00")
	for _, arg := range args {
		arg = orDot(arg)
		if env.Convert != nil {
			arg = orDot(strings.ReplaceAll(env.Convert(arg), "\x00", ""))
		}
		b.WriteString(arg)
		b.WriteByte(0)
	}
	b.WriteByte(0)
	_, err := io.WriteString(w, b.String())
	return err
}
