package transfer

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/filter"
)

// One checksum after another costs the digest and nothing else: with a window
// of its own for each file, -c of small files took ten times rsync's CPU.
func TestFileSummerKeepsItsMemory(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	data := bytes.Repeat([]byte("0123456789abcdef"), 50_000)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, kind := range []checksum.Kind{checksum.XXH128, checksum.MD5} {
		var s fileSummer
		for _, n := range []int{0, 1, 1000, len(data), 17} {
			h := checksum.New(kind)
			h.Write(data[:n])
			if got, want := s.sum(f, int64(n), kind), h.Sum(nil); !bytes.Equal(got, want) {
				t.Errorf("%v of %d bytes: %x, want %x", kind, n, got, want)
			}
		}
		if n := testing.AllocsPerRun(20, func() { s.sum(f, 5000, kind) }); n > 2 {
			t.Errorf("%v: %v allocations per file", kind, n)
		}
	}
}

// What is put late is signalled by the maxLate-th item, by any other item, or
// by flush, and never gets lost.
func TestQueueLate(t *testing.T) {
	q := newQueue[int]()
	signalled := func() bool {
		select {
		case <-q.signal:
			return true
		default:
			return false
		}
	}
	for i := range maxLate {
		if signalled() {
			t.Fatalf("signalled after %d items", i)
		}
		q.putLate(i)
	}
	if !signalled() || len(q.take(nil)) != maxLate {
		t.Error("the last item did not signal all")
	}
	q.putLate(1)
	q.flush()
	if !signalled() {
		t.Error("flush did not signal")
	}
	if q.flush(); signalled() {
		t.Error("flush signalled nothing new")
	}
	q.putLate(2)
	q.put(3)
	if !signalled() || len(q.take(nil)) != 3 {
		t.Error("put did not signal what was late")
	}
	if q.flush(); signalled() {
		t.Error("what was taken is still late")
	}
}

// The rules of a module are asked for every entry, and allocate nothing for it.
func TestHiddenAllocatesNothing(t *testing.T) {
	rules, err := filter.ParseDaemon(filter.Config{}, filter.DaemonRules{Exclude: "*.bak /secret"})
	if err != nil {
		t.Fatal(err)
	}
	r := &Receiving{c: &Config{DaemonFilters: rules}, destPath: "/inner"}
	r.setHidden()
	for name, want := range map[string]bool{"a/file": false, "a/file.bak": true, "secret": false} {
		if got := r.daemonExcluded(name, false); got != want {
			t.Errorf("%s: hidden %v, want %v", name, got, want)
		}
		if n := testing.AllocsPerRun(20, func() { r.daemonExcluded(name, false) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if (&Receiving{c: &Config{}}).daemonExcluded("a", false) {
		t.Error("hidden without rules")
	}
}
