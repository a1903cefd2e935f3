package engine

import (
	"testing"

	"golang.org/x/time/rate"
)

// Limits hold for an engine as long as one who wants them is there; the
// tightest counts.
func TestLimits(t *testing.T) {
	l := newLimits(pace{up: 5 << 20})
	a, b := &session{}, &session{}
	for _, step := range []struct {
		do       func()
		up, down rate.Limit
	}{
		{func() {}, 5 << 20, rate.Inf},
		{func() { l.set(a, pace{up: 9 << 20, down: 1 << 20}) }, 5 << 20, 1 << 20},
		{func() { l.set(b, pace{up: 1 << 20, down: 2 << 20}) }, 1 << 20, 1 << 20},
		{func() { l.drop(a) }, 1 << 20, 2 << 20},
		{func() { l.drop(a) }, 1 << 20, 2 << 20},
		{func() { l.drop(b) }, 5 << 20, rate.Inf},
	} {
		step.do()
		if l.up.Limit() != step.up || l.down.Limit() != step.down {
			t.Errorf("up %v and down %v, want %v and %v", l.up.Limit(), l.down.Limit(), step.up, step.down)
		}
		for _, r := range []*rate.Limiter{l.up, l.down} {
			if r.Limit() != rate.Inf && r.Burst() < leastBurst {
				t.Errorf("a burst of %d", r.Burst())
			}
		}
	}
}
