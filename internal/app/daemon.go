package app

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/daemon"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/session"
	"golang.org/x/sys/unix"
)

// defaultConfig is where rsync looks for its configuration.
const defaultConfig = "/etc/rsyncd.conf"

// daemon is rsync --daemon: a listener, an inetd service, or the far end of a
// remote shell.
func (p *program) daemon(d *options.DaemonOptions) error {
	file := d.Config
	if file == "" {
		if file = defaultConfig; d.Server && os.Geteuid() != 0 {
			file = "rsyncd.conf"
		}
	}
	names := meta.NewSystemNames()
	names.Load() // a module may be chrooted soon
	cfg := daemon.Config{
		File: file, Dparams: d.Dparam, Env: p.env, Address: d.Address, Port: d.Port, Family: daemon.Family(d.Family),
		SocketOptions: d.Sockopts, LogFile: d.LogFile, LogFormat: d.LogFileFormat, Bwlimit: d.Bwlimit, TempDir: d.TempDir,
		Version: options.RsyncVersion, Protocol: d.Protocol, Argv: p.argv, Stdin: p.stdin, Stdout: p.stdout, Stderr: p.stderr,
		Now: time.Now,
	}
	hup := make(chan os.Signal, 1)
	cfg.Hangup = hup
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
	signal.Ignore(syscall.SIGPIPE)
	go func() {
		for sig := range ch {
			if sig == syscall.SIGHUP && !d.Server {
				select {
				case hup <- sig:
				default:
				}
				continue
			}
			switch sig {
			case syscall.SIGTERM:
				cancel(daemon.ErrTerminated)
			case syscall.SIGUSR1:
				cancel(exitcode.Silent(exitcode.Signal1))
			default:
				cancel(exitcode.Silent(exitcode.Signal))
			}
		}
	}()
	cfg.Enter = func(s *daemon.Session) any { return p.publishedModule(s) }
	cfg.Serve = func(ctx context.Context, s *daemon.Session) error {
		err := p.serveModule(ctx, s, names)
		if err == nil {
			return nil
		}
		// The client and the log have been told; standard error may be the client's too.
		return exitcode.Silent(exitcode.Of(err, exitcode.StreamIO))
	}
	var err error
	if d.Server {
		err = daemon.ServeShell(ctx, cfg)
	} else {
		err = daemon.Run(ctx, cfg, d.Detach)
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return p.fail(err)
}

// serveModule runs the request of a daemon's client.
func (p *program) serveModule(ctx context.Context, s *daemon.Session, names meta.NameSource) error {
	o := s.Options
	if o == nil {
		o = options.New()
		o.Server = true
	}
	logLine := func(code report.Code, text string) {
		if code == report.Info || code == report.LogFile {
			s.Log.Printf("%s", text)
		} else {
			s.Log.Errorf("%s", text)
		}
	}
	m := &session.Module{
		Name: s.Module.Name, RemoteShell: s.RemoteShell, Root: s.Root, Top: strings.TrimSuffix(s.Dir, "/"), Filters: s.Filter, Sanitize: s.Inner, Confine: s.SecureLinks, InsecureLinks: s.Module.InsecureLinks, TempDir: s.Module.TempDir,
		IgnoreNonreadable: s.Module.IgnoreNonreadable, NumericIDs: s.NumericIDs, MungeLinks: s.MungeLinks,
		Charset: s.Module.Charset, LogLine: logLine, Forbidden: s.Forbidden, Timeout: o.Timeout, NoCompress: noCompress(s.Module.DontCompress), Err: s.Err,
	}
	if s.Chmod != "" {
		list, err := meta.ParseChmod(s.Chmod, p.umask)
		if err != nil {
			return exitcode.New(exitcode.Syntax, "Invalid \"incoming chmod\" or \"outgoing chmod\" directive: %s", s.Chmod)
		}
		m.Chmod = list
	}
	if s.LogFormat != "" {
		m.LogFormat = &report.Line{
			Format: s.LogFormat, Daemon: true, Host: s.Host, Addr: s.Addr, Module: s.Module.Name, ModulePath: s.FullPath, User: s.User,
		}
	}
	if s.Names != nil {
		names = converted{s.Names}
	}
	args := s.Operands
	if len(args) > 0 {
		args = args[1:]
	}
	env := session.Env{
		Cwd: "/", Umask: p.umask, EUID: uint32(os.Geteuid()), PID: os.Getpid(), Now: time.Now,
		Getenv: func(k string) string { v, _ := s.Lookup(k); return v },
		Stdin:  strings.NewReader(""), Names: names,
	}
	sp := session.Params{
		Opts: o, Server: true, Sender: o.Sender, In: s.Reader, Out: session.Limit(s.Out, o.Bwlimit), Remote: s.Protocol,
		Protocol: s.Protocol, Args: args, Module: m, Env: env,
		Close: func() {
			// Ended by a signal: what the client has sent stays unread, and it
			// meets a connection that is reset.
			if ctx.Err() == nil {
				unix.Shutdown(int(s.In.Fd()), unix.SHUT_RDWR)
			}
			s.In.Close()
			s.Out.Close()
		},
		Deadline: func(t time.Time) error { return deadline(s.In, s.Out, t) },
	}
	if pub, _ := s.Entered.(*publication); pub != nil {
		defer pub.close()
		if takesOffer(o) {
			sp.Publish = pub.modulePublisher()
		}
	}
	err := session.Run(ctx, sp)
	var told *session.Reported
	var peer *session.PeerExit
	if code := exitcode.Of(err, exitcode.StreamIO); code != exitcode.OK && !ranToEnd(err) && !errors.As(err, &told) && !errors.As(err, &peer) {
		var e *exitcode.Error
		if !errors.As(err, &e) || e.Err != nil {
			s.Log.Errorf("%v", err)
		}
		s.Log.Errorf("%s", session.ExitLine(err, code, "server"))
	}
	return err
}

// noCompress reports whether "dont compress" names every file, which is the
// only list that rsync itself still obeys.
func noCompress(list string) bool {
	for _, w := range strings.Fields(list) {
		if w == "*" {
			return true
		}
	}
	return false
}

// converted asks a module's name converter.
type converted struct{ n *daemon.NameConverter }

func (c converted) UserName(uid uint32) (string, bool) {
	s, err := c.n.User(int(uid))
	return s, err == nil && s != ""
}

func (c converted) GroupName(gid uint32) (string, bool) {
	s, err := c.n.Group(int(gid))
	return s, err == nil && s != ""
}

func (c converted) UserID(name string) (uint32, bool) {
	id, ok, err := c.n.UID(name)
	return uint32(id), ok && err == nil
}

func (c converted) GroupID(name string) (uint32, bool) {
	id, ok, err := c.n.GID(name)
	return uint32(id), ok && err == nil
}
