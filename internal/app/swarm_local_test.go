package app

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/host/statedir"
	"github.com/prsync/prsync/internal/index"
)

// TestLearn tells a volunteer's index of a file, as a transfer into its module
// does, and finds it there afterwards.
func TestLearn(t *testing.T) {
	state, tree := t.TempDir(), t.TempDir()
	dir := statedir.Index(state, statedir.Volunteer, "m")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	reg := &statedir.Registry{URL: "http://central.example", Modules: []statedir.Module{{Name: "m", Path: tree, Index: dir}}}
	if err := statedir.Write(state, statedir.Volunteer, reg); err != nil {
		t.Fatal(err)
	}
	x, err := index.Open(dir, index.Config{Root: tree})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if _, err := x.Scan(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	data := noise(1, 300_000)
	id := content.ID(sha256.Sum256(data))
	if err := os.WriteFile(filepath.Join(tree, "f"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := fsroot.Open(tree, fsroot.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	st, err := root.Lstat("f")
	if err != nil {
		t.Fatal(err)
	}
	l := openLocalContents([]string{state})
	if l.held(id) != nil {
		t.Error("held before it was told")
	}
	l.learn(filepath.Join(tree, "f"), st, id)
	l.learn("/elsewhere/g", st, id)
	l.close()
	g, err := x.Absorb(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", g)
	if l = openLocalContents([]string{state}); l.held(id) == nil {
		t.Error("not held after it was told")
	}
	// A file that has changed since does not count.
	if err := os.WriteFile(filepath.Join(tree, "f"), data[1:], 0o644); err != nil {
		t.Fatal(err)
	}
	if l.held(id) != nil {
		t.Error("a changed file is held")
	}
	l.close()
}
