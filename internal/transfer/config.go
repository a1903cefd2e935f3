// Package transfer is the engine: a sender that lists and sends files, a
// generator that decides what the destination lacks, and a receiver that
// writes it.
//
//	sender                          generator             receiver
//	  walk sources ──── file list ────────┬──────────────────► lists (shared)
//	                                      ▼                     │
//	  search(source) ◄── index, sums ─── compare with disk      │
//	      └───────────── tokens ────────────────────────────► rebuild, rename
//	                                      ▲── redo, done ───────┘
//
// Generator and receiver share one process here, with the lists between them
// under a lock; each owns one direction of the connection. The three roles are
// rsync 3.5.0 sender.c and flist.c, generator.c, receiver.c. The engine knows
// nothing of command lines, sockets or BitTorrent.
package transfer

import (
	"io"
	"time"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/delta/compress"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// DeleteWhen says when extraneous files are deleted.
type DeleteWhen uint8

const (
	DeleteNever DeleteWhen = iota
	DeleteBefore
	DeleteDuring
	DeleteDelay
	DeleteAfter
)

// DestKind is what an alternate destination is used for.
type DestKind uint8

const (
	NoDest DestKind = iota
	CompareDest
	CopyDest
	LinkDest
)

// Config is one transfer as its engine sees it. It does not change while the
// transfer runs.
type Config struct {
	// The connection.
	Setup *rsyncproto.Setup
	R     *wire.Reader
	W     *wire.Writer
	// Local: both roles run in this process, over a pipe; Ranges then hands
	// file ranges from the sender to the receiver.
	Local  bool
	Ranges *Ranges
	Server bool
	Daemon bool
	Log    *report.Log
	Now    func() time.Time
	// Abort ends the connection, so that nobody goes on waiting for it.
	Abort func(err error)

	// Where names are resolved. Cwd is the absolute path that relative
	// operands count from, for a daemon the module's root, shown as "/".
	Cwd string
	// OpenDir opens a directory that an operand or option names, relative to
	// Cwd or absolute.
	OpenDir func(path string, p fsroot.Policy) (*fsroot.Root, error)
	// OpenParent opens the directory that holds what a path names, and returns
	// the last component, "" for the directory itself. The root is nil when the
	// directory does not exist.
	OpenParent func(path string, p fsroot.Policy) (*fsroot.Root, string, error)
	// OpenFilter opens a file of filter rules by its absolute path.
	OpenFilter func(path string) (io.ReadCloser, error)
	// MakePath makes a directory and its parents, or only counts them.
	MakePath func(path string, p fsroot.Policy, dry bool) (made int, err error)
	// Module is the daemon module's name, "" without one.
	Module string
	// Top is the path of what the engine takes for "/": a module's, else empty.
	Top string
	// Sanitize keeps all names below the root (a daemon without chroot).
	Sanitize bool
	// Confine keeps symlinks inside (a daemon without "insecure links").
	Confine bool
	// ConfineRoot is --confine-root: where the directories of options have to
	// be. Sources and destination are the user's own choice.
	ConfineRoot string
	// InsecureLinks gives up the defences against planted links.
	InsecureLinks bool
	// TellInOrder gives the client a message between the data before and
	// after it: how the generator speaks on a server.
	TellInOrder func(code report.Code, text string) bool

	Privilege  meta.Privilege
	EUID       uint32
	Umask      uint32
	Names      meta.NameSource
	IDs        meta.IDMapOptions
	NumericIDs bool

	// What travels.
	Recurse       bool
	Dirs          bool // -d; also set with Recurse
	Relative      bool
	ImpliedDirs   bool
	OneFileSystem int
	Links         bool
	CopyLinks     bool
	CopyUnsafe    bool
	CopyDirlinks  bool
	SafeLinks     bool
	MungeLinks    bool
	KeepDirlinks  bool
	HardLinks     bool
	Perms         bool
	Executability bool
	ACLs          bool
	Xattrs        int
	Owner         bool
	Group         bool
	Devices       bool
	Specials      bool
	CopyDevices   bool
	WriteDevices  bool
	DropDevices   bool
	Times         bool
	Atimes        bool
	OpenNoatime   bool
	OmitDirTimes  bool
	OmitLinkTimes bool
	Chmod         meta.Chmod
	// DaemonChmod is "incoming chmod" or "outgoing chmod".
	DaemonChmod       meta.Chmod
	IgnoreNonreadable bool
	Filters           *filter.List
	DaemonFilters     *filter.List
	Implied           *filter.Implied
	FilesFrom         *filter.Names // names to send, nil to take the operands
	MissingArgs       int           // 1: --ignore-missing-args, 2: --delete-missing-args
	PruneEmptyDirs    bool
	TrustFilter       bool // do not check the sender's names against our filter
	Unsorted          bool // --iconv: indexes follow the order of transmission
	// NameToWire and NameFromWire convert names (--iconv); nil for none.
	NameToWire, NameFromWire func(string) (string, error)
	LinkIconv                bool

	// What is up to date.
	Checksum         bool
	IgnoreTimes      bool
	SizeOnly         bool
	ModifyWindow     int
	Update           bool
	Existing         bool // --existing
	IgnoreExisting   bool
	MaxSize, MinSize int64 // -1 for none

	// How files are written.
	WholeFile    bool
	BlockSize    int32
	Inplace      bool
	Append       delta.Append
	Sparse       bool
	Preallocate  bool
	Fsync        bool
	Fuzzy        int
	Partial      bool
	PartialDir   string
	DelayUpdates bool
	TempDir      string
	Backup       bool
	BackupDir    string
	Suffix       string
	AltKind      DestKind
	AltDests     []string
	Mkpath       bool
	Compress     compress.Config
	SkipCompress func(name string) bool

	// Deleting.
	Delete         DeleteWhen
	DeleteExcluded bool
	Force          bool
	MaxDelete      int // -1 for none
	IgnoreErrors   bool

	DryRun       bool
	ListOnly     bool
	RemoveSource bool // --remove-source-files
	RemoveSent   bool // the old --remove-sent-files
	ReadBatch    bool
	OnlyBatch    bool // --only-write-batch: the data goes to Batch alone
	// MaxAlloc bounds what a peer can make us keep in one table, in bytes.
	MaxAlloc int64
	// PID is this process's, as --debug shows it.
	PID   int
	Batch io.Writer

	// Begin is told when generator and receiver start: nil for nobody.
	Begin func()

	// Lines of output.
	Out, LogFormat *report.Line // nil: none of that kind
	OutItemize     int          // 2: unchanged entries too (-ii)
	LogBefore      bool         // the line precedes the data
	Human          int
	Progress       *report.Progress // of a client

	// Swarm is what a client that receives may use beside the connection, nil
	// for nothing.
	Swarm *SwarmConfig
	// Learn takes note of contents, nil for nobody.
	Learn *Learn
}

// xfers reports whether data is transferred at all.
func (c *Config) xfers() bool { return !c.DryRun && !c.ListOnly || c.OnlyBatch }

// deleting reports whether --delete is on in any form.
func (c *Config) deleting() bool { return c.Delete != DeleteNever }
