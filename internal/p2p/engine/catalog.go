package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// Times of the look-ups.
const (
	lookupTimeout = 20 * time.Second
	lookupGather  = 10 * time.Millisecond // wants that come together are looked up together
)

type catalogKey struct{ url, module string }

// catalog finds the packs of a module's contents.
type catalog struct {
	e      *Engine
	tr     *tracker
	module string

	mu      sync.Mutex
	pending []*want
	busy    bool
	packs   map[content.InfoHash]*pack
}

var errNotPublished = errors.New("the host does not publish this content to the swarm")

func (e *Engine) catalog(o content.Offer) (*catalog, error) {
	tr, err := e.trackerOf(o.URL)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	key := catalogKey{o.URL, o.Module}
	c := e.catalogs[key]
	if c == nil {
		c = &catalog{e: e, tr: tr, module: o.Module, packs: map[content.InfoHash]*pack{}}
		e.catalogs[key] = c
	}
	return c, nil
}

// add begins a want; the outcome goes to its sink.
func (c *catalog) add(w *want) {
	if p, entry := c.e.findPack(c.tr, w.id); p != nil {
		p.attach(entry, w)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.busy && !c.e.spawn(c.work) {
		w.end(ErrClosed, w.have)
		w.file.Close()
		return
	}
	c.busy = true
	c.pending = append(c.pending, w)
}

// work looks pending wants up until there are none.
func (c *catalog) work() {
	for {
		select {
		case <-c.e.ctx.Done():
		case <-time.After(lookupGather):
		}
		c.mu.Lock()
		batch := c.pending[:min(len(c.pending), content.MaxLookup)]
		c.pending = c.pending[len(batch):]
		if len(batch) == 0 {
			c.busy = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		c.find(batch)
	}
}

// find locates the batch and attaches each want to its pack.
func (c *catalog) find(batch []*want) {
	fail := func(ws []*want, err error) {
		for _, w := range ws {
			w.end(err, w.have)
			w.file.Close()
		}
	}
	rest := batch[:0:0]
	for _, w := range batch {
		if p, entry := c.e.findPack(c.tr, w.id); p != nil {
			p.attach(entry, w)
		} else {
			rest = append(rest, w)
		}
	}
	if len(rest) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(c.e.ctx, lookupTimeout)
	defer cancel()
	where, hashes, err := c.locate(ctx, rest)
	if err != nil {
		if c.e.ctx.Err() != nil {
			err = ErrClosed
		}
		fail(rest, err)
		return
	}
	groups := make([][]*want, len(hashes))
	for i, w := range rest {
		if where[i] < 0 {
			fail([]*want{w}, errNotPublished)
			continue
		}
		groups[where[i]] = append(groups[where[i]], w)
	}
	for k, ws := range groups {
		if len(ws) == 0 {
			continue
		}
		p, err := c.load(ctx, hashes[k])
		if err != nil {
			fail(ws, err)
			continue
		}
		for _, w := range ws {
			entry, ok := p.byID[w.id]
			if !ok {
				fail([]*want{w}, fmt.Errorf("pack %s does not hold content %s, which the host says it does", hashes[k], w.id))
				continue
			}
			p.attach(entry, w)
		}
	}
}

// locate asks the host which packs hold the wants: for each the index into
// hashes, or -1.
func (c *catalog) locate(ctx context.Context, ws []*want) (where []int, hashes []content.InfoHash, err error) {
	req := content.LocateRequest{Module: c.module}
	for _, w := range ws {
		req.IDs = append(req.IDs, w.id[:]...)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.tr.url+content.PathLocate, bytes.NewReader(req.Encode()))
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Content-Type", "application/x-bencode")
	body, err := c.e.do(r, content.MaxAnnounceBody)
	if err != nil {
		return nil, nil, fmt.Errorf("locate: %w", err)
	}
	reply, err := content.DecodeLocateReply(body, len(ws))
	if err != nil {
		return nil, nil, fmt.Errorf("locate at %s: %w", c.tr.shown(), err)
	}
	if reply.Failure != "" {
		return nil, nil, fmt.Errorf("locate at %s: %s", c.tr.shown(), reply.Failure)
	}
	for b := reply.InfoHashes; len(b) >= 20; b = b[20:] {
		hashes = append(hashes, content.InfoHash(b[:20]))
	}
	return reply.Pack, hashes, nil
}

// load returns the pack, fetching its metainfo when it is new.
func (c *catalog) load(ctx context.Context, h content.InfoHash) (*pack, error) {
	c.e.mu.Lock()
	p := c.e.packs[h]
	if p != nil {
		p.use()
	}
	c.e.mu.Unlock()
	if p != nil {
		return p, nil
	}
	meta, err := c.e.metainfo(ctx, c.tr.url, h)
	if err != nil {
		return nil, err
	}
	return c.e.pack(meta, c.tr)
}

// metainfo fetches a pack's description.
func (e *Engine) metainfo(ctx context.Context, url string, h content.InfoHash) (*content.Pack, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+content.PathPack+h.String()+".torrent", nil)
	if err != nil {
		return nil, err
	}
	body, err := e.do(r, content.MaxMetainfo)
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	meta, err := content.ParseMetainfo(body)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", h, err)
	}
	if meta.InfoHash != h {
		return nil, fmt.Errorf("pack %s: the host sent another one, %s", h, meta.InfoHash)
	}
	return meta, nil
}
