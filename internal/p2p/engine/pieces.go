package engine

import (
	"crypto/sha1"
	"errors"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
)

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
		if s.entry >= 0 && sl != nil && !sl.done && !sl.parts[i] {
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
		if sl := p.slots[s.entry]; s.entry >= 0 && sl != nil && !sl.done && !sl.parts[i] {
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
