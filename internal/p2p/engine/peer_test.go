package engine

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/swarmtest"
)

// peer is an engine in this process with what was asked of it.
type peer struct {
	t testing.TB
	e *Engine
	d string
	// of what is fetched from now on
	waits bool

	mu sync.Mutex
	f  map[uint64]string
	// what is outstanding, and the last events
	open   map[uint64]bool
	ends   map[uint64]content.Event
	totals [3]int64
	done   chan struct{}
}

func newPeer(t testing.TB, cfg Config) *peer {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, e: e, d: t.TempDir(), f: map[uint64]string{}, open: map[uint64]bool{},
		ends: map[uint64]content.Event{}, done: make(chan struct{}, 1)}
	t.Cleanup(func() { e.Close() })
	return p
}

// join has the engine take part in a pack, at a host that does not answer.
func (p *peer) join(b *swarmtest.Blob) *pack {
	p.t.Helper()
	tr, err := p.e.trackerOf("http://127.0.0.1:1")
	if err != nil {
		p.t.Fatal(err)
	}
	pk, err := p.e.pack(b.Pack, tr)
	if err != nil {
		p.t.Fatal(err)
	}
	return pk
}

func (p *peer) event(ev content.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, n := range ev.Bytes {
		p.totals[i] += n
	}
	if ev.Done {
		p.ends[ev.Tag] = ev
		delete(p.open, ev.Tag)
		if len(p.open) == 0 {
			select {
			case p.done <- struct{}{}:
			default:
			}
		}
	}
}

// fetch asks for entry i of b; the file begins as given.
func (p *peer) fetch(o content.Offer, b *swarmtest.Blob, i int, begin []byte, have ...content.Range) *want {
	p.t.Helper()
	path := filepath.Join(p.d, fmt.Sprint(b.Pack.Name, i))
	if err := os.WriteFile(path, begin, 0o600); err != nil {
		p.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	en := b.Pack.Entries[i]
	p.mu.Lock()
	tag := uint64(len(p.f))
	p.f[tag] = path
	p.open[tag] = true
	p.mu.Unlock()
	w := &want{sink: p, tag: tag, id: en.ID, length: en.Length, waits: p.waits, file: f, have: have}
	c, err := p.e.catalog(o)
	if err != nil {
		p.t.Fatal(err)
	}
	c.add(w)
	return w
}

func (p *peer) fetchAll(o content.Offer, b *swarmtest.Blob) {
	for i := range b.Pack.Entries {
		p.fetch(o, b, i, nil)
	}
}

// wait blocks until everything asked for has ended.
func (p *peer) wait(d time.Duration) {
	p.t.Helper()
	timeout := time.After(d)
	for {
		p.mu.Lock()
		n := len(p.open)
		p.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-p.done:
		case <-timeout:
			for _, q := range p.e.allPacks() {
				p.t.Log(q.describe())
			}
			p.t.Fatalf("%d contents are not finished after %v", n, d)
		}
	}
}

// check verifies that every file asked for is right.
func (p *peer) check(b *swarmtest.Blob) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for tag, ev := range p.ends {
		if ev.Err != nil {
			p.t.Errorf("content %d: %v", tag, ev.Err)
			continue
		}
		got, err := os.ReadFile(p.f[tag])
		if err != nil {
			p.t.Fatal(err)
		}
		if b.Pack.Find(sha256.Sum256(got)) < 0 {
			p.t.Errorf("content %d: %d bytes that are none of the pack's", tag, len(got))
		}
	}
}

// describe tells what a pack is doing, for failed tests.
func (p *pack) describe() string {
	conns := p.t.PeerConns()
	p.mu.Lock()
	defer p.mu.Unlock()
	var incomplete, enabled, atOrigin, refused, mine int
	for i := range p.pieces {
		pc := &p.pieces[i]
		if pc.wanted > 0 && !pc.complete {
			incomplete++
			if pc.enabled {
				enabled++
			}
			if pc.origin {
				atOrigin++
			}
			if !pc.refused.IsZero() {
				refused++
			}
			if p.plan.mine[i] {
				mine++
			}
		}
	}
	return fmt.Sprintf("%s: left %d, pieces incomplete %d enabled %d origin %d refused %d mine %d, ids %d, conns %d, kicks %d",
		p.meta.Name, p.left, incomplete, enabled, atOrigin, refused, mine, len(p.plan.ids), len(conns), p.plan.kicks)
}
