package engine

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p"
	"github.com/prsync/prsync/internal/p2p/origin"
	"github.com/prsync/prsync/internal/p2p/swarmtest"
)

// What a client seeds sleeps until a peer comes for it, and again afterwards;
// it is listed all the time, and the host is not needed to wake it.
func TestSeededPacksSleep(t *testing.T) {
	t.Run("open", func(t *testing.T) { testSleep(t, false) })
	t.Run("closed", func(t *testing.T) { testSleep(t, true) })
}

func testSleep(t *testing.T, closed bool) {
	b := swarmtest.NewBlob(80, 3*mb, 10_000)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	h.Closed.Store(closed)
	p := newPeer(t, Config{Sleep: true, Idle: 500 * time.Millisecond})
	socket := filepath.Join(t.TempDir(), "s")
	l, err := listenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { p.e.Serve(ctx, l) })
	defer serving.Wait()
	defer cancel()
	c, err := p2p.Dial(ctx, socket, p2p.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dir := t.TempDir()
	open := func(id content.ID) (*os.File, error) {
		i := b.Pack.Find(id)
		name := filepath.Join(dir, id.String())
		if err := os.WriteFile(name, b.Content(i), 0o600); err != nil {
			return nil, err
		}
		return os.Open(name)
	}
	if err := c.Seed(h.Offer(), b.Pack, func(int) bool { return true }, open); err != nil {
		t.Fatal(err)
	}
	state := func() (awake, asleep int) {
		p.e.mu.Lock()
		defer p.e.mu.Unlock()
		return len(p.e.packs), len(p.e.asleep)
	}
	sleeps := func() bool { awake, asleep := state(); return awake == 0 && asleep == 1 }
	waitFor(t, "the seed to be listed", func() bool { return h.Peers(b) == 1 })
	if !sleeps() {
		t.Error("a pack that nobody has asked for is awake")
	}
	h.OriginDead.Store(true)
	for range 2 {
		q := newPeer(t, Config{})
		q.fetchAll(h.Offer(), b)
		q.wait(40 * time.Second)
		q.check(b)
		if awake, asleep := state(); awake != 1 || asleep != 0 {
			t.Errorf("while a peer is there, %d packs are awake and %d asleep", awake, asleep)
		}
		q.e.Close()
		waitFor(t, "the pack to fall asleep", sleeps)
	}
	if n := h.Peers(b); n != 1 {
		t.Errorf("%d peers are listed, want the seed", n)
	}
	if err := c.Unseed(b.Pack.InfoHash); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the goodbye", func() bool { return h.Peers(b) == 0 })
	if awake, asleep := state(); awake != 0 || asleep != 0 {
		t.Errorf("%d packs are awake and %d asleep of which nothing is seeded", awake, asleep)
	}
}

// Packs that sleep cost next to nothing.
func BenchmarkAsleep(b *testing.B) {
	p := newPeer(b, Config{Sleep: true})
	tr, err := p.e.trackerOf("http://127.0.0.1:1")
	if err != nil {
		b.Fatal(err)
	}
	for n := range b.N {
		h := content.InfoHash{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}
		p.e.seedAsleep(tr, h, &sessionSeed{owner: &session{}, held: make([]byte, 10_000/8)})
	}
	b.ReportAllocs()
}
