package statedir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRegistry(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir, Central); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("before any service: %v", err)
	}
	want := &Registry{URL: "http://h:1", Modules: []Module{{Name: "a", Path: "/srv/a", Index: "/i/a"}, {Name: "b", Path: "/srv/a/b", Index: "/i/b", Restricted: true}, {Name: "all", Path: "/", Index: "/i/all"}}}
	if err := os.Mkdir(filepath.Join(dir, "central"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, Central, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir, Central)
	if err != nil || !cmp.Equal(got, want) {
		t.Fatalf("read %v, %v", got, err)
	}
	for path, w := range map[string][2]string{
		"/srv/a": {"a", ""}, "/srv/a/x/y": {"a", "x/y"}, "/srv/a/b/y": {"b", "y"}, "/srv/ab": {"all", "srv/ab"}, "/": {"all", ""},
	} {
		m, rel, ok := got.Find(path)
		if !ok || m.Name != w[0] || rel != w[1] {
			t.Errorf("Find(%s) = %s, %q, %v", path, m.Name, rel, ok)
		}
	}
}

func TestPaths(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	for _, c := range []struct {
		euid int
		env  map[string]string
		want string
	}{
		{0, nil, "/var/lib/prsync"},
		{0, map[string]string{"PRSYNC_STATE_DIR": "/p/"}, "/p"},
		{1, map[string]string{"HOME": "/home/u"}, "/home/u/.local/state/prsync"},
		{1, map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "/s"}, "/s/prsync"},
		{1, map[string]string{"XDG_STATE_HOME": "relative"}, ""},
	} {
		if got, err := Default(c.euid, env(c.env)); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("Default(%d, %v) = %q, %v", c.euid, c.env, got, err)
		}
	}
	for module, want := range map[string]string{"fedora": "fedora", "a/b": "a%2Fb", "..": "%2E.", "%": "%25"} {
		if got := Index("/d", Central, module); got != "/d/central/index/"+want {
			t.Errorf("Index(%q) = %q", module, got)
		}
	}
}
