package index

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/prsync/prsync/internal/content"
)

// module is a tree and its index, both temporary.
type module struct {
	t   *testing.T
	dir string // the tree
	st  string // the state directory
	cfg Config
	*Index
}

func newModule(t *testing.T, cfg Config) *module {
	t.Helper()
	m := &module{t: t, dir: t.TempDir(), st: filepath.Join(t.TempDir(), "mod")}
	cfg.Root = m.dir
	m.cfg = cfg
	m.reopen()
	t.Cleanup(func() { m.Index.Close() })
	return m
}

func (m *module) reopen() {
	m.t.Helper()
	if m.Index != nil {
		m.Index.Close()
	}
	x, err := Open(m.st, m.cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.Index = x
}

func (m *module) write(path string, data []byte) {
	m.t.Helper()
	p := filepath.Join(m.dir, path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(p, data, 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *module) remove(path string) {
	m.t.Helper()
	if err := os.RemoveAll(filepath.Join(m.dir, path)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *module) scan(publish bool) *Generation {
	m.t.Helper()
	g, err := m.Scan(context.Background(), publish)
	if err != nil {
		m.t.Fatal(err)
	}
	return g
}

func (m *module) reader() *Reader {
	m.t.Helper()
	r, err := m.Reader()
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { r.Close() })
	return r
}

// noise returns n bytes that only seed decides.
func noise(seed, n int) []byte {
	b := make([]byte, 0, n+32)
	for i := 0; len(b) < n; i++ {
		s := sha256.Sum256(fmt.Append(nil, seed, i))
		b = append(b, s[:]...)
	}
	return b[:n]
}

// brute reads the whole tree the plain way.
func brute(t interface{ Fatal(...any) }, dir string) map[string]content.ID {
	all := map[string]content.ID{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		all[rel] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// verify compares the current generation with the tree, in every way that it
// can be asked, and every byte of every pack with its hashes.
func verify(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
	Helper()
}, x *Index, dir string, publish bool) {
	t.Helper()
	want := brute(t, dir)
	r, err := OpenReader(x.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, prev := map[string]content.ID{}, ""
	for e, err := range r.Entries("") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Path <= prev {
			t.Fatalf("%q after %q", e.Path, prev)
		}
		prev = e.Path
		got[e.Path] = e.ID
	}
	if !maps.Equal(got, want) {
		t.Fatalf("index has %v\ntree has %v", got, want)
	}
	if r.Len() != len(want) {
		t.Fatalf("Len is %d for %d paths", r.Len(), len(want))
	}
	names := map[content.ID][]string{}
	finder := r.Finder()
	for _, path := range slices.Sorted(maps.Keys(want)) {
		id := want[path]
		names[id] = append(names[id], path)
		for _, look := range []func(string) (Entry, error){r.Lookup, finder.Lookup} {
			e, err := look(path)
			if err != nil || e.ID != id || !e.Retired.IsZero() {
				t.Fatalf("%q: %+v, %v", path, e, err)
			}
			if e, err := look(path + "\x00"); !errors.Is(err, ErrUnknown) {
				t.Fatalf("%q with more: %+v, %v", path, e, err)
			}
		}
	}
	for id, paths := range names {
		list, err := r.Names(id, 0)
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, e := range list {
			have = append(have, e.Path)
		}
		if !slices.Equal(have, paths) {
			t.Fatalf("content %s has the names %q, want %q", id, have, paths)
		}
		c, err := r.Content(id)
		if err != nil || !c.Retired.IsZero() || c.InPack != (publish && c.Length > 0) {
			t.Fatalf("content %+v, %v", c, err)
		}
		checkData(t, r, c, filepath.Join(dir, paths[0]), x.cfg.SignFrom)
	}
	if n, _ := r.Contents(); n != len(names) {
		t.Fatalf("%d contents, want %d", n, len(names))
	}
	checkPacks(t, x, r, names)
}

func checkData(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
	Helper()
}, r *Reader, c Content, path string, signFrom int64) {
	t.Helper()
	sig, err := r.Signature(c.ID)
	if err != nil || (sig != nil) != c.Signed {
		t.Fatalf("signature of %q: %v, %v", path, sig, err)
	}
	if r.Publishes() && c.Signed != (c.Length >= signFrom) {
		t.Fatalf("%q of %d bytes is signed: %v", path, c.Length, c.Signed)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if sig != nil {
		s := newSigner(int64(len(b)))
		for part := range slices.Chunk(b, 1000) {
			s.write(part)
		}
		if !bytes.Equal(s.finish(), sig.Encode()) {
			t.Fatalf("signature of %q differs", path)
		}
	}
}

// checkPacks reads every pack and hashes it, and wants each live content in
// exactly one.
func checkPacks(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
	Helper()
}, x *Index, r *Reader, names map[content.ID][]string) {
	t.Helper()
	packs, err := r.Packs()
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range packs {
		p, err := x.Pack(info.InfoHash)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		if p.Length != info.Length || len(p.Entries) != info.Contents {
			t.Fatalf("pack %+v is %d long with %d contents", info, p.Length, len(p.Entries))
		}
		live, liveBytes := 0, int64(0)
		whole := true
		for _, e := range p.Entries {
			if e.Length >= p.PieceLength && e.Offset%p.PieceLength != 0 {
				t.Fatalf("content of %d bytes at %d", e.Length, e.Offset)
			}
			found, err := r.Locate([]content.ID{e.ID})
			if err != nil {
				t.Fatal(err)
			}
			here := found[0].OK && found[0].Pack == p.InfoHash
			if here && (found[0].Offset != e.Offset || found[0].Length != e.Length) {
				t.Fatalf("content %s located at %+v", e.ID, found[0])
			}
			if names[e.ID] == nil {
				whole = false
			} else if here {
				live++
				liveBytes += e.Length
			}
		}
		if live != info.Live || liveBytes != info.LiveBytes {
			t.Fatalf("pack %+v has %d live contents of %d bytes", info, live, liveBytes)
		}
		pr, err := x.PackReader(info.InfoHash)
		if err != nil {
			t.Fatal(err)
		}
		if whole {
			piece := make([]byte, p.PieceLength)
			for i := range p.NumPieces() {
				n, err := pr.ReadAt(piece[:p.PieceSize(i)], int64(i)*p.PieceLength)
				if err != nil {
					t.Fatal(err)
				}
				if sha1.Sum(piece[:n]) != [20]byte(p.Pieces[20*i:]) {
					t.Fatalf("piece %d of pack %s", i, p.InfoHash)
				}
			}
			if _, err := pr.ReadAt(piece[:1], p.Length); err != io.EOF {
				t.Fatalf("read at the end: %v", err)
			}
		}
		pr.Close()
	}
}

func TestScan(t *testing.T) {
	t.Parallel()
	for _, publish := range []bool{true, false} {
		t.Run(fmt.Sprint("publish=", publish), func(t *testing.T) {
			m := newModule(t, Config{PackSize: 3 << 20, KeepBelow: 100})
			m.write("a/empty", nil)
			m.write("a/x", noise(1, 10))
			m.write("a.x", noise(2, 1000))
			m.write("a-x/also empty", nil)
			m.write("\xff raw \x01/\n", noise(3, 5000))
			m.write("same", noise(2, 1000))
			for i := range 300 {
				m.write(fmt.Sprintf("many/%d/f%d", i%7, i), noise(100+i, 50+i*97%40000))
			}
			for i, n := range []int{128<<10 - 1, 128 << 10, 128<<10 + 1, 300 << 10, 1 << 20, 5 << 20} {
				m.write(fmt.Sprintf("large/%d", i), noise(1000+i, n))
			}
			if err := os.Symlink("a.x", filepath.Join(m.dir, "link")); err != nil {
				t.Fatal(err)
			}
			g := m.scan(publish)
			if g.Number != 1 || !g.Changed || g.NumSkipped != 0 {
				t.Errorf("first scan: %+v", g)
			}
			verify(t, m.Index, m.dir, publish)
			if g := m.scan(publish); g.Number != 1 || g.Changed || g.ReadFiles != 0 {
				t.Errorf("scan without a change: %+v", g)
			}
			m.reopen()
			m.write("many/0/new", noise(5000, 777))
			m.remove("many/1")
			m.write("same", noise(5001, 1000))
			m.write("large/4", noise(5002, 1<<20))
			if g := m.scan(publish); g.Number != 2 || g.ReadFiles != 3 {
				t.Errorf("scan with three changes: %+v", g)
			}
			verify(t, m.Index, m.dir, publish)
		})
	}
}
