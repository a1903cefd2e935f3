// Package store keeps what central hosts know about peers and volunteers. All
// of it is soft: announces rebuild it. Memory is one host's own; redisstore
// lets several hosts share it. Package storetest has the suite both pass.
package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// ErrUnknown is returned for a volunteer that the store does not know (any
// more); its next announce, from Base 0, puts that right.
var ErrUnknown = errors.New("the volunteer is not known")

// ErrFull is returned when a limit is reached; what was known stays known.
var ErrFull = errors.New("the tracker store is full")

// Limits of every store.
const (
	MaxSwarms        = 1 << 20
	MaxPeersPerSwarm = 20000
	MaxVolunteers    = 1024
)

// Peer is one peer of one swarm.
type Peer struct {
	ID   string // 20 bytes
	IP   string // textual, without zone
	Port uint16 // 0: only connects out
	// Name is the volunteer's name, "" for others.
	Name string

	Left       int64 // bytes still wanted
	Paused     bool  // wants nothing more but does not hold everything (BEP 21)
	Uploaded   int64
	Downloaded int64
	Origin     int64
	Corrupt    int64
}

// Seed reports whether the peer downloads nothing: it is left out of the
// sharing of the origin's pieces.
func (p *Peer) Seed() bool { return p.Left == 0 || p.Paused }

// Swarm is the answer about one swarm.
type Swarm struct {
	// Peers are those that download, in the same order for every asker and
	// thus the same ones when there are more than wanted, then seeds, a
	// random choice when there are more than fit.
	Peers      []Peer
	Complete   int // peers with Left == 0
	Incomplete int // all others
	// Prev is the asker's previous entry; Known tells whether it had one.
	Prev  Peer
	Known bool
}

// Update is one peer's announce in one swarm.
type Update struct {
	InfoHash content.InfoHash
	Peer     Peer
	Stopped  bool // the peer leaves
	// TTL is how long the entry lives without another announce.
	TTL  time.Duration
	Want int // peers wanted in the answer; 0: none
}

// Counts is a swarm's scrape.
type Counts struct{ Complete, Incomplete, Downloaded int }

// Volunteer is what a volunteer said about itself last.
type Volunteer struct {
	Name      string       `json:"name"`
	URL       string       `json:"url"`
	Addr      string       `json:"addr"` // it announced from
	Seen      time.Time    `json:"seen"`
	First     time.Time    `json:"first"`
	Load      content.Load `json:"load"`
	Version   int64        `json:"version"`  // of its holdings
	Contents  int64        `json:"contents"` // it holds
	More      bool         `json:"more"`     // its statement is still incomplete
	Stopped   bool         `json:"stopped"`  // it said goodbye
	Confirmed bool         `json:"-"`        // announced since this host started
}

// A Store is shared by all goroutines of a host and possibly by several hosts.
//
// Obligations of an implementation:
//   - Every method is safe for concurrent use and returns when ctx ends.
//   - Nothing returned aliases the store's memory, and no argument is kept.
//   - What one host's call has returned is seen by every later call of every
//     host: new holdings are routable at once, dropped ones no longer.
//   - Time comes from the arguments only.
//   - Growth is bounded by the limits above; beyond them ErrFull.
type Store interface {
	// Announce records the updates and returns a Swarm for each, in order.
	// An entry is known by peer id and address together, so that nobody can
	// change another's. Expired ones are not returned. Seeds with Port 0
	// are counted only; downloading peers with Port 0 are returned, since they
	// share the origin's pieces. Their order depends on their ids only.
	Announce(ctx context.Context, ups []Update, now time.Time) ([]Swarm, error)
	// Scrape counts the peers of each swarm, zeros for an unknown one.
	Scrape(ctx context.Context, hashes []content.InfoHash, now time.Time) ([]Counts, error)

	// PutVolunteer records name, URL, address, load and time of an announce
	// and returns the version of its holdings known now. Version, Contents,
	// More and First of v are ignored: they are the store's.
	PutVolunteer(ctx context.Context, v Volunteer) (version int64, err error)
	// Stop marks a volunteer as gone until it is put again; its holdings stay.
	Stop(ctx context.Context, name string) error
	// Volunteers returns all, sorted by name.
	Volunteers(ctx context.Context) ([]Volunteer, error)
	// Forget removes a volunteer and all it holds.
	Forget(ctx context.Context, name string) error

	// Update applies a delta of holdings if h.Base is 0 (which drops all that
	// was known) or the version known now, atomically for later readers of
	// Version, and returns the version known after it. The volunteer must have
	// been put before.
	Update(ctx context.Context, name string, h *content.Holdings) (version int64, err error)
	// Holders appends the names of all that hold the content to dst.
	Holders(ctx context.Context, id content.ID, dst []string) ([]string, error)

	// Issued adds to the shared totals of bytes redirected to volunteers and
	// returns all totals; they only grow while a volunteer is known.
	Issued(ctx context.Context, add map[string]int64) (map[string]int64, error)

	// Sweep forgets expired peers, and volunteers not heard of for volTTL.
	Sweep(ctx context.Context, volTTL time.Duration, now time.Time) error
	// Save makes the state durable where the store is not so by itself.
	Save(ctx context.Context) error
	Close() error
}

// Order is the key by which a swarm's downloading peers are sorted: FNV-1a
// with a final mix, so that no client's choice of id prefix comes first.
// Ties are broken by the id.
func Order(id string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(id); i++ {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	return h ^ h>>33
}

func sortVolunteers(v []Volunteer) {
	slices.SortFunc(v, func(a, b Volunteer) int { return strings.Compare(a.Name, b.Name) })
}
