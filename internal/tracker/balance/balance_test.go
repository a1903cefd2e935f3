package balance

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Unix(1e9, 0)

func announced(uplink int64) *State {
	s := &State{Interval: 10 * time.Second}
	s.Announce(Load{Uplink: uplink}, t0)
	return s
}

func share(t *testing.T, holders []*State, now time.Time, n int, bytes int64) []int {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	got := make([]int, len(holders))
	for range n {
		i, ok := Choose(holders, now, rnd)
		if !ok {
			t.Fatal("nobody was chosen")
		}
		holders[i].Issue(bytes, now)
		got[i]++
	}
	return got
}

func TestSharesByCapacity(t *testing.T) {
	got := share(t, []*State{announced(1e6), announced(1e6), announced(8e6)}, t0, 1000, 1e6)
	if got[0] < 80 || got[0] > 120 || got[1] < 80 || got[1] > 120 {
		t.Errorf("uplinks of 1, 1 and 8 got %v of 1000", got)
	}
}

func TestPeerTrafficCounts(t *testing.T) {
	busy := announced(1e7)
	busy.Announce(Load{Uplink: 1e7, PeerRate: 8e6}, t0)
	if got := share(t, []*State{announced(1e7), busy}, t0, 1000, 1e6); got[1] > 250 {
		t.Errorf("with 80 %% of its uplink in use it still got %v", got)
	}
}

func TestSyncingComesLast(t *testing.T) {
	syncing := announced(1e7)
	syncing.Syncing = true
	if got := share(t, []*State{announced(1e7), syncing}, t0, 20, 1e6); got[1] != 0 {
		t.Errorf("synchronizing one got %v while the other had time", got)
	}
	if got := share(t, []*State{announced(1e7), syncing}, t0, 1000, 1e6); got[1] == 0 {
		t.Error("synchronizing one got nothing while the other was overloaded")
	}
	if got := share(t, []*State{syncing}, t0, 5, 1e6); got[0] != 5 {
		t.Error("alone it must serve")
	}
}

func TestIneligible(t *testing.T) {
	failed, silent := announced(1e7), &State{Interval: time.Second}
	failed.Failed = true
	late := announced(1e7)
	rnd := rand.New(rand.NewPCG(1, 2))
	if i, ok := Choose([]*State{failed, silent, late}, t0.Add(21*time.Second), rnd); ok {
		t.Errorf("chose %d", i)
	}
	if i, ok := Choose([]*State{failed, silent, late}, t0.Add(20*time.Second), rnd); !ok || i != 2 {
		t.Errorf("chose %d, %v", i, ok)
	}
	if _, ok := Choose(nil, t0, rnd); ok {
		t.Error("chose among none")
	}
}

func TestAnnounceCorrects(t *testing.T) {
	s := announced(1e6)
	s.Issue(50e6, t0)
	// The model expects 10 MB served in 10 s; in truth it was 30.
	now := t0.Add(10 * time.Second)
	if got := s.Outstanding(now); got < 39e6 || got > 41e6 {
		t.Errorf("by the model %g bytes are outstanding", got)
	}
	s.Announce(Load{Customers: 3, Uplink: 1e6, Served: 30e6}, now)
	if got := s.Outstanding(now); got < 19e6 || got > 20e6 {
		t.Errorf("measured, %g bytes are outstanding, want about 20 MB", got)
	}
	now = now.Add(10 * time.Second)
	s.Announce(Load{Customers: 0, Uplink: 1e6, Served: 31e6}, now)
	if got := s.Outstanding(now); got != 0 {
		t.Errorf("nobody is being served, yet %g bytes are outstanding", got)
	}
	// Customers that nobody redirected take their part of the uplink.
	s.Announce(Load{Customers: 1, Uplink: 1e6, Served: 36e6}, now.Add(10*time.Second))
	if got := s.Available(now.Add(10 * time.Second)); got < 0.45e6 || got > 0.55e6 {
		t.Errorf("%g bytes per second are available, want about half", got)
	}
	// A restarted volunteer counts from zero.
	s.Announce(Load{Uplink: 1e6, Served: 5}, now.Add(20*time.Second))
	if got := s.Outstanding(now.Add(20 * time.Second)); got != 0 {
		t.Errorf("after a restart %g bytes are outstanding", got)
	}
}

// TestAnySequence keeps the figures finite and the choice eligible whatever
// volunteers say.
func TestAnySequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		states := []*State{{Interval: 10 * time.Second}, {Interval: 10 * time.Second}, {Interval: 10 * time.Second}}
		now := t0
		rnd := rand.New(rand.NewPCG(3, 4))
		n := rapid.Int64Range(0, 1<<62)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(-1e9, 3e10).Draw(t, "dt")))
			s := states[rapid.IntRange(0, 2).Draw(t, "volunteer")]
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				s.Issue(n.Draw(t, "bytes"), now)
			case 1:
				s.Announce(Load{Customers: rapid.IntRange(0, 9).Draw(t, "customers"), PeerRate: n.Draw(t, "peer"), Uplink: n.Draw(t, "uplink"), Served: n.Draw(t, "served"), Syncing: rapid.Bool().Draw(t, "syncing")}, now)
			case 2:
				s.Failed = rapid.Bool().Draw(t, "failed")
			default:
				if i, ok := Choose(states, now, rnd); ok != (i >= 0) || ok && !states[i].Eligible(now) {
					t.Fatalf("chose %d, %v", i, ok)
				}
			}
			for _, s := range states {
				if o, a, u := s.Outstanding(now), s.Available(now), s.Utilization(now); !(o >= 0 && o < 1e21) || !(a > 0 && a < 1e20) || !(u >= 0 && u <= 1) {
					t.Fatalf("outstanding %g, available %g, utilization %g", o, a, u)
				}
			}
		}
	})
}

func BenchmarkChoose40(b *testing.B) {
	var hs []*State
	for range 40 {
		hs = append(hs, announced(25e6))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for i := range b.N {
		now := t0.Add(time.Duration(i) * time.Microsecond)
		if k, ok := Choose(hs, now, rnd); ok {
			hs[k].Issue(1e6, now)
		}
	}
}
