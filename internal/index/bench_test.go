package index

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
)

var entries = flag.Int("entries", 100000, "files in the tree of the benchmarks")

// BenchmarkIndex builds one tree of -entries small files and measures what a
// host and a server process do with it. Run with -benchtime=1x; TMPDIR decides
// where the tree lies.
func BenchmarkIndex(b *testing.B) {
	dir, st := b.TempDir(), filepath.Join(b.TempDir(), "m")
	path := func(i int) string {
		return fmt.Sprintf("pool/%02d/package-%04d/package-%04d_%d.deb", i/100%50, i/100, i/100, i%100)
	}
	for i := range *entries {
		p := filepath.Join(dir, path(i))
		if i%100 == 0 {
			os.MkdirAll(filepath.Dir(p), 0o755)
		}
		if err := os.WriteFile(p, noise(i, 64), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	x, err := Open(st, Config{Root: dir})
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	scan := func(b *testing.B, read int) {
		b.Helper()
		g, err := x.Scan(context.Background(), true)
		if err != nil || g.ReadFiles != read || g.Entries != *entries {
			b.Fatalf("%+v, %v", g, err)
		}
	}
	each := func(name string, f func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			f(b)
			b.ReportMetric(resident(b, "VmHWM")/(1<<20), "peak-MB")
			b.ReportMetric(resident(b, "RssAnon")/(1<<20), "anon-MB")
		})
	}
	start := time.Now()
	scan(b, *entries)
	b.Logf("first scan: %v, at most %.0f MB resident", time.Since(start), resident(b, "VmHWM")/(1<<20))
	each("unchanged", func(b *testing.B) {
		for b.Loop() {
			scan(b, 0)
		}
	})
	seed := *entries
	each("publish-10", func(b *testing.B) {
		for b.Loop() {
			for i := range 10 {
				seed++
				os.WriteFile(filepath.Join(dir, path(i*97)), noise(seed, 65), 0o644)
			}
			scan(b, 10)
		}
	})
	each("rescan-10", func(b *testing.B) {
		for b.Loop() {
			var paths []string
			for i := range 10 {
				seed++
				os.WriteFile(filepath.Join(dir, path(i*97)), noise(seed, 65), 0o644)
				paths = append(paths, path(i*97))
			}
			if g, err := x.Rescan(context.Background(), true, paths); err != nil || g.ReadFiles != 10 {
				b.Fatalf("%+v, %v", g, err)
			}
		}
	})
	each("open-and-look-up", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			r, err := OpenReader(st)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := r.Lookup(path(i * 7919 % *entries)); err != nil {
				b.Fatal(err)
			}
			r.Close()
		}
	})
	r, err := OpenReader(st)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	each("look-up", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := r.Lookup(path(i * 7919 % *entries)); err != nil {
				b.Fatal(err)
			}
		}
	})
	var ids []content.ID
	each("walk", func(b *testing.B) {
		for b.Loop() {
			ids = ids[:0]
			for e, err := range r.Entries("") {
				if err != nil {
					b.Fatal(err)
				}
				ids = append(ids, e.ID)
			}
		}
	})
	each("locate-1000", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := r.Locate(ids[i*1000%(len(ids)-1000):][:1000]); err != nil {
				b.Fatal(err)
			}
		}
	})
	if fi, err := os.Stat(filepath.Join(st, generationName(r.Generation()))); err == nil {
		b.Logf("generation file: %d bytes, %d for each entry", fi.Size(), fi.Size()/int64(*entries))
	}
}

// resident reads a field of /proc/self/status in bytes.
func resident(b *testing.B, field string) float64 {
	s, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(s)) {
		var kb float64
		if n, _ := fmt.Sscanf(line, field+": %f kB", &kb); n == 1 {
			return kb * 1024
		}
	}
	return 0
}

// BenchmarkRead measures the one read of a large file: SHA-256, SHA-1 of its
// pieces and its signature.
func BenchmarkRead(b *testing.B) {
	const size = 256 << 20
	dir := b.TempDir()
	chunk := noise(1, 1<<20)
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		b.Fatal(err)
	}
	for range size >> 20 {
		f.Write(chunk)
	}
	f.Close()
	t, err := openTree(dir, "")
	if err != nil {
		b.Fatal(err)
	}
	defer t.close()
	var cfg Config
	cfg.setDefaults("x")
	b.SetBytes(size)
	for b.Loop() {
		j := reading{path: "f", cfg: &cfg, pieceLength: 256 << 10, done: make(chan struct{})}
		if j.run(context.Background(), t, time.Now); j.err != nil {
			b.Fatal(j.err)
		}
	}
}
