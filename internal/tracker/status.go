package tracker

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/tracker/web"
)

// ranked returns the eligible holders among names with their cost, the
// cheapest first, synchronizing ones last.
func (t *Tracker) ranked(names []string, p Published, tls bool, now time.Time) []mirror {
	var list []mirror
	t.mu.Lock()
	for _, n := range names {
		v := t.vols[n]
		if !t.servable(v, p.ID, tls, now) || !v.state.Eligible(now) {
			continue
		}
		list = append(list, mirror{Name: n, URL: v.url, Cost: v.state.Cost(now), Syncing: v.state.Syncing})
	}
	t.mu.Unlock()
	slices.SortFunc(list, func(a, b mirror) int {
		if a.Syncing != b.Syncing {
			if a.Syncing {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.Cost, b.Cost), strings.Compare(a.Name, b.Name))
	})
	return list
}

// Status returns all that the status page shows.
func (t *Tracker) Status(ctx context.Context) (*web.Status, error) {
	now := t.cfg.Now()
	vols, err := t.cfg.Store.Volunteers(ctx)
	if err != nil {
		return nil, err
	}
	s := &web.Status{
		Software: t.cfg.Software, URL: t.cfg.PublicURL, Now: now, Started: t.started,
		Contents: t.cfg.Catalog.Contents(), History: t.history.Samples(),
		Modules: []web.Module{}, Volunteers: []web.Volunteer{},
	}
	for _, m := range t.cfg.Catalog.Modules() {
		s.Modules = append(s.Modules, web.Module(m))
	}
	t.mu.Lock()
	for i := range vols {
		r := &vols[i]
		v := web.Volunteer{
			Name: r.Name, URL: r.URL, Addr: r.Addr, Seen: r.Seen, First: r.First, Load: r.Load,
			Contents: r.Contents, Stating: r.More, State: "lost",
		}
		if l := t.vols[r.Name]; l != nil {
			v.Redirects, v.Redirected = l.redirects, l.issued
			v.Outstanding = int64(l.state.Outstanding(now))
			v.Utilization = l.state.Utilization(now)
			switch {
			case l.stopped:
				v.State = "stopped"
			case l.state.Late(now):
				v.State = "late"
			case r.URL == "":
				v.State = "seed only"
			case l.state.Failed:
				v.State = "unreachable"
			case l.state.Syncing:
				v.State = "syncing"
			default:
				v.State = "ready"
			}
		} else if !r.Confirmed {
			v.State = "expected" // known from before the restart
		}
		if !v.Up() {
			v.Load.Customers, v.Load.CustomerRate, v.Load.PeerRate, v.Load.Syncing = 0, 0, 0, 0 // as of then
		}
		s.Volunteers = append(s.Volunteers, v)
	}
	t.mu.Unlock()
	t.totals.mu.Lock()
	s.Swarm = web.Swarm{
		Downloaded: t.totals.downloaded, Origin: t.totals.origin, Uploaded: t.totals.uploaded,
		Corrupt: t.totals.corrupt, BadPeers: len(t.totals.badPeers),
	}
	t.totals.mu.Unlock()
	s.Redirects, s.RedirectedBytes = t.metrics.count(t.metrics.redirects), t.metrics.count(t.metrics.redirectedBytes)
	s.Served = t.metrics.count(t.metrics.served.WithLabelValues("origin"))
	return s, nil
}

// sample adds a point to the plots.
func (t *Tracker) sample(ctx context.Context) {
	s, err := t.Status(ctx)
	if err != nil {
		return
	}
	p := web.Sample{
		Time: s.Now, Redirects: s.Redirects, RedirectedBytes: s.RedirectedBytes, Served: s.Served,
		Downloaded: s.Swarm.Downloaded, Origin: s.Swarm.Origin,
	}
	for i := range s.Volunteers {
		v := &s.Volunteers[i]
		if !v.Up() {
			continue
		}
		p.Up++
		p.CustomerRate += v.Load.CustomerRate
		p.PeerRate += v.Load.PeerRate
		p.Customers += int64(v.Load.Customers)
	}
	t.history.Add(p)
}

// ServeHTTP answers everything of the central host that is not under
// /.prsync/. The names announce, scrape, metrics, status.json and favicon.ico
// are thus no modules over HTTP.
func (t *Tracker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if t.cfg.Software != "" {
		w.Header()["Server"] = []string{t.cfg.Software}
	}
	switch r.URL.Path {
	case "/announce":
		t.serveAnnounce(w, r)
	case "/scrape":
		t.serveScrape(w, r)
	case "/metrics":
		t.metrics.handler.ServeHTTP(w, r)
	case "/", "/status.json":
		t.serveStatus(w, r)
	default:
		t.serveFile(w, r)
	}
}

// minRefresh is the least time after which a status page reads itself again.
const minRefresh = 5

// serveStatus answers with the page or its data; ?q=MODULE/PATH adds who holds
// that file.
func (t *Tracker) serveStatus(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		t.plain(w, http.StatusMethodNotAllowed, "only GET and HEAD are possible here")
		return
	}
	s, err := t.Status(r.Context())
	if err != nil {
		t.plain(w, http.StatusServiceUnavailable, "the tracker store does not answer")
		return
	}
	if t.cfg.Allow != nil {
		s.Modules = slices.DeleteFunc(s.Modules, func(m web.Module) bool { return !t.cfg.Allow(discard{}, r, m.Name) })
	}
	query := r.URL.Query()
	if q := strings.TrimSpace(query.Get("q")); q != "" {
		s.Search = t.search(r, q)
	}
	if n, err := strconv.Atoi(query.Get("refresh")); err == nil && n > 0 {
		s.Refresh = min(max(n, minRefresh), 3600)
	}
	s.Sort()
	w.Header().Set("Cache-Control", "no-cache")
	if r.URL.Path == "/status.json" {
		w.Header().Set("Content-Type", "application/json")
		t.write(w, r, s.JSON())
		return
	}
	page, err := s.HTML()
	if err != nil {
		t.cfg.Log.Error("status page", "error", err)
		t.plain(w, http.StatusInternalServerError, "the page cannot be written")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pagePolicy)
	t.write(w, r, page)
}

// search finds one file by MODULE/PATH.
func (t *Tracker) search(r *http.Request, q string) *web.Search {
	s := &web.Search{Query: q}
	module, path, _, err := parsePath(string(escapePath([]byte("/"), strings.TrimLeft(q, "/"))))
	if err == nil && t.cfg.Allow != nil && !t.cfg.Allow(discard{}, r, module) {
		return s
	}
	if err != nil || path == "" {
		return s
	}
	p, err := t.cfg.Catalog.File(module, path)
	if err != nil {
		return s
	}
	s.Found, s.Module, s.Path, s.ID, s.Size, s.Mtime = true, module, path, p.ID.String(), p.Size, p.Mtime
	s.FromHost, s.Gone = p.FromHost, p.Gone
	s.Href = string(escapePath(append(escapePath([]byte("/"), module), '/'), path))
	s.Holders, _ = t.holders(r.Context(), p.ID, nil)
	return s
}

func sortEntries(e []Entry) {
	slices.SortFunc(e, func(a, b Entry) int {
		if a.Dir != b.Dir {
			if a.Dir {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
}
