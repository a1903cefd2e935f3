// Package app wires the program together: which command is meant, signals,
// standard streams, exit code. It is the only package that knows all others.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/delta/compress"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/session"
	"github.com/prsync/prsync/internal/version"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Version is the program's version.
const Version = version.Version

// program is one run of the command.
type program struct {
	argv   []string
	env    []string
	name   string
	stdin  *os.File
	stdout *os.File
	stderr *os.File
	umask  uint32
	log    *report.Log // once the options tell where messages go
	asked  atomic.Bool // the user wants to know where the transfer is
}

// Main runs the command line and returns the exit status.
func Main(argv, env []string) int {
	p := &program{argv: argv, env: env, name: "prsync", stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	if len(argv) > 0 {
		p.name = filepath.Base(argv[0])
	}
	p.umask = currentUmask()
	return int(exitcode.Of(p.run(), exitcode.Syntax))
}

// pollable returns a descriptor of its own that is what f is, and can be waited
// for and closed by another goroutine. A second file on f's own number would
// not do: when a remote shell hands over a socket that does not block, f is
// with the poller already, which takes a number once.
func pollable(f *os.File, name string) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("cannot duplicate %s: %w", name, err)
	}
	unix.SetNonblock(fd, true) // a file cannot, and need not
	return os.NewFile(uintptr(fd), name), nil
}

// currentUmask reads the umask, which can only be read by setting it.
func currentUmask() uint32 {
	old := unix.Umask(022)
	unix.Umask(old)
	return uint32(old)
}

func (p *program) getenv(key string) string {
	s, _ := p.lookup(key)
	return s
}

func (p *program) lookup(key string) (string, bool) {
	for i := len(p.env) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(p.env[i], "="); ok && k == key {
			return v, true
		}
	}
	return "", false
}

func (p *program) buildInfo() options.BuildInfo {
	return options.BuildInfo{
		Program: p.name, Version: Version, Checksums: checksum.Names(), Compressors: compress.Names(),
		AuthDigests: checksum.AuthNames(), ACLAt: true,
	}
}

// run decides what is meant. Linked as rsync the program is only that.
func (p *program) run() error {
	if p.name != "rsync" && len(p.argv) > 1 {
		if done, err := p.subcommand(p.argv[1]); done {
			return err
		}
	}
	return p.rsync()
}

// fail prints an error that was not printed yet and returns it.
func (p *program) fail(err error) error {
	var e *exitcode.Error
	if errors.As(err, &e) && e.Err == nil {
		return err
	}
	if err != nil {
		p.say(report.Error, err.Error())
	}
	return err
}

// say gives a line: to the standard streams and to the log file, as soon as the
// options have told of them.
func (p *program) say(code report.Code, line string) {
	if p.log == nil {
		fmt.Fprintln(p.stderr, line)
		return
	}
	p.log.Write(code, line+"\n")
}

func (p *program) optionEnv() options.Env {
	return options.Env{
		Getenv: p.getenv, Home: p.getenv("HOME"), ReadFile: os.ReadFile, Now: time.Now,
		Glob: func(pattern string) []string {
			m, _ := filepath.Glob(pattern)
			return m
		},
	}
}

// rsync is the command line of rsync.
func (p *program) rsync() error {
	tuneRuntime()
	args := p.argv[1:]
	if isServer(args) {
		return p.server(args)
	}
	o, operands, err := options.Parse(args, p.optionEnv())
	if o != nil && o.Server {
		return p.server(args) // behind options of --rsync-path="rsync --fake-super"
	}
	if err != nil {
		return p.usageError(o, err)
	}
	switch o.Action {
	case options.ActionHelp:
		return options.Help(p.stdout, p.buildInfo())
	case options.ActionVersion:
		return options.Version(p.stdout, p.buildInfo())
	case options.ActionVersionJSON:
		return options.VersionJSON(p.stdout, p.buildInfo())
	case options.ActionInfoHelp:
		return options.InfoHelp(p.stdout)
	case options.ActionDebugHelp:
		return options.DebugHelp(p.stdout)
	case options.ActionDaemonHelp:
		return options.DaemonHelp(p.stdout, p.buildInfo())
	case options.ActionDaemon:
		return p.daemon(o.Daemon)
	case options.ActionExec:
		return p.exec(o.ExecArgv)
	}
	ctx, stop := p.signals()
	defer stop()
	return p.client(ctx, o, operands)
}

// usageError prints a command line error, or the help for the plain "usage" one.
// o holds what was read before it, nil without anything.
func (p *program) usageError(o *options.Options, err error) error {
	if o != nil {
		_, closeLog := p.openLog(o, p.stdout)
		defer closeLog()
	}
	text := err.Error()
	if errors.Is(err, options.ErrUsage) {
		var b strings.Builder
		options.Help(&b, p.buildInfo())
		text = strings.TrimSuffix(b.String(), "\n")
	}
	for line := range strings.SplitSeq(text, "\n") {
		p.say(report.Error, line)
	}
	p.exitLine(err, "client")
	return err
}

// exitLine is the last line of a run that failed. rsync 3.5.0 log.c:log_exit.
func (p *program) exitLine(err error, who string) {
	code := exitcode.Of(err, exitcode.Syntax)
	if code == exitcode.OK {
		return
	}
	var e *exitcode.Error
	if errors.As(err, &e) && e.Who != "" {
		who = e.Who
	}
	if who == "sender" { // rsync 3.5.0 log.c:log_exit
		p.logOnly("sent 0 bytes  received 0 bytes  total size 0")
	}
	p.say(report.Error, session.ExitLine(err, code, who))
}

// logOnly gives a line for the log file.
func (p *program) logOnly(line string) {
	if p.log != nil {
		p.log.Write(report.LogFile, line+"\n")
	}
}

func (p *program) exec(argv []string) error {
	if len(argv) == 0 {
		return exitcode.New(exitcode.Syntax, "no command to execute")
	}
	path, err := lookPath(argv[0], p.getenv("PATH"))
	if err == nil {
		err = unix.Exec(path, argv, p.env)
	}
	return p.fail(exitcode.New(exitcode.RemoteShellNone, "%s: %w", argv[0], err))
}

func lookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, d := range filepath.SplitList(path) {
		f := filepath.Join(d, name)
		if unix.Access(f, unix.X_OK) == nil {
			return f, nil
		}
	}
	return "", os.ErrNotExist
}

// isServer reports whether these are a server's arguments, as they usually are.
func isServer(args []string) bool { return len(args) > 0 && args[0] == "--server" }

// signals returns a context that ends with the signals that end rsync. Another
// asks where the transfer is.
func (p *program) signals() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 1)
	// A client ends its remote shell with SIGUSR1.
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGVTALRM)
	signal.Ignore(syscall.SIGPIPE)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case sig := <-ch:
				code := exitcode.Signal
				switch sig {
				case syscall.SIGVTALRM:
					p.asked.Store(true)
					continue
				case syscall.SIGUSR1:
					code = exitcode.Signal1
				}
				cancel(exitcode.Silent(code))
			case <-done:
			}
			return
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		close(done)
		cancel(context.Canceled)
	}
}

// sessionEnv is what a session gets of the process.
func (p *program) sessionEnv() (session.Env, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return session.Env{}, exitcode.New(exitcode.FileSelect, "getcwd(): %w", err)
	}
	return session.Env{
		Cwd: cwd, Umask: p.umask, EUID: uint32(os.Geteuid()), PID: os.Getpid(), Now: time.Now, Getenv: p.getenv,
		Home: p.getenv("HOME"), Stdin: p.stdin, Out: p.stdout, Err: p.stderr, Names: meta.NewSystemNames(),
		Foreground: p.foreground, AskProgress: &p.asked, Terminal: term.IsTerminal(int(p.stdout.Fd())),
	}, nil
}

// foreground reports whether we may draw on the terminal: a process in the
// background keeps still.
func (p *program) foreground() bool {
	pgrp, err := unix.IoctlGetInt(int(p.stdout.Fd()), unix.TIOCGPGRP)
	return err != nil || pgrp == unix.Getpgrp()
}

// server is the far end of a remote shell.
func (p *program) server(args []string) error {
	o, operands, err := options.ParseServer(args, p.optionEnv())
	if err != nil {
		p.fail(err)
		p.exitLine(err, "server")
		return err
	}
	if o.Action == options.ActionDaemon {
		return p.daemon(o.Daemon)
	}
	if o.SecludedArgs {
		more, err := readSecluded(p.stdin)
		if err != nil {
			return p.fail(exitcode.New(exitcode.StreamIO, "reading the arguments: %w", err))
		}
		set, err := session.Charset(o, true, p.getenv)
		if err != nil {
			return p.fail(err)
		}
		if set != nil {
			for i := range more {
				more[i] = set.Encode(more[i])
			}
		}
		all := append(append([]string(nil), args...), more...)
		env := p.optionEnv()
		env.Secluded = true
		if o, operands, err = options.ParseServer(all, env); err != nil {
			p.fail(err)
			p.exitLine(err, "server")
			return err
		}
	}
	ctx, stop := p.signals()
	defer stop()
	env, err := p.sessionEnv()
	if err != nil {
		return p.fail(err)
	}
	if len(operands) > 0 {
		operands = operands[1:] // "."
	}
	in, err := pollable(p.stdin, "stdin")
	if err != nil {
		return p.fail(err)
	}
	out, err := pollable(p.stdout, "stdout")
	if err != nil {
		return p.fail(err)
	}
	env.Out = p.stderr
	sp := session.Params{
		Opts: o, Server: true, Sender: o.Sender, In: in, Out: session.Limit(out, o.Bwlimit), Args: operands, Env: env,
		Close: func() {
			// Ended by a signal: the client is to find our status together with
			// the end of the stream, as that of a process that just ends.
			if past := time.Unix(1, 0); ctx.Err() != nil && in.SetDeadline(past) == nil && out.SetDeadline(past) == nil {
				return
			}
			for _, f := range []*os.File{in, out, p.stdin, p.stdout} {
				f.Close()
			}
		},
	}
	var closeLog func()
	sp.Deadline = func(t time.Time) error { return deadline(in, out, t) }
	sp.LogLine, closeLog = p.openLog(o, p.stderr)
	defer closeLog()
	if takesOffer(o) {
		pub, publisher := p.publishedPath(env.Cwd, operands)
		defer pub.close()
		sp.Publish = publisher
	}
	err = session.Run(ctx, sp)
	var told *session.Reported
	var peer *session.PeerExit
	if err != nil && !ranToEnd(err) && !errors.As(err, &told) && !errors.As(err, &peer) {
		p.fail(err)
		p.exitLine(err, "server")
	}
	return err
}

// lastWords is how long a server that is ended by a signal may take to write
// what it has begun.
const lastWords = time.Minute

// deadline lets reads of a connection fail from t on, and writes after lastWords.
func deadline(in, out *os.File, t time.Time) error {
	if err := out.SetWriteDeadline(time.Now().Add(lastWords)); err != nil {
		return err
	}
	return in.SetReadDeadline(t)
}

// ranToEnd tells an end with errors of files, or with deletions left out, from
// one that broke the run off: a server leaves it to the client to say so.
func ranToEnd(err error) bool {
	switch exitcode.Of(err, exitcode.Syntax) {
	case exitcode.Partial, exitcode.Vanished, exitcode.DelLimit:
		return true
	}
	return false
}

// readSecluded reads the arguments that -s keeps out of the command line:
// NUL-terminated, ended by an empty one.
func readSecluded(r io.Reader) ([]string, error) {
	const limit = 1 << 20
	var out []string
	var word []byte
	var b [1]byte
	for total := 0; ; total++ {
		if total > limit || len(out) > 16384 {
			return nil, errors.New("too many arguments")
		}
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, err
		}
		if b[0] != 0 {
			word = append(word, b[0])
			continue
		}
		if len(word) == 0 {
			break
		}
		out = append(out, string(word))
		word = word[:0]
	}
	if len(out) > 0 {
		out = out[1:] // the program's name
	}
	return out, nil
}

// openLog opens the log file that the options name, and makes the log of what is
// said outside of a session. It returns session.Params.LogLine.
func (p *program) openLog(o *options.Options, out io.Writer) (line func(report.Code, string), closeLog func()) {
	closeLog = func() {}
	var err error
	if o.LogFile != "" {
		var f *os.File
		f, err = fsroot.OwnerOpen(o.LogFile, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT, 0666&^p.umask, fsroot.Policy{InsecureLinks: o.InsecureLinks})
		if err == nil {
			line, closeLog = report.FileLogger(f, os.Getpid(), time.Now), func() { f.Close() }
		}
	}
	p.log = session.NewLog(o, &session.Env{Getenv: p.getenv, Out: out, Err: p.stderr}, line)
	if err != nil {
		p.say(report.Error, fmt.Sprintf("rsync: [client] failed to open log-file %s: %s", o.LogFile, report.Reason(err)))
		p.say(report.Info, "Ignoring \"log file\" setting.")
	}
	return line, closeLog
}
