package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestWatch(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	m := newModule(t, Config{Watch: WatchConfig{Settle: 30 * time.Millisecond, Interval: -1}})
	m.write("here/before", noise(1, 100))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	got := make(chan *Generation)
	ended := make(chan error, 1)
	go func() {
		ended <- m.Watch(ctx, true, func(g *Generation, err error) {
			if err != nil {
				t.Error(err)
				return
			}
			select {
			case got <- g:
			case <-ctx.Done():
			}
		})
	}()
	<-got
	// A scan may find the tree between two steps of a change; those after it
	// bring another.
	until := func(what string) {
		t.Helper()
		want := brute(t, m.dir)
		for {
			r := m.reader()
			same := r.Len() == len(want)
			for p, id := range want {
				e, err := r.Lookup(p)
				same = same && err == nil && e.ID == id && e.Retired.IsZero()
			}
			if same {
				return
			}
			select {
			case <-got:
			case <-ctx.Done():
				t.Fatalf("%s: never indexed", what)
			}
		}
	}
	m.write("here/new", noise(2, 100))
	until("a new file")
	m.write("here/before", noise(3, 200))
	until("a rewritten file")
	m.write("a/deep/new/tree/f", noise(4, 100))
	until("a new directory")
	m.write("a/deep/new/tree/g", noise(5, 100))
	until("a file in the new directory")
	if err := os.Rename(filepath.Join(m.dir, "a/deep"), filepath.Join(m.dir, "here/moved")); err != nil {
		t.Fatal(err)
	}
	until("a moved directory")
	m.write("here/moved/new/tree/h", noise(6, 100))
	until("a file in the moved directory")
	m.remove("here/moved")
	until("a removed directory")
	if err := os.WriteFile(filepath.Join(m.dir, ".tmp"), noise(7, 50), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(m.dir, ".tmp"), filepath.Join(m.dir, "here/new")); err != nil {
		t.Fatal(err)
	}
	until("a file renamed over another")
	verify(t, m.Index, m.dir, true)
	cancel()
	go func() {
		for range got {
		}
	}()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(got)
}

func TestWatchRescans(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{Watch: WatchConfig{Settle: time.Hour, Longest: time.Hour, Interval: 20 * time.Millisecond}})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	m.write("f", noise(1, 10))
	err := m.Watch(ctx, false, func(g *Generation, err error) {
		switch {
		case err != nil:
			t.Error(err)
		case g.Number == 1:
			m.write("f", noise(2, 11))
		case g.Number == 2:
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || m.Generation() != 2 {
		t.Errorf("generation %d, %v", m.Generation(), err)
	}
}

func TestDirtySet(t *testing.T) {
	t.Parallel()
	var d dirtySet
	if !d.empty() {
		t.Error("not empty")
	}
	d.add(change{path: "a"})
	d.add(change{path: "a"})
	d.add(change{path: "b"})
	if p := d.paths(); len(p) != 2 {
		t.Error(p)
	}
	for i := range maxDirty {
		d.add(change{path: fmt.Sprint(i)})
	}
	if d.paths() != nil || d.empty() {
		t.Error("not everything")
	}
}
