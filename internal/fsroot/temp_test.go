package fsroot

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

func TestTempPrefix(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, tt := range []struct{ base, hidden, plain string }{
		{"name", ".name", "name"},
		{"sub/dir/name", ".name", "name"},
		{".hidden", ".hidden", ".hidden"},
		{"..two", "..two", "..two"},
		{"dot.", ".dot", "dot"},
		{"dots..", ".dots.", "dots."},
		{x(246), "." + x(246), x(246)},
		{x(247), "." + x(246), x(246)},
		{x(255), "." + x(246), x(246)},
		// Cut amid a character: all bytes of a run of such characters go.
		{x(245) + "éé", "." + x(245), x(245)},
		{x(246) + "é", "." + x(246), x(246)},
		{x(244) + "é" + "yyyy", "." + x(244) + "é", x(244) + "é"},
		{strings.Repeat("é", 127), "", ""},
		{x(245) + ".yy", "." + x(245), x(245)},
	} {
		if got := TempPrefix(tt.base, true); got != tt.hidden {
			t.Errorf("TempPrefix(%q, hidden) = %q, want %q", tt.base, got, tt.hidden)
		}
		if got := TempPrefix(tt.base, false); got != tt.plain {
			t.Errorf("TempPrefix(%q, plain) = %q, want %q", tt.base, got, tt.plain)
		}
	}
}

func TestCreateTemp(t *testing.T) {
	top := t.TempDir()
	r := open(t, top, Policy{})
	must(t, r.Mkdir("d", 0755))
	for _, tt := range []struct{ dir, base, pattern string }{
		{"", "name", `^\.name\.[A-Za-z0-9]{6}$`},
		{".", "name", `^\.name\.[A-Za-z0-9]{6}$`},
		{"d", "name", `^d/\.name\.[A-Za-z0-9]{6}$`},
		{"d", strings.Repeat("n", 255), `^d/\.n{246}\.[A-Za-z0-9]{6}$`},
		{"d", "new\nline", "^d/\\.new\nline\\.[A-Za-z0-9]{6}$"},
		{"d", strings.Repeat("é", 127), `^d/\.[A-Za-z0-9]{6}$`},
	} {
		f, name, err := r.CreateTemp(tt.dir, tt.base, 0)
		if err != nil {
			t.Errorf("CreateTemp(%q, %q): %v", tt.dir, tt.base, err)
			continue
		}
		if !regexp.MustCompile(tt.pattern).MatchString(name) {
			t.Errorf("CreateTemp(%q, %q) made %q", tt.dir, tt.base, name)
		}
		if st, err := r.Lstat(name); err != nil || st.Perm() != 0600 {
			t.Errorf("%q has mode %o, %v", name, st.Perm(), err)
		}
		f.Close()
	}
	f, name, err := r.CreateTempPlain("d", "name", 0700)
	must(t, err)
	f.Close()
	if !strings.HasPrefix(name, "d/name.") {
		t.Errorf("CreateTempPlain made %q", name)
	}
	// A name that is taken, be it by a dangling symlink, is never opened.
	tries := 0
	name, err = r.CreateUnique("d", "link", func(name string) error {
		if tries++; tries < 3 {
			must(t, os.Symlink("/nowhere", top+"/"+name))
		}
		return r.Symlink("target", name)
	})
	if target, _ := r.Readlink(name); err != nil || tries != 3 || target != "target" {
		t.Errorf("after %d tries %q -> %q, %v", tries, name, target, err)
	}
	if _, err := r.CreateUnique("d", "x", func(string) error { return syscall.EEXIST }); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("with every name taken: %v", err)
	}
	if _, _, err := r.CreateTemp("missing", "x", 0); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("in a missing directory: %v", err)
	}
}
