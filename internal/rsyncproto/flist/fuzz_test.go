package flist

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// paramsOf spreads the bits of a fuzzed number over a connection's shape.
func paramsOf(protocol byte, bits uint32) (p Params, start int32) {
	on := func(i int) bool { return bits&(1<<i) != 0 }
	p = Params{Protocol: 27 + int(protocol%6), UID: on(0), GID: on(1), Links: on(2), Devices: on(3), Specials: on(4), HardLinks: on(5),
		Checksum: on(6), NumericIDs: on(7), Relative: on(8)}
	if p.Checksum {
		p.SumLen = 16
	}
	if p.Protocol >= 30 {
		p.ACLs, p.Xattrs, p.IncRecurse, p.Atimes = on(9), on(10), on(11), on(12)
		p.VarintFlags, p.ID0Names, p.SafeErrors = on(13), on(14), on(15) || p.Protocol >= 31
		if p.VarintFlags {
			p.ContentIDs, p.Crtimes = on(16), on(17)
		}
	}
	if p.IncRecurse {
		start = 1
	}
	return p, start
}

func bitsOf(p Params) (protocol byte, bits uint32) {
	for i, on := range []bool{p.UID, p.GID, p.Links, p.Devices, p.Specials, p.HardLinks, p.Checksum, p.NumericIDs, p.Relative,
		p.ACLs, p.Xattrs, p.IncRecurse, p.Atimes, p.VarintFlags, p.ID0Names, p.SafeErrors, p.ContentIDs, p.Crtimes} {
		if on {
			bits |= 1 << i
		}
	}
	return byte(p.Protocol - 27), bits
}

// FuzzEntries reads a hostile list. What is taken must be written and read
// again without a change.
func FuzzEntries(f *testing.F) {
	for i := range recordings {
		rec := &recordings[i]
		for protocol := rec.protocols[0]; protocol <= rec.protocols[1]; protocol += 2 {
			data, err := os.ReadFile(filepath.FromSlash(rec.path(protocol)))
			if err != nil {
				f.Fatal(err)
			}
			p := rec.params
			src := bytes.NewReader(data)
			r := wire.NewReader(src)
			var tee bytes.Buffer
			header(r, &p)
			r.Tee = &tee
			l := &List{}
			if p.IncRecurse {
				l.Start = 1
			}
			NewDecoder(r, p, Policy{}).List(l, nil)
			v, bits := bitsOf(p)
			f.Add(tee.Bytes(), v, bits)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, protocol byte, bits uint32) {
		p, start := paramsOf(protocol, bits)
		r := wire.NewReader(bytes.NewReader(in))
		r.Protocol = p.Protocol
		dec := NewDecoder(r, p, Policy{Who: "fuzz", Sanitize: bits&(1<<20) != 0, MissingArgs: bits&(1<<21) != 0, Recurse: true,
			ImpliedParent: func(name string) bool { return name == "a" }})
		l := &List{Start: start}
		_, err := dec.List(l, nil)
		for _, e := range l.Files {
			checkEntry(t, &p, e)
		}
		l.Sorted = append([]*File(nil), l.Files...)
		if err != nil {
			return
		}
		if !(p.HardLinks && p.Protocol < 30) && bits&(1<<20) == 0 {
			returns(t, p, start, l)
		}
		Sort(l.Sorted, p.Protocol)
		RemoveDuplicates(l.Sorted, p.Protocol, nil)
		if p.Relative {
			StripRoot(l.Sorted)
		}
		PruneEmpty(l.Sorted, func(dir string) bool { return len(dir)%2 == 0 })
	})
}

func checkEntry(t *testing.T, p *Params, e *File) {
	name := e.Name()
	if len(name) >= MaxPath {
		t.Fatalf("a name of %d bytes", len(name))
	}
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			t.Fatalf("name %q", name)
		}
	}
	if strings.HasPrefix(name, "/") && !p.Relative {
		t.Fatalf("absolute name %q", name)
	}
	if strings.IndexByte(name, 0) >= 0 {
		t.Fatalf("NUL in %q", name)
	}
	if (name == "." || name == "/.") && !e.IsDir() || e.Mode != 0 && !ValidMode(e.Mode) || e.Size < 0 || e.Nsec > maxNsec {
		t.Fatalf("%q mode %o size %d nsec %d", name, e.Mode, e.Size, e.Nsec)
	}
	if e.IsDevice() && e.X == nil || e.Flags&Linked != 0 && (e.X == nil || e.IsDir()) {
		t.Fatalf("%q lacks its numbers", name)
	}
	if len(e.Link()) >= MaxPath {
		t.Fatalf("a target of %d bytes", len(e.Link()))
	}
}

// returns writes the list and reads it again.
func returns(t *testing.T, p Params, start int32, l *List) {
	var b bytes.Buffer
	w := wire.NewWriter(&b)
	w.Protocol = p.Protocol
	enc := NewEncoder(w, p, table{})
	known := map[int32]bool{}
	for _, e := range l.Files {
		if !e.Active() || e.Mode == 0 && false {
			return
		}
		// A group that this list does not begin belongs to an earlier one.
		if e.Flags&Linked != 0 {
			if e.X.Group != e.Seq && !known[e.X.Group] {
				return
			}
			known[e.Seq] = known[e.Seq] || e.X.Group == e.Seq
			e.X.Ino = uint64(e.X.Group)
		}
		enc.Entry(e, e.Name(), e.Link(), start)
		if p.ACLs && !e.IsSymlink() {
			enc.ACL(e, e.X.Access, e.X.Default)
		}
		if p.Xattrs {
			e.X.Xattrs = enc.Xattrs(e.X.Xattrs)
		}
	}
	enc.End(0)
	w.Flush()
	r := wire.NewReader(&b)
	r.Protocol = p.Protocol
	again := &List{Start: start}
	dec := NewDecoder(r, p, Policy{Who: "again", MissingArgs: true, Recurse: true})
	if _, err := dec.List(again, nil); err != nil || len(again.Files) != len(l.Files) {
		t.Fatalf("%d entries, want %d: %v", len(again.Files), len(l.Files), err)
	}
	const kept = ^(TopDir | ContentDir | ImpliedDir) // depend on their neighbours below protocol 30
	for i, e := range l.Files {
		a, b := *e, *again.Files[i]
		if p.Protocol < 30 {
			a.Flags, b.Flags = a.Flags&kept, b.Flags&kept
		}
		if got, want := shape(&p, &b, 0), shape(&p, &a, 0); got != want {
			t.Fatalf("entry %d came back as\n%s\nwas\n%s", i, got, want)
		}
	}
}

func FuzzIDLists(f *testing.F) {
	f.Add([]byte("\x01\x06daemon\x00\x04root\x00\x04root"), byte(5), uint32(3|1<<13|1<<14))
	f.Add([]byte("\x01\x00\x00\x00\x01u\x00\x00\x00\x00\x00\x00\x00\x00"), byte(0), uint32(3))
	f.Fuzz(func(t *testing.T, in []byte, protocol byte, bits uint32) {
		p, _ := paramsOf(protocol, bits)
		r := wire.NewReader(bytes.NewReader(in))
		r.Protocol = p.Protocol
		total := 0
		note := func(name string) {
			if total += len(name); total > len(in) {
				t.Fatal("more names than bytes")
			}
		}
		dec := NewDecoder(r, p, Policy{
			UserID:  func(id uint32, name string) uint32 { note(name); return id },
			GroupID: func(id uint32, name string) (uint32, bool) { note(name); return id, false },
		})
		if err := dec.IDLists(); err == nil && p.NumericIDs && r.Total() != 0 {
			t.Fatal("lists were read with numeric ids")
		}
		dec.MapACLs()
	})
}

func FuzzACL(f *testing.F) {
	f.Add([]byte("\x00\x13\x07\x05\x02\x01\x15\x80\x07\x11\x00\x01"), uint32(0o040755))
	f.Add([]byte("\x00\x10\xe1\x00\x00\x01"), uint32(0o100644))
	f.Fuzz(func(t *testing.T, in []byte, mode uint32) {
		p := Params{Protocol: 31, ACLs: true, IncRecurse: mode&(1<<20) != 0}
		r := wire.NewReader(bytes.NewReader(in))
		r.Protocol = 31
		dec := NewDecoder(r, p, Policy{UserID: func(id uint32, _ string) uint32 { return id }, GroupID: func(id uint32, _ string) (uint32, bool) { return id, false }})
		var b bytes.Buffer
		w := wire.NewWriter(&b)
		w.Protocol = 31
		enc := NewEncoder(w, p, table{})
		var want []*File
		for len(want) < 50 {
			e := &File{Base: "f", Mode: mode & 0o170777}
			dec.acl(e)
			if r.Err() != nil {
				break
			}
			for _, a := range []*meta.ACL{e.X.Access, e.X.Default} {
				if a == nil {
					continue
				}
				for _, n := range a.Named {
					if n.Perm > 7 {
						t.Fatalf("permissions %o", n.Perm)
					}
				}
				if len(a.Named) > len(in) || len(a.Named) > 0 && a.MaskObj == meta.NoEntry {
					t.Fatalf("%+v", a)
				}
			}
			want = append(want, e)
			enc.ACL(e, e.X.Access, e.X.Default)
		}
		w.Flush()
		r = wire.NewReader(&b)
		r.Protocol = 31
		dec = NewDecoder(r, p, Policy{})
		for _, e := range want {
			got := &File{Base: "f", Mode: e.Mode}
			dec.acl(got)
			if r.Err() != nil || shape(&p, got, 0) != shape(&p, e, 0) {
				t.Fatalf("%v\n%s\n%s", r.Err(), shape(&p, got, 0), shape(&p, e, 0))
			}
		}
	})
}

func FuzzXattrs(f *testing.F) {
	f.Add([]byte("\x00\x02\x07\x01user.a\x00v\x07\x64user.b\x000123456789abcdef\x01"))
	f.Add([]byte("\x00\xc1\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		p := Params{Protocol: 31, Xattrs: true}
		r := wire.NewReader(bytes.NewReader(in))
		r.Protocol = 31
		dec := NewDecoder(r, p, Policy{})
		var b bytes.Buffer
		w := wire.NewWriter(&b)
		w.Protocol = 31
		enc := NewEncoder(w, p, table{})
		var want []*File
		for len(want) < 50 {
			e := &File{Base: "f"}
			dec.xattr(e)
			if r.Err() != nil {
				break
			}
			// NUL within a name ends it for the system: it must not come back longer.
			want = append(want, e)
			e.X.Xattrs = enc.Xattrs(e.X.Xattrs)
		}
		w.Flush()
		r = wire.NewReader(&b)
		r.Protocol = 31
		dec = NewDecoder(r, p, Policy{})
		for _, e := range want {
			got := &File{Base: "f"}
			dec.xattr(got)
			if r.Err() != nil || shape(&p, got, 0) != shape(&p, e, 0) {
				t.Fatalf("%v\n%s\n%s", r.Err(), shape(&p, got, 0), shape(&p, e, 0))
			}
		}
	})
}

func FuzzXattrRequest(f *testing.F) {
	f.Add([]byte("\x02\x01\x00"), []byte("\x02\x03abc\x01\x00\x00"))
	f.Add([]byte("\x02\x01\xf0\xff\xff\xff\xff\x00"), []byte("\x02\xf0\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, request, values []byte) {
		long := bytes.Repeat([]byte("x"), 100)
		l := NewXattrList([]meta.Xattr{{Name: "a", Value: []byte("short")}, {Name: "b", Value: long}, {Name: "c", Value: long}, {Name: "d", Value: long}})
		r := wire.NewReader(bytes.NewReader(request))
		r.Protocol = 31
		seen := map[int32]bool{}
		for _, it := range ReadXattrRequest(r, l, "sender", "f") {
			if seen[it.Num] || it.Len <= maxFullDatum {
				t.Fatalf("value %d is asked for", it.Num)
			}
			seen[it.Num] = true
		}
		r = wire.NewReader(bytes.NewReader(values))
		r.Protocol = 31
		ReadXattrValues(r, l, "receiver", "f", 0)
		for i := range l.Items {
			if it := &l.Items[i]; cap(it.Value) > 4*len(values)+256<<10 {
				t.Fatalf("%d bytes for %d", cap(it.Value), len(values))
			}
		}
		ReadXattrRequest(r, nil, "sender", "f")
	})
}
