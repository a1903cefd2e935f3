package conf

import (
	"strings"
	"time"
)

// Tri is a boolean that may be left to a default of the program.
type Tri int8

// The values of a Tri; the zero value is Unset.
const (
	Unset Tri = 0
	No    Tri = -1
	Yes   Tri = 1
)

// Or returns the value, or def while it is unset.
func (t Tri) Or(def bool) bool {
	if t == Unset {
		return def
	}
	return t == Yes
}

func (t Tri) String() string {
	switch t {
	case Yes:
		return "yes"
	case No:
		return "no"
	}
	return "unset"
}

// Global holds the parameters that exist once per host. Text is expanded with
// the environment given to Load.
type Global struct {
	Address            string // interface to listen on; "" is all
	DaemonChroot       string
	DaemonGID          string // group name or number
	DaemonUID          string // user name or number
	MOTDFile           string
	PIDFile            string
	ProxyProtocolHosts string // peers whose PROXY header is believed; syntax of HostsAllow
	SocketOptions      string
	ListenBacklog      int
	Port               int // 0: not set, which means 873
	ProxyProtocol      bool

	// prsync's own. Empty text means that the service is off or the
	// program's default applies.
	HTTPListen           string // ADDR:PORT of tracker, redirector and status page
	HTTPProxies          string // networks whose X-Forwarded-For is believed, separated by spaces
	PublicURL            string // how customers and volunteers reach HTTPListen; no trailing slash
	SwarmListen          string // ADDR:PORT for peers
	StateDir             string
	TrackerStore         string // "memory" or redis://…
	VolunteerSecretsFile string // lines NAME:SECRET
	CustomerLimit        int    // customers served at once; 0 is no limit
	Uplink               int64  // bytes per second this host can send; 0 is unknown
	TLSCertificate       string // PEM file
	TLSKey               string // PEM file
	CentralURL           string // a volunteer's central host; no trailing slash
	VolunteerName        string
	VolunteerSecret      string
}

// Module holds the parameters of one module. Text is as written, with its
// %VAR% references; see [Module.Expand].
type Module struct {
	Name    string
	Comment string
	Path    string // without trailing slashes
	TempDir string // without trailing slashes

	AuthDigest  string // weakest digest accepted for authentication; "" is any
	AuthUsers   string // rules, see rsyncd.conf(5); "" is anonymous access
	SecretsFile string
	StrictModes bool
	HostsAllow  string
	HostsDeny   string

	UID string // user name or number; "" is nobody when started by root
	GID string // list of groups, "*" first for all groups of the user

	UseChroot     Tri
	MungeSymlinks Tri
	InsecureLinks bool
	NumericIDs    Tri
	NameConverter string // command
	FakeSuper     bool
	OpenNoatime   Tri
	Charset       string

	Filter      string
	Include     string
	IncludeFrom string
	Exclude     string
	ExcludeFrom string

	IncomingChmod string
	OutgoingChmod string

	ReadOnly          bool
	WriteOnly         bool
	List              bool
	ReverseLookup     bool
	ForwardLookup     bool
	IgnoreErrors      bool
	IgnoreNonreadable bool

	MaxConnections int // 0 is no limit, negative disables the module
	LockFile       string
	Timeout        int // seconds; 0 is none
	MaxVerbosity   int
	RefuseOptions  string
	DontCompress   string

	EarlyExec    string // command
	PreXferExec  string // command
	PostXferExec string // command

	LogFile         string
	LogFormat       string
	TransferLogging bool
	SyslogFacility  int // as in syslog(3): facility number shifted left by 3
	SyslogTag       string

	// prsync's own.
	Swarm           Tri           // unset: as PublicByDefault says
	Redirect        Tri           // unset: as SwarmEnabled says
	RedirectMinSize int64         // bytes; smaller files always come from the central host
	RescanInterval  time.Duration // 0 is no periodic rescan
}

// PublicByDefault reports whether anyone may read the module, so that prsync
// may publish it without being asked to: no auth users, no host rules, not
// write only and not disabled.
func (m *Module) PublicByDefault() bool {
	return blank(m.AuthUsers) && blank(m.HostsAllow) && blank(m.HostsDeny) &&
		!m.WriteOnly && m.MaxConnections >= 0
}

// SwarmEnabled reports whether the module is published to the swarm and over
// HTTP: as `swarm` says, else whether it is public.
func (m *Module) SwarmEnabled() bool { return m.Swarm.Or(m.PublicByDefault()) }

// RedirectEnabled reports whether HTTP requests for the module may be sent on
// to volunteers: as `redirect` says, else whether it is published at all.
func (m *Module) RedirectEnabled() bool {
	return m.SwarmEnabled() && m.Redirect.Or(true)
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// File is one configuration as loaded.
type File struct {
	// Path is the file that Load was given.
	Path   string
	Global Global
	// Defaults are the module parameters in force at the end of the file;
	// the daemon uses them before a module is known (log file, timeout,
	// reverse lookup).
	Defaults *Module
	// Modules are in the order of their first appearance.
	Modules []*Module
	// Warnings are lines that had no effect, each with file and line.
	Warnings []string
	// Sources are all files and directories that were read, for whoever
	// wants to know when to load again.
	Sources []string
}

// Module returns the module of exactly that name, nil when there is none.
func (f *File) Module(name string) *Module {
	for i := len(f.Modules) - 1; i >= 0; i-- {
		if f.Modules[i].Name == name {
			return f.Modules[i]
		}
	}
	return nil
}
