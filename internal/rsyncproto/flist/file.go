package flist

import (
	"strings"

	"github.com/prsync/prsync/internal/meta"
	"golang.org/x/sys/unix"
)

// Flags are what the sides remember of an entry beside its attributes.
type Flags uint16

const (
	TopDir     Flags = 1 << iota // named by the user: deletion starts here
	ContentDir                   // a directory whose contents are in the transfer
	ImpliedDir                   // a parent that only --relative brought in
	MountDir                     // a mount point that -x does not enter
	Duplicate                    // sender: same directory named twice
	Sent                         // sender: requested already; receiver: done
	DirCreated                   // generator: we created it in this run
	MissingDir                   // generator: not there (dry run) or not to be made
	Linked                       // part of a hard-link group (-H)
	LinkFirst                    // protocol 30: the group's first in the transfer
	SkipGroup                    // receiver: the group id cannot be set by us
	TimeFailed                   // generator: the directory's time must be set again
	GotList                      // receiver: the directory's own list has arrived
	HasSum                       // Sum is valid
	OwnedByUs                    // local listing: the file has our own uid
)

// File is one entry. The zero Mode marks an entry that was cleared, or, with
// --delete-missing-args, one that is to be deleted.
type File struct {
	Dir   string // parent path without a trailing slash, "" for none
	Base  string // last component, "" once cleared
	Size  int64
	Mtime int64 // seconds
	X     *Extra
	Nsec  uint32 // of Mtime
	Mode  uint32 // st_mode as on Linux, which is also the wire's
	UID   uint32
	GID   uint32
	Seq   int32 // position in the order of transmission, Start added
	Src   int32 // sending side: which source root the name is relative to
	Flags Flags
	Depth int16 // number of path components; 0 for "."
	// Gen are the generator's own flags: it alone reads and writes them once
	// the list is shared with the receiver.
	Gen Flags
	// path is the string that Base is the end of, so that Name need not join
	// it again: every entry's name is asked for several times.
	path string
}

// SetName sets Dir and Base from a path that is clean.
func (f *File) SetName(name string) {
	f.Dir, f.Base = Split(name)
	f.path = name
}

// Extra is what few entries have.
type Extra struct {
	Link  string // symbolic link target
	Major uint32 // of a device
	Minor uint32
	Sum   []byte // -c checksum

	Atime  int64 // --atimes
	Crtime int64 // --crtimes
	// Group is the number of the hard-link group: below protocol 30 a running
	// number, from then on the index of the group's first member.
	Group int32
	// Dev and Ino identify hard links on the sending side.
	Dev, Ino uint64

	Access  *meta.ACL // nil for none
	Default *meta.ACL // of a directory
	Xattrs  *XattrList

	// Dir is the entry's number among all directories, on either side.
	DirNdx int32
	// GotList: the directory's own list has arrived.
	GotList bool
	// ContentID is the SHA-256 that a publishing host sent, or nil.
	ContentID *[32]byte
}

// Ext returns f.X, allocating it first where needed.
func (f *File) Ext() *Extra {
	if f.X == nil {
		f.X = &Extra{DirNdx: -1}
	}
	return f.X
}

// Name returns the path relative to the root of the transfer.
func (f *File) Name() string {
	if f.Dir == "" {
		return f.Base
	}
	if len(f.path) == len(f.Dir)+len("/")+len(f.Base) && f.Dir != "/" {
		return f.path // else Dir or Base were set since
	}
	if f.Dir == "/" {
		return "/" + f.Base
	}
	return f.Dir + "/" + f.Base
}

// Active reports whether the entry was not cleared.
func (f *File) Active() bool { return f.Base != "" }

// Clear takes the entry out of the list without moving others.
func (f *File) Clear() { *f = File{Seq: f.Seq} }

// Link returns the target of a symbolic link, "" for anything else.
func (f *File) Link() string {
	if f.X == nil {
		return ""
	}
	return f.X.Link
}

// Xattrs returns the extended attributes, nil for none.
func (f *File) Xattrs() *XattrList {
	if f.X == nil {
		return nil
	}
	return f.X.Xattrs
}

// Sum returns the -c checksum, nil for none.
func (f *File) Sum() []byte {
	if f.X == nil {
		return nil
	}
	return f.X.Sum
}

func (f *File) IsDir() bool     { return f.Mode&unix.S_IFMT == unix.S_IFDIR }
func (f *File) IsRegular() bool { return f.Mode&unix.S_IFMT == unix.S_IFREG }
func (f *File) IsSymlink() bool { return f.Mode&unix.S_IFMT == unix.S_IFLNK }

// IsDevice reports whether the entry is a block or character device.
func (f *File) IsDevice() bool { return IsDevice(f.Mode) }

// IsSpecial reports whether the entry is a fifo or a socket.
func (f *File) IsSpecial() bool { return IsSpecial(f.Mode) }

// IsDevice reports whether mode is that of a block or character device.
func IsDevice(mode uint32) bool {
	t := mode & unix.S_IFMT
	return t == unix.S_IFBLK || t == unix.S_IFCHR
}

// IsSpecial reports whether mode is that of a fifo or a socket.
func IsSpecial(mode uint32) bool {
	t := mode & unix.S_IFMT
	return t == unix.S_IFIFO || t == unix.S_IFSOCK
}

// ValidMode reports whether mode has one of the known file types.
func ValidMode(mode uint32) bool {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFBLK, unix.S_IFCHR, unix.S_IFIFO, unix.S_IFSOCK:
		return true
	}
	return false
}

// Split divides a path into the parent and the last component as File holds
// them.
func Split(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	switch {
	case i < 0:
		return "", name
	case i == 0:
		return "/", name[1:]
	}
	return name[:i], name[i+1:]
}

// DepthOf counts the components of a path, 0 for ".".
func DepthOf(name string) int16 {
	if name == "." || name == "" {
		return 0
	}
	n := int16(1)
	for i := 1; i < len(name); i++ {
		if name[i] == '/' && n < 1<<14 {
			n++
		}
	}
	return n
}
