package sim

import (
	"math/rand/v2"
	"time"

	"github.com/prsync/prsync/internal/tracker/balance"
)

// Policies are the names Run takes, ours first.
var Policies = []string{"prsync", "oracle", "random", "round robin", "static weights"}

// policy picks one of the holders, indices of volunteers; -1: none.
type policy interface {
	pick(r *request, holders []int) int
	announce(v int, l balance.Load)
}

// start turns simulated seconds into times.
var start = time.Unix(1_000_000_000, 0)

func clock(t float64) time.Time { return start.Add(time.Duration(t * float64(time.Second))) }

func newPolicy(name string, s *simulation) policy {
	switch name {
	case "prsync":
		p := &ours{s: s, states: make([]balance.State, len(s.vols))}
		for i := range p.states {
			p.states[i].Interval = Interval
		}
		return p
	case "oracle":
		return oracle{s}
	case "random":
		return random{s.rnd}
	case "round robin":
		return &roundRobin{}
	default:
		return weights{s}
	}
}

// ours is the central host's policy on what it knows.
type ours struct {
	s       *simulation
	states  []balance.State
	scratch []*balance.State
}

func (p *ours) pick(r *request, holders []int) int {
	p.scratch = p.scratch[:0]
	for _, h := range holders {
		p.scratch = append(p.scratch, &p.states[h])
	}
	now := clock(r.at)
	i, ok := balance.Choose(p.scratch, now, p.s.rnd)
	if !ok {
		return -1
	}
	p.scratch[i].Issue(int64(r.size), now)
	return holders[i]
}

func (p *ours) announce(v int, l balance.Load) { p.states[v].Announce(l, clock(p.s.now)) }

// oracle knows every customer of every volunteer at this instant and takes
// where the new one is fastest, then where the uplink is least in demand.
type oracle struct{ s *simulation }

func (p oracle) pick(r *request, holders []int) int {
	best, speed, busy := -1, 0.0, 0.0
	for _, h := range holders {
		sv := &p.s.servers[h]
		v, b := sv.speed(r.class), sv.busy()
		if best < 0 || v > speed*1.0001 || v > speed*0.9999 && b < busy {
			best, speed, busy = h, v, b
		}
	}
	return best
}
func (oracle) announce(int, balance.Load) {}

// random takes any holder, as most redirectors do within a region.
type random struct{ rnd *rand.Rand }

func (p random) pick(_ *request, holders []int) int {
	if len(holders) == 0 {
		return -1
	}
	return holders[p.rnd.IntN(len(holders))]
}
func (random) announce(int, balance.Load) {}

// roundRobin takes the holders in turn.
type roundRobin struct{ n int }

func (p *roundRobin) pick(_ *request, holders []int) int {
	if len(holders) == 0 {
		return -1
	}
	p.n++
	return holders[p.n%len(holders)]
}
func (*roundRobin) announce(int, balance.Load) {}

// weights draws in proportion to the uplinks, as configured by hand.
type weights struct{ s *simulation }

func (p weights) pick(_ *request, holders []int) int {
	var sum float64
	for _, h := range holders {
		sum += p.s.vols[h].uplink
	}
	x := p.s.rnd.Float64() * sum
	last := -1
	for _, h := range holders {
		last = h
		if x -= p.s.vols[h].uplink; x < 0 {
			break
		}
	}
	return last
}
func (weights) announce(int, balance.Load) {}
