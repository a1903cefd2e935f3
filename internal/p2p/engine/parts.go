package engine

import (
	"errors"
	"slices"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// A piece that small contents share is to be had as long as the host has all of
// them. When one has left the repository, nobody who comes later can verify the
// piece, but the others are still there. A small one goes back to its asker as soon
// as no peer comes up with the piece, unless he waits for the swarm whatever comes; of a large
// one, whose other pieces are as good as ever, and for those who wait, the engine
// asks the host for just that part. A content in parts is verified as a whole,
// by its id, and such a piece is not passed on.

// errGone is a host that does not have the first piece of a range any more, or
// not all of it.
var errGone = errors.New("the host does not have all of the piece any more: this file, or one beside it, has changed or left the repository")

// partlyGone takes note that the origin does not have what the job asks for.
// p.mu is held.
func (p *pack) partlyGone(j job, now time.Time) {
	pc := &p.pieces[j.first]
	if pc.gone.IsZero() {
		pc.gone = now
	}
	p.plan.gone = true
	if j.part != nil {
		// The content itself has left. One that was only touched may be back.
		pc.retryAt = now.Add(ownBackoff)
		if j.part.gone.IsZero() {
			j.part.gone = now
		}
	}
}

// checkGone gives up what the host does not have and no peer has come up with
// either, where those who asked for it need not wait.
func (p *pack) checkGone(now time.Time) {
	p.mu.Lock()
	some := p.plan.gone
	p.mu.Unlock()
	if !some {
		return
	}
	nobody := len(p.tr.peersOf(p.meta.InfoHash)) == 0
	var lost []*want
	p.mu.Lock()
	over := func(since time.Time) bool {
		return !since.IsZero() && (nobody && p.plan.present == 0 || now.Sub(since) >= lossGrace)
	}
	for i := range p.pieces {
		pc := &p.pieces[i]
		if !pc.idle() || pc.taken || p.plan.avail[i] || !over(pc.gone) {
			continue
		}
		for _, s := range p.unfinished(i) {
			if p.meta.Entries[s.entry].Length >= p.meta.PieceLength && !over(s.gone) {
				continue // its part may be had
			}
			for _, w := range s.wants {
				if !w.waits {
					lost = append(lost, w)
				}
			}
		}
	}
	p.mu.Unlock()
	for _, w := range lost {
		p.drop(w, errGone)
	}
}

// lacksGone reports whether something is wanted that the host had not any more.
func (p *pack) lacksGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.pieces, func(pc piece) bool { return !pc.gone.IsZero() && pc.wanted > 0 })
}

// unfinished returns the contents that still need bytes of piece i. p.mu is held.
func (p *pack) unfinished(i int) (slots []*slot) {
	p.spans(p.pieceOffset(i), p.pieceOffset(i)+p.meta.PieceSize(i), func(sp span) error {
		if s := p.slots[sp.entry]; sp.entry >= 0 && s != nil && !s.done && !s.parts[i] {
			slots = append(slots, s)
		}
		return nil
	})
	return slots
}

// lacksPart returns a content to ask for its part of piece i, nil for none.
// p.mu is held.
func (p *pack) lacksPart(i int) *slot {
	for _, s := range p.unfinished(i) {
		if p.meta.Entries[s.entry].Length >= p.meta.PieceLength {
			return s
		}
		for _, w := range s.wants {
			if w.waits {
				return s
			}
		}
	}
	return nil
}

// missingPart returns what a content lacks of piece i, by offset in the blob;
// all of its part when it claims to have that. p.mu is held.
func (p *pack) missingPart(i int, s *slot) (off, end int64) {
	e := p.meta.Entries[s.entry]
	off, end = p.within(e, i)
	if lo, hi := s.lacks(off, end); lo < hi {
		off, end = lo, hi
	}
	return e.Offset + off, e.Offset + end
}

// gotPart takes note that a content has its part of piece i, n bytes of which
// have just come.
func (p *pack) gotPart(i int, s *slot, n int64) {
	p.mu.Lock()
	if p.slots[s.entry] != s || s.done || s.parts[i] || p.pieces[i].complete {
		p.mu.Unlock()
		return
	}
	off, end := p.within(p.meta.Entries[s.entry], i)
	s.takeHave(off, end)
	if s.parts == nil {
		s.parts = map[int]bool{}
	}
	s.parts[i] = true
	s.left--
	p.progress = time.Now()
	p.e.totals.progress.Store(p.progress.UnixNano())
	ev := content.Event{Bytes: [3]int64{byLocal: end - off - n, byOrigin: n}}
	for src, n := range ev.Bytes {
		p.e.totals.bytes[src].Add(n)
	}
	p.bytes[byOrigin] += n
	s.tell(ev)
	whole := s.left == 0
	p.mu.Unlock()
	if whole {
		p.e.spawn(func() { p.finish(s) })
	}
	p.poke()
}
