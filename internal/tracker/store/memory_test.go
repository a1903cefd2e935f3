package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker/store"
	"github.com/prsync/prsync/internal/tracker/store/storetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return store.New() })
}

func TestMemoryOnDisk(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, t.TempDir()) })
}

func open(t *testing.T, dir string) *store.Memory {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func fill(t *testing.T, s *store.Memory) {
	t.Helper()
	for _, n := range []string{"a", "b"} {
		if _, err := s.PutVolunteer(t.Context(), store.Volunteer{Name: n, URL: "http://" + n, Seen: time.Unix(1, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range []struct {
		n string
		h content.Holdings
	}{
		{"a", content.Holdings{Version: 1, Added: storetest.IDs(0, 100)}},
		{"b", content.Holdings{Version: 5, Added: storetest.IDs(50, 150)}},
		{"a", content.Holdings{Base: 1, Version: 2, Dropped: storetest.IDs(10, 20)}},
	} {
		if _, err := s.Update(t.Context(), u.n, &u.h); err != nil {
			t.Fatal(err)
		}
	}
}

func check(t *testing.T, s *store.Memory) {
	t.Helper()
	for n, want := range map[int]int{5: 1, 15: 0, 60: 2, 120: 1, 200: 0} {
		h, err := s.Holders(t.Context(), storetest.ID(n), nil)
		if err != nil || len(h) != want {
			t.Errorf("content %d has holders %q, want %d", n, h, want)
		}
	}
	v, _ := s.Volunteers(t.Context())
	if len(v) != 2 || v[0].Version != 2 || v[0].Contents != 90 || v[1].Version != 5 || v[0].URL != "http://a" {
		t.Errorf("%+v", v)
	}
	for _, v := range v {
		if v.Confirmed {
			t.Errorf("%s is confirmed before it announced", v.Name)
		}
	}
}

// TestKilled opens the state dir of a store that was never closed.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	fill(t, open(t, dir))
	check(t, open(t, dir))
}

func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, open(t, dir))
	if n, _ := filepath.Glob(filepath.Join(dir, "*")); len(n) != 2 {
		t.Errorf("left over: %q", n)
	}
}

// TestTorn cuts and damages the files at every length: no panic, and never a
// wrong entry for the version that is stated.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	fill(t, open(t, dir))
	names, _ := filepath.Glob(filepath.Join(dir, "*.journal"))
	journal, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	snap, _ := os.ReadFile(filepath.Join(dir, "tracker.snapshot"))
	for cut := 0; cut < len(journal); cut += 37 {
		for _, damage := range []bool{false, true} {
			b := bytes.Clone(journal)
			if damage {
				b[cut] ^= 0x40
			} else {
				b = b[:cut]
			}
			d := t.TempDir()
			os.WriteFile(filepath.Join(d, filepath.Base(names[0])), b, 0o600)
			os.WriteFile(filepath.Join(d, "tracker.snapshot"), snap, 0o600)
			s, err := store.Open(d)
			if err != nil {
				t.Fatal(err)
			}
			vols, _ := s.Volunteers(t.Context())
			for _, v := range vols {
				h, _ := s.Holders(t.Context(), storetest.ID(15), nil)
				if v.Name == "a" && (v.Version == 2) == (len(h) == 1) && v.Version != 0 {
					t.Errorf("cut at %d: version %d with holders %q", cut, v.Version, h)
				}
			}
			s.Close()
		}
	}
	for cut := 0; cut < len(snap); cut += 7 {
		d := t.TempDir()
		b := bytes.Clone(snap)
		b[cut] ^= 1
		os.WriteFile(filepath.Join(d, "tracker.snapshot"), b, 0o600)
		s, err := store.Open(d)
		if s == nil || !errors.Is(err, store.ErrBadSnapshot) {
			t.Fatalf("damage at %d: %v", cut, err)
		}
		s.Close()
	}
}

func BenchmarkMemory(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) store.Store { return store.New() }, 1_000_000)
}

// BenchmarkMemorySize reports the bytes that a million contents with 40
// holders take.
func BenchmarkMemorySize(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := store.New()
		for v := range 40 {
			name := string(rune('A' + v))
			s.PutVolunteer(b.Context(), store.Volunteer{Name: name})
			for base := int64(0); base < 5; base++ {
				s.Update(b.Context(), name, &content.Holdings{Base: base, Version: base + 1, Added: storetest.IDs(int(base)*200000, int(base+1)*200000)})
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		runtime.KeepAlive(s)
	}
}
