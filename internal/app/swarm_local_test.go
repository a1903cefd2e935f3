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

// TestLearnFromAnyTransfer tells a volunteer what a transfer without a swarm
// has put into its module, wherever it came from.
func TestLearnFromAnyTransfer(t *testing.T) {
	s := newSite(t)
	data := noise(1, 300_000)
	id := content.ID(sha256.Sum256(data))
	s.write("d/f", data)
	s.start()
	for name, from := range map[string][]string{
		"daemon": {"--swarm=off", s.url}, "delayed": {"--swarm=off", "--delay-updates", s.url}, "alone": {s.url}, "local": {s.path("srv") + "/"},
	} {
		state, tree := s.path("state-"+name), s.path("mirror-"+name)
		dir := statedir.Index(state, statedir.Volunteer, "m")
		for _, d := range []string{dir, tree} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
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
		// The way there leads through a link.
		if err := os.Symlink(tree, tree+"-link"); err != nil {
			t.Fatal(err)
		}
		c := s.command(append(append([]string{"-a"}, from...), tree+"-link/")...)
		c.Env = append(c.Env, stateDirVariable+"="+state)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		g, err := x.Absorb(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if g.ReadBytes != 0 {
			t.Errorf("%s: %d bytes were read again", name, g.ReadBytes)
		}
		l := openLocalContents([]string{state})
		if f := l.held(id); f == nil {
			t.Errorf("%s: not held after the transfer", name)
		} else {
			f.Close()
		}
		l.close()
	}
}
