// Package balance decides which volunteer gets a customer. It is pure: no
// clock, no locks, no I/O; time and randomness are arguments. The central host
// and the simulator (internal/tracker/sim) run the same code.
//
// The model of one volunteer is the work that stands before a new customer,
// in bytes, over the bytes per second that are left for customers:
//
//	outstanding  what the host redirected there and was not fetched yet: it
//	             leaves with the time that customers stay, and not faster
//	             than the uplink sends
//	available    uplink - traffic to peers - customers that came by themselves
//	cost       = outstanding / available, in seconds
//
// Every announce corrects the model with the measured total of bytes served,
// and teaches it how long customers stay. Of two holders drawn at random in
// proportion to what they have available, the cheaper gets the customer
// (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing",
// 2001): near the optimum without sending everyone to the momentarily best
// one, which matters as soon as several hosts decide on knowledge that is a
// second old. A request counts by the bytes it asks for (a range by its
// length) once it is issued.
package balance

import (
	"math"
	"math/rand/v2"
	"time"
)

const (
	// DefaultCapacity stands in for an uplink that was not announced: 100 Mbit/s.
	DefaultCapacity = 100e6 / 8
	// minShare of the uplink is always counted as available, however busy a
	// volunteer says it is, so that a cost stays finite and comparable.
	minShare = 0.05
	// fade is the time constant with which announced rates are forgotten.
	fade = 60 * time.Second
	// forget is the time constant with which redirected bytes that nobody
	// fetched (aborted, served from a cache) leave the account.
	forget = 5 * time.Minute
	// A customer's stay is learned from announces, from this start, within
	// these bounds; in seconds. The lower one makes what was issued count for
	// a while after it was served, which evens out utilization.
	defaultStay, minStay, maxStay = 5.0, 4.0, 60.0
	// Synchronizing volunteers get customers only if all others have this
	// many seconds of work before a new one, by the choice among them.
	patience = 3.0
	// onTheWay is how long a redirected customer may take to arrive: what was
	// issued within it stays outstanding even if the volunteer saw nobody.
	onTheWay = 2 * time.Second
)

// State is what the host knows about the load of one volunteer. The zero value
// is a volunteer that never announced; use Announce before Choose.
type State struct {
	Capacity float64 // uplink, bytes per second; 0: unknown
	Syncing  bool
	// Failed is set when a probe failed, until one succeeds.
	Failed bool
	// Interval is the announce interval given to the volunteer.
	Interval time.Duration

	announced   time.Time // of the last announce
	served      int64     // its total of bytes to customers
	peerRate    float64   // bytes per second, as announced
	foreignRate float64   // customers that were not redirected by hosts
	measured    float64   // outstanding bytes at the last announce
	outstanding float64   // bytes, as of at
	at          time.Time
	issued      float64 // bytes issued since the last announce
	stay        float64 // seconds for which a customer's bytes are outstanding
	recent      float64 // of those, within onTheWay
	recentAt    time.Time
}

// Load is the announced part; see content.Load for the units.
type Load struct {
	Customers    int
	CustomerRate int64
	PeerRate     int64
	Syncing      bool
	Uplink       int64
	Served       int64
}

// Issue records that a customer was redirected for the given bytes.
func (s *State) Issue(bytes int64, now time.Time) {
	if bytes <= 0 {
		return
	}
	s.settle(now)
	s.outstanding += float64(bytes)
	s.issued += float64(bytes)
	if now.Sub(s.recentAt) > onTheWay {
		s.recent, s.recentAt = 0, now
	}
	s.recent += float64(bytes)
}

// Announce corrects the state with what the volunteer measured.
func (s *State) Announce(l Load, now time.Time) {
	first := s.announced.IsZero() || l.Served < s.served // new, or it restarted
	delta := float64(l.Served - s.served)
	if first {
		delta = 0
		s.measured = 0
	}
	s.settle(now)
	pending := s.measured + s.issued
	dt := now.Sub(s.announced).Seconds()
	// Clamped from below: a restarted volunteer has dropped its customers.
	s.measured = max(0, pending-delta)
	if !first && dt > 0 {
		s.measured *= math.Exp(-dt / forget.Seconds())
		s.foreignRate = max(0, delta-pending) / dt
		if delta > 0 {
			// Little's law: bytes in the system over bytes per second.
			t := min(maxStay, max(minStay, s.measured*dt/delta))
			s.stay = 0.7*s.Stay() + 0.3*t
		}
	}
	if l.Customers == 0 {
		// Nobody is being served: only who is still on the way can be left.
		s.measured = 0
		if now.Sub(s.recentAt) <= onTheWay {
			s.measured = s.recent
		}
	}
	s.outstanding, s.at, s.issued = s.measured, now, 0
	s.served, s.peerRate, s.announced = l.Served, float64(max(0, l.PeerRate)), now
	s.Capacity, s.Syncing = float64(max(0, l.Uplink)), l.Syncing
}

// Announced returns the time of the last announce.
func (s *State) Announced() time.Time { return s.announced }

// settle drains the outstanding bytes by the model up to now.
func (s *State) settle(now time.Time) {
	s.outstanding = s.Outstanding(now)
	if now.After(s.at) {
		s.at = now
	}
}

// Stay returns for how many seconds a customer's bytes are outstanding there
// on average: customers fetch at their own speed, not at that of the uplink.
func (s *State) Stay() float64 {
	if s.stay == 0 {
		return defaultStay
	}
	return s.stay
}

// Outstanding returns the bytes that redirected customers still have to get:
// they leave as customers fetch them, and not faster than the uplink sends.
func (s *State) Outstanding(now time.Time) float64 {
	dt := now.Sub(s.at).Seconds()
	if dt <= 0 {
		return s.outstanding
	}
	o, stay, avail := s.outstanding, s.Stay(), s.Available(now)
	// As long as more is asked than the uplink sends it falls by a line, then
	// exponentially.
	if full := avail * stay; o > full {
		t := (o - full) / avail
		if dt <= t {
			return o - avail*dt
		}
		o, dt = full, dt-t
	}
	return o * math.Exp(-dt/stay)
}

// Available returns the bytes per second that are left for redirected customers.
func (s *State) Available(now time.Time) float64 {
	c := s.Capacity
	if c <= 0 {
		c = DefaultCapacity
	}
	f := math.Exp(-max(0, now.Sub(s.announced).Seconds()) / fade.Seconds())
	return max(minShare*c, c-f*(s.peerRate+s.foreignRate))
}

// Cost returns the seconds of work that stand before a new customer.
func (s *State) Cost(now time.Time) float64 { return s.Outstanding(now) / s.Available(now) }

// Late reports whether two announces are missing.
func (s *State) Late(now time.Time) bool {
	return s.announced.IsZero() || s.Interval > 0 && now.Sub(s.announced) > 2*s.Interval
}

// Utilization returns the share of the uplink in use by the model, 0 to 1.
func (s *State) Utilization(now time.Time) float64 {
	c := s.Capacity
	if c <= 0 {
		c = DefaultCapacity
	}
	a := s.Available(now)
	used := c - a
	// The model serves at full rate while anything is outstanding.
	used += min(a, s.Outstanding(now)/max(1, s.Interval.Seconds()))
	return min(1, used/c)
}

// Eligible reports whether the volunteer may get customers at all.
func (s *State) Eligible(now time.Time) bool { return !s.Failed && !s.Late(now) }

// Choices is how many holders are drawn and compared.
const Choices = 2

// Choose returns the index of the holder that gets a customer. ok is false
// when no holder is eligible. Holders that synchronize come last: only
// when the choice among the others is fully loaded, or there are none. Choose
// changes nothing: call Issue on the chosen one.
func Choose(holders []*State, now time.Time, rnd *rand.Rand) (choice int, ok bool) {
	best, bestCost := choose(holders, false, now, rnd)
	if best < 0 || bestCost > patience {
		if i, cost := choose(holders, true, now, rnd); i >= 0 && (best < 0 || cost < bestCost) {
			best = i
		}
	}
	return best, best >= 0
}

// choose compares Choices of the eligible holders that do or do not synchronize.
func choose(holders []*State, syncing bool, now time.Time, rnd *rand.Rand) (best int, bestCost float64) {
	var total float64
	n := 0
	for _, h := range holders {
		if h.Syncing == syncing && h.Eligible(now) {
			total += h.Available(now)
			n++
		}
	}
	best = -1
	for range min(Choices, n) {
		i := draw(holders, syncing, best, total, now, rnd)
		if i < 0 {
			break
		}
		if c := holders[i].Cost(now); best < 0 || c < bestCost {
			best, bestCost = i, c
		}
	}
	return best, bestCost
}

// draw picks an eligible holder other than not, weighted by what it has
// available; total is the sum of the weights of all eligible ones.
func draw(holders []*State, syncing bool, not int, total float64, now time.Time, rnd *rand.Rand) int {
	if not >= 0 {
		total -= holders[not].Available(now)
	}
	x := rnd.Float64() * total
	last := -1
	for i, h := range holders {
		if i == not || h.Syncing != syncing || !h.Eligible(now) {
			continue
		}
		last = i
		if x -= h.Available(now); x < 0 {
			break
		}
	}
	return last
}
