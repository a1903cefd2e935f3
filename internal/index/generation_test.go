package index

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"pgregory.net/rapid"
)

// clock is a settable Config.Now that else follows the real one, which the
// change times of files come from.
type clock struct{ ahead time.Duration }

func (c *clock) now() time.Time { return time.Now().Add(c.ahead) }

func TestRetired(t *testing.T) {
	t.Parallel()
	var c clock
	m := newModule(t, Config{Grace: time.Hour, Now: c.now})
	m.write("old", noise(1, 40000))
	m.write("stays", noise(2, 10))
	m.write("ballast", noise(9, 100000))
	m.write("in place", noise(3, 20))
	first := m.scan(true)
	gone, replaced := brute(t, m.dir)["old"], brute(t, m.dir)["in place"]
	m.remove("old")
	m.write("in place", noise(4, 21))
	if g := m.scan(true); g.Dropped != 2 || g.Added != 1 || first.Added != 4 {
		t.Errorf("first %+v\nsecond %+v", first, g)
	}
	r := m.reader()
	e, err := r.Lookup("old")
	if err != nil || e.ID != gone || e.Retired.IsZero() {
		t.Errorf("retired path: %+v, %v", e, err)
	}
	for _, id := range []content.ID{gone, replaced} {
		if d, err := r.Content(id); err != nil || d.Retired.IsZero() || !d.InPack {
			t.Errorf("retired content: %+v, %v", d, err)
		}
		if n, err := r.Names(id, 0); err != nil || len(n) != 0 {
			t.Errorf("names of a retired content: %v, %v", n, err)
		}
	}
	if s, err := r.Signature(gone); err != nil || s == nil {
		t.Errorf("signature of a retired content: %v, %v", s, err)
	}
	verify(t, m.Index, m.dir, true)

	// It comes back under another name, and is not read into another pack.
	where, _ := m.Locate([]content.ID{gone})
	m.write("new name", noise(1, 40000))
	if g := m.scan(true); g.Added != 1 || g.Dropped != 0 {
		t.Errorf("revived: %+v", g)
	}
	if again, _ := m.Locate([]content.ID{gone}); !slices.Equal(where, again) || !where[0].OK {
		t.Errorf("located at %v, then at %v", where, again)
	}
	c.ahead = 2 * time.Hour
	m.write("stays", noise(5, 11))
	m.scan(true)
	r = m.reader()
	if e, err := r.Lookup("old"); !errors.Is(err, ErrUnknown) {
		t.Errorf("after its grace: %+v, %v", e, err)
	}
	if d, err := r.Content(replaced); !errors.Is(err, ErrUnknown) {
		t.Errorf("after its grace: %+v, %v", d, err)
	}
	verify(t, m.Index, m.dir, true)
}

func TestSmallFilesAreThoseOfTheGeneration(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{KeepBelow: 100})
	m.write("dists/InRelease", noise(1, 5000))
	m.write("copy of it", noise(1, 5000))
	m.write("dists/empty/Packages", nil)
	m.write("little", noise(2, 99))
	m.write("not so little", noise(3, 100))
	m.scan(true)
	r := m.reader()
	m.write("dists/InRelease", noise(4, 6000))
	if e, b, ok := r.Small("dists/InRelease"); !ok || !bytes.Equal(b, noise(1, 5000)) || e.Size != 5000 {
		t.Errorf("%+v, %d bytes, %v", e, len(b), ok)
	}
	if _, b, ok := r.Small("dists/empty/Packages"); !ok || len(b) != 0 {
		t.Errorf("empty: %d bytes, %v", len(b), ok)
	}
	if _, b, ok := r.Small("little"); !ok || len(b) != 99 {
		t.Errorf("little: %d bytes, %v", len(b), ok)
	}
	for _, p := range []string{"not so little", "nowhere"} {
		if _, _, ok := r.Small(p); ok {
			t.Errorf("%q is kept", p)
		}
	}
	m.scan(true)
	if _, b, ok := r.Small("dists/InRelease"); !ok || !bytes.Equal(b, noise(1, 5000)) {
		t.Error("the old generation lost its bytes to the new one")
	}
	if _, b, ok := m.reader().Small("dists/InRelease"); !ok || !bytes.Equal(b, noise(4, 6000)) {
		t.Error("the new generation does not have its own")
	}
	// A larger bound keeps what is there already.
	m.cfg.KeepBelow = 101
	m.reopen()
	m.scan(true)
	if _, b, ok := m.reader().Small("not so little"); !ok || !bytes.Equal(b, noise(3, 100)) {
		t.Error("a larger bound changes nothing")
	}
	if g := m.scan(true); g.Changed {
		t.Errorf("and again: %+v", g)
	}
	// What left the tree is there for those who come with a name from before.
	m.remove("little")
	m.scan(true)
	if e, b, ok := m.reader().Small("little"); !ok || !bytes.Equal(b, noise(2, 99)) || e.Retired.IsZero() {
		t.Errorf("removed: %+v, %d bytes, %v", e, len(b), ok)
	}
	verify(t, m.Index, m.dir, true)
}

func TestIndexFiles(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"InRelease": true, "Release": true, "Release.gpg": true, "Packages": true, "Packages.xz": true, "Sources.gz": true,
		"repomd.xml": true, "core.db": true, "extra.files": true, "APKINDEX.tar.gz": true,
		"x.deb": false, "InRelease.txt": false, "primary.xml.gz": false, "db": false,
	} {
		if IsIndexFile(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestPackReaderRefusesChangedFiles(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(m *module){
		"rewritten": func(m *module) { m.write("f", noise(9, 200000)) },
		"touched":   func(m *module) { os.Chtimes(filepath.Join(m.dir, "f"), time.Time{}, time.Unix(1, 0)) },
		"truncated": func(m *module) { os.Truncate(filepath.Join(m.dir, "f"), 5) },
		"removed":   func(m *module) { m.remove("f") },
		"link": func(m *module) {
			os.Rename(filepath.Join(m.dir, "f"), filepath.Join(m.dir, "g"))
			os.Symlink("g", filepath.Join(m.dir, "f"))
		},
	} {
		for _, early := range []bool{false, true} {
			m := newModule(t, Config{})
			m.write("f", noise(1, 200000))
			m.write("other", noise(2, 1000))
			m.scan(true)
			at, err := m.Locate([]content.ID{brute(t, m.dir)["f"]})
			if err != nil || !at[0].OK {
				t.Fatal(at, err)
			}
			r, err := m.PackReader(at[0].Pack)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1000)
			if early { // the file is open already when it changes
				if _, err := r.ReadAt(b, at[0].Offset+10); err != nil || !bytes.Equal(b, noise(1, 1010)[10:]) {
					t.Fatal(err)
				}
			}
			change(m)
			if n, err := r.ReadAt(b, at[0].Offset); n != 0 || !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "f") {
				t.Errorf("%s: %d bytes, %v", name, n, err)
			}
			r.Close()
			if _, err := r.ReadAt(b, 0); err == nil {
				t.Error("reads after Close")
			}
		}
	}
}

func TestPackReaderTakesAnotherName(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	m.write("f", noise(1, 2000))
	m.write("z/f", noise(1, 2000))
	m.scan(true)
	at, _ := m.Locate([]content.ID{brute(t, m.dir)["f"]})
	m.remove("f")
	r, err := m.PackReader(at[0].Pack)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := make([]byte, 2000)
	if _, err := r.ReadAt(b, at[0].Offset); err != nil || !bytes.Equal(b, noise(1, 2000)) {
		t.Error(err)
	}
}

func TestRepack(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{PackSize: 1 << 20, Grace: -1})
	for i := range 20 {
		m.write(fmt.Sprintf("f%02d", i), noise(i, 100000))
	}
	if g := m.scan(true); g.Packs != 2 {
		t.Fatalf("%d packs", g.Packs)
	}
	for i := range 6 {
		m.remove(fmt.Sprintf("f%02d", i))
	}
	m.scan(true)
	g := m.scan(true) // the pack is mostly dead since the scan before
	if !g.Changed || g.ReadFiles == 0 || g.ReadFiles > 6 || g.Packs != 2 || g.Added+g.Dropped != 0 {
		t.Errorf("%+v", g)
	}
	packs, _ := m.reader().Packs()
	for _, p := range packs {
		if p.Live != p.Contents {
			t.Errorf("%+v", p)
		}
	}
	if g := m.scan(true); g.Changed {
		t.Errorf("%+v", g)
	}
	verify(t, m.Index, m.dir, true)
}

const tiny = 6 // Config.tiny in tests

func TestTinyPacksAndDataFilesAreJoined(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{KeepBelow: 1000, tiny: tiny})
	for i := range tiny + 1 {
		m.write(fmt.Sprint("f", i), noise(i, 500))
		m.scan(true)
	}
	m.write("g", noise(1000, 500))
	if g := m.scan(true); g.Packs != 1 {
		t.Errorf("%+v", g)
	}
	m.write("h", noise(1001, 500))
	m.scan(true) // what the generation before last referred to is gone now
	if list, _ := filepath.Glob(filepath.Join(m.st, "data-*")); len(list) > 5 {
		t.Errorf("%d data files", len(list))
	}
	for i := range tiny + 1 {
		if _, b, ok := m.reader().Small(fmt.Sprint("f", i)); !ok || !bytes.Equal(b, noise(i, 500)) {
			t.Errorf("f%d: %d bytes, %v", i, len(b), ok)
		}
	}
	verify(t, m.Index, m.dir, true)
}

func TestTinyDataFilesAreJoined(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{KeepBelow: 1000, PackSize: 1000, tiny: tiny}) // no pack is tiny
	const n = tiny + 3
	for i := range n {
		m.write(fmt.Sprint("f", i), noise(i, 500))
		m.scan(true)
	}
	if list, _ := filepath.Glob(filepath.Join(m.st, "data-*")); len(list) > 5 {
		t.Errorf("%d data files", len(list))
	}
	r := m.reader()
	for i := range n {
		if _, b, ok := r.Small(fmt.Sprint("f", i)); !ok || !bytes.Equal(b, noise(i, 500)) {
			t.Errorf("f%d: %d bytes, %v", i, len(b), ok)
		}
	}
	verify(t, m.Index, m.dir, true)
}

func TestDataFilesAreCompacted(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{Grace: -1, KeepBelow: 10000})
	for i := range 40 {
		m.write(fmt.Sprint("f", i), noise(i, 5000))
	}
	m.scan(true)
	for i := range 30 {
		m.write(fmt.Sprint("f", i), noise(i, 10))
	}
	m.scan(true)
	m.scan(true)
	m.write("x", nil)
	m.scan(true)
	var total int64
	list, _ := filepath.Glob(filepath.Join(m.st, "data-*"))
	for _, f := range list {
		fi, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += fi.Size()
	}
	if total > 80000 {
		t.Errorf("%d bytes in %d data files for 50000 that are alive", total, len(list))
	}
	r := m.reader()
	for i := range 40 {
		if _, b, ok := r.Small(fmt.Sprint("f", i)); !ok || !bytes.Equal(b, noise(i, len(b))) || len(b) < 10 {
			t.Errorf("f%d: %d bytes, %v", i, len(b), ok)
		}
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	m.write("ok", noise(1, 10))
	m.write("secret", noise(2, 10))
	os.Chmod(filepath.Join(m.dir, "secret"), 0)
	if f, err := os.Open(filepath.Join(m.dir, "secret")); err == nil {
		f.Close()
		t.Skip("root reads everything: run as another user")
	}
	g := m.scan(true)
	if g.Entries != 1 || len(g.Skipped) != 1 || g.Skipped[0].Path != "secret" || !errors.Is(g.Skipped[0].Err, os.ErrPermission) {
		t.Errorf("%+v", g)
	}
	if g := m.scan(true); g.Changed || len(g.Skipped) != 1 {
		t.Errorf("again: %+v", g)
	}
}

func TestUnstable(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	m.write("f", noise(1, 1000))
	// The clock is asked between the open and the read of a file: an instant
	// at which to change it, every time.
	tries := 0
	m.Index.cfg.Now = func() time.Time {
		if tries > 0 {
			m.write("f", noise(tries, 1000+tries))
		}
		tries++
		return time.Now().Add(time.Second)
	}
	g := m.scan(true)
	if tries != 1+attempts || g.Entries != 0 || g.NumSkipped != 1 || !errors.Is(g.Skipped[0].Err, errUnstable) {
		t.Errorf("%d tries, %+v", tries, g)
	}
	tries = -1 // changes at the first attempt only
	m.Index.cfg.Now = func() time.Time {
		if tries++; tries == 1 {
			m.write("f", noise(7, 300000))
		}
		return time.Now().Add(time.Second)
	}
	if g := m.scan(true); g.Entries != 1 || g.NumSkipped != 0 {
		t.Errorf("%+v", g)
	}
	verify(t, m.Index, m.dir, true)
}

func TestCancelledScan(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	for i := range 100 {
		m.write(fmt.Sprint("f", i), noise(i, 10000))
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	m.Index.cfg.Now = func() time.Time {
		if n++; n == 20 {
			cancel()
		}
		return time.Now().Add(time.Second)
	}
	m.Index.cfg.Workers = 1
	if _, err := m.Scan(ctx, true); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if m.Generation() != 0 {
		t.Error("a generation was made")
	}
	m.scan(true)
	verify(t, m.Index, m.dir, true)
}

func TestStateDirInTheTree(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	m.Index.Close()
	m.st = filepath.Join(m.dir, ".state")
	m.reopen()
	m.write("f", noise(1, 10))
	for range 2 {
		if g := m.scan(true); g.Entries != 1 || g.Number != 1 {
			t.Errorf("%+v", g)
		}
	}
}

// TestRandomTrees changes a tree at random and wants the index to equal what
// reading everything finds, whichever way it was brought up to date.
func TestRandomTrees(t *testing.T) {
	t.Parallel()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		flag.Set("rapid.checks", "25") // each waits for the kernel's clock to tick
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		tree := filepath.Join(dir, "t")
		os.Mkdir(tree, 0o755)
		publish := rapid.Bool().Draw(rt, "publish")
		grace := rapid.SampledFrom([]time.Duration{-1, time.Hour}).Draw(rt, "grace")
		x, err := Open(filepath.Join(dir, "s"), Config{Root: tree, PackSize: 256 << 10, Grace: grace, KeepBelow: 200, Workers: 8})
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { x.Close() }()
		name := rapid.SampledFrom([]string{"a", "b", "a.b", "a-b", "\xff", "c"})
		path := rapid.Custom(func(t *rapid.T) string {
			return filepath.Join(rapid.SliceOfN(name, 1, 3).Draw(t, "names")...)
		})
		var dirty []string
		linked := false
		// scanLinked is for what Rescan is not told: a name that goes, or a new
		// one, changes the ctime of the file's other names.
		scanLinked := func(rt *rapid.T) {
			if !linked {
				return
			}
			dirty = nil
			if _, err := x.Scan(context.Background(), publish); err != nil {
				rt.Fatal(err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(rt *rapid.T) {
				p := path.Draw(rt, "path")
				dirty = append(dirty, p)
				full := filepath.Join(tree, p)
				os.MkdirAll(filepath.Dir(full), 0o755)
				size := rapid.SampledFrom([]int{0, 1, 150, 3000, 20000, 131071, 131072, 140000}).Draw(rt, "size")
				os.WriteFile(full, noise(rapid.IntRange(1, 3).Draw(rt, "seed"), size), 0o644)
				scanLinked(rt)
			},
			"remove": func(rt *rapid.T) {
				p := path.Draw(rt, "path")
				dirty = append(dirty, p)
				os.RemoveAll(filepath.Join(tree, p))
				scanLinked(rt)
			},
			"rename": func(rt *rapid.T) {
				p, q := path.Draw(rt, "from"), path.Draw(rt, "to")
				dirty = append(dirty, p, q)
				os.Rename(filepath.Join(tree, p), filepath.Join(tree, q))
				scanLinked(rt)
			},
			"link": func(rt *rapid.T) {
				p, q := path.Draw(rt, "from"), path.Draw(rt, "to")
				linked = true
				os.Link(filepath.Join(tree, p), filepath.Join(tree, q))
				scanLinked(rt)
			},
			"scan": func(rt *rapid.T) {
				dirty = nil
				if _, err := x.Scan(context.Background(), publish); err != nil {
					rt.Fatal(err)
				}
				verify(rt, x, tree, publish)
			},
			"rescan": func(rt *rapid.T) {
				if _, err := x.Rescan(context.Background(), publish, dirty); err != nil {
					rt.Fatal(err)
				}
				dirty = nil
				verify(rt, x, tree, publish)
			},
			"reopen": func(rt *rapid.T) {
				cfg := x.cfg
				x.Close()
				if x, err = Open(filepath.Join(dir, "s"), cfg); err != nil {
					rt.Fatal(err)
				}
			},
		})
	})
}
