package meta

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func user(id uint32, perm uint8) Ace  { return Ace{ID: id, Perm: perm, IsUser: true} }
func group(id uint32, perm uint8) Ace { return Ace{ID: id, Perm: perm} }

// What setfacl makes is read; what is written, getfacl and the mode show.
func TestACLsOnDisk(t *testing.T) {
	needTool(t, "setfacl")
	asNobody(t, func(t *testing.T) {
		top := t.TempDir()
		r := open(t, top)
		for _, tt := range []struct {
			what, spec      string
			dir             bool
			access, deflt   ACL
			mode            uint32
			getfacl, getdef string
		}{
			{"mode only", "u::rw,g::r,o::-", false, ACL{6, 4, NoEntry, 0, nil}, EmptyACL(), 0640, "user::rw-\ngroup::r--\nother::---\n", ""},
			{"named", "u::rwx,g::r,o::-,u:7:rw,g:9:x,g:8:-,m::rwx", false,
				ACL{7, 4, 7, 0, []Ace{user(7, 6), group(8, 0), group(9, 1)}}, EmptyACL(), 0770,
				"user::rwx\nuser:7:rw-\ngroup::r--\ngroup:8:---\ngroup:9:--x\nmask::rwx\nother::---\n", ""},
			{"mask without names", "u::rw,g::rwx,o::r,m::r", false, ACL{6, 7, 4, 4, nil}, EmptyACL(), 0644,
				"user::rw-\ngroup::rwx\nmask::r--\nother::r--\n", ""},
			{"default", "u::rwx,g::rx,o::-,d:u::rwx,d:g::rx,d:o::r,d:u:5:rwx,d:m::rx", true,
				ACL{7, 5, NoEntry, 0, nil}, ACL{7, 5, 5, 4, []Ace{user(5, 7)}}, 0750,
				"user::rwx\ngroup::r-x\nother::---\n", "default:user::rwx\ndefault:user:5:rwx\ndefault:group::r-x\ndefault:mask::r-x\ndefault:other::r--\n"},
		} {
			for _, name := range []string{"a", "b"} {
				if tt.dir {
					must(t, os.Mkdir(top+"/"+name, 0700))
				} else {
					create(t, top+"/"+name)
				}
			}
			run(t, "setfacl", "-m", tt.spec, top+"/a")
			st, _ := r.Lstat("a")
			access, deflt, err := ReadACLs(pin(t, r, "a"), st.Mode, Ordinary)
			if err != nil || !cmp.Equal(access, tt.access) || !cmp.Equal(deflt, tt.deflt) || st.Perm() != tt.mode {
				t.Errorf("%s: read %+v, %+v, mode %o, %v", tt.what, access, deflt, st.Perm(), err)
			}
			// Over the wire and back onto b.
			sent := access
			sent.Strip(st.Mode)
			sent.Restore(st.Mode, false)
			b := pin(t, r, "b")
			bst, _ := r.Lstat("b")
			have := AttrsOf(&bst)
			changed, err := Apply(b, &Attrs{Mode: st.Mode, Access: &sent, Default: &deflt}, &have, &Rules{Perms: true, ACLs: true}, Entry{})
			must(t, err)
			if got := numericACL(t, top+"/b"); got != tt.getfacl+tt.getdef {
				t.Errorf("%s: written as\n%s", tt.what, got)
			}
			if bst, _ := r.Lstat("b"); bst.Mode != st.Mode {
				t.Errorf("%s: mode %o, want %o", tt.what, bst.Mode, st.Mode)
			}
			if wantACL := len(tt.access.Named) > 0 || tt.access.MaskObj != NoEntry || tt.dir; (changed&ChangedACL != 0) != wantACL {
				t.Errorf("%s: changed %b", tt.what, changed)
			}
			// The second time nothing is left to do.
			bst, _ = r.Lstat("b")
			have = AttrsOf(&bst)
			if changed, err := Apply(b, &Attrs{Mode: st.Mode, Access: &sent, Default: &deflt}, &have, &Rules{Perms: true, ACLs: true}, Entry{}); changed != 0 || err != nil {
				t.Errorf("%s: again changed %b, %v", tt.what, changed, err)
			}
			// Back to a mode alone.
			none, plain := EmptyACL(), EmptyACL()
			_, err = Apply(b, &Attrs{Mode: st.Mode&^07777 | 0700, Access: &plain, Default: &none}, &have, &Rules{Perms: true, ACLs: true}, Entry{})
			if got := numericACL(t, top+"/b"); err != nil || got != "user::rwx\ngroup::---\nother::---\n" {
				t.Errorf("%s: without ACL it is\n%s%v", tt.what, got, err)
			}
			must(t, os.RemoveAll(top+"/a"))
			must(t, os.RemoveAll(top+"/b"))
		}
	})
}

func numericACL(t *testing.T, path string) string {
	t.Helper()
	return strings.TrimSuffix(run(t, "getfacl", "-cnpE", path), "\n")
}

// A directory that cannot be opened at all still gets its ACL.
func TestACLOfRestrictedDir(t *testing.T) {
	needTool(t, "getfacl")
	asNobody(t, func(t *testing.T) {
		top := t.TempDir()
		must(t, os.Mkdir(top+"/d", 0700))
		r := open(t, top)
		run(t, "setfacl", "-m", "u:3:rwx", top+"/d")
		p := pin(t, r, "d")
		must(t, p.Chmod(0300))
		st, _ := r.Lstat("d")
		have := AttrsOf(&st)
		want := ACL{NoEntry, NoEntry, NoEntry, NoEntry, []Ace{user(9, 1)}}
		want.Restore(dirMode|0310, false)
		_, err := Apply(p, &Attrs{Mode: dirMode | 0310, Access: &want}, &have, &Rules{Perms: true, ACLs: true}, Entry{})
		must(t, err)
		if got := numericACL(t, top+"/d"); got != "user::-wx\nuser:9:--x\ngroup::--x\nmask::--x\nother::---\n" {
			t.Errorf("it is\n%s", got)
		}
	})
}

func TestDefaultPerms(t *testing.T) {
	needTool(t, "setfacl")
	top := t.TempDir()
	r := open(t, top)
	p := pin(t, r, "")
	for _, tt := range []struct {
		spec string
		want uint32
	}{
		{"", 0750}, {"d:u::rwx,d:g::rx,d:o::rx", 0755}, {"d:u::rwx,d:g::rwx,d:o::-,d:u:7:rwx,d:m::r", 0740},
	} {
		if tt.spec != "" {
			run(t, "setfacl", "-m", tt.spec, top)
		}
		if got, err := DefaultPerms(p, 027); got != tt.want || err != nil {
			t.Errorf("%q: %o, %v, want %o", tt.spec, got, err, tt.want)
		}
	}
}

func TestACLStripAndRestore(t *testing.T) {
	const no = NoEntry
	for _, tt := range []struct {
		what           string
		mode           uint32
		full, stripped ACL
	}{
		{"mode only", 0754, ACL{7, 5, no, 4, nil}, ACL{no, no, no, no, nil}},
		{"mask of the mode", 0770, ACL{7, 4, 7, 0, []Ace{user(7, 6)}}, ACL{no, 4, no, no, []Ace{user(7, 6)}}},
		{"group and mask of the mode", 0750, ACL{7, 5, 5, 0, []Ace{user(7, 6), group(8, 1)}}, ACL{no, no, no, no, []Ace{user(7, 6), group(8, 1)}}},
		{"mask without names stays", 0640, ACL{6, 7, 4, 0, nil}, ACL{no, 7, 4, no, nil}},
	} {
		a := tt.full
		a.Strip(tt.mode)
		if !cmp.Equal(a, tt.stripped) {
			t.Errorf("%s: stripped %+v, want %+v", tt.what, a, tt.stripped)
		}
		a.Restore(tt.mode, false)
		if !a.SameExtended(&tt.full, tt.mode) {
			t.Errorf("%s: %+v is not enough for %+v", tt.what, a, tt.full)
		}
		turned := tt.full
		turned.Named = slices.Clone(turned.Named)
		slices.Reverse(turned.Named)
		if !a.SameExtended(&turned, tt.mode) || !turned.Equal(&tt.full) {
			t.Errorf("%s: the order of the names matters", tt.what)
		}
		other := tt.full
		other.Named = append([]Ace{user(99, 1)}, other.Named...)
		if a.SameExtended(&other, tt.mode) {
			t.Errorf("%s: %+v passes for %+v", tt.what, a, other)
		}
	}
	d := ACL{7, 4, no, 0, []Ace{user(1, 2), group(1, 1)}}
	if d.Restore(0, true); d.MaskObj != 7 {
		t.Errorf("the mask of a default ACL is %o", d.MaskObj)
	}
}

// Nobody may do more for a moment than in the end.
func TestACLWithMode(t *testing.T) {
	for _, tt := range []struct {
		what          string
		current, mode uint32
		other         uint8
		after         uint32
	}{
		{"file", regMode | 0600, regMode | 0755, 5, regMode | 0755},
		{"setuid goes away", regMode | 04700, regMode | 0755, 0, regMode | 04700},
		{"setgid stays", regMode | 02700, regMode | 02755, 5, regMode | 02755},
		{"sticky comes", dirMode | 0700, dirMode | 01777, 0, dirMode | 0700},
		{"sticky stays", dirMode | 01700, dirMode | 01777, 7, dirMode | 01777},
	} {
		a := ACL{NoEntry, NoEntry, 7, NoEntry, []Ace{user(1, 7)}}
		full, after := a.withMode(tt.current, tt.mode)
		if full.OtherObj != tt.other || after != tt.after || full.UserObj != 7 {
			t.Errorf("%s: %+v, then mode %o", tt.what, full, after)
		}
	}
}

func drawACL(t *rapid.T) ACL {
	perm := rapid.Uint8Range(0, 7)
	a := ACL{UserObj: perm.Draw(t, "user"), GroupObj: perm.Draw(t, "group"), MaskObj: NoEntry, OtherObj: perm.Draw(t, "other")}
	if rapid.Bool().Draw(t, "mask") {
		a.MaskObj = perm.Draw(t, "mask bits")
	}
	for range rapid.IntRange(0, 4).Draw(t, "names") {
		a.Named = append(a.Named, Ace{rapid.Uint32().Draw(t, "id"), perm.Draw(t, "perm"), rapid.Bool().Draw(t, "is user")})
	}
	a.sortNamed()
	return a
}

func TestACLRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawACL(t)
		if b, err := DecodeACL(EncodeACL(a)); err != nil || !cmp.Equal(a, b) {
			t.Fatalf("%+v came back as %+v, %v", a, b, err)
		}
		if b, err := DecodeFakeACL(EncodeFakeACL(a), 0); err != nil || !cmp.Equal(a, b) {
			t.Fatalf("%+v came back from fake-super as %+v, %v", a, b, err)
		}
	})
}

func FuzzDecodeACL(f *testing.F) {
	f.Add(EncodeACL(ACL{7, 5, 5, 4, []Ace{user(5, 7), group(6, 1)}}))
	f.Add(EncodeFakeACL(ACL{7, 5, 5, 4, []Ace{user(5, 7), group(6, 1)}}))
	f.Add([]byte{2, 0, 0, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := DecodeACL(b); err == nil {
			again := EncodeACL(a)
			if c, err := DecodeACL(again); err != nil || !bytes.Equal(EncodeACL(c), again) {
				t.Fatalf("%x is not stable: %v", b, err)
			}
		}
		if a, err := DecodeFakeACL(b, 0755); err == nil && len(a.Named) != (len(b)-16)/8 {
			t.Fatalf("%x has %d names", b, len(a.Named))
		}
	})
}
