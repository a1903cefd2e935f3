package engine

import (
	"sync"

	"golang.org/x/time/rate"
)

// limits are the rates of the whole engine: the least of what it was started
// with and of what its clients ask for while they are there. (A limit of one
// transfer thus bounds the others too: the library has one limiter.)
type limits struct {
	up, down *rate.Limiter

	mu   sync.Mutex
	base pace
	of   map[*session]pace
}

// pace is a pair of rates in bytes per second, 0 for none.
type pace struct{ up, down int64 }

func newLimits(base pace) *limits {
	// Without a burst the library would compute one from the rate.
	l := &limits{up: rate.NewLimiter(rate.Inf, freeBurst), down: rate.NewLimiter(rate.Inf, freeBurst), base: base, of: map[*session]pace{}}
	l.apply()
	return l
}

// set takes what a client asks for.
func (l *limits) set(s *session, p pace) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[s] = p
	l.apply()
}

// drop forgets a client that has gone.
func (l *limits) drop(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.of[s]; ok {
		delete(l.of, s)
		l.apply()
	}
}

func (l *limits) apply() {
	p := l.base
	for _, o := range l.of {
		p.up, p.down = tighter(p.up, o.up), tighter(p.down, o.down)
	}
	setRate(l.up, p.up, 20)
	setRate(l.down, p.down, 10)
}

func tighter(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// freeBurst is the burst while there is no limit.
const freeBurst = 1 << 20

// leastBurst holds a few chunks of 16 KiB: with less the library panics.
const leastBurst = 64 << 10

// setRate limits to n bytes per second, with a burst of a part of that.
func setRate(l *rate.Limiter, n, part int64) {
	if n <= 0 {
		l.SetLimit(rate.Inf)
		l.SetBurst(freeBurst)
		return
	}
	l.SetBurst(int(max(n/part, leastBurst)))
	l.SetLimit(rate.Limit(n))
}
