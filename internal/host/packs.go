package host

import (
	"errors"
	"io"
	"sync"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/index"
	"github.com/prsync/prsync/internal/p2p/origin"
)

// maxOpenPacks is how many packs are kept open, with up to 32 files each.
const maxOpenPacks = 16

// packCache keeps the packs that are asked for open: a swarm asks for the
// pieces of few packs, many times.
type packCache struct {
	ms *modules

	mu    sync.Mutex
	open  map[content.InfoHash]*openPack
	clock int64
}

type openPack struct {
	*index.PackReader
	cache *packCache
	tree  *tree
	used  int64
	busy  int
	stale bool // to be closed by the last user
}

func newPackCache(ms *modules) *packCache {
	return &packCache{ms: ms, open: map[content.InfoHash]*openPack{}}
}

// get opens a pack of a module that is in the swarm; its reader's Close
// returns it. It is an origin.Source.
func (c *packCache) get(h content.InfoHash) (*content.Pack, io.ReaderAt, error) {
	name, ok := catalog{c.ms}.Pack(h)
	m := c.ms.get(name)
	if !ok || m == nil {
		return nil, nil, origin.ErrUnknownPack
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	if p := c.open[h]; p != nil {
		if p.tree == m.tree {
			p.used = c.clock
			p.busy++
			return p.Pack(), &packUse{PackReader: p.PackReader, of: p}, nil
		}
		c.retire(h)
	}
	r, err := m.idx.Load().PackReader(h)
	if errors.Is(err, index.ErrUnknown) {
		err = origin.ErrUnknownPack
	}
	if err != nil {
		return nil, nil, err
	}
	for len(c.open) >= maxOpenPacks {
		var oldest content.InfoHash
		for k, p := range c.open {
			if o := c.open[oldest]; o == nil || p.used < o.used {
				oldest = k
			}
		}
		c.retire(oldest)
	}
	p := &openPack{PackReader: r, cache: c, tree: m.tree, used: c.clock, busy: 1}
	c.open[h] = p
	return r.Pack(), &packUse{PackReader: r, of: p}, nil
}

// retire takes a pack out; c.mu is held.
func (c *packCache) retire(h content.InfoHash) {
	p := c.open[h]
	delete(c.open, h)
	if p.stale = true; p.busy == 0 {
		p.PackReader.Close()
	}
}

// prune drops packs that are published no more, and tells forget of them.
func (c *packCache) prune(forget func(content.InfoHash)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for h := range c.open {
		if _, ok := (catalog{c.ms}).Pack(h); !ok {
			c.retire(h)
			forget(h)
		}
	}
}

// close releases all that nobody uses.
func (c *packCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for h := range c.open {
		c.retire(h)
	}
}

// packUse is one use of a pack.
type packUse struct {
	*index.PackReader
	of   *openPack
	once sync.Once
}

// Close ends the use.
func (u *packUse) Close() error {
	u.once.Do(func() {
		c := u.of.cache
		c.mu.Lock()
		defer c.mu.Unlock()
		if u.of.busy--; u.of.busy == 0 && u.of.stale {
			u.of.PackReader.Close()
		}
	})
	return nil
}
