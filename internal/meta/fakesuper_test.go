package meta

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prsync/prsync/internal/fsroot"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestFakeStat(t *testing.T) {
	for text, want := range map[string]FakeStat{
		"100644 0,0 1000:100":         {0100644, 0, 1000, 100},
		"60660 8,1 0:6":               {060660, unix.Mkdev(8, 1), 0, 6},
		"104755 0,0 4294967295:0":     {0104755, 0, 4294967295, 0},
		"120777 0,0 -2:-1":            {0120777, 0, 4294967294, 4294967295},
		"  20600   4095,1048575  1:2": {020600, unix.Mkdev(4095, 1048575), 1, 2},
	} {
		if got, err := DecodeFakeStat([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "100644", "100644 0,0", "100644 0 1:2", "100644 0,0 1", "8 0,0 1:2", "100644 0,0 1:2 3",
		"100644 0,0 4294967296:0", "100644 -2147483649,0 0:0", "100644 0,0 1:x", "777777777777 0,0 1:2"} {
		if got, err := DecodeFakeStat([]byte(text)); err == nil {
			t.Errorf("%q passes for %+v", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := FakeStat{
			Mode: rapid.Uint32Range(0, 0177777).Draw(t, "mode"),
			Rdev: unix.Mkdev(rapid.Uint32Range(0, 4095).Draw(t, "major"), rapid.Uint32Range(0, 1<<20-1).Draw(t, "minor")),
			UID:  rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"),
		}
		if got, err := DecodeFakeStat(EncodeFakeStat(s)); err != nil || got != s {
			t.Fatalf("%+v came back as %+v, %v", s, got, err)
		}
	})
}

func FuzzDecodeFakeStat(f *testing.F) {
	f.Add([]byte("100644 0,0 1000:100"))
	f.Add([]byte("60660 8,1 -2:6"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeFakeStat(b)
		if err != nil {
			return
		}
		if again, err := DecodeFakeStat(EncodeFakeStat(s)); err != nil || again != s {
			t.Fatalf("%q is %+v, then %+v, %v", b, s, again, err)
		}
	})
}

// An ordinary user keeps the attributes of root's files, and reads them back.
func TestApplyFakeSuper(t *testing.T) {
	asNobody(t, func(t *testing.T) {
		for _, tt := range []struct {
			what string
			want Attrs
			real uint32 // the mode of the file that stands in
		}{
			{"a file of another", Attrs{Mode: regMode | 0640, UID: 1, GID: 2}, regMode | 0640},
			{"set-id", Attrs{Mode: regMode | 06755, UID: nobody, GID: nobody}, regMode | 0755},
			{"unreadable", Attrs{Mode: regMode, UID: nobody, GID: nobody}, regMode | 0600},
			{"a device", Attrs{Mode: unix.S_IFBLK | 0660, Rdev: unix.Mkdev(8, 17), UID: 0, GID: 6}, regMode | 0660},
			{"a fifo", Attrs{Mode: unix.S_IFIFO | 0600, UID: 3, GID: 3}, regMode | 0600},
			{"a symlink", Attrs{Mode: unix.S_IFLNK | 0777, UID: 0, GID: 0}, regMode | 0777},
			{"a directory", Attrs{Mode: dirMode | 01550, UID: 9, GID: 9}, dirMode | 0750},
		} {
			top := t.TempDir()
			r := open(t, top)
			var err error
			switch {
			case isDir(tt.want.Mode):
				err = r.Mkdir("x", 0700)
			case isLink(tt.want.Mode):
				err = MakeSymlink(r, "the/target", "x", FakeSuper)
			default:
				err = MakeNode(r, "x", tt.want.Mode, tt.want.Rdev, FakeSuper)
			}
			must(t, err)
			p := pin(t, r, "x")
			st, _ := p.Stat()
			have := AttrsOf(&st)
			rules := &Rules{Perms: true, Owner: true, Group: true, Privilege: FakeSuper}
			if _, err := Apply(p, &tt.want, &have, rules, Entry{}); err != nil {
				t.Errorf("%s: %v", tt.what, err)
			}
			st, _ = p.Stat()
			if isDir(tt.want.Mode) {
				st.Mode &^= unix.S_ISGID // inherited on some file systems
			}
			if WireMode(st.Mode) != tt.real {
				t.Errorf("%s: the file has mode %o, want %o", tt.what, st.Mode, tt.real)
			}
			had, err := OverlayFakeStat(p, &st)
			if !had || err != nil || st.Mode != tt.want.Mode || st.UID != tt.want.UID || st.GID != tt.want.GID ||
				IsDevice(tt.want.Mode) && st.Rdev != tt.want.Rdev {
				t.Errorf("%s: read back as %o %d:%d device %d, %v", tt.what, st.Mode, st.UID, st.GID, st.Rdev, err)
			}
			have = AttrsOf(&st)
			if changed, err := Apply(p, &tt.want, &have, rules, Entry{}); changed != 0 || err != nil {
				t.Errorf("%s: again changed %b, %v", tt.what, changed, err)
			}
			if isLink(tt.want.Mode) {
				if target, err := ReadSymlink(r, "x", FakeSuper); target != "the/target" || err != nil {
					t.Errorf("%s: target %q, %v", tt.what, target, err)
				}
			}
			// What the file itself can be needs no attribute.
			if !isDir(tt.want.Mode) {
				plain := Attrs{Mode: regMode | 0600, UID: nobody, GID: nobody}
				if os.Geteuid() != nobody {
					plain.UID, plain.GID = uint32(os.Geteuid()), uint32(os.Getegid())
				}
				if _, err := Apply(p, &plain, &have, rules, Entry{}); err != nil {
					t.Error(err)
				}
				if names, _ := p.Listxattr(); len(names) != 0 {
					t.Errorf("%s: still %q", tt.what, names)
				}
			}
		}
	})
}

// rsync reads what we keep, and we read what it keeps.
func TestFakeSuperAgainstRsync(t *testing.T) {
	needRoot(t)
	needRsync(t)
	needTool(t, "setfacl")
	top := t.TempDir()
	must(t, os.MkdirAll(top+"/src/d", 0755))
	r := open(t, top+"/src")
	create(t, top+"/src/f")
	must(t, r.Symlink("to/nowhere", "l"))
	must(t, r.Mknod("dev", unix.S_IFCHR|0640, unix.Mkdev(7, 300)))
	must(t, r.Mkfifo("p", 0604))
	for name, mode := range map[string]uint32{"f": 04711, "d": 01777, "dev": 0640, "p": 0604} {
		p := pin(t, r, name)
		must(t, p.Chown(123, 4294967290))
		must(t, p.Chmod(mode))
	}
	must(t, pin(t, r, "l").Chown(12, 13))
	run(t, "setfacl", "-m", "u:55:rw,g:66:x", top+"/src/f")
	run(t, "setfacl", "-m", "d:u:55:rwx", top+"/src/d")
	must(t, pin(t, r, "f").Setxattr("trusted.t", []byte("v")))

	// One end fakes, the other is root: a "remote shell" that stays here.
	faking := func(from, to string) {
		run(t, "rsync", "-aAX", "--numeric-ids", "-M--fake-super", "-e", `sh -c 'shift; exec "$@"' sh`, from, to)
	}
	faking(top+"/src/", "host:"+top+"/theirs/")
	theirs := open(t, top+"/theirs")
	must(t, os.Mkdir(top+"/ours", 0755))
	ours := open(t, top+"/ours")
	for _, name := range []string{"f", "d", "l", "dev", "p"} {
		sp := pin(t, r, name)
		want, err := sp.Stat()
		must(t, err)
		access, deflt, err := ReadACLs(sp, want.Mode, Root)
		must(t, err)

		p := pin(t, theirs, name)
		got, _ := p.Stat()
		if _, err := OverlayFakeStat(p, &got); err != nil || got.Mode != want.Mode || got.UID != want.UID || got.GID != want.GID || got.Rdev != want.Rdev {
			t.Errorf("rsync's %s reads as %o %d:%d device %d, %v", name, got.Mode, got.UID, got.GID, got.Rdev, err)
		}
		if !isLink(want.Mode) {
			a, d, err := ReadACLs(p, got.Mode, FakeSuper)
			a.Restore(got.Mode, false)
			if err != nil || !access.SameExtended(&a, got.Mode) && len(access.Named) > 0 || !cmp.Equal(d, deflt) {
				t.Errorf("rsync's ACLs of %s read as %+v, %+v, %v; want %+v, %+v", name, a, d, err, access, deflt)
			}
		}

		switch {
		case isDir(want.Mode):
			must(t, ours.Mkdir(name, 0700))
		case isLink(want.Mode):
			must(t, MakeSymlink(ours, "to/nowhere", name, FakeSuper))
		default:
			must(t, MakeNode(ours, name, want.Mode, want.Rdev, FakeSuper))
		}
		op := pin(t, ours, name)
		ost, _ := op.Stat()
		have := AttrsOf(&ost)
		wanted := AttrsOf(&want)
		access.Strip(want.Mode)
		access.Restore(want.Mode, false)
		wanted.Access, wanted.Default = &access, &deflt
		if name == "f" {
			wanted.Xattrs = Xattrs{{Name: rsyncPrefix + "trusted.t", Value: []byte("v")}}
		}
		_, err = Apply(op, &wanted, &have, &Rules{Perms: true, Owner: true, Group: true, Times: true, ACLs: true,
			Xattrs: XattrRules{Level: 1}, Privilege: FakeSuper}, Entry{AccurateTime: true})
		must(t, err)
	}
	// Our tree, brought back to life by rsync, is the source again.
	must(t, os.WriteFile(top+"/ours/f", []byte("x"), 0))
	for _, name := range []string{"f", "d"} {
		st, _ := r.Lstat(name)
		must(t, pin(t, ours, name).Utimes(fsroot.Timespec{Nsec: fsroot.OmitTime}, st.Mtime))
	}
	must(t, os.Chtimes(top+"/ours", must1(os.Stat(top+"/src")).ModTime(), must1(os.Stat(top+"/src")).ModTime()))
	faking("host:"+top+"/ours/", top+"/back/")
	for _, dir := range []string{"src", "back"} {
		must(t, os.Rename(top+"/"+dir, top+"/x"))
		out := run(t, "sh", "-c", `cd "$1/x" && stat -c '%n %f %u:%g %t,%T %N' f d l dev p && getfacl -n f d && getfattr -hdm trusted f`, "sh", top)
		must(t, os.Rename(top+"/x", top+"/"+dir))
		if dir == "src" {
			must(t, os.WriteFile(top+"/want", []byte(out), 0600))
		} else if diff := cmp.Diff(string(must1(os.ReadFile(top+"/want"))), out); diff != "" {
			t.Errorf("after the way back (-want +got):\n%s", diff)
		}
	}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
