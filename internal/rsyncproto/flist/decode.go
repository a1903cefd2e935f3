package flist

import (
	"fmt"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
	"golang.org/x/sys/unix"
)

const maxNsec = 999999999

// Policy is what the receiving side decides about what it is sent. Every
// field may be nil or zero.
type Policy struct {
	// Who names this side in errors: "receiver", "sender" …
	Who string
	// UserID and GroupID map an id of the sender, with the name that came
	// with it or "", to one of ours. skip tells that we may not set the group.
	UserID  func(id uint32, name string) uint32
	GroupID func(id uint32, name string) (gid uint32, skip bool)
	// MapNow says that ids without a name are mapped too while the entry is
	// read (incremental recursion).
	MapUserNow, MapGroupNow bool
	// Chmod applies --chmod.
	Chmod func(mode uint32) uint32
	// Name converts the character set of a name (--iconv); an error leaves
	// the entry without a name, which the caller drops.
	Name func(name string) (string, error)
	// Link converts a symbolic link's target: character set, munging.
	Link func(name, target string, depth int) (string, error)
	// Sanitize forces names below the root (a daemon without chroot).
	Sanitize bool
	// Check refuses a name that was not asked for or is excluded.
	Check func(name string, isDir bool) error
	// ImpliedParent tells that only a parent of what was asked for bears this
	// name, so that it may never be a directory whose contents are swept.
	ImpliedParent func(name string) bool
	// MissingArgs allows mode 0, which asks for deletion.
	MissingArgs bool
	// Recurse is needed below protocol 30 to tell content directories.
	Recurse bool
	// XattrName renames an extended attribute for this side, or refuses it.
	XattrName func(name string) (string, bool)
	// MaxAlloc bounds each table that the peer can make us keep, in bytes
	// (--max-alloc); 0 is no limit.
	MaxAlloc int64
}

// What rsync keeps of one list of ACL entries, one list of attributes and one
// attribute of a list, in bytes. (rsync 3.5.0 acls.c:acl_duo,
// xattrs.c:rsync_xa_list, rsync.h:rsync_xa) The entries of an ACL are bounded by
// their count, below any limit that can be set, and so is what token streams
// keep: the buffers of a stream have fixed sizes.
const (
	aclCost   = 32
	xlistCost = 40
	xattrCost = 40
)

// room keeps a table of n elements of a size within MaxAlloc.
// rsync 3.5.0 util2.c:my_alloc.
func (d *Decoder) room(n, size int) bool {
	if d.pol.MaxAlloc <= 0 || int64(n) <= d.pol.MaxAlloc/int64(size) {
		return true
	}
	d.fail(exitcode.Malloc, "[%s] exceeded --max-alloc=%d setting", d.pol.Who, d.pol.MaxAlloc)
	return false
}

// Decoder reads the entries of all lists of a connection.
type Decoder struct {
	p   Params
	pol Policy
	r   *wire.Reader

	lastName  string // as sent, before conversion
	lastDir   string
	mode      uint32
	uid, gid  uint32
	skipGroup bool
	mtime     int64
	atime     int64
	rdevMajor uint32
	rdevMinor uint32
	dev       int64
	groups    map[devIno]int32
	nameBuf   []byte
	paths     Paths
	slab      Slab

	// below protocol 30: whether we are inside a directory to delete in
	inDelHier  bool
	delHierLen int

	acls   aclTables
	xattrs []*XattrList

	TotalSize int64 // of regular files and symbolic links
}

// NewDecoder returns a Decoder at the start of a connection.
func NewDecoder(r *wire.Reader, p Params, pol Policy) *Decoder {
	return &Decoder{p: p, pol: pol, r: r}
}

// GiveBack takes the entries of a list, which nobody may look at any more, for
// lists to come.
func (d *Decoder) GiveBack(l *List) { d.slab.GiveBack(l) }

func (d *Decoder) fail(code exitcode.Code, format string, args ...any) {
	d.r.Fail(exitcode.New(code, format, args...))
}

// List reads one list up to its end. It returns the I/O errors that the
// sender reports with it. known is the number of files in earlier lists still
// held, of which hard links may name one.
// rsync 3.5.0 flist.c:recv_file_list.
func (d *Decoder) List(l *List, perFile func(*File) error) (ioError int32, err error) {
	if l.Files == nil {
		l.Files = d.slab.Files()
	}
	for {
		var x uint32
		if d.p.VarintFlags {
			if x = uint32(d.r.Varint()); x == 0 {
				ioError = d.r.Varint()
				return ioError, d.r.Err()
			}
		} else {
			if x = uint32(d.r.Byte()); x == 0 {
				return 0, d.r.Err()
			}
			if d.p.Protocol >= 28 && x&xmitExtended != 0 {
				x |= uint32(d.r.Byte()) << 8
			}
			if x == xmitExtended|xmitIOErrorEnd {
				if !d.p.SafeErrors {
					d.fail(exitcode.Protocol, "Invalid flist flag: %x", x)
					return 0, d.r.Err()
				}
				ioError = d.r.Varint()
				return ioError, d.r.Err()
			}
		}
		f := d.entry(l, x)
		if err := d.r.Err(); err != nil {
			return 0, err
		}
		l.Files = append(l.Files, f)
		if perFile != nil {
			if err := perFile(f); err != nil {
				return 0, err
			}
		}
	}
}

// name reads the part of the entry that names it. shared is how many bytes it
// takes over from the name before it.
func (d *Decoder) name(x uint32) (name string, shared int) {
	l1, l2 := 0, 0
	if x&xmitSameName != 0 {
		l1 = int(d.r.Byte())
	}
	if x&xmitLongName != 0 {
		l2 = int(d.r.Varint30())
	} else {
		l2 = int(d.r.Byte())
	}
	if l2 < 0 || l2 >= MaxPath-l1 || l1 > len(d.lastName) {
		d.overflow(1048, fmt.Sprintf("overflow: xflags=0x%x l1=%d l2=%d lastname=%s [%s]", x, l1, l2, d.lastName, d.pol.Who))
		return ".", 0
	}
	if d.nameBuf == nil {
		d.nameBuf = make([]byte, MaxPath)
	}
	b := d.nameBuf[:l1+l2] // less than MaxPath
	copy(b, d.lastName[:l1])
	d.r.Full(b[l1:])
	for i, c := range b {
		if c == 0 {
			b = b[:i]
			break
		}
	}
	d.lastName = d.paths.Bytes(b)
	return d.lastName, l1
}

// entry reads one entry. rsync 3.5.0 flist.c:recv_file_entry.
func (d *Decoder) entry(l *List, x uint32) *File {
	p, r := &d.p, d.r
	f := d.slab.File()
	f.Seq = l.Start + int32(len(l.Files))
	name, shared := d.name(x)
	if r.Err() != nil {
		return f
	}
	wireName := name
	if d.pol.Name != nil {
		conv, err := d.pol.Name(name)
		if err != nil {
			conv = ""
		}
		name = conv
	}
	if name != "" {
		clean, ok := CleanName(name)
		if !ok || !p.Relative && strings.HasPrefix(clean, "/") {
			d.fail(exitcode.Unsupported, "ABORTING due to unsafe pathname from sender: %s", name)
			return f
		}
		name = clean
	}
	if d.pol.Sanitize && name != "" {
		name = Sanitize(name, 0, false)
	}
	f.SetName(name)
	if f.Dir == d.lastDir {
		f.Dir = d.lastDir // one pointer compares faster
	} else {
		d.lastDir = f.Dir
	}

	var nsec uint32
	size := int64(0)
	hlinkTo := int32(-1)
	var first *File
	if p.Protocol >= 30 && x&xmitHlinked != 0 && x&xmitHlinkFirst == 0 {
		if !p.HardLinks {
			d.fail(exitcode.Protocol, "hard-link flag received for %s without --hard-links", name)
			return f
		}
		hlinkTo = r.Varint()
		if hlinkTo < 0 || hlinkTo >= f.Seq {
			d.fail(exitcode.Protocol, "hard-link reference out of range: %d (%d)", hlinkTo, f.Seq)
			return f
		}
		if hlinkTo >= l.Start {
			first = l.Files[hlinkTo-l.Start]
		}
	}
	if first != nil {
		size, d.mtime, nsec, d.mode = first.Size, first.Mtime, first.Nsec, first.Mode
		if p.Atimes && !first.IsDir() && first.X != nil {
			d.atime = first.X.Atime
		}
		// Only a device moves the major number that later entries share.
		if p.Devices && first.IsDevice() && first.X != nil {
			d.rdevMajor, d.rdevMinor = first.X.Major, first.X.Minor
		}
		if p.Crtimes && first.X != nil {
			d.slab.Ext(f).Crtime = first.X.Crtime
		}
		d.uid, d.gid, d.skipGroup = first.UID, first.GID, first.Flags&SkipGroup != 0
	} else {
		size = r.Varlong30(3)
		if x&xmitSameTime == 0 {
			if p.Protocol >= 30 {
				d.mtime = r.Varlong(4)
			} else {
				d.mtime = int64(uint32(r.Int()))
			}
		}
		if x&xmitModNsec != 0 && p.Protocol >= 31 {
			nsec = uint32(r.VarintMax(maxNsec, "modtime_nsec"))
		}
		if p.Crtimes {
			if x&xmitCrtimeIsMtime != 0 {
				d.slab.Ext(f).Crtime = d.mtime
			} else {
				d.slab.Ext(f).Crtime = r.Varlong(4)
			}
		}
		if x&xmitSameMode == 0 {
			d.mode = uint32(r.Int())
			if !ValidMode(d.mode) && (d.mode != 0 || !d.pol.MissingArgs) {
				d.fail(exitcode.Protocol, "invalid file mode 0%o for %s [%s]", d.mode, name, d.pol.Who)
				return f
			}
		}
		if p.Atimes && d.mode&unix.S_IFMT != unix.S_IFDIR && x&xmitSameAtime == 0 {
			d.atime = r.Varlong(4)
		}
	}
	mode := d.mode
	if d.pol.Chmod != nil && mode != 0 && mode&unix.S_IFMT != unix.S_IFLNK && first == nil {
		mode = d.pol.Chmod(mode)
		d.mode = mode
	}
	isDir := mode&unix.S_IFMT == unix.S_IFDIR
	isReg := mode&unix.S_IFMT == unix.S_IFREG
	isLink := mode&unix.S_IFMT == unix.S_IFLNK
	if first == nil {
		d.owners(x)
		d.device(x, f, mode)
	}
	if IsDevice(mode) || IsSpecial(mode) {
		size = 0
	}
	if IsDevice(mode) {
		e := d.slab.Ext(f)
		if p.Devices {
			e.Major, e.Minor = d.rdevMajor, d.rdevMinor
		}
	}
	if size < 0 {
		d.fail(exitcode.Unsupported, "Offset underflow: file-length is negative")
		return f
	}
	// A name that could not be converted is empty: the rest is read, then dropped.
	if (name == "." || name == "/.") && !isDir {
		d.fail(exitcode.Protocol, "ERROR: rejecting non-directory transfer-root entry: %s", name)
		return f
	} else if name != "." && name != "/." && d.pol.Check != nil {
		if err := d.pol.Check(name, isDir); err != nil {
			r.Fail(err)
			return f
		}
	}
	f.Size, f.Mtime, f.Nsec, f.Mode = size, d.mtime, nsec, mode
	if p.UID {
		f.UID = d.uid
	}
	if p.GID {
		f.GID = d.gid
		if d.skipGroup {
			f.Flags |= SkipGroup
		}
	}
	if p.Atimes && !isDir {
		d.slab.Ext(f).Atime = d.atime
	}
	f.Depth = DepthOf(name)
	if isDir {
		d.dirFlags(f, name, x, wireName, shared)
	}

	if p.HardLinks && !isDir && (x&xmitHlinked != 0 || p.Protocol < 28 && isReg) {
		f.Flags |= Linked
	}
	if isLink && p.Links {
		if first != nil {
			d.slab.Ext(f).Link = first.Link()
		} else {
			d.link(f)
		}
	}
	if p.HardLinks && (x&xmitHlinked != 0 || p.Protocol < 28 && isReg) {
		d.hlink(f, x, hlinkTo)
	}
	if p.Checksum && (isReg || p.Protocol < 28) {
		switch {
		case first != nil:
			d.slab.Ext(f).Sum = first.Sum()
		case isReg:
			d.slab.Ext(f).Sum = r.Bytes(p.SumLen)
		default:
			r.Discard(int64(p.SumLen))
		}
	}
	if x&xmitContentID != 0 && p.ContentIDs {
		switch {
		case first == nil:
			var id [32]byte
			r.Full(id[:])
			d.slab.Ext(f).ContentID = &id
		case first.X != nil:
			d.slab.Ext(f).ContentID = first.X.ContentID
		}
	}
	if p.ACLs && !isLink {
		d.acl(f)
	}
	if p.Xattrs {
		d.xattr(f)
	}
	if isReg || isLink {
		d.TotalSize += size
	}
	return d.slab.Keep(f)
}

// idName reads the name of an id; the caller looks at the reader's error before
// it uses it.
func (d *Decoder) idName() string { return string(d.r.Bytes(int(d.r.Byte()))) }

func (d *Decoder) owners(x uint32) {
	p, r := &d.p, d.r
	if p.UID && x&xmitSameUID == 0 {
		id := uint32(r.Varint30())
		named := p.Protocol >= 30 && x&xmitUserName != 0
		name := ""
		if named {
			name = d.idName()
		}
		if d.pol.UserID != nil && r.Err() == nil && (named || d.pol.MapUserNow) {
			id = d.pol.UserID(id, name)
		}
		d.uid = id
	}
	if p.GID && x&xmitSameGID == 0 {
		id := uint32(r.Varint30())
		named := p.Protocol >= 30 && x&xmitGroupName != 0
		name := ""
		if named {
			name = d.idName()
		}
		d.skipGroup = false
		if d.pol.GroupID != nil && r.Err() == nil && (named || d.pol.MapGroupNow) {
			id, d.skipGroup = d.pol.GroupID(id, name)
		}
		d.gid = id
	}
}

func (d *Decoder) device(x uint32, f *File, mode uint32) {
	p, r := &d.p, d.r
	switch {
	case p.Devices && IsDevice(mode), p.Specials && IsSpecial(mode) && p.Protocol < 31:
		if p.Protocol < 28 {
			if x&xmitSameRdevPre28 == 0 {
				v := uint64(uint32(r.Int()))
				d.rdevMajor, d.rdevMinor = unix.Major(v), unix.Minor(v)
			}
			return
		}
		if x&xmitSameRdevMajor == 0 {
			d.rdevMajor = uint32(r.Varint30())
		}
		switch {
		case p.Protocol >= 30:
			d.rdevMinor = uint32(r.Varint())
		case x&xmitRdevMinor8Pre30 != 0:
			d.rdevMinor = uint32(r.Byte())
		default:
			d.rdevMinor = uint32(r.Int())
		}
	case p.Protocol < 28:
		d.rdevMajor, d.rdevMinor = 0, 0
	}
}

// dirFlags tells which directories are swept by --delete.
func (d *Decoder) dirFlags(f *File, name string, x uint32, wireName string, shared int) {
	implied := d.pol.ImpliedParent != nil && d.pol.ImpliedParent(name)
	if d.p.Protocol >= 30 {
		if implied {
			x |= xmitNoContentDir | xmitTopDir
		}
		switch {
		case x&xmitNoContentDir == 0:
			f.Flags |= ContentDir
			if x&xmitTopDir != 0 {
				f.Flags |= TopDir
			}
		case x&xmitTopDir != 0:
			f.Flags |= ImpliedDir
		}
		return
	}
	// Below protocol 30 what lies below a named directory is in the sweep.
	switch {
	case x&xmitTopDir != 0 && implied:
		f.Flags |= ImpliedDir
	case x&xmitTopDir != 0:
		d.inDelHier = d.pol.Recurse
		d.delHierLen = len(wireName)
		if f.Depth == 0 {
			d.delHierLen = 0
		} else if d.p.Relative && len(wireName) > 2 && strings.HasSuffix(wireName, "/.") {
			d.delHierLen -= 2
		}
		f.Flags |= TopDir | ContentDir
	case d.inDelHier:
		// Only what shares the named directory's whole path lies in it.
		if !d.p.Relative || d.delHierLen == 0 ||
			shared >= d.delHierLen && len(wireName) > d.delHierLen && wireName[d.delHierLen] == '/' {
			f.Flags |= ContentDir
		} else {
			d.inDelHier = false
		}
	}
}

// overflow is a length that no name has, met at a line of rsync 3.5.0
// flist.c:recv_file_entry, which rsync tells too.
func (d *Decoder) overflow(line int, text string) {
	d.r.Fail((&exitcode.Error{Code: exitcode.Malloc, Err: exitcode.Lines{
		text, fmt.Sprintf("[%s] buffer overflow: recv_file_entry (file=flist.c, line=%d)", d.pol.Who, line),
	}}).Placed(exitcode.AtOverflow))
}

func (d *Decoder) link(f *File) {
	n := int(d.r.Varint30())
	if n < 0 || n >= MaxPath {
		d.overflow(1286, fmt.Sprintf("overflow: linkname_len=%d", n))
		return
	}
	target := string(d.r.Bytes(n))
	if i := strings.IndexByte(target, 0); i >= 0 {
		target = target[:i]
	}
	if d.pol.Link != nil && d.r.Err() == nil {
		t, err := d.pol.Link(f.Name(), target, int(f.Depth)-1)
		if err != nil {
			f.Base = ""
			t = ""
		}
		target = t
	}
	d.slab.Ext(f).Link = target
}

func (d *Decoder) hlink(f *File, x uint32, to int32) {
	if d.p.Protocol >= 30 {
		if x&xmitHlinkFirst != 0 {
			to = f.Seq
			if !f.IsDir() {
				f.Flags |= LinkFirst
			}
		}
		d.slab.Ext(f).Group = to
		return
	}
	if x&xmitSameDevPre30 == 0 || d.p.Protocol < 28 {
		d.dev = d.r.Long()
	}
	key := devIno{uint64(d.dev), uint64(d.r.Long())}
	if d.groups == nil {
		d.groups = map[devIno]int32{}
	}
	g, ok := d.groups[key]
	if !ok {
		g = int32(len(d.groups))
		d.groups[key] = g
	}
	d.slab.Ext(f).Group = g
}

// IDLists reads the names of the ids after a list without incremental
// recursion and hands each to the policy, so that it knows them when the
// caller maps the entries. rsync 3.5.0 uidlist.c:recv_id_list.
func (d *Decoder) IDLists() error {
	read := func(got func(id uint32, name string)) {
		for n := 0; d.r.Err() == nil; n++ {
			id := uint32(d.r.Varint30())
			if id == 0 {
				break
			}
			if n > 1<<20 {
				d.fail(exitcode.Protocol, "more than %d ids in the id list", 1<<20)
				return
			}
			if name := d.idName(); d.r.Err() == nil {
				got(id, name)
			}
		}
		if d.p.ID0Names {
			if name := d.idName(); d.r.Err() == nil {
				got(0, name)
			}
		}
	}
	if d.p.NumericIDs {
		return d.r.Err()
	}
	if d.p.UID || d.p.ACLs {
		read(func(id uint32, name string) {
			if d.pol.UserID != nil {
				d.pol.UserID(id, name)
			}
		})
	}
	if d.p.GID || d.p.ACLs {
		read(func(id uint32, name string) {
			if d.pol.GroupID != nil {
				d.pol.GroupID(id, name)
			}
		})
	}
	return d.r.Err()
}

// BadListError tells that a list names what lies outside its directory.
func BadListError(f *File) error {
	return exitcode.New(exitcode.Unsupported, "ABORTING due to invalid path from sender: %s/%s", f.Dir, f.Base)
}
