package meta

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/prsync/prsync/internal/fsroot"
	"golang.org/x/sys/unix"
)

func TestApplyTimes(t *testing.T) {
	now := fsroot.Timespec{Sec: 1_700_000_000, Nsec: 5}
	for _, tt := range []struct {
		what  string
		kind  string
		want  fsroot.Timespec
		r     Rules
		e     Entry
		after fsroot.Timespec
	}{
		{"-t", "f", fsroot.Timespec{Sec: 7, Nsec: 8}, Rules{Times: true}, Entry{}, fsroot.Timespec{Sec: 7, Nsec: 8}},
		{"without -t", "f", fsroot.Timespec{Sec: 7}, Rules{}, Entry{}, now},
		{"skipped", "f", fsroot.Timespec{Sec: 7}, Rules{Times: true}, Entry{SkipMtime: true}, now},
		{"the same second", "f", fsroot.Timespec{Sec: now.Sec, Nsec: 9}, Rules{Times: true}, Entry{}, now},
		{"exactly", "f", fsroot.Timespec{Sec: now.Sec, Nsec: 9}, Rules{Times: true}, Entry{AccurateTime: true}, fsroot.Timespec{Sec: now.Sec, Nsec: 9}},
		{"-@-1", "f", fsroot.Timespec{Sec: now.Sec, Nsec: 9}, Rules{Times: true, ModifyWindow: -1}, Entry{}, fsroot.Timespec{Sec: now.Sec, Nsec: 9}},
		{"-@2", "f", fsroot.Timespec{Sec: now.Sec + 2}, Rules{Times: true, ModifyWindow: 2}, Entry{}, now},
		{"a directory", "d", fsroot.Timespec{Sec: 7}, Rules{Times: true}, Entry{}, fsroot.Timespec{Sec: 7}},
		{"-O", "d", fsroot.Timespec{Sec: 7}, Rules{Times: true, OmitDirTimes: true}, Entry{}, now},
		{"-O is not for files", "f", fsroot.Timespec{Sec: 7}, Rules{Times: true, OmitDirTimes: true}, Entry{}, fsroot.Timespec{Sec: 7}},
		{"a symlink", "l", fsroot.Timespec{Sec: -5, Nsec: 1}, Rules{Times: true}, Entry{}, fsroot.Timespec{Sec: -5, Nsec: 1}},
		{"-J", "l", fsroot.Timespec{Sec: 7}, Rules{Times: true, OmitLinkTimes: true}, Entry{}, now},
	} {
		top := t.TempDir()
		create(t, top+"/f")
		must(t, os.Mkdir(top+"/d", 0755))
		must(t, os.Symlink("x", top+"/l"))
		r := open(t, top)
		p := pin(t, r, tt.kind)
		must(t, p.Utimes(fsroot.Timespec{Sec: 3}, now))
		st, _ := p.Stat()
		have := AttrsOf(&st)
		want := have
		want.Mtime = tt.want
		changed, err := Apply(p, &want, &have, &tt.r, tt.e)
		after, _ := p.Stat()
		if err != nil || after.Mtime != tt.after || (changed != 0) != (tt.after != now) {
			t.Errorf("%s: time %v, changed %b, %v; want %v", tt.what, after.Mtime, changed, err, tt.after)
		}
		if after.Atime != (fsroot.Timespec{Sec: 3}) {
			t.Errorf("%s: access time %v", tt.what, after.Atime)
		}
	}
}

func TestApplyAtimes(t *testing.T) {
	top := t.TempDir()
	create(t, top+"/f")
	must(t, os.Mkdir(top+"/d", 0755))
	r := open(t, top)
	for name, want := range map[string]Changes{"f": ChangedAtime, "d": 0} {
		p := pin(t, r, name)
		must(t, p.Utimes(fsroot.Timespec{Sec: 3, Nsec: 3}, fsroot.Timespec{Sec: 4}))
		st, _ := p.Stat()
		have := AttrsOf(&st)
		wanted := have
		wanted.Atime = fsroot.Timespec{Sec: 9, Nsec: 9}
		changed, err := Apply(p, &wanted, &have, &Rules{Times: true, Atimes: true}, Entry{})
		if changed != want || err != nil {
			t.Errorf("%s: changed %b, %v", name, changed, err)
		}
		if st, _ := p.Stat(); want != 0 && st.Atime != (fsroot.Timespec{Sec: 9}) {
			t.Errorf("%s: access time %v", name, st.Atime)
		}
	}
}

func TestApplyOwnerAndMode(t *testing.T) {
	needRoot(t)
	for _, tt := range []struct {
		what       string
		have, want uint32 // modes
		uid, gid   uint32
		r          Rules
		e          Entry
		uidAfter   uint32
		gidAfter   uint32
		modeAfter  uint32
		changed    Changes
	}{
		{"owner and mode", 0644, 0600, 5, 6, Rules{Perms: true, Owner: true, Group: true, Privilege: Root}, Entry{}, 5, 6, 0600, ChangedOwner | ChangedGroup | ChangedMode},
		{"chown clears set-id bits, which come back", 06755, 06755, 5, 0, Rules{Perms: true, Owner: true, Group: true, Privilege: Root}, Entry{}, 5, 0, 06755, ChangedOwner | ChangedMode},
		{"no -o", 0644, 0644, 5, 6, Rules{Perms: true, Group: true, Privilege: Root}, Entry{}, 0, 6, 0644, ChangedGroup},
		{"an ordinary user sets no owner", 0644, 0644, 5, 6, Rules{Perms: true, Owner: true, Group: true}, Entry{SkipGroup: true}, 0, 0, 0644, 0},
		{"nothing to do", 0644, 0644, 0, 0, Rules{Perms: true, Owner: true, Group: true, Privilege: Root}, Entry{}, 0, 0, 0644, 0},
		{"incoming chmod", 0644, 0644, 0, 0, Rules{Perms: true, Chmod: mustChmod("g+w,o=")}, Entry{}, 0, 0, 0660, ChangedMode},
	} {
		top := t.TempDir()
		create(t, top+"/f")
		r := open(t, top)
		p := pin(t, r, "f")
		must(t, p.Chmod(tt.have))
		st, _ := p.Stat()
		have := AttrsOf(&st)
		changed, err := Apply(p, &Attrs{Mode: regMode | tt.want, UID: tt.uid, GID: tt.gid}, &have, &tt.r, tt.e)
		after, _ := p.Stat()
		if err != nil || changed != tt.changed || after.UID != tt.uidAfter || after.GID != tt.gidAfter || after.Perm() != tt.modeAfter {
			t.Errorf("%s: %d:%d %o, changed %b, %v", tt.what, after.UID, after.GID, after.Perm(), changed, err)
		}
	}
}

func mustChmod(spec string) Chmod {
	c, err := ParseChmod(spec, 022)
	if err != nil {
		panic(err)
	}
	return c
}

// A new directory that inherited set-gid keeps it where permissions are not preserved.
func TestApplyInheritedSetgid(t *testing.T) {
	for _, tt := range []struct {
		r    Rules
		e    Entry
		want uint32
	}{
		{Rules{}, Entry{Created: true}, 02755}, {Rules{}, Entry{}, 0755}, {Rules{Perms: true}, Entry{Created: true}, 0755},
	} {
		top := t.TempDir()
		must(t, os.Mkdir(top+"/d", 0700))
		r := open(t, top)
		chmod(t, r, "d", 02700)
		p := pin(t, r, "d")
		st, _ := p.Stat()
		have := AttrsOf(&st)
		_, err := Apply(p, &Attrs{Mode: dirMode | 0755}, &have, &tt.r, tt.e)
		if st, _ := p.Stat(); err != nil || st.Perm() != tt.want {
			t.Errorf("%+v: mode %o, %v", tt, st.Perm(), err)
		}
	}
}

func TestApplySymlinkAndNodes(t *testing.T) {
	top := t.TempDir()
	r := open(t, top)
	must(t, MakeSymlink(r, "target", "l", Ordinary))
	must(t, MakeNode(r, "p", unix.S_IFIFO|0600, 0, Ordinary))
	must(t, MakeNode(r, "s", unix.S_IFSOCK|0600, 0, Ordinary))
	if target, err := ReadSymlink(r, "l", Ordinary); target != "target" || err != nil {
		t.Errorf("%q, %v", target, err)
	}
	for name, typ := range map[string]uint32{"l": unix.S_IFLNK, "p": unix.S_IFIFO, "s": unix.S_IFSOCK} {
		p := pin(t, r, name)
		st, _ := p.Stat()
		if st.Type() != typ {
			t.Errorf("%s is a %o", name, st.Mode)
		}
		have := AttrsOf(&st)
		access := EmptyACL()
		_, err := Apply(p, &Attrs{Mode: typ | 0640, Mtime: fsroot.Timespec{Sec: 9, Nsec: 1}, Access: &access}, &have,
			&Rules{Perms: true, Times: true, ACLs: true, Xattrs: XattrRules{Level: 1}}, Entry{})
		after, _ := p.Stat()
		if err != nil || after.Mtime.Sec != 9 || typ != unix.S_IFLNK && after.Perm() != 0640 {
			t.Errorf("%s: mode %o, time %v, %v", name, after.Mode, after.Mtime, err)
		}
	}
}

func TestApplyErrors(t *testing.T) {
	asNobody(t, func(t *testing.T) {
		r, err := fsroot.Open("/etc", fsroot.Policy{})
		must(t, err)
		defer r.Close()
		p := pin(t, r, "passwd")
		st, _ := p.Stat()
		have := AttrsOf(&st)
		for verb, c := range map[string]struct {
			change func(*Attrs)
			r      Rules
		}{
			"chown":                        {func(a *Attrs) { a.UID = 7 }, Rules{Owner: true, Privilege: Super}},
			"chgrp":                        {func(a *Attrs) { a.GID = 7 }, Rules{Group: true}},
			"failed to set times on":       {func(a *Attrs) { a.Mtime.Sec = 7 }, Rules{Times: true}},
			"failed to set permissions on": {func(a *Attrs) { a.Mode = regMode | 0600 }, Rules{Perms: true}},
			"set_acl: ACL_TYPE_ACCESS of":  {func(a *Attrs) { a.Access = &ACL{6, 6, 6, 6, []Ace{user(1, 7)}} }, Rules{ACLs: true, Perms: true}},
		} {
			want := have
			c.change(&want)
			changed, err := Apply(p, &want, &have, &c.r, Entry{})
			var ae *ApplyError
			if !errors.As(err, &ae) || ae.Verb != verb || ae.Err != syscall.EPERM || changed != 0 {
				t.Errorf("%s: changed %b, %v", verb, changed, err)
			}
		}
	})
}
