package options

import (
	"errors"
	"math"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/locale"
	"github.com/prsync/prsync/internal/report"
)

// ErrUsage is wrapped by errors that call for the whole usage text on standard
// error instead of a message of their own.
var ErrUsage = errors.New("usage error; see --help")

// usageError is one, at a place of rsync's, by the process that who names.
func usageError(at, who string) error {
	return &exitcode.Error{Code: exitcode.Syntax, Err: ErrUsage, At: at, Who: who}
}

// The states of --recursive and --dirs while options are being read.
const (
	recurseNo      = 0
	recurseImplied = 1 // by --archive
	recurseAsked   = 2

	dirsUnset = -1
	dirsAsked = 2
	dirsOld   = 4

	notSpecified = math.MinInt32 // a compression level
)

// parser collects the options of one command line. What is final already goes
// to o; the rest has a meaning only once all options are known (finish.go).
type parser struct {
	o       *Options
	env     Env
	argc    int
	numbers report.Numbers // of the locale

	info, debug *flagSet
	given       map[*option]bool // named, by whatever spelling

	recurse, dirs, relative       int
	delPlain, delBefore, delAfter bool
	delDuring                     int // 1 during, 2 delay
	missing                       int // bits: 1 ignore, 2 delete
	perDir                        int // times -F was given
	versions                      int
	oldArgs, secluded             int // -1: not given
	compress                      int // times -z was given
	choiceSet                     bool
	usermap, groupmap             origin
	maxAlloc                      string
	outbuf                        string
	batchConflict                 bool
	isDaemon                      bool
	canonical                     []string // the options as given, for an exec line
}

// origin tells which option gave a user or group map.
type origin int8

const (
	nowhere origin = iota
	fromMap
	fromChown
)

// request is an effect that ends the parsing without being an error.
type request struct{ action Action }

func (r *request) Error() string { return "request" }

// Requests that are no actions of the caller's.
const (
	restartServer Action = -1 - iota
	restartDaemon
)

func newParser(argv []string, env Env, server bool) *parser {
	o := New()
	o.Server = server
	return &parser{
		o: o, env: env, argc: len(argv),
		numbers: report.LocaleNumbers(func() string { return locale.DecimalPoint(env.getenv) }),
		info:    newInfoSet(), debug: newDebugSet(),
		given: map[*option]bool{},
		dirs:  dirsUnset, relative: -1, oldArgs: -1, secluded: -1,
	}
}

// Parse reads the command line of a client, without the name of the program.
// It returns the options and the operands. A command line that turns out to be
// a server's (--server) is read again as one, and with --daemon the daemon's
// options are in Options.Daemon.
//
// An error comes with the options that were read before it, so that it can be
// told where they want it; behind --server they say that alone.
//
// With an exec line in ~/.popt the Options have ActionExec and ExecArgv.
func Parse(argv []string, env Env) (*Options, []string, error) {
	if len(argv) == 0 {
		return nil, nil, usageError(exitcode.AtNoArgs, "client")
	}
	return parse(argv, env, false)
}

// ParseServer reads the arguments that a client sent, from "--server" on or
// behind it. There are no aliases, and the environment counts less.
//
// With --secluded-args the client sends the rest over the connection: when
// Options.SecludedArgs is set, read it, append it to argv without its first
// word, and call again with Env.Secluded.
func ParseServer(argv []string, env Env) (*Options, []string, error) {
	return parse(argv, env, true)
}

// ParseDaemon reads the command line of a daemon, --daemon included.
func ParseDaemon(argv []string, env Env) (*DaemonOptions, error) {
	p := newParser(argv, env, false)
	if err := p.readDaemon(argv); err != nil {
		return nil, err
	}
	return p.o.Daemon, nil
}

func parse(argv []string, env Env, server bool) (*Options, []string, error) {
	p := newParser(argv, env, server)
	var aliases []alias
	if !server {
		aliases = readAliases(env)
		p.o.Iconv = env.getenv("RSYNC_ICONV")
		if err := p.readSwarmEnv(); err != nil {
			return nil, nil, err
		}
	}
	w := newWords(clientTable, argv, aliases, posixly(env))
	err := p.read(w)
	var req *request
	if !errors.As(err, &req) {
		if err != nil {
			if server { // which still has to agree with its client how to say so
				p.finish(nil) // its error is not the first
			}
			return p.o, nil, err
		}
		if w.exec != nil {
			p.o.Action = ActionExec
			p.o.ExecArgv = append(append(append([]string{}, w.exec.argv...), p.canonical...), w.operands...)
			return p.o, nil, nil
		}
		operands, err := p.finish(w.operands)
		if err != nil {
			return p.o, nil, err
		}
		return p.o, operands, nil
	}
	switch req.action {
	case restartServer:
		o, operands, err := parse(argv, env, true)
		if err != nil {
			o = &Options{Server: true}
		}
		return o, operands, err
	case restartDaemon:
		if env.Daemon {
			return nil, nil, p.fail("Attempt to hack rsync thwarted!")
		}
		if err := p.readDaemon(argv); err != nil {
			return p.o, nil, err
		}
		return p.o, p.o.Daemon.Operands, nil
	}
	p.o.Action = req.action
	return p.o, nil, nil
}

// readSwarmEnv applies PRSYNC_SWARM, PRSYNC_SWARM_TRACKER and so on: every swarm
// option has its variable, which the option itself overrides.
func (p *parser) readSwarmEnv() error {
	for _, o := range swarmOptions {
		name := o.envName()
		if value := p.env.getenv(name); value != "" {
			if err := o.on(p, value, 0); err != nil {
				return exitcode.New(p.failCode(), "%w (from the environment variable %s)", err, name)
			}
		}
	}
	return nil
}

func posixly(env Env) bool {
	return env.getenv("POSIXLY_CORRECT") != "" || env.getenv("POSIX_ME_HARDER") != ""
}

// read applies every option of the command line.
func (p *parser) read(w *words) error {
	for {
		row, arg, n, err := w.next()
		if err != nil {
			where := ""
			if p.o.Server {
				where = "on remote machine: "
			}
			return p.fail("%s%s: %v", where, w.culprit(), err)
		}
		if row == nil {
			return nil
		}
		if refused := p.env.Refuse.implied(row); refused != nil {
			return p.refused(refused)
		}
		p.o.used = append(p.o.used, row)
		p.given[row.opt] = !row.undo
		p.canonical = append(p.canonical, row.name())
		if row.takesArg() {
			p.canonical = append(p.canonical, arg)
		}
		if err := row.apply(p, arg, n); err != nil {
			return err
		}
	}
}

// readDaemon reads the whole command line by the daemon's own table.
func (p *parser) readDaemon(argv []string) error {
	d := &DaemonOptions{Detach: true, Protocol: ProtocolVersion}
	p.o.Action, p.o.Daemon = ActionDaemon, d
	fail := func(format string, args ...any) error {
		if d.LogFile != "" {
			p.o.LogFile = d.LogFile
		}
		return exitcode.New(exitcode.Syntax,
			format+"\n(Type \"rsync --daemon --help\" for assistance with daemon mode.)", args...).Placed(exitcode.AtDaemonOption)
	}
	w := newWords(daemonTable(), argv, nil, posixly(p.env))
	for {
		row, arg, n, err := w.next()
		if err != nil {
			return fail("rsync: %s: %v (in daemon mode)", w.culprit(), err)
		}
		if row == nil {
			break
		}
		err = row.apply(p, arg, n)
		var req *request
		switch {
		case errors.As(err, &req):
			p.o.Action, d.Help = req.action, true
			return nil
		case err != nil:
			return fail("%v", err)
		}
	}
	switch {
	case len(d.TempDir) >= maxPath-10:
		return p.fail("the --temp-dir path is WAY too long.")
	case !p.isDaemon:
		return fail("Daemon option(s) used without --daemon.")
	}
	d.Operands = w.operands
	return nil
}

// fail returns the error that rsync prints behind its name. A daemon, unlike
// the others, ends with "requested action not supported".
func (p *parser) fail(format string, args ...any) error {
	return exitcode.New(p.failCode(), "rsync: "+format, args...)
}

func (p *parser) failCode() exitcode.Code {
	if p.env.Daemon {
		return exitcode.Unsupported
	}
	return exitcode.Syntax
}

func (p *parser) refused(row *row) error { return refusal(row, p.o.Server, p.env.Daemon) }

func (p *parser) wasGiven(name string) bool { return p.given[clientTable.long[name].opt] }
