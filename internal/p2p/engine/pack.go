package engine

import (
	"context"
	"crypto/sha1"
	"errors"
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
	// The origin refuses it until retryAt, since refused.
	retryAt, refused time.Time
	since            time.Time // when it was left to the library
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
	p.progress = time.Now()
	p.mu.Unlock()
	if drop {
		return nil
	}
	return p.write(b, off)
}

// hash returns the SHA-1 of piece i as it lies here.
func (p *pack) hash(i int) (sum [sha1.Size]byte, err error) {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	h := sha1.New()
	off, rest := p.pieceOffset(i), p.meta.PieceSize(i)
	for rest > 0 {
		b := buf[:min(rest, bufferSize)]
		if err := p.readAt(b, off); err != nil {
			return sum, err
		}
		h.Write(b)
		off += int64(len(b))
		rest -= int64(len(b))
	}
	h.Sum(sum[:0])
	return sum, nil
}

const bufferSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// verified hashes piece i and, when it is right, makes it complete and tells
// those who wait for it. It does not tell the library.
func (p *pack) verified(i int, by provenance) error {
	lock := &p.io[i%ioShards]
	lock.Lock()
	p.mu.Lock()
	done := p.pieces[i].complete
	p.mu.Unlock()
	if done {
		lock.Unlock()
		return nil
	}
	sum, err := p.hash(i)
	if err == nil && string(sum[:]) != string(p.meta.Pieces[sha1.Size*i:][:sha1.Size]) {
		err = errBadPiece
	}
	var finished []*slot
	p.mu.Lock()
	if err == nil {
		finished = p.complete(i, by)
	}
	p.mu.Unlock()
	lock.Unlock()
	if err != nil {
		p.failed(i, by, err)
		return err
	}
	p.settle(i)
	for _, s := range finished {
		p.e.spawn(func() { p.finish(s) })
	}
	p.poke()
	return nil
}

// complete marks piece i, counts it for every slot that it is part of, and
// returns the slots that have all their pieces now. p.mu is held.
func (p *pack) complete(i int, by provenance) (finished []*slot) {
	pc := &p.pieces[i]
	if pc.wanted > 0 {
		p.left -= p.meta.PieceSize(i)
		p.progress = time.Now()
		p.e.totals.progress.Store(p.progress.UnixNano())
	}
	*pc = piece{wanted: pc.wanted, complete: true}
	if by != byLocal {
		p.bytes[by] += p.meta.PieceSize(i)
	}
	p.spans(p.pieceOffset(i), p.pieceOffset(i)+p.meta.PieceSize(i), func(s span) error {
		sl := p.slots[s.entry]
		if s.entry >= 0 && sl == nil && by != byLocal && p.seedOf(s.entry) == nil {
			p.brought[share{i, s.entry}] = by
		}
		if s.entry >= 0 && sl != nil && !sl.done {
			local := sl.takeHave(s.off, s.off+s.n)
			var ev content.Event
			ev.Bytes[byLocal] += local
			ev.Bytes[by] += s.n - local
			for src, n := range ev.Bytes {
				p.e.totals.bytes[src].Add(n)
			}
			sl.tell(ev)
			if sl.left--; sl.left == 0 {
				finished = append(finished, sl)
			}
		}
		return nil
	})
	return finished
}

// failed takes note of a piece that is not what its hash says, or that cannot
// be read.
func (p *pack) failed(i int, by provenance, err error) {
	var hopeless []*want
	p.mu.Lock()
	// Those who sent it are not to blame for what did not come from them.
	mixed := p.dropHave(i) || p.pieces[i].holed
	p.pieces[i].touched, p.pieces[i].holed = false, false
	if by != byLocal && errors.Is(err, errBadPiece) {
		n := p.meta.PieceSize(i)
		p.e.totals.wasted.Add(n)
		p.tellWasted(i)
		if by == byPeers {
			p.corrupt += n
			p.pieces[i].insist = true
		} else if hopeless = p.originWrong(i); hopeless == nil {
			p.pieces[i].retryAt = time.Now().Add(ownBackoff)
		}
	}
	p.mu.Unlock()
	for _, w := range hopeless {
		p.drop(w, errOriginWrong)
	}
	if by == byPeers && errors.Is(err, errBadPiece) {
		p.accuse(i, mixed)
	}
	p.e.log.Debug("swarm: piece failed", "pack", p.meta.Name, "piece", i, "from", by, "err", err)
	p.poke()
}

// originTries is how often the origin may send a piece that fails its hash.
const originTries = 3

var errOriginWrong = errors.New("the host sends data that does not match its own hashes: has the file changed there?")

// originWrong counts a bad piece of the origin and returns the wants to fail
// when it is hopeless. p.mu is held.
func (p *pack) originWrong(i int) (hopeless []*want) {
	if p.pieces[i].wrong++; p.pieces[i].wrong < originTries {
		return nil
	}
	p.spans(p.pieceOffset(i), p.pieceOffset(i)+p.meta.PieceSize(i), func(s span) error {
		if sl := p.slots[s.entry]; s.entry >= 0 && sl != nil && !sl.done {
			hopeless = append(hopeless, sl.wants...)
		}
		return nil
	})
	return hopeless
}

// tellWasted tells the first want that needs piece i that it came in vain.
func (p *pack) tellWasted(i int) {
	told := false
	p.spans(p.pieceOffset(i), p.pieceOffset(i)+p.meta.PieceSize(i), func(s span) error {
		if sl := p.slots[s.entry]; !told && s.entry >= 0 && sl != nil && !sl.done {
			told = true
			sl.tell(content.Event{Wasted: p.meta.PieceSize(i)})
		}
		return nil
	})
}

// dropHave forgets what the askers said they had of piece i. p.mu is held.
func (p *pack) dropHave(i int) (had bool) {
	p.spans(p.pieceOffset(i), p.pieceOffset(i)+p.meta.PieceSize(i), func(s span) error {
		if sl := p.slots[s.entry]; s.entry >= 0 && sl != nil {
			had = sl.takeHave(s.off, s.off+s.n) > 0 || had
		}
		return nil
	})
	return had
}

// missing returns the hull of the bytes of piece i that do not lie here yet,
// by blob offset; off == end when all of it may. p.mu is held.
func (p *pack) missing(i int) (off, end int64) {
	lo, hi := int64(-1), int64(-1)
	p.spans(p.pieceOffset(i), p.pieceOffset(i)+p.meta.PieceSize(i), func(s span) error {
		if s.entry < 0 {
			return nil
		}
		a, b := s.off, s.off+s.n
		if sl := p.slots[s.entry]; sl != nil {
			if sl.done {
				return nil
			}
			a, b = sl.lacks(a, b)
		} else if p.seedOf(s.entry) != nil {
			return nil
		}
		if a < b {
			if lo < 0 {
				lo = s.blob - s.off + a
			}
			hi = s.blob - s.off + b
		}
		return nil
	})
	if lo < 0 {
		return 0, 0
	}
	return lo, hi
}

// lose makes a complete piece incomplete again. p.mu is held.
func (p *pack) lose(i int) {
	pc := &p.pieces[i]
	if !pc.complete {
		return
	}
	pc.complete = false
	if pc.wanted > 0 {
		p.left += p.meta.PieceSize(i)
	}
	p.plan.lost = append(p.plan.lost, i)
	p.spans(p.pieceOffset(i), p.pieceOffset(i)+p.meta.PieceSize(i), func(s span) error {
		delete(p.brought, share{i, s.entry})
		if sl := p.slots[s.entry]; s.entry >= 0 && sl != nil && !sl.done {
			sl.left++
		}
		return nil
	})
}

// unreadable makes a piece that could not be read incomplete.
func (p *pack) unreadable(i int, err error) {
	p.e.log.Debug("swarm: piece cannot be read any more", "pack", p.meta.Name, "piece", i, "err", err)
	p.mu.Lock()
	p.lose(i)
	p.mu.Unlock()
	p.poke()
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
