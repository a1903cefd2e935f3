package flist

import (
	"io"

	"github.com/prsync/prsync/internal/rsyncproto/wire"
	"golang.org/x/sys/unix"
)

// Names looks up the names of ids for the wire; "" where there is none.
type Names interface {
	UserName(uid uint32) string
	GroupName(gid uint32) string
}

// Encoder writes the entries of all lists of a connection: what an entry
// shares with the one before it is left out, across lists.
type Encoder struct {
	p     Params
	w     *wire.Writer
	names Names
	buf   []byte

	lastName  string
	mode      uint32
	uid, gid  uint32
	mtime     int64
	atime     int64
	rdev      uint64
	rdevMajor uint32
	dev       uint64
	users     idNames
	groups    idNames
	hlinks    map[devIno]int32
	acls      aclCache
	xattrs    xattrCache
	emptySum  []byte
	TotalSize int64 // of regular files and symbolic links
}

// noExtra stands for what an entry without Extra has.
var noExtra Extra

type devIno struct{ dev, ino uint64 }

// idNames are the ids of one kind sent so far, in order.
type idNames struct {
	seen  map[uint32]bool
	order []uint32
	names []string
}

// add returns the name of a new id, "" for a known one.
func (n *idNames) add(id uint32, lookup func(uint32) string) string {
	if n.seen[id] {
		return ""
	}
	if n.seen == nil {
		n.seen = map[uint32]bool{}
	}
	n.seen[id] = true
	name := lookup(id)
	if len(name) > 255 {
		name = ""
	}
	n.order, n.names = append(n.order, id), append(n.names, name)
	return name
}

// NewEncoder returns an Encoder at the start of a connection.
func NewEncoder(w *wire.Writer, p Params, names Names) *Encoder {
	return &Encoder{p: p, w: w, names: names, emptySum: make([]byte, p.SumLen)}
}

// Forget drops the hard-link numbers, as a list that is complete does without
// incremental recursion.
func (e *Encoder) Forget() { e.hlinks = nil }

// Entry writes f under name, which differs from f.Name() when names are
// converted. link is the symbolic link target to send. listStart is the index
// of the list's first entry.
// rsync 3.5.0 flist.c:send_file_entry.
func (e *Encoder) Entry(f *File, name, link string, listStart int32) {
	p := &e.p
	fmtType := f.Mode & unix.S_IFMT
	isDir := fmtType == unix.S_IFDIR
	isDev, isSpecial := IsDevice(f.Mode), IsSpecial(f.Mode)
	first := e.lastName == ""
	ext := f.X
	if ext == nil {
		ext = &noExtra
	}

	var x uint32
	if isDir {
		switch {
		case p.Protocol < 30:
			if f.Flags&TopDir != 0 {
				x = xmitTopDir
			}
		case f.Flags&ContentDir != 0:
			if f.Flags&TopDir != 0 {
				x = xmitTopDir
			}
		case f.Flags&ImpliedDir != 0:
			x = xmitTopDir | xmitNoContentDir
		default:
			x = xmitNoContentDir
		}
	}
	if f.Mode == e.mode {
		x |= xmitSameMode
	} else {
		e.mode = f.Mode
	}

	var major, minor uint32
	sendRdev := false
	if p.Devices && isDev {
		sendRdev = true
		major, minor = ext.Major, ext.Minor
		rdev := unix.Mkdev(major, minor)
		if p.Protocol < 28 {
			if rdev == e.rdev {
				x |= xmitSameRdevPre28
			}
			e.rdev = rdev
		} else {
			if major == e.rdevMajor {
				x |= xmitSameRdevMajor
			}
			e.rdev, e.rdevMajor = rdev, major
			if p.Protocol < 30 && minor <= 0xFF {
				x |= xmitRdevMinor8Pre30
			}
		}
	} else if p.Specials && isSpecial && p.Protocol < 31 {
		// A special file needs no number: the cheapest one is sent.
		sendRdev = true
		if p.Protocol < 28 {
			x |= xmitSameRdevPre28
		} else {
			major, minor = e.rdevMajor, 0
			e.rdev = unix.Mkdev(major, 0)
			x |= xmitSameRdevMajor
			if p.Protocol < 30 {
				x |= xmitRdevMinor8Pre30
			}
		}
	} else if p.Protocol < 28 {
		e.rdev = 0
	}

	var user, group string
	if !p.UID || f.UID == e.uid && !first {
		x |= xmitSameUID
	} else {
		e.uid = f.UID
		if !p.NumericIDs {
			if user = e.users.add(f.UID, e.names.UserName); user != "" && p.IncRecurse {
				x |= xmitUserName
			}
		}
	}
	if !p.GID || f.GID == e.gid && !first {
		x |= xmitSameGID
	} else {
		e.gid = f.GID
		if !p.NumericIDs {
			if group = e.groups.add(f.GID, e.names.GroupName); group != "" && p.IncRecurse {
				x |= xmitGroupName
			}
		}
	}
	if f.Mtime == e.mtime {
		x |= xmitSameTime
	} else {
		e.mtime = f.Mtime
	}
	if f.Nsec != 0 && p.Protocol >= 31 {
		x |= xmitModNsec
	}
	if p.Atimes && !isDir {
		if ext.Atime == e.atime {
			x |= xmitSameAtime
		} else {
			e.atime = ext.Atime
		}
	}
	if p.Crtimes && ext.Crtime == f.Mtime {
		x |= xmitCrtimeIsMtime
	}

	hlinkTo := int32(-1) // index of the group's first member when this is another
	linked := f.Flags&Linked != 0
	if linked {
		if p.Protocol >= 30 {
			key := devIno{ext.Dev, ext.Ino}
			if e.hlinks == nil {
				e.hlinks = map[devIno]int32{}
			}
			if at, ok := e.hlinks[key]; ok {
				hlinkTo = at
			} else {
				e.hlinks[key] = f.Seq
				x |= xmitHlinkFirst
			}
		} else if ext.Dev == e.dev {
			if p.Protocol >= 28 {
				x |= xmitSameDevPre30
			}
		} else {
			e.dev = ext.Dev
		}
		x |= xmitHlinked
	}
	if p.ContentIDs && ext.ContentID != nil {
		x |= xmitContentID
	}

	l1 := 0
	for l1 < len(e.lastName) && l1 < len(name) && l1 < 255 && e.lastName[l1] == name[l1] {
		l1++
	}
	tail := name[l1:]
	if l1 > 0 {
		x |= xmitSameName
	}
	if len(tail) > 255 {
		x |= xmitLongName
	}

	// A first byte of 0 would end the list.
	b := e.buf[:0]
	switch {
	case p.VarintFlags:
		if x == 0 {
			x = xmitExtended
		}
		b = wire.AppendVarint(b, int32(x))
	case p.Protocol >= 28:
		if x == 0 && !isDir {
			x |= xmitTopDir
		}
		if x&0xFF00 != 0 || x == 0 {
			x |= xmitExtended
			b = append(b, byte(x), byte(x>>8))
		} else {
			b = append(b, byte(x))
		}
	default:
		if x&0xFF == 0 {
			if isDir {
				x |= xmitLongName
			} else {
				x |= xmitTopDir
			}
		}
		b = append(b, byte(x))
	}
	if x&xmitSameName != 0 {
		b = append(b, byte(l1))
	}
	if x&xmitLongName != 0 {
		b = e.varint30(b, int32(len(tail)))
	} else {
		b = append(b, byte(len(tail)))
	}
	b = append(b, tail...)
	e.lastName = name

	if fmtType == unix.S_IFREG || fmtType == unix.S_IFLNK {
		e.TotalSize += f.Size
	}
	if hlinkTo >= 0 {
		b = wire.AppendVarint(b, hlinkTo)
		if hlinkTo >= listStart {
			e.put(b)
			return
		}
	}

	b = e.varlong30(b, f.Size, 3)
	if x&xmitSameTime == 0 {
		if p.Protocol >= 30 {
			b = wire.AppendVarlong(b, f.Mtime, 4)
		} else {
			b = wire.AppendInt(b, int32(f.Mtime))
		}
	}
	if x&xmitModNsec != 0 {
		b = wire.AppendVarint(b, int32(f.Nsec))
	}
	if p.Crtimes && x&xmitCrtimeIsMtime == 0 {
		b = wire.AppendVarlong(b, ext.Crtime, 4)
	}
	if x&xmitSameMode == 0 {
		b = wire.AppendInt(b, int32(f.Mode))
	}
	if p.Atimes && !isDir && x&xmitSameAtime == 0 {
		b = wire.AppendVarlong(b, ext.Atime, 4)
	}
	if p.UID && x&xmitSameUID == 0 {
		b = e.varint30(b, int32(f.UID))
		if p.Protocol >= 30 && x&xmitUserName != 0 {
			b = append(append(b, byte(len(user))), user...)
		}
	}
	if p.GID && x&xmitSameGID == 0 {
		b = e.varint30(b, int32(f.GID))
		if p.Protocol >= 30 && x&xmitGroupName != 0 {
			b = append(append(b, byte(len(group))), group...)
		}
	}
	if sendRdev {
		switch {
		case p.Protocol < 28:
			if x&xmitSameRdevPre28 == 0 {
				b = wire.AppendInt(b, int32(e.rdev))
			}
		default:
			if x&xmitSameRdevMajor == 0 {
				b = e.varint30(b, int32(major))
			}
			switch {
			case p.Protocol >= 30:
				b = wire.AppendVarint(b, int32(minor))
			case x&xmitRdevMinor8Pre30 != 0:
				b = append(b, byte(minor))
			default:
				b = wire.AppendInt(b, int32(minor))
			}
		}
	}
	if p.Links && fmtType == unix.S_IFLNK {
		b = e.varint30(b, int32(len(link)))
		b = append(b, link...)
	}
	if linked && p.Protocol < 30 {
		// The device number is sent one higher, so that it is never 0.
		if x&xmitSameDevPre30 == 0 || p.Protocol < 28 {
			b = wire.AppendLong(b, int64(ext.Dev)+1)
		}
		b = wire.AppendLong(b, int64(ext.Ino))
	}
	if p.Checksum && (fmtType == unix.S_IFREG || p.Protocol < 28) {
		if sum := f.Sum(); fmtType == unix.S_IFREG && len(sum) == p.SumLen {
			b = append(b, sum...)
		} else {
			b = append(b, e.emptySum...)
		}
	}
	if x&xmitContentID != 0 {
		b = append(b, ext.ContentID[:]...)
	}
	e.put(b)
}

func (e *Encoder) put(b []byte) {
	e.buf = b[:0]
	e.w.Write(b)
}

func (e *Encoder) varint30(b []byte, v int32) []byte {
	if e.p.Protocol < 30 {
		return wire.AppendInt(b, v)
	}
	return wire.AppendVarint(b, v)
}

func (e *Encoder) varlong30(b []byte, v int64, n int) []byte {
	if e.p.Protocol < 30 {
		return wire.AppendLong(b, v)
	}
	return wire.AppendVarlong(b, v, n)
}

// End writes the end of a list. ioError is sent with it where the peer
// understands that; the result says whether it was.
// rsync 3.5.0 flist.c:write_end_of_flist.
func (e *Encoder) End(ioError int32) (sent bool) {
	switch {
	case e.p.VarintFlags:
		e.w.Varint(0)
		if !e.p.SafeErrors {
			e.w.Varint(0)
			return ioError == 0
		}
		e.w.Varint(ioError)
		return true
	case ioError != 0 && e.p.SafeErrors:
		e.w.Short(xmitExtended | xmitIOErrorEnd)
		e.w.Varint(ioError)
		return true
	}
	e.w.Byte(0)
	return ioError == 0
}

// IDLists writes the names of the ids used, after a list without incremental
// recursion. rsync 3.5.0 uidlist.c:send_id_lists.
func (e *Encoder) IDLists() {
	one := func(n *idNames, lookup func(uint32) string) {
		for i := len(n.order) - 1; i >= 0; i-- { // latest first, as rsync
			if id := n.order[i]; id != 0 && n.names[i] != "" {
				e.idName(id, n.names[i])
			}
		}
		if e.p.ID0Names {
			e.idName(0, lookup(0))
		} else {
			e.w.Varint30(0)
		}
	}
	if e.p.UID || e.p.ACLs {
		one(&e.users, e.names.UserName)
	}
	if e.p.GID || e.p.ACLs {
		one(&e.groups, e.names.GroupName)
	}
}

func (e *Encoder) idName(id uint32, name string) {
	if len(name) > 255 {
		name = ""
	}
	e.w.Varint30(int32(id))
	e.w.Byte(byte(len(name)))
	io.WriteString(e.w, name)
}
