package sim

import (
	"math"
	"math/rand/v2"
	"slices"
)

// request is one customer's request of the trace.
type request struct {
	at    float64 // seconds
	size  float64 // bytes
	group int
	class int // of downlink
	keep  float64
}

// volunteer is a volunteer's fixed part.
type volunteer struct {
	uplink float64
	// from is when the volunteer has the group; +Inf: never (partial mirror).
	from []float64
	// syncs are the intervals in which it synchronizes.
	syncs [][2]float64
}

// world is all that does not depend on the policy.
type world struct {
	requests []request // at 100 %, ascending
	vols     []volunteer
	end      float64
}

const (
	groups      = 200
	releases    = 6 // of the groups, released during the trace
	days        = 3.0
	day         = 86400.0 / Compression // simulated seconds
	meanSession = 6                     // packages
	syncShare   = 0.25                  // of the uplink that synchronization takes
)

// newWorld draws volunteers and trace. Capacities are equal or spread by a
// factor of twenty, with the same sum.
func newWorld(seed uint64, equal bool) *world {
	rnd := rand.New(rand.NewPCG(seed, 0x7072))
	w := &world{end: days * day}
	released := make([]float64, groups) // 0: always there
	for r := range releases {
		// Popular groups are released; the first one early on.
		released[r] = day * (0.05 + days*0.75*float64(r)/releases)
	}
	var sum float64
	for v := range Volunteers {
		up := uplinkOf(v, equal)
		sum += up
		w.vols = append(w.vols, volunteer{uplink: up})
	}
	for v := range w.vols {
		vol := &w.vols[v]
		vol.uplink *= meanUplink * Volunteers / sum
		vol.from = make([]float64, groups)
		partial := v%5 >= 3 // two of five are partial mirrors
		for g := range groups {
			if partial && rnd.Float64() < 0.5 {
				vol.from[g] = math.Inf(1)
				continue
			}
			if released[g] > 0 {
				// It learns of the release by its next announce and fetches
				// about a gigabyte with others.
				start := released[g] + rnd.Float64()*Interval.Seconds()
				took := 1e9 / min(syncShare*vol.uplink, 40e6) * (0.8 + 0.4*rnd.Float64())
				took = min(took, 40)
				vol.from[g] = start + took*(0.3+0.7*rnd.Float64())
				vol.syncs = append(vol.syncs, [2]float64{start, start + took})
			}
		}
	}
	w.draw(rnd, released)
	return w
}

// uplinkOf is volunteer v's uplink relative to others'.
func uplinkOf(v int, equal bool) float64 {
	if equal {
		return 1
	}
	return []float64{0.25, 0.5, 0.5, 1, 1, 1, 2, 5}[v%8]
}

// drawClass draws a customer's downlink.
func drawClass(rnd *rand.Rand) (class int) {
	u := rnd.Float64()
	for u -= downlinks[0].share; u > 0 && class < len(downlinks)-1; u -= downlinks[class].share {
		class++
	}
	return class
}

// Sizes of files are log-normal: median 1.6 MB, mean 3.3 MB.
const sizeMu, sizeSigma = 14.3, 1.2

// crowd is the relative demand for a group at a time: its Zipf share while it
// is old; from its release on a flash crowd on top, up in an hour, decaying
// with a time constant of a day, with the rhythm of day and night.
func crowd(g int, released, t float64) float64 {
	old := 1 / math.Pow(float64(g+1), 0.9)
	rhythm := 1 + 0.3*math.Sin(2*math.Pi*t/day)
	if released == 0 {
		return old * rhythm
	}
	if t < released {
		return 0
	}
	age := t - released
	return rhythm * (old + 4*old*(1-math.Exp(-age/(day/24)))*math.Exp(-age/day))
}

// draw makes the requests of the full workload.
func (w *world) draw(rnd *rand.Rand, released []float64) {
	// Demand per simulated minute, to find the busiest one.
	const step = 60.0
	rates := make([][]float64, int(w.end/step)+1) // cumulative by group
	peak := 0.0
	for i := range rates {
		rates[i] = make([]float64, groups)
		sum := 0.0
		for g := range groups {
			sum += crowd(g, released[g], (float64(i)+0.5)*step)
			rates[i][g] = sum
		}
		peak = max(peak, sum)
	}
	meanSize := math.Exp(sizeMu + sizeSigma*sizeSigma/2)
	perSession := meanSize * meanSession
	top := MaxWorkload / 100.0 * FullLoad * meanUplink * Volunteers / perSession // sessions per second
	for t := 0.0; ; {
		t += rnd.ExpFloat64() / top
		if t >= w.end {
			break
		}
		row := rates[int(t/step)]
		total := row[groups-1]
		if rnd.Float64()*peak > total {
			continue
		}
		x := rnd.Float64() * total
		g, _ := slices.BinarySearch(row, x)
		class := drawClass(rnd)
		keep := rnd.Float64()
		at := t
		for {
			size := min(math.Exp(sizeMu+sizeSigma*rnd.NormFloat64()), 100e6)
			w.requests = append(w.requests, request{at, size, min(g, groups-1), class, keep})
			if rnd.Float64() < 1.0/meanSession {
				break
			}
			// The next package follows when this one should be there.
			at += size/downlinks[class].rate + 0.05
		}
	}
	slices.SortStableFunc(w.requests, func(a, b request) int {
		if a.at < b.at {
			return -1
		} else if a.at > b.at {
			return 1
		}
		return 0
	})
}
