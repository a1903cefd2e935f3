package sim

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/prsync/prsync/internal/tracker/balance"
)

// Result is one run: a policy under a workload.
type Result struct {
	Policy   string
	Equal    bool // capacities
	Workload int  // percent
	Requests int
	Mean     float64 // response time, seconds
	P50, P95 float64
	Slowdown float64 // mean of response time over that on an idle uplink
	// Utilization of the volunteers' uplinks over the whole run.
	UtilMean, UtilMax float64
	Origin            float64 // share of the bytes that the host served itself
}

// Spread is the maximum over the mean utilization.
func (r Result) Spread() float64 { return r.UtilMax / r.UtilMean }

// Lab runs simulations on the same two worlds.
type Lab struct {
	seed   uint64
	worlds [2]*world
}

// NewLab draws the worlds of the seed.
func NewLab(seed uint64) *Lab {
	return &Lab{seed, [2]*world{newWorld(seed, false), newWorld(seed, true)}}
}

// simulation is the state of one run; it is the queue of servers by their
// next completion.
type simulation struct {
	*world
	servers []server // the volunteers, then the origin
	queue   []*server
	rnd     *rand.Rand
	now     float64
	times   []float64
	slow    float64
}

func (s *simulation) Len() int           { return len(s.queue) }
func (s *simulation) Less(a, b int) bool { return s.queue[a].next < s.queue[b].next }
func (s *simulation) Swap(a, b int) {
	s.queue[a], s.queue[b] = s.queue[b], s.queue[a]
	s.queue[a].pos, s.queue[b].pos = a, b
}
func (s *simulation) Push(any) {}
func (s *simulation) Pop() any { return nil }

// Run simulates the policy under a workload in percent.
func (l *Lab) Run(policyName string, equal bool, workload int) Result {
	w := l.worlds[0]
	if equal {
		w = l.worlds[1]
	}
	return run(l.seed, w, policyName, equal, workload)
}

func run(seed uint64, w *world, policyName string, equal bool, workload int) Result {
	s := &simulation{world: w, rnd: rand.New(rand.NewPCG(seed, uint64(workload)))}
	s.servers = make([]server, len(w.vols)+1)
	for i := range s.servers {
		sv := &s.servers[i]
		sv.uplink, sv.pos, sv.next = originUplink, i, math.Inf(1)
		if i < len(w.vols) {
			sv.uplink = w.vols[i].uplink
		}
		s.queue = append(s.queue, sv)
	}
	p := newPolicy(policyName, s)
	step := Interval.Seconds() / float64(len(w.vols)) // one volunteer announces
	tick, turn := 0.0, 0
	for range w.vols { // everyone is known at the start
		s.announce(p, turn)
		turn = (turn + 1) % len(w.vols)
	}
	var bytes, origin float64
	var holders []int
	for i := range w.requests {
		r := &w.requests[i]
		if r.keep >= float64(workload)/MaxWorkload {
			continue
		}
		for tick < r.at {
			s.until(tick)
			s.announce(p, turn)
			turn = (turn + 1) % len(w.vols)
			tick += step
		}
		s.until(r.at)
		holders = holders[:0]
		for v := range w.vols {
			if w.vols[v].from[r.group] <= r.at {
				holders = append(holders, v)
			}
		}
		v := p.pick(r, holders)
		bytes += r.size
		if v < 0 {
			v = len(w.vols)
			origin += r.size
		}
		s.servers[v].arrive(r.at, r.size, r.class)
		heap.Fix(s, s.servers[v].pos)
	}
	end := s.end
	s.until(end)
	res := Result{Policy: policyName, Equal: equal, Workload: workload, Origin: origin / bytes}
	for v := range w.vols {
		sv := &s.servers[v]
		sv.advance(max(end, sv.at))
		u := (sv.served + sv.peers) / (sv.uplink * sv.at)
		res.UtilMean += u / float64(len(w.vols))
		res.UtilMax = max(res.UtilMax, u)
	}
	s.until(math.Inf(1)) // the last customers count, too
	slices.Sort(s.times)
	res.Requests = len(s.times)
	for _, t := range s.times {
		res.Mean += t / float64(len(s.times))
	}
	res.P50, res.P95 = s.times[len(s.times)/2], s.times[len(s.times)*95/100]
	res.Slowdown = s.slow / float64(len(s.times))
	return res
}

// until lets everything end that ends before t.
func (s *simulation) until(t float64) {
	for s.queue[0].next <= t && !math.IsInf(s.queue[0].next, 1) {
		sv := s.queue[0]
		j, class := sv.complete()
		d := sv.at - j.start
		s.times = append(s.times, d)
		s.slow += d / (j.size / downlinks[class].rate)
		heap.Fix(s, 0)
	}
	s.now = t
}

// announce is one volunteer's announce now.
func (s *simulation) announce(p policy, v int) {
	sv, vol := &s.servers[v], &s.vols[v]
	sv.advance(s.now)
	syncing := false
	for _, iv := range vol.syncs {
		syncing = syncing || iv[0] <= s.now && s.now < iv[1]
	}
	sv.peer = 0
	if syncing {
		sv.peer = syncShare * sv.uplink
	}
	sv.share()
	heap.Fix(s, sv.pos)
	var rate float64
	for c := range sv.rate {
		rate += sv.rate[c] * float64(len(sv.jobs[c]))
	}
	p.announce(v, balance.Load{
		Customers: sv.n, CustomerRate: int64(rate), PeerRate: int64(sv.peer), Syncing: syncing,
		Uplink: int64(sv.uplink), Served: int64(sv.served),
	})
}
