package meta

import (
	"crypto/md5"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prsync/prsync/internal/fsroot"
)

func sum(b []byte) []byte { s := md5.Sum(b); return s[:] }

func TestXattrRules(t *testing.T) {
	names := []string{"user.a", "user.rsync.%stat", "user.rsync.%aacl", "user.rsync.%other", "user.rsync.trusted.x", "trusted.x", "security.x", "system.x"}
	only := func(words string) []string { return strings.Fields(words) }
	for _, tt := range []struct {
		what               string
		r                  XattrRules
		readable, received []string
	}{
		{"root sends", XattrRules{Level: 1, Sender: true, Privilege: Root}, only("user.a user.rsync.trusted.x trusted.x security.x"), nil},
		{"a user sends", XattrRules{Level: 1, Sender: true}, only("user.a user.rsync.trusted.x trusted.x security.x"), nil},
		{"-XX", XattrRules{Level: 2, Sender: true, Privilege: Root}, only("user.a user.rsync.%stat user.rsync.%aacl user.rsync.%other user.rsync.trusted.x trusted.x security.x"), nil},
		{"root receives", XattrRules{Level: 1, Privilege: Root},
			only("user.a user.rsync.%stat user.rsync.%aacl user.rsync.%other user.rsync.trusted.x trusted.x security.x"),
			only("user.a user.rsync.trusted.x trusted.x security.x system.x")},
		{"a user receives", XattrRules{Level: 1},
			only("user.a user.rsync.%stat user.rsync.%aacl user.rsync.%other user.rsync.trusted.x"),
			only("user.a user.rsync.trusted.x")},
		{"fake-super receives", XattrRules{Level: 1, Privilege: FakeSuper},
			only("user.a user.rsync.%other user.rsync.trusted.x trusted.x security.x"),
			only("user.a user.rsync.trusted.x user.rsync.trusted.x user.rsync.security.x user.rsync.system.x")},
		{"a filter decides alone", XattrRules{Level: 1, Privilege: Root, Exclude: func(n string) bool { return n == "user.a" }},
			only("user.rsync.%stat user.rsync.%aacl user.rsync.%other user.rsync.trusted.x trusted.x security.x system.x"),
			only("user.rsync.trusted.x trusted.x security.x system.x")},
	} {
		var readable, received []string
		for _, n := range names {
			if tt.r.readable(n) {
				readable = append(readable, n)
			}
			if kept, ok := tt.r.Received(n); ok && tt.received != nil {
				received = append(received, kept)
			}
		}
		if !cmp.Equal(readable, tt.readable) {
			t.Errorf("%s: reads %q", tt.what, readable)
		}
		if !cmp.Equal(received, tt.received) {
			t.Errorf("%s: keeps %q", tt.what, received)
		}
	}
	fake := XattrRules{Privilege: FakeSuper}
	for name, want := range map[string]string{
		"user.rsync.trusted.x": "trusted.x", "user.rsync.%stat": "user.rsync.%stat", "user.a": "user.a", "user.rsync.": "user.rsync.",
	} {
		if got := fake.Sent(name); got != want {
			t.Errorf("fake-super sends %s as %s", name, got)
		}
	}
	if got := (&XattrRules{Privilege: Root}).Sent("user.rsync.trusted.x"); got != "user.rsync.trusted.x" {
		t.Errorf("root sends %s", got)
	}
}

func TestXattrsEqual(t *testing.T) {
	a := Xattrs{{Name: "user.a", Value: []byte("1")}, {Name: "user.b", Value: []byte("long")}}
	digest := Xattrs{a[0], {Name: "user.b", Len: 4, Sum: sum([]byte("long"))}}
	for _, tt := range []struct {
		what string
		b    Xattrs
		want bool
	}{
		{"itself", a, true}, {"a digest", digest, true}, {"fewer", a[:1], false}, {"none", nil, false},
		{"another value", Xattrs{a[0], {Name: "user.b", Value: []byte("lung")}}, false},
		{"another name", Xattrs{a[0], {Name: "user.c", Value: []byte("long")}}, false},
		{"another digest", Xattrs{a[0], {Name: "user.b", Len: 4, Sum: sum([]byte("lung"))}}, false},
		{"another length", Xattrs{a[0], {Name: "user.b", Len: 5, Sum: sum([]byte("long"))}}, false},
	} {
		if a.Equal(tt.b, sum) != tt.want || tt.b.Equal(a, sum) != tt.want {
			t.Errorf("%s: want %v", tt.what, tt.want)
		}
	}
	if a.Equal(digest, nil) {
		t.Error("equal to a digest that nobody computed")
	}
	if a.Find("user.b") == nil || a.Find("user.") != nil {
		t.Error("Find")
	}
}

func TestApplyXattrs(t *testing.T) {
	asNobody(t, func(t *testing.T) {
		top := t.TempDir()
		create(t, top+"/f")
		create(t, top+"/basis")
		r := open(t, top)
		p, basis := pin(t, r, "f"), pin(t, r, "basis")
		must(t, basis.Setxattr("user.long", []byte("a value known by its digest")))
		for name, v := range map[string]string{"user.old": "x", "user.same": "1", "user.changed": "1"} {
			must(t, p.Setxattr(name, []byte(v)))
		}
		// A file that its owner may not write, as a read-only source has it.
		must(t, p.Chmod(0444))
		want := Xattrs{
			{Name: "user.changed", Value: []byte("2")},
			{Name: "user.long", Len: 27, Sum: sum([]byte("a value known by its digest"))},
			{Name: "user.new", Value: nil},
			{Name: "user.same", Value: []byte("1")},
		}
		apply := func(want Xattrs, e Entry) (Changes, error) {
			st, err := r.Lstat("f")
			must(t, err)
			have := AttrsOf(&st)
			return Apply(p, &Attrs{Mode: st.Mode, Mtime: fsroot.Timespec{Sec: st.Mtime.Sec}, Xattrs: want}, &have,
				&Rules{Perms: true, Times: true, Xattrs: XattrRules{Level: 1}, XattrSum: sum}, e)
		}
		changed, err := apply(want, Entry{Basis: basis})
		if err != nil || changed != ChangedXattrs|ChangedMtime {
			t.Errorf("changed %b, %v", changed, err)
		}
		got, err := ReadXattrs(p, &XattrRules{Level: 1})
		must(t, err)
		if !got.Equal(want, sum) {
			t.Errorf("now %v", got)
		}
		if v, _ := p.Getxattr("user.long"); string(v) != "a value known by its digest" {
			t.Errorf("user.long is %q", v)
		}
		if st, _ := r.Lstat("f"); st.Perm() != 0444 {
			t.Errorf("mode %o afterwards", st.Perm())
		}
		must(t, p.Utimes(fsroot.Timespec{Sec: 1}, fsroot.Timespec{Sec: 5, Nsec: 6}))
		if changed, err := apply(want, Entry{KeepXattrs: true}); changed != 0 || err != nil {
			t.Errorf("kept as they are: changed %b, %v", changed, err)
		}
		// What is there in full is written again, and the time after it: rsync does.
		if changed, err := apply(want, Entry{}); changed != ChangedXattrs|ChangedMtime || err != nil {
			t.Errorf("again changed %b, %v", changed, err)
		}
		if st, _ := r.Lstat("f"); st.Mtime != (fsroot.Timespec{Sec: 5}) {
			t.Errorf("time %v after attributes were written", st.Mtime)
		}
		if changed, err := apply(want[1:2], Entry{}); changed != ChangedXattrs|ChangedMtime || err != nil {
			t.Errorf("all but one removed: changed %b, %v", changed, err)
		}
		if changed, err := apply(want[1:2], Entry{}); changed != 0 || err != nil {
			t.Errorf("a value known by its digest that is there: changed %b, %v", changed, err)
		}
		want = want[:2]
		want[1].Sum = sum([]byte("no file has it"))
		changed, err = apply(want, Entry{Basis: basis})
		var missing *ApplyError
		if !errors.As(err, &missing) || changed != ChangedXattrs|ChangedMtime || !strings.Contains(err.Error(), "Missing abbreviated xattr value, user.long") {
			t.Errorf("a value that nobody has: changed %b, %v", changed, err)
		}
		if changed, err := apply(nil, Entry{}); changed != ChangedXattrs|ChangedMtime || err != nil {
			t.Errorf("removing all changed %b, %v", changed, err)
		}
		if names, _ := p.Listxattr(); len(names) != 0 {
			t.Errorf("still %q", names)
		}
	})
}

func TestXattrErrorsGoOn(t *testing.T) {
	asNobody(t, func(t *testing.T) {
		top := t.TempDir()
		create(t, top+"/f")
		r := open(t, top)
		p := pin(t, r, "f")
		st, _ := r.Lstat("f")
		have := AttrsOf(&st)
		changed, err := Apply(p, &Attrs{Mode: regMode | 0600, Xattrs: Xattrs{
			{Name: "bad-namespace", Value: []byte("x")}, {Name: "user.good", Value: []byte("x")},
		}}, &have, &Rules{Perms: true, Xattrs: XattrRules{Level: 1}}, Entry{})
		if !errors.Is(err, syscall.EOPNOTSUPP) || changed != ChangedXattrs|ChangedMode {
			t.Errorf("changed %b, %v", changed, err)
		}
	})
}

func TestCopyXattrs(t *testing.T) {
	top := t.TempDir()
	must(t, os.Mkdir(top+"/from", 0755))
	must(t, os.Mkdir(top+"/to", 0755))
	r := open(t, top)
	from, to := pin(t, r, "from"), pin(t, r, "to")
	must(t, from.Setxattr("user.a", []byte("1")))
	must(t, from.Setxattr("user.b", nil))
	must(t, CopyXattrs(to, from, &XattrRules{Level: 1}))
	names, err := to.Listxattr()
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"user.a", "user.b"}) {
		t.Errorf("copied %q, %v", names, err)
	}
}
