package flist

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// anyParams draws a connection's shape; what a protocol cannot carry is off.
func anyParams(t *rapid.T) Params {
	on := func(what string) bool { return rapid.Bool().Draw(t, what) }
	p := Params{Protocol: rapid.IntRange(27, 32).Draw(t, "protocol"), UID: on("uid"), GID: on("gid"), Links: on("links"),
		Devices: on("devices"), Specials: on("specials"), HardLinks: on("hardlinks"), Checksum: on("checksum"), NumericIDs: on("numeric")}
	if p.Checksum {
		p.SumLen = rapid.SampledFrom([]int{8, 16, 20}).Draw(t, "sumlen")
	}
	p.Atimes = p.Protocol >= 30 && on("atimes")
	if p.Protocol >= 30 {
		p.ACLs, p.Xattrs, p.IncRecurse = on("acls"), on("xattrs"), on("inc")
		p.VarintFlags, p.ID0Names = on("varint"), on("id0")
		p.SafeErrors = p.Protocol >= 31 || on("safe")
		if p.VarintFlags {
			p.ContentIDs, p.Crtimes = on("content"), on("crtimes")
		}
	}
	return p
}

// entry is what a test sends beside File.
type entry struct {
	*File
	access, def *meta.ACL
	attrs       *XattrList
}

func anyACL(t *rapid.T) *meta.ACL {
	perm := rapid.SampledFrom([]uint8{0, 1, 5, 7, meta.NoEntry})
	a := &meta.ACL{UserObj: perm.Draw(t, "user"), GroupObj: perm.Draw(t, "group"), MaskObj: perm.Draw(t, "mask"), OtherObj: perm.Draw(t, "other")}
	for range rapid.IntRange(0, 3).Draw(t, "named") {
		a.Named = append(a.Named, meta.Ace{ID: anyID.Draw(t, "id"), Perm: uint8(rapid.IntRange(0, 7).Draw(t, "perm")), IsUser: rapid.Bool().Draw(t, "isuser")})
	}
	if len(a.Named) > 0 && a.MaskObj == meta.NoEntry {
		a.MaskObj = 3 // a list of names never comes without one
	}
	return a
}

func anyAttrs(t *rapid.T) *XattrList {
	var xs []meta.Xattr
	for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"user.a", "user.b", "user.c"}), 0, 3, rapid.ID[string]).Draw(t, "attrs") {
		xs = append(xs, meta.Xattr{Name: n, Value: bytes.Repeat([]byte{byte(rapid.IntRange(0, 1).Draw(t, "v"))}, rapid.SampledFrom([]int{0, 1, 32, 33, 500}).Draw(t, "len"))})
	}
	return NewXattrList(xs)
}

var anyID = rapid.SampledFrom([]uint32{0, 1, 7, 1000, 0x80000000, 0xFFFFFFFE})

// table names some ids; one name is too long for the wire.
type table struct{}

func (table) UserName(id uint32) string {
	return map[uint32]string{0: "root", 1: "u", 7: strings.Repeat("n", 255), 1000: strings.Repeat("n", 256)}[id]
}
func (t table) GroupName(id uint32) string { return t.UserName(id) }

func anyEntry(t *rapid.T, p *Params) entry {
	f := &File{}
	name := rapid.SampledFrom([]string{"a", "a/b", "ab", "\xff", "b/" + strings.Repeat("c", 254), "b/" + strings.Repeat("c", 255), strings.Repeat("d/", 1000) + "e", strings.Repeat("x", 4095)}).Draw(t, "name")
	f.Dir, f.Base = Split(name)
	f.Depth = DepthOf(name)
	f.Mode = rapid.SampledFrom([]uint32{unix.S_IFREG | 0644, unix.S_IFREG | 06755, unix.S_IFDIR | 01777, unix.S_IFLNK | 0777, unix.S_IFCHR | 0600, unix.S_IFBLK, unix.S_IFIFO | 0644, unix.S_IFSOCK | 0755}).Draw(t, "mode")
	f.Size = rapid.SampledFrom([]int64{0, 1, 0xFFFF, 1<<31 - 1, 1 << 31, 1 << 32, 1<<63 - 1}).Draw(t, "size")
	if f.IsDevice() || f.IsSpecial() {
		f.Size = 0
	}
	f.Mtime = rapid.SampledFrom([]int64{0, 1, 1 << 31, 1<<32 - 1, -1, 1 << 40, -1 << 63}).Draw(t, "mtime")
	if p.Protocol < 30 {
		f.Mtime = int64(uint32(f.Mtime))
	}
	if p.Protocol >= 31 {
		f.Nsec = rapid.SampledFrom([]uint32{0, 1, 999999999}).Draw(t, "nsec")
	}
	if p.UID {
		f.UID = anyID.Draw(t, "uid")
	}
	if p.GID {
		f.GID = anyID.Draw(t, "gid")
	}
	if f.IsDir() {
		f.Flags = rapid.SampledFrom([]Flags{0, ContentDir, TopDir | ContentDir, ImpliedDir}).Draw(t, "dirflags")
		if p.Protocol < 30 {
			f.Flags &= TopDir | ContentDir
			if f.Flags == ContentDir {
				f.Flags = 0
			}
		}
	}
	if f.IsDevice() && p.Devices {
		f.Ext().Major = rapid.SampledFrom([]uint32{0, 1, 259, 4095}).Draw(t, "major")
		f.X.Minor = rapid.SampledFrom([]uint32{0, 255, 256, 70000, 0xFFFFF}).Draw(t, "minor")
	}
	if f.IsSymlink() && p.Links {
		f.Ext().Link = rapid.SampledFrom([]string{"", "t", strings.Repeat("t", 4095)}).Draw(t, "link")
	}
	if p.Atimes && !f.IsDir() {
		f.Ext().Atime = rapid.SampledFrom([]int64{0, 5, -5, 1 << 35}).Draw(t, "atime")
	}
	if p.Crtimes {
		f.Ext().Crtime = rapid.SampledFrom([]int64{0, 5, f.Mtime}).Draw(t, "crtime")
	}
	if p.Checksum && f.IsRegular() {
		f.Ext().Sum = bytes.Repeat([]byte{byte(rapid.IntRange(0, 255).Draw(t, "sum"))}, p.SumLen)
	}
	if p.ContentIDs && f.IsRegular() && rapid.Bool().Draw(t, "hasid") {
		f.Ext().ContentID = &[32]byte{1, 2, 3}
	}
	e := entry{File: f}
	if p.ACLs && !f.IsSymlink() {
		e.access = anyACL(t)
		if f.IsDir() {
			e.def = anyACL(t)
		}
	}
	if p.Xattrs {
		e.attrs = anyAttrs(t)
	}
	return e
}

// shape is all that must arrive of an entry.
func shape(p *Params, f *File, group int32) string {
	s := fmt.Sprintf("%q %o size %d time %d.%09d ids %d %d flags %b depth %d", f.Name(), f.Mode, f.Size, f.Mtime, f.Nsec, f.UID, f.GID,
		f.Flags&(TopDir|ContentDir|ImpliedDir|Linked), f.Depth)
	x := f.X
	if x == nil {
		x = &Extra{}
	}
	s += fmt.Sprintf(" -> %q dev %d,%d atime %d crtime %d sum %x group %d", x.Link, x.Major, x.Minor, x.Atime, x.Crtime, x.Sum, group)
	if x.ContentID != nil {
		s += fmt.Sprintf(" id %x", *x.ContentID)
	}
	if x.Access != nil {
		s += fmt.Sprintf(" acl %v", *x.Access)
	}
	if x.Default != nil {
		s += fmt.Sprintf(" default %v", *x.Default)
	}
	if x.Xattrs != nil {
		for _, it := range x.Xattrs.Items {
			s += fmt.Sprintf(" %s=%d:%x:%x", it.Name, it.Len, it.Value, it.Sum)
		}
	}
	return s
}

// What the encoder writes, the decoder reads, for every protocol and choice of
// attributes, over several lists.
func TestEntriesReturn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyParams(t)
		var b bytes.Buffer
		w := wire.NewWriter(&b)
		w.Protocol = p.Protocol
		enc := NewEncoder(w, p, table{})
		var lists [][]string
		groupOf := map[int64]int32{}
		ioErrors := []int32{}
		start := int32(0)
		if p.IncRecurse {
			start = 1
		}
		var made []entry
		for range rapid.IntRange(1, 3).Draw(t, "lists") {
			var want []string
			n := rapid.IntRange(0, 6).Draw(t, "entries")
			for i := range n {
				e := anyEntry(t, &p)
				e.Seq = start + int32(i)
				group := int32(0)
				if p.HardLinks && (p.Protocol >= 28 && !e.IsDir() && rapid.Bool().Draw(t, "linked") || p.Protocol < 28 && e.IsRegular()) {
					if p.Protocol >= 30 && len(made) > 0 && rapid.Bool().Draw(t, "again") {
						// Another name of a file that was sent already.
						first := rapid.SampledFrom(made).Draw(t, "first")
						f := *first.File
						x := *first.X
						f.X, f.Dir, f.Base, f.Seq, f.Depth = &x, e.Dir, e.Base, e.Seq, e.Depth
						e = entry{&f, first.access, nil, anyAttrs(t)}
						if !p.Xattrs {
							e.attrs = nil
						}
					} else {
						e.Flags |= Linked
						e.Ext().Dev = uint64(rapid.IntRange(0, 2).Draw(t, "dev"))
						e.X.Ino = uint64(rapid.IntRange(0, 3).Draw(t, "ino"))<<16 | uint64(len(made))
						made = append(made, e)
					}
					key := int64(e.X.Dev)<<48 | int64(e.X.Ino)
					g, ok := groupOf[key]
					if !ok {
						g = int32(len(groupOf))
						if p.Protocol >= 30 {
							g = e.Seq
						}
						groupOf[key] = g
					}
					group = g
				}
				enc.Entry(e.File, e.Name(), e.Link(), start)
				if e.access != nil {
					enc.ACL(e.File, e.access, e.def)
					e.Ext().Access, e.X.Default = e.access, e.def
				}
				if e.attrs != nil {
					e.Ext().Xattrs = enc.Xattrs(e.attrs)
				}
				want = append(want, shape(&p, e.File, group))
			}
			ioError := rapid.Int32Range(0, 7).Draw(t, "ioerror")
			if !enc.End(ioError) {
				ioError = 0
			}
			ioErrors = append(ioErrors, ioError)
			lists = append(lists, want)
			start += int32(n) + 1
		}
		if !p.NumericIDs && !p.IncRecurse {
			enc.IDLists()
		}
		w.Byte(0xAA)
		w.Flush()

		r := wire.NewReader(&b)
		r.Protocol = p.Protocol
		dec := NewDecoder(r, p, Policy{})
		start = 0
		if p.IncRecurse {
			start = 1
		}
		for i, want := range lists {
			l := &List{Start: start}
			ioError, err := dec.List(l, nil)
			if err != nil || ioError != ioErrors[i] {
				t.Fatalf("list %d: I/O error %d, want %d; %v", i, ioError, ioErrors[i], err)
			}
			if len(l.Files) != len(want) {
				t.Fatalf("%d entries, want %d", len(l.Files), len(want))
			}
			for j, f := range l.Files {
				group := int32(0)
				if f.Flags&Linked != 0 {
					group = f.X.Group
				}
				if got := shape(&p, f, group); got != want[j] {
					t.Fatalf("list %d entry %d of\n%+v\n%s\nwant\n%s", i, j, p, got, want[j])
				}
			}
			start = l.End() + 1
		}
		if !p.IncRecurse {
			if err := dec.IDLists(); err != nil {
				t.Fatal(err)
			}
		}
		if r.Byte() != 0xAA || r.Err() != nil {
			t.Fatalf("the stream is out of step: %v", r.Err())
		}
		if dec.TotalSize != enc.TotalSize {
			t.Fatalf("TotalSize %d, want %d", dec.TotalSize, enc.TotalSize)
		}
	})
}

// Values that were asked for arrive, whatever their order, and none is asked
// for twice.
func TestXattrValues(t *testing.T) {
	long := func(c byte) []byte { return bytes.Repeat([]byte{c}, 100) }
	values := []meta.Xattr{{Name: "user.b", Value: long('b')}, {Name: "user.a", Value: []byte("short")}, {Name: "user.c", Value: long('c')}, {Name: "user.d", Value: long('d')}}
	var b bytes.Buffer
	w := wire.NewWriter(&b)
	p := Params{Protocol: 31, Xattrs: true}
	w.Protocol = 31
	enc := NewEncoder(w, p, table{})
	sent := enc.Xattrs(NewXattrList(values))
	w.Flush()
	r := wire.NewReader(&b)
	r.Protocol = 31
	f := &File{Base: "f"}
	// The receiver renames: its order is another.
	dec := NewDecoder(r, p, Policy{XattrName: func(n string) (string, bool) {
		return map[string]string{"user.b": "user.z"}[n] + strings.TrimPrefix(n, "user.b"), true
	}})
	dec.xattr(f)
	got := f.Xattrs()
	if r.Err() != nil || len(got.Items) != 4 || got.Items[3].Name != "user.z" {
		t.Fatalf("%v %+v", r.Err(), got)
	}
	have := NewXattrList([]meta.Xattr{{Name: "user.a", Value: []byte("short")}, {Name: "user.c", Value: long('c')}})
	for range 2 { // the second look must not ask again
		if !got.Differ(have, true) {
			t.Error("no difference")
		}
	}
	WriteXattrRequest(w, got)
	w.Flush()
	if want := "\x04\xf0\xfe\xff\xff\xff\x00"; b.String() != want { // 4 (user.d), then 2 (user.z)
		t.Errorf("request %q, want %q", b.String(), want)
	}
	asked := ReadXattrRequest(r, sent, "sender", "f")
	if r.Err() != nil || len(asked) != 2 {
		t.Fatalf("%v, %d asked", r.Err(), len(asked))
	}
	prior := int32(0)
	for _, it := range asked {
		WriteXattrValue(w, it, prior, long(it.Name[5]))
		prior = it.Num
	}
	w.Byte(0)
	// A second entry with the same list asks for nothing more.
	got.Differ(have, true)
	WriteXattrRequest(w, got)
	w.Flush()
	ReadXattrValues(r, got, "receiver", "f", 0)
	if rest := r.Byte(); r.Err() != nil || rest != 0 {
		t.Errorf("%v, then %d", r.Err(), rest)
	}
	for i, want := range []string{"short", "", string(long('d')), string(long('b'))} {
		if string(got.Items[i].Value) != want {
			t.Errorf("%s = %q", got.Items[i].Name, got.Items[i].Value)
		}
	}
	for _, bad := range []string{"\x05", "\x02", "\x01\x00", "\x04\xf0\xff\xff\xff\xff\x01\x00", "\xf0\xff\xff\xff\x7f\x01", "\x01"} {
		r := wire.NewReader(strings.NewReader(bad))
		r.Protocol = 31
		if asked := ReadXattrRequest(r, sent, "sender", "f"); r.Err() == nil {
			t.Errorf("request %q is taken: %d", bad, len(asked))
		}
	}
	// The same number twice in one request.
	r = wire.NewReader(strings.NewReader("\x02\x01\xf0\xff\xff\xff\xff\x00"))
	r.Protocol = 31
	if ReadXattrRequest(r, sent, "sender", "f"); r.Err() == nil {
		t.Error("a value can be asked for twice")
	}
}
