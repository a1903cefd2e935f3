package engine

import (
	"fmt"
	"time"
)

// When the host has gone, pieces may be left that nobody has. The contents
// they are part of go back to their askers without waiting for Stall: as soon
// as the host has not answered for a while, no peer has come up with anything
// new for as long (what one of them was still getting is not lost), and no
// other piece of the content is on its way.

// Times of a loss.
const (
	lossGrace = 3 * time.Second
	// lossPatience is lossGrace while other pieces still come: waiting costs
	// nothing then, and a host that was restarted spares it a copy to each.
	lossPatience = 10 * time.Second
)

// silentFor returns how long the host has let every request for a range fail,
// 0 when it is not known to do so now: the next one may succeed.
func (t *tracker) silentFor(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fails == 0 || !now.Before(t.pauseTo) {
		return 0
	}
	return t.failed.Sub(t.failing)
}

// checkLost gives up contents that can only come from a host that has gone.
func (p *pack) checkLost(now time.Time) {
	silent := p.tr.silentFor(now)
	if silent == 0 {
		return
	}
	rate := p.tr.originRate()
	p.mu.Lock()
	lost := p.lost(now, silent, rate)
	p.mu.Unlock()
	if len(lost) == 0 {
		return
	}
	err := fmt.Errorf("nobody else has the rest, and the host does not answer: %w", p.tr.originError())
	for _, w := range lost {
		p.drop(w, err)
	}
}

// lost returns the wants that nothing more can be done for while the host is
// silent. rate is what a request to it brought, in bytes per second. p.mu is
// held.
func (p *pack) lost(now time.Time, silent time.Duration, rate float64) (lost []*want) {
	grace := lossGrace
	if now.Sub(p.progress) < settleTime {
		grace = lossPatience
	}
	takes := time.Duration(float64(p.meta.PieceLength) / max(rate, 1<<10) * float64(time.Second))
	if p.left <= 0 || silent < grace || now.Sub(p.plan.newsAt) < grace+2*takes {
		return nil
	}
	for _, s := range p.slots {
		if !s.done && p.hopeless(s) {
			for _, w := range s.wants {
				if !w.waits {
					lost = append(lost, w)
				}
			}
		}
	}
	return lost
}

// hopeless reports whether a slot lacks pieces and none of them is on its way,
// or held by a connected peer. p.mu is held.
func (p *pack) hopeless(s *slot) bool {
	e := p.meta.Entries[s.entry]
	first, last := p.piecesOf(e.Offset, e.Offset+e.Length)
	lacks := false
	for i := first; i <= last; i++ {
		pc := &p.pieces[i]
		if pc.complete {
			continue
		}
		if pc.origin || pc.taken || pc.checking || p.plan.avail[i] {
			return false
		}
		lacks = true
	}
	return lacks
}
