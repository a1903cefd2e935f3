// Package web shows the central host's state: the status page, the same as
// JSON and as text for a terminal. It only formats; the tracker fills Status.
package web

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// Status is everything shown. Byte rates are per second.
type Status struct {
	Software string    `json:"software"`
	URL      string    `json:"url"`
	Now      time.Time `json:"now"`
	Started  time.Time `json:"started"`

	Contents        int64 `json:"contents"` // published, different ones
	Redirects       int64 `json:"redirects"`
	RedirectedBytes int64 `json:"redirected_bytes"`
	Served          int64 `json:"served"` // files sent by the host itself

	Swarm      Swarm       `json:"swarm"`
	Modules    []Module    `json:"modules"`
	Volunteers []Volunteer `json:"volunteers"`
	History    []Sample    `json:"history"`
	Search     *Search     `json:"search,omitempty"`

	// Refresh is after how many seconds the page is to be read again; 0: never.
	Refresh int `json:"-"`
}

// Swarm sums what peers reported since the host started.
type Swarm struct {
	Downloaded int64 `json:"downloaded"` // payload bytes from peers and origin
	Origin     int64 `json:"origin"`     // of these, from the origin
	Uploaded   int64 `json:"uploaded"`
	Corrupt    int64 `json:"corrupt"`
	BadPeers   int   `json:"bad_peers"`
}

// Share is the part of the swarm's bytes that did not come from the origin, 0 to 1.
func (s Swarm) Share() float64 {
	if s.Downloaded <= 0 {
		return 0
	}
	return float64(s.Downloaded-s.Origin) / float64(s.Downloaded)
}

// Module is one published module; see tracker.Module.
type Module struct {
	Name       string    `json:"name"`
	Comment    string    `json:"comment,omitempty"`
	Generation int64     `json:"generation"`
	Published  time.Time `json:"published"`
	Files      int64     `json:"files"`
	Bytes      int64     `json:"bytes"`
	Contents   int64     `json:"contents"`
	Packs      int       `json:"packs"`
	Indexing   string    `json:"indexing,omitempty"`
	Redirect   bool      `json:"redirect"`
}

// Volunteer is one volunteer's state.
type Volunteer struct {
	Name     string       `json:"name"`
	URL      string       `json:"url"`
	Addr     string       `json:"addr"`
	State    string       `json:"state"` // ready, syncing, seed only, unreachable, late, stopped, expected, lost
	Seen     time.Time    `json:"seen"`
	First    time.Time    `json:"first"`
	Load     content.Load `json:"load"`
	Contents int64        `json:"contents"`
	Stating  bool         `json:"stating,omitempty"` // its list of contents is incomplete

	Redirects   int64   `json:"redirects"` // by this host
	Redirected  int64   `json:"redirected_bytes"`
	Outstanding int64   `json:"outstanding_bytes"`
	Utilization float64 `json:"utilization"` // 0 to 1, modelled
}

// Up reports whether the volunteer is in contact.
func (v *Volunteer) Up() bool {
	switch v.State {
	case "ready", "syncing", "seed only", "unreachable":
		return true
	}
	return false
}

// Search is who holds one file.
type Search struct {
	Query    string    `json:"query"`
	Found    bool      `json:"found"`
	Module   string    `json:"module,omitempty"`
	Path     string    `json:"path,omitempty"`
	Href     string    `json:"href,omitempty"`
	ID       string    `json:"sha256,omitempty"`
	Size     int64     `json:"size,omitempty"`
	Mtime    time.Time `json:"mtime"`
	FromHost bool      `json:"from_host,omitempty"`
	Gone     bool      `json:"gone,omitempty"`
	Holders  []string  `json:"holders,omitempty"`
}

// Sample is one moment of the plots. Counters are totals since the start.
type Sample struct {
	Time            time.Time `json:"time"`
	Up              int64     `json:"up"` // volunteers
	Customers       int64     `json:"customers"`
	CustomerRate    int64     `json:"customer_rate"`
	PeerRate        int64     `json:"peer_rate"`
	Redirects       int64     `json:"redirects"`
	RedirectedBytes int64     `json:"redirected_bytes"`
	Served          int64     `json:"served"`
	Downloaded      int64     `json:"downloaded"`
	Origin          int64     `json:"origin"`
}

// JSON returns the status for scripts.
func (s *Status) JSON() []byte {
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil { // only a time out of range can do that
		return []byte("{}\n")
	}
	return append(b, '\n')
}

// History keeps the last samples.
type History struct {
	mu   sync.Mutex
	ring []Sample
	next int
	full bool
}

// NewHistory returns a history of n samples.
func NewHistory(n int) *History { return &History{ring: make([]Sample, n)} }

// Add records a sample.
func (h *History) Add(s Sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring[h.next] = s
	h.next++
	if h.next == len(h.ring) {
		h.next, h.full = 0, true
	}
}

// maxSamples is how many samples Samples returns, thinned out evenly.
const maxSamples = 240

// Samples returns the history in order of time.
func (h *History) Samples() []Sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []Sample
	if h.full {
		all = append(all, h.ring[h.next:]...)
	}
	all = append(all, h.ring[:h.next]...)
	step := (len(all) + maxSamples - 1) / maxSamples
	if step <= 1 {
		return all
	}
	var out []Sample
	for i := (len(all) - 1) % step; i < len(all); i += step {
		out = append(out, all[i])
	}
	return out
}

// Sort orders volunteers, modules and holders by name.
func (s *Status) Sort() {
	slices.SortFunc(s.Volunteers, func(a, b Volunteer) int { return compareNames(a.Name, b.Name) })
	slices.SortFunc(s.Modules, func(a, b Module) int { return compareNames(a.Name, b.Name) })
	if s.Search != nil {
		slices.SortFunc(s.Search.Holders, compareNames)
	}
}

// UpCount is how many volunteers are in contact.
func (s *Status) UpCount() (n int) {
	for i := range s.Volunteers {
		if s.Volunteers[i].Up() {
			n++
		}
	}
	return n
}

// Trouble is how many volunteers are in a state that an operator looks after.
type Trouble struct {
	State string
	Count int
}

// Troubles counts the volunteers that get no customers though they should.
func (s *Status) Troubles() (list []Trouble) {
	for _, state := range []string{"unreachable", "late", "lost", "expected"} {
		n := 0
		for i := range s.Volunteers {
			if s.Volunteers[i].State == state {
				n++
			}
		}
		if n > 0 {
			list = append(list, Trouble{state, n})
		}
	}
	return list
}

// Meaning is what a state of volunteers means.
type Meaning struct{ State, Means string }

// Legend explains the states that volunteers have and that their names do not.
func (s *Status) Legend() (list []Meaning) {
	for _, state := range []string{"seed only", "unreachable", "late", "lost", "expected", "stopped"} {
		if slices.ContainsFunc(s.Volunteers, func(v Volunteer) bool { return v.State == state }) {
			list = append(list, Meaning{state, stateMeans(state)})
		}
	}
	return list
}

// Part is the share of all published contents, 0 to 1.
func (s *Status) Part(contents int64) float64 {
	if s.Contents <= 0 {
		return 0
	}
	return min(1, float64(contents)/float64(s.Contents))
}
