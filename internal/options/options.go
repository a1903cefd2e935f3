// Package options is the command line: one table of every option, and all
// that is derived from it.
//
// The table (table.go) drives the parser, the --help text, the option list of
// the man page, the shell completions and the matching of a daemon's "refuse
// options". The rows, the order of effects and the message texts follow rsync
// 3.5.0 options.c; the way words are split into options follows popt, which is
// not getopt: no abbreviations, options and operands in any order, integers in
// base 0, aliases from ~/.popt on the client.
//
//	argv ── words.go ──► rows of the table ──► settings ── finish.go ──► Options
//	                                                                       │
//	                        the peer's argv ◄── serverargs.go ─────────────┘
//
// Nothing here prints, opens a file or looks at the process environment: what
// is needed comes in through [Env], and requests such as --help are reported in
// [Options.Action]. Errors carry rsync's exit code (package exitcode) and the
// complete line that rsync prints, its "rsync: " prefix included where it has
// one.
package options

import (
	"time"

	"github.com/prsync/prsync/internal/report"
)

// Protocol versions that the --protocol option may name.
const (
	ProtocolVersion = 32 // spoken by default
	oldestSecluded  = 30 // first protocol with a capability string
)

const (
	defaultMaxAlloc     = 1 << 30
	defaultPartialDir   = ".~tmp~"
	defaultSwarmMinSize = 4 << 10
	defaultSwarmStall   = 20 * time.Second
	maxBasisDirs        = 20
	maxPath             = 4096
	maxBatchName        = 256
	maxDaemonThreads    = 8
)

// Action says what a command line asks for.
type Action int

// The actions. All but ActionTransfer print something and end with status 0.
const (
	ActionTransfer    Action = iota
	ActionHelp               // --help, or a lone -h
	ActionVersion            // --version
	ActionVersionJSON        // --version given twice
	ActionInfoHelp           // --info=help
	ActionDebugHelp          // --debug=help
	ActionDaemon             // --daemon: see Options.Daemon
	ActionDaemonHelp         // --daemon --help
	ActionExec               // ~/.popt has an exec line for it: see Options.ExecArgv
)

// Choice is an option with three states.
type Choice int8

// The states of a Choice.
const (
	Default Choice = iota // not given: the program decides
	Yes
	No
)

// DeleteMode says when extraneous files are removed from the destination.
type DeleteMode int8

// The delete modes. DeleteAuto is --delete without a time: during the transfer
// with protocol 30 and newer, else before it.
const (
	DeleteNone DeleteMode = iota
	DeleteAuto
	DeleteBefore
	DeleteDuring
	DeleteDelay
	DeleteAfter
)

// StderrMode says where messages go (--stderr).
type StderrMode int8

// The modes of --stderr.
const (
	StderrErrors StderrMode = iota // errors to stderr, each side its own
	StderrAll                      // every message to stderr, each side its own
	StderrClient                   // all messages travel to the client
)

// BatchMode says what happens with Options.BatchFile.
type BatchMode int8

// The batch modes. With BatchOnlyWrite the destination stays as it is.
const (
	BatchNone BatchMode = iota
	BatchRead
	BatchWrite
	BatchOnlyWrite
)

// AppendMode is the state of --append.
type AppendMode int8

// The append modes.
const (
	AppendNone   AppendMode = iota
	AppendData              // --append: what is there already is trusted
	AppendVerify            // --append-verify: it is part of the checksum
)

// DestKind is the kind of an alternate destination.
type DestKind int8

// The kinds; a command line has only one of them.
const (
	CompareDest DestKind = iota + 1
	CopyDest
	LinkDest
)

// AltDest is one --compare-dest, --copy-dest or --link-dest.
type AltDest struct {
	Kind DestKind
	Dir  string
}

// FilterKind says how the text of a FilterArg is to be read.
type FilterKind int8

// The kinds of filter arguments. FilterPerDir is the first -F and
// FilterPerDirHide the second; their Arg holds the equivalent --filter text.
const (
	FilterRule        FilterKind = iota // --filter=RULE
	FilterExclude                       // --exclude=PATTERN
	FilterInclude                       // --include=PATTERN
	FilterExcludeFrom                   // --exclude-from=FILE
	FilterIncludeFrom                   // --include-from=FILE
	FilterPerDir                        // -F
	FilterPerDirHide                    // -F a second time
)

// FilterArg is one filter option. They stand in Options.FilterRules in the
// order of the command line, followed by the rules that --old-dirs and --backup
// imply. -C is no rule of this list but Options.CVSExclude, because its rules
// go to the end of the list (rsync 3.5.0 exclude.c:send_filter_list).
type FilterArg struct {
	Kind FilterKind
	Arg  string
}

// Family is an address family preference.
type Family int8

// The families.
const (
	AnyFamily Family = 0
	IPv4      Family = 4
	IPv6      Family = 6
)

// OutbufMode is the buffering of standard output.
type OutbufMode int8

// The modes of --outbuf.
const (
	OutbufDefault OutbufMode = iota
	OutbufNone
	OutbufLine
	OutbufBlock
)

// SwarmMode is the state of --swarm.
type SwarmMode int8

// The swarm modes.
const (
	SwarmAuto    SwarmMode = iota // use a swarm where one is offered
	SwarmOff                      // plain rsync; no socket is opened
	SwarmRequire                  // fail when there is no swarm
)

// SwarmOptions are the options that stock rsync does not have.
type SwarmOptions struct {
	Mode          SwarmMode
	Tracker       string        // URL; empty: what the peer offers
	MinSize       int64         // bytes; smaller files go the plain way
	Listen        string        // [ADDR]:PORT; empty: any free port
	UploadLimit   int64         // bytes per second; 0: no limit
	DownloadLimit int64         // bytes per second; 0: no limit
	Linger        time.Duration // go on seeding after the end
	Stall         time.Duration // without progress for so long: the plain way
}

// Options are the settings of one run, after all implications and conflicts
// have been worked out. One field an option, named after its long name.
type Options struct {
	Action Action
	Server bool           // --server
	Sender bool           // --sender: this server sends
	Daemon *DaemonOptions // with ActionDaemon
	// ExecArgv is the command to run in place of this one, with ActionExec.
	ExecArgv []string

	// CapabilityString is what a client put behind -e in a server's
	// arguments, such as ".iLsfxCIvu". Empty on a client.
	CapabilityString string

	// What is transferred.
	Recurse           bool // --recursive
	IncRecursive      bool // allowed; see UseIncRecurse
	Dirs              bool // directories are transferred; implied by Recurse
	OldDirs           bool
	Relative          bool
	ImpliedDirs       bool // always false without Relative
	OneFileSystem     int  // 2: leave out mount points as well
	ListOnly          bool // also: only a source was named
	FilesFrom         string
	FilesFromHost     string // host part of a remote list; see FilesFromRemote
	FilesFromRemote   bool   // the list is read by the remote side
	From0             bool
	CVSExclude        bool
	FilterRules       []FilterArg
	MaxSize           int64 // bytes; -1: no limit
	MinSize           int64 // bytes; -1: no limit
	PruneEmptyDirs    bool
	IgnoreMissingArgs bool
	DeleteMissingArgs bool

	// Which files are up to date.
	Checksum          bool
	Update            bool
	IgnoreTimes       bool
	SizeOnly          bool
	ModifyWindow      int // seconds; negative: nanoseconds count too
	Existing          bool
	IgnoreExisting    bool
	RemoveSourceFiles bool // or RemoveSentFiles
	RemoveSentFiles   bool // the older spelling was used

	// Links.
	Links           bool
	CopyLinks       bool
	CopyUnsafeLinks bool
	SafeLinks       bool
	MungeLinks      bool
	CopyDirlinks    bool
	KeepDirlinks    bool
	HardLinks       int // 2: -HH
	InsecureLinks   bool
	ConfineRoot     string // absolute, or empty

	// Attributes.
	Perms         bool
	Executability bool
	ACLs          bool
	Xattrs        int // 2: -XX
	Owner         bool
	Group         bool
	Devices       bool
	Specials      bool
	CopyDevices   bool
	WriteDevices  bool
	DropD         bool // refuse to create devices and special files
	Times         bool
	Atimes        int // 2: -UU
	OpenNoatime   bool
	Crtimes       bool // always false: refused, as this platform cannot
	OmitDirTimes  bool // also implied by Backup without BackupDir
	OmitLinkTimes bool
	Super         bool
	NoSuper       bool // --no-super: even as root
	FakeSuper     bool
	NumericIDs    bool
	Usermap       string // also from --chown
	Groupmap      string // also from --chown
	Chmod         []string
	CopyAs        string // USER[:GROUP]
	CopyAsSet     bool   // --copy-as was given, even if empty: no such user

	// Writing.
	Sparse       bool
	Preallocate  bool
	Inplace      bool // also implied by Append and WriteDevices
	Append       AppendMode
	WholeFile    Choice
	BlockSize    int // bytes; 0: by file size
	Fuzzy        int // directories searched: 1 is the destination, the rest alternates
	AltDests     []AltDest
	Backup       bool
	BackupDir    string // empty: beside the file
	Suffix       string
	Partial      bool
	PartialDir   string // ".~tmp~" with --delay-updates alone
	DelayUpdates bool
	TempDir      string
	Mkpath       bool
	Fsync        bool
	Force        bool
	IgnoreErrors bool

	// Deleting.
	Delete         DeleteMode
	DeleteExcluded bool
	MaxDelete      int // -1: no limit

	// The run.
	DryRun    bool
	Batch     BatchMode
	BatchFile string
	MaxAlloc  int64     // bytes
	StopAt    time.Time // also from --stop-after; zero: never
	Qsort     bool

	// Names and character sets.
	Iconv         string // as given, LOCAL,REMOTE; empty: no conversion
	EightBit      bool   // --8-bit-output
	SecludedArgs  bool
	OldArgs       int // 2: even option arguments go unquoted
	TrustSender   bool
	RemoteOptions []string

	// TrustSenderArgs and TrustSenderFilter say which checks of the sender's
	// file list are off: for names not asked for, for names filtered away.
	TrustSenderArgs   bool
	TrustSenderFilter bool

	// The connection.
	Rsh             string // -e; see RemoteShell
	RshSet          bool   // -e was given, even if empty: a daemon is reached through it
	RshEnv          string // $RSYNC_RSH
	RsyncPath       string
	Protocol        int
	ChecksumSeed    int32
	ChecksumChoice  string // as given; empty: negotiated
	ChecksumList    string // $RSYNC_CHECKSUM_LIST
	Compress        bool
	CompressChoice  string // empty: negotiated
	CompressLevel   int    // meaningful with CompressLevelSet
	CompressThreads int
	CompressList    string // $RSYNC_COMPRESS_LIST
	SkipCompress    string // meaningful with SkipCompressSet
	SkipCompressSet bool
	Timeout         int // seconds; 0: none
	ContTimeout     int // seconds; 0: none
	Bwlimit         int64
	BlockingIO      Choice
	Family          Family
	Address         string
	Port            int
	Sockopts        string
	PasswordFile    string
	PasswordSet     bool // --password-file was given, even if empty
	EarlyInput      string

	// CompressLevelSet tells a level that was given from none.
	CompressLevelSet bool

	// Printing.
	Verbose        int
	Quiet          int
	Info           report.InfoLevels
	Debug          report.DebugLevels
	Stderr         StderrMode
	Motd           bool
	Stats          bool
	Progress       bool
	HumanReadable  int // 0: none, 1: digit grouping, 2: units of 1000, 3: of 1024
	ItemizeChanges int
	OutFormat      string // final: with what -i and -v imply
	OutFormatSet   bool   // lines are printed, by OutFormat
	LogFile        string
	LogFileFormat  string
	Outbuf         OutbufMode

	// LogBeforeTransfer asks for the line of OutFormat before the data moves,
	// which is the case when nothing in it is known only afterwards.
	LogBeforeTransfer bool
	// OutItemize is 0 when OutFormat has no %i, 2 when unchanged items are to
	// be shown too; OutHasOp is set when it has %i or %o.
	OutItemize int
	OutHasOp   bool

	Swarm SwarmOptions

	used []*row // in the order of the command line
	told told   // what the server is told, beyond the fields above
}

// told keeps what the arguments for a server depend on beside the meaning of
// the options: explicit or implied, and the spelling of some values.
type told struct {
	dirsAsked      bool   // -d itself, without recursion
	listAsked      bool   // --list-only itself
	compressAsked  bool   // -z itself, not only a level
	windowSet      bool   // --modify-window, whatever the value
	maxAllocArg    string // as given
	partialDefault bool   // PartialDir is not the user's choice
	usermap        bool   // given, even if empty; the next two as well
	groupmap       bool
	tempDir        bool
	info           *flagSet
}

// DaemonOptions are the options of prsync --daemon.
type DaemonOptions struct {
	Help          bool
	Address       string
	Bwlimit       int64 // bytes per second; 0: none
	Config        string
	Dparam        []string // NAME=VALUE overrides of global parameters
	Detach        bool
	Family        Family
	LogFile       string
	LogFileFormat string
	Port          int
	Sockopts      string
	Protocol      int
	Server        bool // over a remote shell or inetd: --server --daemon
	TempDir       string
	Verbose       int
	Operands      []string
}

// New returns the options of a command line without any.
func New() *Options {
	return &Options{
		IncRecursive:  true,
		ImpliedDirs:   true,
		MaxSize:       -1,
		MinSize:       -1,
		MaxDelete:     -1,
		MaxAlloc:      defaultMaxAlloc,
		Suffix:        "~",
		RsyncPath:     "rsync",
		Protocol:      ProtocolVersion,
		Motd:          true,
		HumanReadable: 1,
		Info:          defaultInfo(),
		Swarm: SwarmOptions{
			MinSize: defaultSwarmMinSize,
			Stall:   defaultSwarmStall,
		},
	}
}

// RemoteShell returns the remote shell command: -e, RSYNC_RSH or ssh.
func (o *Options) RemoteShell() string {
	switch {
	case o.RshSet:
		return o.Rsh
	case o.RshEnv != "":
		return o.RshEnv
	}
	return "ssh"
}

// UseIncRecurse reports whether the file list may be built piece by piece,
// seen from a side that sends or does not; a server also needs the letter i in
// the client's capabilities. (rsync 3.5.0 compat.c:set_allow_inc_recurse)
func (o *Options) UseIncRecurse(amSender bool) bool {
	if !o.IncRecursive || !o.Recurse || o.Qsort {
		return false
	}
	if !amSender && (o.Delete == DeleteBefore || o.Delete == DeleteAfter ||
		o.DelayUpdates || o.PruneEmptyDirs) {
		return false
	}
	return true
}
