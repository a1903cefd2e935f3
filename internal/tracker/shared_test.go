package tracker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker/store"
)

// TestTwoHosts has two hosts on one store: a volunteer announces to the first
// only, and both route by it.
func TestTwoHosts(t *testing.T) {
	shared := store.New()
	share := func(c *Config) { c.Store = shared }
	a, b := newFixture(t, share), newFixture(t, share)
	exchange := func(f *fixture) {
		t.Helper()
		if err := f.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	a.volunteer(t, "v1", "http://one", "a.deb")
	exchange(b)
	exchange(a)
	if w := b.do("GET", "/m/a.deb"); w.Code != 302 {
		t.Fatalf("the other host: %d", w.Code)
	}
	outstanding := func(f *fixture) float64 {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.vols["v1"].state.Outstanding(f.now)
	}
	for range 4 {
		a.do("GET", "/m/a.deb")
	}
	for range 3 { // nothing is counted twice however often they exchange
		exchange(a)
		exchange(b)
	}
	if x, y := outstanding(a), outstanding(b); x != 5000 || y != 5000 {
		t.Errorf("five customers of 1000 bytes: %g and %g are outstanding", x, y)
	}
	// Goodbye at one is goodbye at the other, until it is back.
	bye := &content.AnnounceRequest{PeerID: peerA, Name: "v1", URL: "http://one", Stopping: 1}
	if w := a.post("127.0.0.1:1", "v1", "s1", bye.Encode()); w.Code != 200 {
		t.Fatal(w.Code)
	}
	exchange(b)
	if w := b.do("GET", "/m/a.deb"); w.Code != 200 || strings.Contains(w.Header().Get("Link"), "duplicate") {
		t.Errorf("a stopped volunteer gets customers: %d", w.Code)
	}
	a.now = a.now.Add(time.Second)
	a.volunteer(t, "v1", "http://one", "a.deb")
	exchange(b)
	if w := b.do("GET", "/m/a.deb"); w.Code != 302 {
		t.Errorf("back again: %d", w.Code)
	}
	if err := shared.Forget(t.Context(), "v1"); err != nil {
		t.Fatal(err)
	}
	exchange(b)
	if n := len(b.vols); n != 0 {
		t.Errorf("%d volunteers after it was forgotten", n)
	}
}

// TestRestart: what a killed host knew is routed again as soon as the
// volunteer announces with the version it has, and not before.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	open := func() store.Store {
		s, err := store.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	newFixture(t, func(c *Config) { c.Store = open() }).volunteer(t, "v1", "http://one", "a.deb")
	f := newFixture(t, func(c *Config) { c.Store = open() })
	if err := f.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w := f.do("GET", "/m/a.deb"); w.Code != 200 {
		t.Errorf("before it announced: %d", w.Code)
	}
	req := &content.AnnounceRequest{PeerID: peerA, Name: "v1", URL: "http://one", Holdings: &content.Holdings{Base: 1, Version: 1}}
	w := f.post("127.0.0.1:1", "v1", "s1", req.Encode())
	if got, err := content.DecodeAnnounceReply(w.Body.Bytes()); err != nil || got.Holdings != 1 {
		t.Errorf("%+v %v", got, err)
	}
	if w := f.do("GET", "/m/a.deb"); w.Code != 302 {
		t.Errorf("after it announced: %d", w.Code)
	}
}

// failing is a store that has stopped answering.
type failing struct {
	store.Store
	asked int
}

func (f *failing) Holders(context.Context, content.ID, []string) ([]string, error) {
	f.asked++
	return nil, errors.New("connection refused")
}

// TestStoreDown: customers get their files from the host and do not wait for
// the store each time.
func TestStoreDown(t *testing.T) {
	s := &failing{Store: store.New()}
	f := newFixture(t, func(c *Config) { c.Store = s })
	for range 10 {
		if w := f.do("GET", "/m/a.deb"); w.Code != 200 {
			t.Errorf("%d", w.Code)
		}
	}
	if s.asked != 1 {
		t.Errorf("asked %d times at once", s.asked)
	}
	f.now = f.now.Add(storePause)
	f.do("GET", "/m/a.deb")
	if s.asked != 2 {
		t.Errorf("asked %d times after a pause", s.asked)
	}
}
