package origin

import (
	"sync"
	"time"
)

// ledger remembers of one pack which pieces went out when.
type ledger struct {
	mu     sync.Mutex
	pieces []entry
	// first is when a piece last went out that was not out, active how many
	// such are being sent.
	first  time.Time
	active int
	never  int // pieces that have not gone out at all
}

type entry struct {
	at      time.Time // when it went out last; zero: never
	peer    string
	sending bool // for the first time
	lost    bool // who got it last has left the swarm
}

func newLedger(pieces int) *ledger { return &ledger{pieces: make([]entry, pieces), never: pieces} }

// claim decides about the pieces from first up to end and returns how many of
// them, from the first on, are granted and now count as out.
func (l *ledger) claim(first, end int, claim, peer string, cfg Config) int {
	now := cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for ; first+n < end; n++ {
		e := &l.pieces[first+n]
		out := l.isOut(e, now, cfg)
		if out && e.peer != peer {
			switch claim {
			case ClaimMust:
			case ClaimSpare:
				if !l.idle(now, cfg) {
					return n
				}
			default:
				return n
			}
		}
		// What a peer that left had got is no first copy: it does not keep the
		// others from second ones.
		if !out && !e.lost {
			if !e.sending {
				e.sending = true
				l.active++
			}
			l.first = now
		}
		if e.at.IsZero() {
			l.never--
		}
		e.at, e.peer, e.lost = now, peer, false
	}
	return n
}

// release ends the sending of pieces from first up to end. Unless all of them
// went out, those from sent on did not, as far as this request is concerned.
func (l *ledger) release(first, end, sent int, all bool, cfg Config) {
	now := cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := first; i < end; i++ {
		e := &l.pieces[i]
		if !all && i >= sent && !e.at.IsZero() {
			l.never++
			e.at = time.Time{}
		}
		if e.sending {
			e.sending = false
			l.active--
			l.first = now
		}
	}
}

func (l *ledger) isOut(e *entry, now time.Time, cfg Config) bool {
	return !e.at.IsZero() && !e.lost && now.Sub(e.at) < cfg.Fresh
}

// left takes note that a peer has gone: what it got last does not count as
// being out any more. Others may have it from there by now; they do not ask.
func (l *ledger) left(peer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.pieces {
		if e := &l.pieces[i]; e.peer == peer {
			e.lost = true
		}
	}
}

// idle reports whether second copies may be given away: every piece has gone
// out, or nobody has asked for one that has not for a while. (What the kernel
// has buffered for slow links may still be under way.)
func (l *ledger) idle(now time.Time, cfg Config) bool {
	quiet := now.Sub(l.first)
	return l.active == 0 && (quiet >= cfg.Quiet || l.never == 0 && quiet >= cfg.Idle)
}

// out returns the bit field of the pieces that are out.
func (l *ledger) out(cfg Config) []byte {
	now := cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := make([]byte, (len(l.pieces)+7)/8)
	for i := range l.pieces {
		if l.isOut(&l.pieces[i], now, cfg) {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	return b
}
