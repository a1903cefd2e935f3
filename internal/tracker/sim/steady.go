package sim

import (
	"math"
	"math/rand/v2"
)

// A Steady trace has a constant demand for contents that every volunteer
// holds: short enough to be run with real processes, too.
type Steady struct {
	Uplinks  []float64 // bytes per second
	Sizes    []float64 // of the files, bytes
	Visits   []Visit   // at MaxWorkload, in order of time
	Duration float64   // seconds
	seed     uint64
}

// Visit is one request.
type Visit struct {
	At   float64 // seconds
	File int
	Rate float64 // the customer's downlink, bytes per second
	keep float64
	kind int
}

// NewSteady draws a trace for so many volunteers. 100 % workload demands
// FullLoad of all uplinks all the time.
func NewSteady(seed uint64, volunteers int, equal bool, seconds float64) *Steady {
	rnd := rand.New(rand.NewPCG(seed, 0x7374))
	t := &Steady{Duration: seconds, seed: seed}
	var sum float64
	for v := range volunteers {
		t.Uplinks = append(t.Uplinks, uplinkOf(v, equal))
		sum += t.Uplinks[v]
	}
	for v := range t.Uplinks {
		t.Uplinks[v] *= meanUplink * float64(volunteers) / sum
	}
	var mean float64
	const files = 200
	for range files {
		size := math.Trunc(min(math.Exp(sizeMu+sizeSigma*rnd.NormFloat64()), 10e6))
		t.Sizes = append(t.Sizes, size)
		mean += size / files
	}
	perSecond := MaxWorkload / 100.0 * FullLoad * meanUplink * float64(volunteers) / mean
	for at := rnd.ExpFloat64() / perSecond; at < seconds; at += rnd.ExpFloat64() / perSecond {
		kind := drawClass(rnd)
		t.Visits = append(t.Visits, Visit{at, rnd.IntN(files), downlinks[kind].rate, rnd.Float64(), kind})
	}
	return t
}

// At returns the visits of a workload in percent.
func (t *Steady) At(workload int) (kept []Visit) {
	for _, v := range t.Visits {
		if v.keep < float64(workload)/MaxWorkload {
			kept = append(kept, v)
		}
	}
	return kept
}

// Run simulates the trace.
func (t *Steady) Run(policyName string, equal bool, workload int) Result {
	w := &world{end: t.Duration}
	for _, u := range t.Uplinks {
		w.vols = append(w.vols, volunteer{uplink: u, from: []float64{0}})
	}
	for _, v := range t.Visits {
		w.requests = append(w.requests, request{at: v.At, size: t.Sizes[v.File], class: v.kind, keep: v.keep})
	}
	return run(t.seed, w, policyName, equal, workload)
}
