package index

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestHideAndList(t *testing.T) {
	root := t.TempDir()
	for _, p := range []string{"a/b/one", "a/b0", "a.txt", "a/secret/two", "z", "a/b/private"} {
		p = filepath.Join(root, p)
		os.MkdirAll(filepath.Dir(p), 0o755)
		if err := os.WriteFile(p, []byte(p), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(root, "a/b/private"), 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := Open(t.TempDir(), Config{Root: root, Hide: func(path string, dir bool, mode, uid, gid uint32) bool {
		return dir && strings.HasSuffix(path, "secret") || !dir && mode&4 == 0
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for _, step := range []struct {
		name string
		scan func() (*Generation, error)
	}{
		{"scan", func() (*Generation, error) { return x.Scan(context.Background(), true) }},
		{"rescan", func() (*Generation, error) {
			os.WriteFile(filepath.Join(root, "a/secret/three"), []byte("3"), 0o644)
			return x.Rescan(context.Background(), true, []string{"a/secret/three", "a/secret", "a/b/private", "a/b/one"})
		}},
	} {
		if _, err := step.scan(); err != nil {
			t.Fatal(step.name, err)
		}
		r, err := x.Reader()
		if err != nil {
			t.Fatal(err)
		}
		for dir, want := range map[string][]string{"": {"a.txt", "a/", "z"}, "a": {"b/", "b0"}, "a/b": {"one"}} {
			l, err := r.List(dir)
			var got []string
			for _, e := range l {
				if e.Dir {
					e.Name += "/"
				}
				got = append(got, e.Name)
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: List(%q) = %q, %v; want %q", step.name, dir, got, err, want)
			}
		}
		for _, dir := range []string{"a/secret", "z", "a/b/one", "none"} {
			if l, err := r.List(dir); !errors.Is(err, ErrUnknown) || r.IsDir(dir) {
				t.Errorf("%s: List(%q) = %v, %v; want ErrUnknown", step.name, dir, l, err)
			}
		}
		r.Close()
	}
}
