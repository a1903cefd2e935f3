package sim

import (
	"container/heap"
	"math"
)

// server is an uplink shared by max-min fairness among customers of three
// downlink classes. Per class a virtual clock counts the bytes that each of
// its customers got, so that an event costs O(log n).
type server struct {
	uplink float64
	peer   float64 // bytes per second taken by synchronization
	at     float64 // time of the clocks
	clock  [len(downlinks)]float64
	rate   [len(downlinks)]float64
	jobs   [len(downlinks)]jobs
	n      int
	served float64 // bytes to customers
	peers  float64 // bytes to peers
	left   float64 // bytes its customers still have to get
	next   float64 // time of the next completion
	pos    int     // in the queue of servers
}

type job struct {
	done  float64 // class clock at completion
	start float64 // time of arrival
	size  float64
}

type jobs []job

func (j jobs) Len() int           { return len(j) }
func (j jobs) Less(a, b int) bool { return j[a].done < j[b].done }
func (j jobs) Swap(a, b int)      { j[a], j[b] = j[b], j[a] }
func (j *jobs) Push(x any)        { *j = append(*j, x.(job)) }
func (j *jobs) Pop() any {
	old := *j
	x := old[len(old)-1]
	*j = old[:len(old)-1]
	return x
}

// advance moves the clocks to time t, before the next completion.
func (s *server) advance(t float64) {
	dt := t - s.at
	for c := range s.clock {
		got := s.rate[c] * dt
		s.clock[c] += got
		b := got * float64(len(s.jobs[c]))
		s.served += b
		s.left -= b
	}
	s.peers += s.peer * dt
	s.at = t
}

// share sets the rates by max-min fairness and finds the next completion.
func (s *server) share() {
	rem, n := s.uplink-s.peer, s.n
	for c := range s.rate { // classes ascend in rate
		k := len(s.jobs[c])
		if k == 0 {
			s.rate[c] = 0
			continue
		}
		s.rate[c] = min(downlinks[c].rate, rem/float64(n))
		rem -= s.rate[c] * float64(k)
		n -= k
	}
	s.next = math.Inf(1)
	for c := range s.jobs {
		if len(s.jobs[c]) > 0 {
			s.next = min(s.next, s.at+max(0, s.jobs[c][0].done-s.clock[c])/s.rate[c])
		}
	}
}

func (s *server) arrive(t float64, size float64, class int) {
	s.advance(t)
	heap.Push(&s.jobs[class], job{s.clock[class] + size, t, size})
	s.n++
	s.left += size
	s.share()
}

// complete removes the job that ends now.
func (s *server) complete() (j job, class int) {
	s.advance(s.next)
	best := math.Inf(1)
	for c := range s.jobs {
		if len(s.jobs[c]) > 0 {
			if d := (s.jobs[c][0].done - s.clock[c]) / s.rate[c]; d < best {
				best, class = d, c
			}
		}
	}
	j = heap.Pop(&s.jobs[class]).(job)
	if s.n--; s.n == 0 {
		s.left = 0 // no rounding is carried on
	}
	s.share()
	return j, class
}

// speed is the rate that one more customer of the class would get.
func (s *server) speed(class int) float64 {
	rem, n := s.uplink-s.peer, s.n+1
	for c := range s.jobs {
		k := len(s.jobs[c])
		if c == class {
			return min(downlinks[c].rate, rem/float64(n))
		}
		r := min(downlinks[c].rate, rem/float64(n))
		rem -= r * float64(k)
		n -= k
	}
	return 0
}

// busy is the demand of its customers over what the uplink has for them.
func (s *server) busy() float64 {
	var d float64
	for c := range s.jobs {
		d += float64(len(s.jobs[c])) * downlinks[c].rate
	}
	return d / (s.uplink - s.peer)
}
