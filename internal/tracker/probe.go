package tracker

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
)

const (
	probeWorkers = 4
	probeTimeout = 5 * time.Second
	// probeEvery is the least time between two probes of a volunteer that
	// gets customers.
	probeEvery = 5 * time.Second
	maxBackoff = time.Minute
	// missingFor is how long a content is not asked of a volunteer that said
	// it has it but did not: by then it has announced many times.
	missingFor = 10 * time.Minute
	maxMissing = 1 << 16
)

// probe is one HEAD request to a volunteer: for a content it should hold, or,
// with a zero id, for anything, to see whether customers can reach it.
type probe struct {
	name, target string
	id           content.ID
}

// prober hands probes to the workers, so that a volunteer has one at a time.
type prober struct {
	queue chan probe

	mu  sync.Mutex
	all map[string]*probeState
}

type probeState struct {
	busy  bool
	next  time.Time
	fails int
}

func (p *prober) init() {
	p.queue, p.all = make(chan probe, 64), map[string]*probeState{}
}

// again probes a volunteer in doubt, ever more rarely while it fails.
func (p *prober) again(name, url string, now time.Time) {
	if url != "" {
		p.put(probe{name: name, target: url + "/"}, now)
	}
}

// maybe probes the target of a redirect if the last probe is long enough ago.
func (p *prober) maybe(name, target string, id content.ID, now time.Time) {
	p.put(probe{name, target, id}, now)
}

func (p *prober) put(x probe, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.all[x.name]
	if s == nil {
		s = &probeState{}
		p.all[x.name] = s
	}
	if s.busy || now.Before(s.next) {
		return
	}
	select {
	case p.queue <- x:
		s.busy = true
	default:
	}
}

func (p *prober) done(name string, ok bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.all[name]
	s.busy = false
	if ok {
		s.fails, s.next = 0, now.Add(probeEvery)
		return
	}
	s.fails++
	s.next = now.Add(min(maxBackoff, time.Second<<min(s.fails, 6)))
}

func (t *Tracker) probeWorker(ctx context.Context) {
	client := http.Client{}
	if t.cfg.Probe != nil {
		client = *t.cfg.Probe
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-t.prober.queue:
			ok, has := check(ctx, &client, p)
			if ctx.Err() != nil {
				return
			}
			t.probed(p, ok, has)
		}
	}
}

// check tells whether the volunteer answers, and whether it has the content.
func check(ctx context.Context, client *http.Client, p probe) (ok, has bool) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, p.target, nil)
	if err != nil {
		return false, false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false, false
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusTooManyRequests:
		return true, true // busy, which its load will say
	case resp.StatusCode >= 500:
		return false, false
	case p.id.IsZero():
		return true, true
	}
	etag := resp.Header.Get("ETag")
	return true, resp.StatusCode == http.StatusOK && (etag == "" || etag == `"`+p.id.String()+`"`)
}

// probed acts on the result.
func (t *Tracker) probed(p probe, ok, has bool) {
	now := t.cfg.Now()
	t.prober.done(p.name, ok, now)
	if ok && !has {
		t.missing.add(p.name, p.id, now)
		t.metrics.probes.WithLabelValues("missing").Inc()
		t.cfg.Log.Warn("volunteer lacks what it announced", "volunteer", p.name, "target", p.target)
		return
	}
	t.mu.Lock()
	changed := false
	if v := t.vols[p.name]; v != nil {
		changed = v.proved != ok
		v.proved, v.state.Failed = ok, !ok
	}
	t.mu.Unlock()
	if ok {
		t.metrics.probes.WithLabelValues("ok").Inc()
		return
	}
	t.metrics.probes.WithLabelValues("failed").Inc()
	if changed {
		t.cfg.Log.Warn("volunteer does not answer; it gets no customers until it does", "volunteer", p.name, "target", p.target)
	}
}

// missing remembers contents that volunteers announced but do not have.
type missing struct {
	mu  sync.Mutex
	all map[missingKey]time.Time
}

type missingKey struct {
	name string
	id   content.ID
}

func (m *missing) add(name string, id content.ID, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil || len(m.all) >= maxMissing {
		m.all = map[missingKey]time.Time{}
	}
	m.all[missingKey{name, id}] = now.Add(missingFor)
}

func (m *missing) has(name string, id content.ID, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.all) == 0 {
		return false
	}
	return now.Before(m.all[missingKey{name, id}])
}

// forget drops what is known of a volunteer that stated its holdings anew.
func (m *missing) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.all {
		if k.name == name {
			delete(m.all, k)
		}
	}
}
