// Package sim is a discrete-event simulation of a central host that redirects
// customers to volunteers. The policy under test is the very code of
// internal/tracker/balance; the others are there to compare.
//
// # Model
//
// A volunteer's uplink is shared among its customers by max-min fairness: each
// gets the same rate, but none more than its own downlink takes (three
// classes). Traffic of synchronization takes its part of the uplink first.
// Announces arrive every ten seconds, each volunteer at its own phase; between
// them the policy knows only what it redirected. A request that no volunteer
// can serve goes to the host's own uplink.
//
// # Trace
//
// Customers come in sessions: one takes several packages of one group one
// after another (variants of one package are correlated), groups by Zipf's
// law. Some groups are releases: new contents that volunteers get one after
// another while they synchronize, and that draw a flash crowd which rises
// within an hour and decays over two to three days. Those slow processes run
// Compression times faster than links, sizes and announces, so that a run is
// short; for the policy that is harder, since more changes between announces.
//
// # Workload
//
// 100 % is the workload whose demand, in the busiest minute of the
// trace, is FullLoad of all the volunteers' uplinks together: what an
// operator would plan for. A workload of w % keeps each session of the same
// trace with probability w/100. Demand beyond the sum of uplinks has no finite
// response time under any policy.
//
// The constants of the policy were chosen with seed 2008; judge it with others.
package sim

import "time"

const (
	// Volunteers, as in the deployment the design is made for.
	Volunteers = 40
	// FullLoad is the share of all uplinks that is demanded in the busiest
	// minute at 100 % workload.
	FullLoad = 0.80
	// MaxWorkload is up to where workloads can be asked for, in percent.
	MaxWorkload = 120
	// Compression is how much faster days pass than seconds.
	Compression = 120
	// Interval is between two announces of a volunteer.
	Interval = 10 * time.Second

	meanUplink   = 200e6 / 8 // bytes per second
	originUplink = 500e6 / 8
)

// downlinks are the customers' classes, bytes per second, and their shares.
var downlinks = [...]struct{ rate, share float64 }{{16e6 / 8, 0.35}, {50e6 / 8, 0.5}, {100e6 / 8, 0.15}}
