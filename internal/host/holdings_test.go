package host

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/daemon"
	"github.com/prsync/prsync/internal/host/statedir"
	"github.com/prsync/prsync/internal/tracker/store"
)

// hub is what a central host keeps of one volunteer.
type hub struct {
	t *testing.T
	*store.Memory
}

func newHub(t *testing.T) *hub {
	h := &hub{t, store.New()}
	if _, err := h.PutVolunteer(context.Background(), store.Volunteer{Name: "edge1"}); err != nil {
		t.Fatal(err)
	}
	return h
}

// take answers an announce as the tracker does.
func (h *hub) take(m *content.Holdings) int64 {
	if m == nil {
		v, _ := h.PutVolunteer(context.Background(), store.Volunteer{Name: "edge1"})
		return v
	}
	v, err := h.Update(context.Background(), "edge1", m)
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

func (h *hub) holds(text string) bool {
	l, err := h.Holders(context.Background(), sha256.Sum256([]byte(text)), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return len(l) > 0
}

func TestHoldings(t *testing.T) {
	dir := t.TempDir()
	put := func(p, text string) {
		p = filepath.Join(dir, p)
		os.MkdirAll(filepath.Dir(p), 0o755)
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("conf", "log file = "+dir+"/log\n[a]\npath = "+dir+"/a\n[b]\npath = "+dir+"/b\n")
	put("a/1", "one")
	put("b/1", "one")
	put("b/2", "two")
	o := &Options{Config: filepath.Join(dir, "conf")}
	o.setDefaults()
	open := func() *modules {
		ms := &modules{role: statedir.Volunteer, state: filepath.Join(dir, "state"), o: o, newer: func() {}}
		f, err := daemon.LoadConfig(o.daemonConfig())
		if err != nil {
			t.Fatal(err)
		}
		set := &moduleSet{file: f, gate: daemon.NewGate(o.daemonConfig(), f), byName: map[string]*module{}}
		for _, c := range f.Modules {
			tr, err := openTree(c, statedir.Index(ms.state, ms.role, c.Name), false, set.gate, o)
			if err != nil {
				t.Fatal(err)
			}
			set.byName[c.Name] = &module{tr, c}
			set.names = append(set.names, c.Name)
		}
		ms.set.Store(set)
		return ms
	}
	ms := open()
	scan := func(names ...string) {
		for _, n := range names {
			if _, err := ms.get(n).scan(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	scan("a", "b")
	file := filepath.Join(dir, "announced.json")
	h, host := newHoldings(ms, file, "http://h", "edge1", slog.New(slog.DiscardHandler)), newHub(t)
	// round announces until there is nothing more to say.
	round := func() (sent int) {
		for range 30 {
			m := h.next()
			if m != nil {
				sent += len(m.Added)/32 + len(m.Dropped)/32
			}
			if !h.answered(host.take(m)) && m == nil {
				return sent
			}
		}
		t.Fatal("the announces do not come to an end")
		return
	}
	check := func(when string, sent, want int, held ...string) {
		t.Helper()
		if sent != want {
			t.Errorf("%s: %d contents were announced, want %d", when, sent, want)
		}
		for _, text := range []string{"one", "two", "three"} {
			if host.holds(text) != strings.Contains(strings.Join(held, " "), text) {
				t.Errorf("%s: the host knows %v of %s", when, host.holds(text), text)
			}
		}
	}
	check("first", round(), 3, "one", "two")
	check("nothing new", round(), 0, "one", "two")
	// Dropped from one module, still in the other.
	os.Remove(filepath.Join(dir, "a/1"))
	put("a/3", "three")
	scan("a")
	check("change", round(), 1, "one", "two", "three")
	os.Remove(filepath.Join(dir, "b/1"))
	scan("b")
	check("gone from both", round(), 1, "two", "three")

	// A restart goes on from there.
	ms.stop()
	ms = open()
	h = newHoldings(ms, file, "http://h", "edge1", slog.New(slog.DiscardHandler))
	check("restart", round(), 0, "two", "three")
	// Another host knows nothing.
	h = newHoldings(ms, file, "http://other", "edge1", slog.New(slog.DiscardHandler))
	host = newHub(t)
	check("another host", round(), 2, "two", "three")
	// The host forgets.
	host = newHub(t)
	check("host lost its state", round(), 2, "two", "three")
	// The index is lost: generations start again.
	ms.stop()
	if err := os.RemoveAll(statedir.Index(ms.state, ms.role, "a")); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, "a/3"))
	ms = open()
	defer ms.stop()
	h = newHoldings(ms, file, "http://other", "edge1", slog.New(slog.DiscardHandler))
	check("index lost", round(), 1, "two")
	// More than fits in one message.
	const many = 1010
	h.part = 100
	for i := range many {
		put(fmt.Sprintf("a/many/%d", i), fmt.Sprint("content ", i))
	}
	put("a/3", "three")
	scan("a")
	check("many", round(), many+1, "two", "three")
	if !host.holds("content 0") || !host.holds(fmt.Sprint("content ", many-1)) {
		t.Error("a part of a large statement is missing")
	}
}
