package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prsync/prsync/internal/daemon/conf"
)

func TestChrootAndUser(t *testing.T) {
	needRoot(t)
	h := start(t, `
uid = 1234
gid = 12, 34
[in]
path = DIR/m
[inner]
path = DIR/./m/sub
[no]
path = DIR/m
use chroot = no
numeric ids = yes
munge symlinks = no
[insecure]
path = DIR/m
use chroot = no
insecure links = yes
[root]
path = /
use chroot = no
[names]
path = DIR/m
numeric ids = no
[private]
path = DIR/private/m
use chroot = no
[var]
path = DIR/%RSYNC_MODULE_NAME%
[dotted]
path = DIR/m/./sub/
use chroot = no
`)
	os.MkdirAll(filepath.Join(h.dir, "private/m/x"), 0o755)
	os.Chmod(filepath.Join(h.dir, "private"), 0o700)
	os.MkdirAll(filepath.Join(h.dir, "var"), 0o755)
	type row struct {
		Dir, Cwd, FullPath                         string
		Chrooted, Inner, Secure, Munge, NumericIDs bool
		Names                                      string
	}
	all := "foo1 foo2 secret sub"
	for module, want := range map[string]row{
		"in":       {"/", "/", "DIR/m", true, false, false, false, true, all},
		"inner":    {"/m/sub", "/m/sub", "DIR/m/sub", true, true, true, true, true, "foo3"},
		"no":       {"DIR/m", "DIR/m", "DIR/m", false, true, true, false, true, all},
		"insecure": {"DIR/m", "DIR/m", "DIR/m", false, true, false, true, false, all},
		"root":     {"/", "/", "/", false, false, true, true, false, ""},
		"names":    {"/", "/", "DIR/m", true, false, false, false, false, all},
		"private":  {"DIR/private/m", "(unreachable)", "DIR/private/m", false, true, true, true, false, "x"},
		"var":      {"/", "/", "DIR/var", true, false, false, false, true, ""},
		"dotted":   {"DIR/m/sub", "DIR/m/sub", "DIR/m/sub", false, true, true, true, false, "foo3"},
	} {
		s := h.visit(t, module, "--server", "--sender", ".", module+"/")
		slices.Sort(s.RootNames)
		got := row{s.Dir, s.Cwd, s.FullPath, s.Chrooted, s.Inner, s.Secure, s.Munge, s.Numeric, strings.Join(s.RootNames, " ")}
		for _, p := range []*string{&want.Dir, &want.Cwd, &want.FullPath} {
			*p = strings.ReplaceAll(*p, "DIR", h.dir)
		}
		if module == "root" {
			got.Names = ""
		}
		if module == "private" {
			got.Cwd = want.Cwd // getcwd(2) may or may not work there
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("[%s] %s", module, d)
		}
		if s.UID != 1234 || s.GID != 12 || !slices.Equal(s.Groups, []int{12, 34}) {
			t.Errorf("[%s] runs as %d:%d %v", module, s.UID, s.GID, s.Groups)
		}
	}
}

func TestMungeNeedsNoMungedDirectory(t *testing.T) {
	needRoot(t)
	h := start(t, "[m]\npath = DIR/m\nmunge symlinks = yes\n")
	os.Mkdir(filepath.Join(h.dir, "m/rsyncd-munged"), 0o755)
	c := h.dial(t)
	c.line()
	c.send("%sm\n", hello)
	if got := c.rest(); got != "@ERROR: daemon security issue -- contact admin\n" {
		t.Errorf("%q", got)
	}
	h.wantLog(t, `Symlink munging is unsafe when a /rsyncd-munged directory exists\.`)
}

func TestForeignLinks(t *testing.T) {
	needRoot(t)
	h := start(t, "motd file = DIR/motd\n[link]\npath = DIR/link\nuse chroot = no\n[open]\npath = DIR/link\nuse chroot = no\ninsecure links = yes\n"+
		"[lock]\npath = DIR/m\nmax connections = 1\nlock file = DIR/lock\n[auth]\npath = DIR/m\nauth users = joe\nsecrets file = DIR/seclink\n")
	h.write(t, "realmotd", "leak\n")
	os.Chmod(h.write(t, "realsecrets", "joe:x\n"), 0o600)
	for name, to := range map[string]string{"motd": "realmotd", "link": "m", "lock": "victim", "seclink": "realsecrets"} {
		p := filepath.Join(h.dir, name)
		if err := os.Symlink(to, p); err != nil {
			t.Fatal(err)
		}
		os.Lchown(p, 4321, 4321)
	}
	for module, want := range map[string]string{"link": "@ERROR: chdir failed\n", "open": "", "lock": "@ERROR: failed to open lock file\n"} {
		c := h.dial(t)
		c.line()
		if l := c.line(); l != "" {
			t.Errorf("motd %q", l)
		}
		c.send("%s%s\n", hello, module)
		if want == "" {
			c.request("--server", ".", module+"/")
		} else if got := c.rest(); got != want {
			t.Errorf("[%s] %q", module, got)
		}
	}
	if _, err := os.Stat(filepath.Join(h.dir, "victim")); err == nil {
		t.Error("the lock file was made through a foreign link")
	}
	h.rsync(t, []string{"RSYNC_PASSWORD=x"}, fmt.Sprintf("rsync://joe@127.0.0.1:%d/auth/", h.port))
	h.wantLog(t, "auth failed on module auth from .* for joe: no secrets file")
}

func TestDaemonChroot(t *testing.T) {
	needRoot(t)
	h := start(t, "daemon chroot = DIR\ndaemon uid = 77\ndaemon gid = 78\n[m]\npath = /m\n[host]\npath = /m\nreverse lookup = yes\nhosts deny = localhost\nforward lookup = no\n")
	s := h.visit(t, "m", "--server", "--sender", ".", "m/sub/")
	if s.UID != 77 || s.GID != 78 || s.FullPath != "/m" || s.Chrooted {
		t.Errorf("%+v", s)
	}
	c := h.dial(t)
	c.line()
	c.send("%shost\n", hello)
	if got := c.rest(); got != "@ERROR: access denied to host from localhost (127.0.0.1)\n" {
		t.Errorf("the name was not known after the chroot: %q", got)
	}
}

func TestIdentity(t *testing.T) {
	me := os.Getuid()
	for _, tc := range []struct {
		uid, gid string
		root     bool
		want     identity
		problem  string
	}{
		{"", "", true, identity{uid: 99, set: true, gids: []int{98}}, ""},
		{"", "", false, identity{uid: me}, ""},
		{"joe", "*", true, identity{uid: 7, set: true, gids: []int{70, 80}}, ""},
		{"joe", "*, 5", true, identity{uid: 7, set: true, gids: []int{70, 80, 5}}, ""},
		{"12", ",Some Group, staff", true, identity{uid: 12, set: true, gids: []int{80, 70}}, ""},
		{"stranger", "", true, identity{uid: me}, "invalid uid stranger"},
		{"joe", "strangers", true, identity{uid: 7, set: true}, "invalid gid strangers"},
		{"99999999999", "", true, identity{uid: me}, "invalid uid 99999999999"},
	} {
		got, problem, err := moduleIdentity(&conf.Module{UID: tc.uid, GID: tc.gid}, tc.root, fakeUsers{})
		if problem != tc.problem || (err != nil) != (tc.problem != "") {
			t.Errorf("%+v: problem %q, %v", tc, problem, err)
		}
		if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(identity{})); d != "" {
			t.Errorf("%+v: %s", tc, d)
		}
	}
}

func TestPaths(t *testing.T) {
	for _, tc := range []struct{ in, sanitized, cleaned string }{
		{"", ".", "."}, {"/", ".", "/"}, {"a", "a", "a"}, {"/a/", "a/", "/a/"}, {"a//b", "a/b", "a/b"},
		{"./a", "./a", "./a"}, {"a/./b", "a/./b", "a/./b"}, {"a/.", "a/.", "a/."}, {"/a/./b", "a/./b", "/a/./b"}, {"a/..", ".", "."}, {"../a", "a", "../a"},
		{"a/b/..", "a/", "a/"}, {"a/b/../", "a/", "a/"}, {"/../../etc", "etc", "/etc"}, {"a/../../b", "b", "../b"},
		{"..", ".", ".."}, {"/..", ".", "/"}, {"a/./../b", "a/b", "a/b"}, {"...", "...", "..."}, {"/./..", ".", "/"},
	} {
		if got := tidyPath(tc.in, true); got != tc.sanitized {
			t.Errorf("tidyPath(%q, true) = %q, want %q", tc.in, got, tc.sanitized)
		}
		if got := tidyPath(tc.in, false); got != tc.cleaned {
			t.Errorf("tidyPath(%q, false) = %q, want %q", tc.in, got, tc.cleaned)
		}
	}
}

func FuzzTidyPath(f *testing.F) {
	f.Add("a/../../b/./c/")
	f.Fuzz(func(t *testing.T, s string) {
		out := tidyPath(s, true)
		if strings.HasPrefix(out, "/") || slices.Contains(strings.Split(out, "/"), "..") || tidyPath(out, true) != out {
			t.Errorf("tidyPath(%q, true) = %q", s, out)
		}
		if strings.HasPrefix(s, "/") && slices.Contains(strings.Split(tidyPath(s, false), "/"), "..") {
			t.Errorf("tidyPath(%q, false) = %q", s, tidyPath(s, false))
		}
	})
}

// treeFS is a GlobFS of names; directories end in a slash.
type treeFS []string

func (f treeFS) Names(dir string) ([]string, error) {
	dir = strings.Trim(strings.ReplaceAll(dir, "./", ""), "/")
	var out []string
	for _, n := range f {
		if filepath.Dir(strings.TrimSuffix(n, "/")) == filepath.Clean(dir) {
			out = append(out, filepath.Base(n))
		}
	}
	if out == nil {
		return nil, os.ErrNotExist
	}
	return out, nil
}

func (f treeFS) IsDir(name string) (bool, error) {
	name = strings.Trim(strings.ReplaceAll(name, "./", ""), "/")
	for _, n := range f {
		if strings.TrimSuffix(n, "/") == name {
			return strings.HasSuffix(n, "/"), nil
		}
	}
	return false, os.ErrNotExist
}

func TestGlob(t *testing.T) {
	tree := treeFS{"a1", "a2", "b", "d/", "d/x", "d/y", "e/", "e/x", "secret/", "secret/x", ".hidden"}
	hidden := func(name string, isDir bool) bool { return name == "secret" || name == "d/y" }
	for _, tc := range []struct{ pattern, want string }{
		{"/a*", "a1 a2"}, {"/a?", "a1 a2"}, {"/a[12]", "a1 a2"}, {"/z*", "z*"}, {"/a", "a"}, {"/*/x", "d/x e/x"},
		{"/d/*", "d/x"}, {"/*/", "d/ e/"}, {"/secret/*", "secret/*"}, {"/secret/x", "secret/x"}, {"/", "."}, {"/a1/", "a1/"},
		{"/*", ".hidden a1 a2 b d e"}, {"/../*1", "a1"},
	} {
		g := &globber{fs: tree, excluded: hidden, sanitize: true}
		got, err := g.expand(tc.pattern)
		if strings.Join(got, " ") != tc.want || err != nil {
			t.Errorf("%q: %q, %v; want %q", tc.pattern, got, err, tc.want)
		}
	}
	g := &globber{fs: tree, excluded: hidden, sanitize: true}
	if got, _ := g.expand("/d/./*"); strings.Join(got, " ") != "d/./x" {
		t.Errorf("with a dot directory inside: %q", got)
	}
	g = &globber{fs: tree, excluded: hidden}
	if got, _ := g.expand("/./d/*"); strings.Join(got, " ") != "/./d/x" {
		t.Errorf("with a dot directory: %q", got)
	}
}
