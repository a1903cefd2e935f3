package store

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// swarms holds the peers of every pack, sharded by info hash.
type swarms struct {
	shards [64]struct {
		mu sync.Mutex
		m  map[content.InfoHash]*swarm
	}
	n atomic.Int64 // swarms in all shards
}

// entry is the key of a peer in its swarm.
func (p *Peer) entry() string { return p.ID + p.IP }

type swarm struct {
	peers map[string]*member
	// down are the downloading ones, sorted by key: everyone is told the same.
	down  []*member
	seeds []*member // in no order
	done  int       // of completed downloads
	full  int       // peers with Left == 0
}

type member struct {
	Peer
	key uint64
	pos int // in seeds

	expires time.Time
}

func (s *swarms) init() {
	for i := range s.shards {
		s.shards[i].m = map[content.InfoHash]*swarm{}
	}
}

func (s *swarms) announce(u *Update, now time.Time) (Swarm, error) {
	sh := &s.shards[u.InfoHash[0]%64]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	w := sh.m[u.InfoHash]
	if w == nil {
		if u.Stopped {
			return Swarm{}, nil
		}
		if s.n.Add(1) > MaxSwarms {
			s.n.Add(-1)
			return Swarm{}, fmt.Errorf("pack %s: %w (%d packs)", u.InfoHash, ErrFull, MaxSwarms)
		}
		w = &swarm{peers: map[string]*member{}}
		sh.m[u.InfoHash] = w
	}
	var out Swarm
	if old := w.peers[u.Peer.entry()]; old != nil {
		out.Prev, out.Known = old.Peer, true
		if !u.Stopped && u.Peer.Left == 0 && old.Left > 0 {
			w.done++
		}
		w.remove(old)
	}
	if !u.Stopped {
		if len(w.peers) >= MaxPeersPerSwarm {
			return Swarm{}, fmt.Errorf("pack %s: %w (%d peers)", u.InfoHash, ErrFull, MaxPeersPerSwarm)
		}
		w.insert(&member{Peer: u.Peer, key: Order(u.Peer.ID), expires: now.Add(u.TTL)})
	}
	out.Peers = w.pick(u.Want, now)
	out.Complete, out.Incomplete = w.full, len(w.peers)-w.full
	if len(w.peers) == 0 && w.done == 0 {
		delete(sh.m, u.InfoHash)
		s.n.Add(-1)
	}
	return out, nil
}

func (w *swarm) search(m *member) (int, bool) {
	return slices.BinarySearchFunc(w.down, m, func(a, b *member) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.ID, b.ID), cmp.Compare(a.IP, b.IP))
	})
}

func (w *swarm) insert(m *member) {
	w.peers[m.entry()] = m
	if m.Left == 0 {
		w.full++
	}
	if m.Seed() {
		m.pos = len(w.seeds)
		w.seeds = append(w.seeds, m)
		return
	}
	i, _ := w.search(m)
	w.down = slices.Insert(w.down, i, m)
}

func (w *swarm) remove(m *member) {
	delete(w.peers, m.entry())
	if m.Left == 0 {
		w.full--
	}
	if m.Seed() {
		last := w.seeds[len(w.seeds)-1]
		w.seeds[m.pos], last.pos = last, m.pos
		w.seeds[len(w.seeds)-1] = nil
		w.seeds = w.seeds[:len(w.seeds)-1]
		return
	}
	if i, ok := w.search(m); ok {
		w.down = slices.Delete(w.down, i, i+1)
	}
}

// pick returns up to want connectable peers. Downloading ones come first but
// leave a quarter for seeds, where there are any.
func (w *swarm) pick(want int, now time.Time) []Peer {
	if want <= 0 {
		return nil
	}
	limit := max(want-min(len(w.seeds), want/4), 1)
	out := make([]Peer, 0, min(want, len(w.peers)))
	for _, m := range w.down {
		if len(out) == limit {
			break
		}
		if now.Before(m.expires) {
			out = append(out, m.Peer)
		}
	}
	// Seeds are drawn in place: the order among them carries no meaning.
	for i := range min(want-len(out), len(w.seeds)) {
		j := i + rand.IntN(len(w.seeds)-i)
		w.seeds[i], w.seeds[j] = w.seeds[j], w.seeds[i]
		w.seeds[i].pos, w.seeds[j].pos = i, j
		if m := w.seeds[i]; m.Port != 0 && now.Before(m.expires) {
			out = append(out, m.Peer)
		}
	}
	return out
}

func (s *swarms) scrape(h content.InfoHash) Counts {
	sh := &s.shards[h[0]%64]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	w := sh.m[h]
	if w == nil {
		return Counts{}
	}
	return Counts{Complete: w.full, Incomplete: len(w.peers) - w.full, Downloaded: w.done}
}

func (s *swarms) sweep(now time.Time) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for h, w := range sh.m {
			for _, m := range w.peers {
				if !now.Before(m.expires) {
					w.remove(m)
				}
			}
			if len(w.peers) == 0 {
				delete(sh.m, h)
				s.n.Add(-1)
			}
		}
		sh.mu.Unlock()
	}
}
