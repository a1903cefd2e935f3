package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/anacrolix/torrent"
	"github.com/anacrolix/torrent/metainfo"

	"github.com/prsync/prsync/internal/content"
)

// provenance tells how the last bytes of a piece came.
type provenance = content.Source

const (
	byPeers  = content.FromPeers
	byOrigin = content.FromOrigin
	byLocal  = content.FromLocal
)

// piece is the state of one piece of a pack.
type piece struct {
	wanted   int32 // unfinished slots that need it
	complete bool  // verified, and readable
	enabled  bool  // left to the library: some peer has it
	taken    bool  // being taken from a source
	origin   bool  // being asked of the origin
	checking bool  // what lies here already is being hashed
	touched  bool  // peers have written into it
	holed    bool  // some of what peers sent was not kept
	insist   bool  // peers sent bad data: take it from the origin
	wrong    uint8 // how often the origin sent bad data
	came     int64 // end of what the origin sent of it, by offset in the blob
	// The origin refuses it until retryAt, since refused.
	retryAt, refused time.Time
	since            time.Time // when it was left to the library
	gone             time.Time // when the origin said that it has not all of it
}

// idle reports whether something is to be done about the piece.
func (pc *piece) idle() bool {
	return pc.wanted > 0 && !pc.complete && !pc.origin && !pc.checking
}

// maxConns bounds the library's connections of one pack: those who take from
// us, and those it makes itself.
const maxConns = 2 * maxSources

// ioShards is the number of locks that order writes into pieces against their
// verification: nobody may write into a piece that is being, or was, verified.
const ioShards = 16

// pack is one virtual blob that the engine takes part in.
type pack struct {
	e    *Engine
	meta *content.Pack
	tr   *tracker
	t    *torrent.Torrent
	byID map[content.ID]int
	io   [ioShards]sync.RWMutex
	wake chan struct{}
	door door
	ctx  context.Context // ends with the pack
	end  context.CancelFunc

	mu      sync.Mutex
	gone    bool
	pieces  []piece
	slots   map[int]*slot // by entry
	seeds   []*seed
	spill   spill
	checks  []int // pieces to hash: what lies here may be right already
	blame   map[int]*suspects
	bad     map[string]struct{} // addresses to report
	corrupt int64               // bytes, since the last report
	left    int64               // bytes of pieces wanted and incomplete
	bytes   [3]int64            // verified, whole pieces
	// brought are parts of pieces that came along before anybody asked for the
	// contents they belong to. Who asks first has fetched them.
	brought  map[share]provenance
	progress time.Time // of a wanted piece, or of data for one
	plan     plan
	sources  sources
	trace    trace
}

// share is the part that a content has in a piece.
type share struct{ piece, entry int }

func newPack(e *Engine, meta *content.Pack, tr *tracker) *pack {
	p := &pack{
		e: e, meta: meta, tr: tr, wake: make(chan struct{}, 1),
		byID:   make(map[content.ID]int, len(meta.Entries)),
		pieces: make([]piece, meta.NumPieces()), slots: map[int]*slot{},
		blame: map[int]*suspects{}, brought: map[share]provenance{}, bad: map[string]struct{}{}, progress: time.Now(),
	}
	for i := range meta.Entries {
		p.byID[meta.Entries[i].ID] = i
	}
	p.spill.dir = e.cfg.SpillDir
	p.plan.init(len(p.pieces))
	p.sources.init(len(p.pieces))
	p.ctx, p.end = context.WithCancel(e.ctx)
	return p
}

// pack returns the pack, adding it to the swarm when it is new.
func (e *Engine) pack(meta *content.Pack, tr *tracker) (*pack, error) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, ErrClosed
	}
	if p := e.packs[meta.InfoHash]; p != nil {
		p.use()
		e.mu.Unlock()
		return p, nil
	}
	sl := e.asleep[meta.InfoHash]
	if sl != nil {
		tr = sl.tr // which may know a secret
	}
	p := newPack(e, meta, tr)
	if sl != nil {
		p.rise(sl)
	}
	t, fresh := e.client.AddTorrentOpt(torrent.AddTorrentOpts{
		InfoHash: metainfo.Hash(meta.InfoHash), InfoBytes: meta.Info(),
		Storage: store{p}, DisableInitialPieceCheck: true,
	})
	if !fresh || t.Info() == nil {
		p.end()
		e.mu.Unlock()
		return nil, fmt.Errorf("pack %s: the BitTorrent library does not take it", meta.InfoHash)
	}
	t.SetOnWriteChunkError(p.writeFailed)
	t.SetMaxEstablishedConns(maxConns)
	p.t = t
	e.packs[meta.InfoHash] = p
	delete(e.asleep, meta.InfoHash)
	e.byTor.Store(t, p)
	e.wg.Add(1)
	go p.run()
	e.mu.Unlock()
	tr.add(p)
	return p, nil
}

// leave takes a pack of which nothing is wanted, held or seeded out of the
// swarm. It returns false when something of it has been asked for meanwhile.
func (p *pack) leave() bool {
	e := p.e
	e.mu.Lock()
	p.mu.Lock()
	if p.gone || e.closed || !p.unused() || time.Since(p.plan.usedAt) <= e.cfg.Idle {
		p.mu.Unlock()
		e.mu.Unlock()
		return false
	}
	p.gone = true
	p.mu.Unlock()
	delete(e.packs, p.meta.InfoHash)
	e.byTor.Delete(p.t)
	e.mu.Unlock()
	p.tr.remove(p)
	p.end()
	p.t.Drop()
	p.spill.close()
	e.log.Debug("swarm: pack left", "pack", p.meta.Name)
	return true
}

// use keeps the pack from being left before what it was looked up for has
// begun. Engine.mu is held.
func (p *pack) use() {
	p.mu.Lock()
	p.plan.usedAt = time.Now()
	p.mu.Unlock()
}

// idle is how long there has been nothing to fetch or to give. p.mu is held.
func (p *pack) idle() time.Duration { return time.Since(p.plan.usedAt) }

// unused reports whether the pack has nothing to do. p.mu is held.
func (p *pack) unused() bool {
	return len(p.slots) == 0 && len(p.seeds) == 0 && p.left <= 0
}

// findPack returns a pack of that tracker which holds id, and the entry.
func (e *Engine) findPack(tr *tracker, id content.ID) (*pack, int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.packs {
		if p.tr == tr {
			if entry, ok := p.byID[id]; ok {
				p.use()
				return p, entry
			}
		}
	}
	return nil, -1
}

func (p *pack) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pack) pieceOffset(i int) int64 { return int64(i) * p.meta.PieceLength }

// piecesOf returns the pieces that overlap the blob's bytes from off to end.
func (p *pack) piecesOf(off, end int64) (first, last int) {
	return int(off / p.meta.PieceLength), int((end - 1) / p.meta.PieceLength)
}

func (p *pack) isComplete(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pieces[i].complete
}

// span is a part of the blob within one content, or, with entry -1, between
// two.
type span struct {
	entry int
	off   int64 // in the content
	blob  int64
	n     int64
}

// spans calls f for the parts of the blob from off to end, in order.
func (p *pack) spans(off, end int64, f func(span) error) error {
	for i := p.meta.At(off); off < end; i++ {
		gapEnd := end
		if i < len(p.meta.Entries) {
			gapEnd = min(end, p.meta.Entries[i].Offset)
		}
		if off < gapEnd {
			if err := f(span{-1, 0, off, gapEnd - off}); err != nil {
				return err
			}
			off = gapEnd
		}
		if off >= end {
			return nil
		}
		e := &p.meta.Entries[i]
		stop := min(end, e.Offset+e.Length)
		if err := f(span{i, off - e.Offset, off, stop - off}); err != nil {
			return err
		}
		off = stop
	}
	return nil
}

// readAt fills b from the files, seeds and spill that hold the blob's bytes
// from off on.
func (p *pack) readAt(b []byte, off int64) error {
	return p.spans(off, off+int64(len(b)), func(s span) error {
		part := b[s.blob-off:][:s.n]
		if s.entry < 0 {
			clear(part)
			return nil
		}
		p.mu.Lock()
		sl, sd := p.slots[s.entry], p.seedOf(s.entry)
		p.mu.Unlock()
		switch {
		case sl != nil:
			return sl.read(part, s.off)
		case sd != nil:
			return sd.read(s.entry, part, s.off)
		}
		return p.spill.readAt(part, s.blob)
	})
}

// write puts b at off of the blob. The caller holds the piece's io lock for
// reading.
func (p *pack) write(b []byte, off int64) error {
	return p.spans(off, off+int64(len(b)), func(s span) error {
		if s.entry < 0 {
			return nil
		}
		part := b[s.blob-off:][:s.n]
		p.mu.Lock()
		sl, sd := p.slots[s.entry], p.seedOf(s.entry)
		p.mu.Unlock()
		switch {
		case sl != nil && sl.isDone():
			return nil
		case sl != nil:
			return sl.write(part, s.off)
		case sd != nil:
			return nil
		}
		return p.spill.writeAt(part, s.blob)
	})
}

// writePeer takes a chunk from the library. What comes late, for a piece that
// is verified or that the origin is sending, is dropped.
func (p *pack) writePeer(i int, b []byte, off int64) error {
	lock := &p.io[i%ioShards]
	lock.RLock()
	defer lock.RUnlock()
	p.mu.Lock()
	pc := &p.pieces[i]
	drop := pc.complete || pc.origin || p.gone
	pc.touched = true
	pc.holed = pc.holed || drop
	p.progress = time.Now()
	p.mu.Unlock()
	if drop {
		return nil
	}
	return p.write(b, p.pieceOffset(i)+off)
}

// writeOrigin takes bytes of the origin's answer, within one piece.
func (p *pack) writeOrigin(i int, b []byte, off int64) error {
	lock := &p.io[i%ioShards]
	lock.RLock()
	defer lock.RUnlock()
	p.mu.Lock()
	drop := p.pieces[i].complete || p.gone
	// What comes once more after an answer that broke off is no progress.
	if end := off + int64(len(b)); end > p.pieces[i].came {
		p.pieces[i].came, p.progress = end, time.Now()
	}
	p.mu.Unlock()
	if drop {
		return nil
	}
	return p.write(b, off)
}

// writeFailed is told by the library that a chunk could not be written: the
// disk is full, most likely.
func (p *pack) writeFailed(err error) {
	p.failAll(fmt.Errorf("write: %w", err))
}

// failAll ends every unfinished want of the pack.
func (p *pack) failAll(err error) {
	p.mu.Lock()
	var all []*want
	for _, s := range p.slots {
		if !s.done {
			all = append(all, s.wants...)
		}
	}
	p.mu.Unlock()
	for _, w := range all {
		p.drop(w, err)
	}
}

// release closes every file; the pack's loop has ended.
func (p *pack) release() {
	p.failAll(ErrClosed)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	for _, s := range p.slots {
		s.close()
	}
	clear(p.slots)
	for _, sd := range p.seeds {
		sd.close()
	}
	p.seeds = nil
	p.spill.close()
}
