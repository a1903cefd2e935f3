// Package tracker is the central host's knowledge of who holds what, and its
// use: announces of peers and volunteers, scrapes, the redirect of customers
// to volunteers, standard descriptions of files (metalink, torrent, mirror
// list), the status page and metrics.
//
//	announce ──> store (peers, volunteers, holdings) ──> redirect
//	                 │                                       │
//	                 └──> balance.State of each volunteer <──┘ issued bytes
//
// A redirect's target is the volunteer's URL, module and path, with the query
// QueryID = content id: a volunteer serves exactly that content, from whatever
// path it holds it under, or answers 404.
package tracker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker/balance"
	"github.com/prsync/prsync/internal/tracker/store"
	"github.com/prsync/prsync/internal/tracker/web"
	"golang.org/x/time/rate"
)

// QueryID is the query parameter of a redirect that names the content.
const QueryID = "id"

// ErrIsDir is returned by Catalog.File for a directory.
var ErrIsDir = errors.New("is a directory")

// Config is what a Tracker is made of. Catalog, Origin and Store are needed.
type Config struct {
	Catalog Catalog
	Origin  Origin
	Store   store.Store
	// Secrets authenticates volunteers; nil: there are none.
	Secrets *Secrets
	// PublicURL is the host's own address for links, without trailing slash.
	PublicURL string
	// Allow decides whether the request may see the module (its auth users,
	// hosts allow and hosts deny); nil: everyone. It writes the refusal
	// itself and returns false.
	Allow func(w http.ResponseWriter, r *http.Request, module string) bool
	// Closed reports whether a module is not for everybody; nil: none is.
	Closed func(module string) bool
	// Restricted names the modules that are not for everybody; nil: none is.
	Restricted func() []string
	// Hidden reports whether a peer is left out of the answers to prsync peers,
	// who get its pieces another way; nil: none is.
	Hidden func(peerID string) bool
	// CustomerLimit bounds the files that the host itself serves at a time,
	// small ones apart; beyond it customers get 503. 0: no limit.
	CustomerLimit int
	// Left is told of peers that say that they leave a pack's swarm; nil:
	// nobody wants to know.
	Left func(h content.InfoHash, peerID string)
	// Probe checks volunteers by HEAD requests; nil: no probes, every
	// volunteer that announces gets customers.
	Probe *http.Client

	PeerInterval      time.Duration // default 15 s
	VolunteerInterval time.Duration // default 10 s
	SaveInterval      time.Duration // between snapshots, default 5 min
	VolunteerTTL      time.Duration // then a silent volunteer is forgotten, default 24 h

	Software string // for the Server header and the status page
	Log      *slog.Logger
	Now      func() time.Time // default time.Now
}

// Tracker answers the central host's HTTP requests.
type Tracker struct {
	cfg     Config
	metrics *metrics
	limits  limits
	history *web.History
	started time.Time
	serving chan struct{} // one element per file served by the host; nil: no limit
	prober  prober
	missing missing
	totals  totals
	// logged bounds the log of refused requests: a flood is counted in the
	// metrics, not written out.
	logged *rate.Limiter
	paused atomic.Int64 // until then (Unix, ns) the store is not asked for holders

	mu   sync.Mutex // guards all below and every volunteer's fields
	vols map[string]*vol
	rnd  *rand.Rand
	// issuedHere are bytes redirected since the last exchange with the store;
	// issuedSeen are the store's totals as of then.
	issuedHere map[string]int64
	issuedSeen map[string]int64
}

// vol is a volunteer as this host sees it.
type vol struct {
	name, url string
	state     balance.State
	seen      time.Time
	proved    bool // a probe has succeeded since it was last in doubt
	stopped   bool // it said goodbye
	redirects int64
	issued    int64
}

// New returns a tracker; Run keeps it up to date.
func New(cfg Config) (*Tracker, error) {
	if cfg.Catalog == nil || cfg.Origin == nil || cfg.Store == nil {
		return nil, errors.New("tracker: catalog, origin and store are needed")
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&cfg.PeerInterval, 15*time.Second)
	def(&cfg.VolunteerInterval, 10*time.Second)
	def(&cfg.SaveInterval, 5*time.Minute)
	def(&cfg.VolunteerTTL, 24*time.Hour)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Secrets == nil {
		cfg.Secrets = &Secrets{}
	}
	t := &Tracker{
		cfg: cfg, started: cfg.Now(), vols: map[string]*vol{},
		rnd:        rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		issuedHere: map[string]int64{}, issuedSeen: map[string]int64{},
		history: web.NewHistory(historyLength),
		logged:  rate.NewLimiter(1, 20),
	}
	if cfg.CustomerLimit > 0 {
		t.serving = make(chan struct{}, cfg.CustomerLimit)
	}
	t.limits.init()
	t.prober.init()
	t.metrics = newMetrics(t)
	return t, nil
}

const (
	syncEvery     = time.Second
	sweepEvery    = 30 * time.Second
	sampleEvery   = 10 * time.Second
	historyLength = 6 * 60 * 6 // six hours of samples
)

// Run exchanges state with the store, probes volunteers, forgets the silent
// and saves snapshots until ctx ends, then saves once more. The store stays
// open: it is the caller's.
func (t *Tracker) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range probeWorkers {
		wg.Go(func() { t.probeWorker(ctx) })
	}
	exchange, sweep := time.NewTicker(syncEvery), time.NewTicker(sweepEvery)
	sample, save := time.NewTicker(sampleEvery), time.NewTicker(t.cfg.SaveInterval)
	defer exchange.Stop()
	defer sweep.Stop()
	defer sample.Stop()
	defer save.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			wg.Wait()
			return t.cfg.Store.Save(context.WithoutCancel(ctx))
		case <-exchange.C:
			err = t.sync(ctx)
		case <-sweep.C:
			t.limits.sweep(t.cfg.Now())
			err = t.cfg.Store.Sweep(ctx, t.cfg.VolunteerTTL, t.cfg.Now())
		case <-sample.C:
			t.sample(ctx)
		case <-save.C:
			err = t.cfg.Store.Save(ctx)
		}
		if err != nil && ctx.Err() == nil {
			t.metrics.storeErrors.Inc()
			t.cfg.Log.Error("tracker store", "error", err)
		}
	}
}

// sync takes over what other hosts learned and redirected.
func (t *Tracker) sync(ctx context.Context) error {
	vols, err := t.cfg.Store.Volunteers(ctx)
	if err != nil {
		return fmt.Errorf("reading volunteers: %w", err)
	}
	t.mu.Lock()
	add := t.issuedHere
	t.issuedHere = map[string]int64{}
	t.mu.Unlock()
	totals, err := t.cfg.Store.Issued(ctx, add)
	now := t.cfg.Now()

	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		for n, b := range add {
			t.issuedHere[n] += b
		}
		return fmt.Errorf("sharing redirected bytes: %w", err)
	}
	known := make(map[string]bool, len(vols))
	for i := range vols {
		known[vols[i].Name] = true
		if vols[i].Confirmed {
			t.heard(&vols[i])
			if v := t.vols[vols[i].Name]; vols[i].Stopped && !v.seen.After(vols[i].Seen) {
				v.stopped = true
			}
		}
	}
	for name, total := range totals {
		v := t.vols[name]
		seen, before := t.issuedSeen[name]
		if others := total - seen - add[name]; v != nil && before && others > 0 {
			v.state.Issue(others, now)
		}
		t.issuedSeen[name] = total
	}
	for name, v := range t.vols {
		if !known[name] {
			delete(t.vols, name)
			delete(t.issuedSeen, name)
			continue
		}
		if t.cfg.Probe != nil && !v.stopped && !v.state.Late(now) && (v.state.Failed || !v.proved) {
			t.prober.again(v.name, v.url, now)
		}
	}
	return nil
}

// heard takes over an announce, of this host or another; t.mu is held.
func (t *Tracker) heard(r *store.Volunteer) {
	v := t.vols[r.Name]
	if v == nil {
		v = &vol{name: r.Name}
		t.vols[r.Name] = v
	}
	// A time to come is from before the clock was set back.
	if !r.Seen.After(v.seen) && !v.seen.After(t.cfg.Now()) {
		return
	}
	if v.url != r.URL {
		v.url, v.proved = r.URL, false
	}
	v.seen, v.stopped = r.Seen, r.Stopped
	v.state.Interval = t.cfg.VolunteerInterval
	v.state.Announce(balance.Load{
		Customers: r.Load.Customers, CustomerRate: r.Load.CustomerRate, PeerRate: r.Load.PeerRate,
		Syncing: r.Load.Syncing != 0, Uplink: r.Load.Uplink, Served: r.Load.Served,
	}, r.Seen)
	if t.cfg.Probe == nil {
		v.proved, v.state.Failed = true, false
	} else if !v.proved {
		v.state.Failed = true // until the first probe succeeds
		t.prober.again(v.name, v.url, r.Seen)
	}
}

// servable reports whether customers of the scheme can be sent to the
// volunteer for the content; t.mu is held. An https customer stays on https.
func (t *Tracker) servable(v *vol, id content.ID, https bool, now time.Time) bool {
	return v != nil && v.url != "" && !v.stopped && (!https || strings.HasPrefix(v.url, "https:")) && !t.missing.has(v.name, id, now)
}

// A store that does not answer is not asked again for a while: customers get
// their files from the host meanwhile, without waiting.
const (
	storeTimeout = time.Second
	storePause   = 2 * time.Second
)

// holders appends to dst the volunteers that hold the content, eligible or
// not. ok is false when the store does not answer.
func (t *Tracker) holders(ctx context.Context, id content.ID, dst []string) (names []string, ok bool) {
	now := t.cfg.Now()
	if left := time.Duration(t.paused.Load() - now.UnixNano()); left > 0 && left <= storePause {
		return nil, false
	}
	if _, local := t.cfg.Store.(*store.Memory); !local {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, storeTimeout)
		defer cancel()
	}
	names, err := t.cfg.Store.Holders(ctx, id, dst)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.paused.Store(now.Add(storePause).UnixNano())
		t.metrics.storeErrors.Inc()
		t.cfg.Log.Error("tracker store", "error", err)
	}
	return names, err == nil
}
