package daemon

import (
	"context"
	"io"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/options"
)

// DefaultPort is the port that IANA gave to rsync.
const DefaultPort = 873

// Family restricts the listener to one address family.
type Family int

// The families of Config.Family.
const (
	AnyFamily Family = 0
	IPv4      Family = 4
	IPv6      Family = 6
)

// Config is what the command line and the environment say about a daemon.
type Config struct {
	// File is the configuration file.
	File string
	// Dparams are the --dparam settings, NAME=VALUE.
	Dparams []string
	// Env is the environment, as os.Environ returns it.
	Env []string

	Address       string // --address; overrides the file
	Port          int    // --port; overrides the file; 0 is not given
	Family        Family // --ipv4, --ipv6
	SocketOptions string // --sockopts; overrides the file
	LogFile       string // --log-file; overrides the file and all modules
	LogFormat     string // --log-file-format; used by every module

	// Bwlimit is --bwlimit in bytes per second, which no client may exceed; 0
	// is none.
	Bwlimit int64
	// TempDir is --temp-dir, for modules without one.
	TempDir string

	// Version is the program's, for the log.
	Version string
	// Protocol is the highest version to offer; 0 is 32.
	Protocol int
	// Argv is the command line that reaches Run again in a new process:
	// argv[0] and arguments, --daemon among them.
	Argv []string
	// Program is the file to run with Argv; "" is this program's own.
	Program string
	// Listeners are sockets that accept connections already (those that
	// systemd hands over); without any, the address and port are bound.
	Listeners []net.Listener
	// Stdin and Stdout carry the connection when it is not a listener's;
	// nil is the process's own.
	Stdin, Stdout *os.File
	// Stderr gets the errors of starting; nil is the process's own.
	Stderr io.Writer
	// Hangup asks a listener to check its configuration again (SIGHUP).
	Hangup <-chan os.Signal

	// Resolver looks names and addresses up; nil is net.DefaultResolver.
	Resolver Resolver
	// Users finds users and groups; nil is the system's databases.
	Users Users
	// Now is the clock of the log; nil is time.Now.
	Now func() time.Time

	// Enter, unless nil, is called before the process goes into a module and
	// drops its privileges; what it returns becomes Session.Entered.
	Enter func(s *Session) any
	// Serve runs what a client asked for.
	Serve ServeFunc
}

// Resolver is the part of net.Resolver that access control needs.
type Resolver interface {
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// ServeFunc runs one request. It is called with the privileges, the root and
// the working directory of the module. When s.Err is set, the request is not
// to be run: the protocol is to be set up as far as it takes to send the
// client that error, and the function returns an error with exit code 4.
type ServeFunc func(ctx context.Context, s *Session) error

// Session is one client's visit to a module, as handed to Serve.
type Session struct {
	// Module has its text parameters expanded.
	Module *conf.Module
	Global *conf.Global
	// Protocol is the version that the greetings agreed on.
	Protocol int
	// In and Out are the connection, nothing of it read ahead.
	In, Out *os.File
	// Reader is how to read from In.
	Reader io.Reader
	// RemoteShell is set for a daemon that a remote shell started.
	RemoteShell bool

	Addr, Host string // of the client
	User       string // "" is anonymous
	// ReadOnly is the module's, or what the user's rule in auth users says.
	ReadOnly bool

	// Root is the module's directory, pinned before privileges were
	// dropped; it is the working directory too.
	Root *fsroot.Root
	// Dir is the path of Root in what is now the file system: "/" when
	// the root of the file system is the module.
	Dir string
	// FullPath is the path of the module before any chroot (%P in logs).
	FullPath string
	// Entered is what Config.Enter returned.
	Entered any
	// Chrooted is set when the kernel confines paths to the module, or to
	// the directory around it when Inner is set too.
	Chrooted bool
	// Inner is set when Dir is not "/": client paths are then sanitized.
	Inner bool
	// SecureLinks asks for the symlink defences of a module that the
	// kernel does not confine.
	SecureLinks bool
	// MungeLinks asks for /rsyncd-munged/ before stored symlinks.
	MungeLinks bool
	// NumericIDs turns mapping by name off without the client's knowing.
	NumericIDs bool
	// Names asks the name converter; nil when the module has none.
	Names *NameConverter
	// Filter holds the module's own rules: what they exclude does not exist
	// for the client. Paths in them start at the module.
	Filter *filter.List
	// Chmod is the module's incoming or outgoing chmod, whichever applies.
	// It is in Options.Chmod too, but holds for a receiver without --perms.
	Chmod string

	// Args are the client's arguments, options unescaped and paths expanded
	// as globs; Args[0] is no option.
	Args []string
	// Paths is the request in the form that is logged; "" when none.
	Paths string
	// Options is what the options in Args say, with the module's parameters
	// imposed on them; Operands are the other arguments, "." first.
	Options  *options.Options
	Operands []string
	// Err, when set, is to be told to the client in place of a transfer: an
	// unknown or refused option, or what the pre-xfer exec said.
	Err error

	// Log is the module's log. LogFormat is the format of its transfer
	// lines, "" when transfers are not logged.
	Log       *Log
	LogFormat string

	// Env is the environment with the RSYNC_ variables of the connection.
	Env []string
}

// Lookup finds a variable in the session's environment.
func (s *Session) Lookup(name string) (string, bool) { return lookup(s.Env, name) }

// daemon is a Config with its defaults filled in.
type daemon struct {
	Config
	log *Log
}

func newDaemon(cfg Config) *daemon {
	if cfg.Stdin == nil {
		cfg.Stdin = os.Stdin
	}
	if cfg.Stdout == nil {
		cfg.Stdout = os.Stdout
	}
	if cfg.Stderr == nil {
		cfg.Stderr = os.Stderr
	}
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.Users == nil {
		cfg.Users = systemUsers{}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Protocol == 0 {
		cfg.Protocol = maxProtocol
	}
	return &daemon{Config: cfg}
}

// load reads the configuration through links of trusted owners only.
func (d *daemon) load() (*conf.File, error) {
	return conf.Load(d.File, conf.Options{
		Open:    func(path string) (io.ReadCloser, error) { return openOperatorFile(path) },
		Lookup:  d.lookup,
		Dparams: d.Dparams,
	})
}

func (d *daemon) lookup(name string) (string, bool) { return lookup(d.Env, name) }

// lookup finds the last setting of a variable.
func lookup(env []string, name string) (string, bool) {
	for i := len(env) - 1; i >= 0; i-- {
		if e := env[i]; len(e) > len(name) && e[len(name)] == '=' && e[:len(name)] == name {
			return e[len(name)+1:], true
		}
	}
	return "", false
}

// setenv returns env with the variable set, without changing env.
func setenv(env []string, name, value string) []string {
	out := make([]string, 0, len(env)+1)
	for _, e := range env {
		if len(e) > len(name) && e[len(name)] == '=' && e[:len(name)] == name {
			continue
		}
		out = append(out, e)
	}
	return append(out, name+"="+value)
}

// openRules is openOperatorFile for the filter package.
func openRules(path string) (io.ReadCloser, error) {
	if path == "-" {
		return nil, fs.ErrInvalid
	}
	return openOperatorFile(path)
}

// openOperatorFile opens a file that the operator named for reading; links on
// the way are followed when root or the daemon's user owns them.
func openOperatorFile(path string) (*os.File, error) {
	return fsroot.OwnerOpen(path, os.O_RDONLY, 0, fsroot.Policy{})
}
