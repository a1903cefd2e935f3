package host

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
)

const (
	// companyTime is how long a client that was told of others counts by
	// itself: by then its engine has announced.
	companyTime = 2 * time.Second
	// companyLook is how often the peers of a client alone are counted again.
	companyLook = time.Second
)

// company knows which clients have asked whether they are alone, by module.
// Hosts that share a tracker store do not share this: each may call one client
// alone, which costs one copy more.
type company struct {
	mu    sync.Mutex
	there map[string]*there
}

type there struct {
	alone chan struct{} // closed when somebody else comes; nil: nobody waits
	last  time.Time     // when somebody was told of others
}

// enter counts who else has asked. A client that is alone is told by the
// channel when that changes, and has to leave.
func (c *company) enter(module string, peers int, now time.Time) (others int, alone chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.there == nil {
		c.there = map[string]*there{}
	}
	t := c.there[module]
	if t == nil {
		t = &there{}
		c.there[module] = t
	}
	others = peers
	switch {
	case t.alone != nil:
		close(t.alone)
		t.alone = nil
		others++
	case now.Sub(t.last) < companyTime:
		others++
	}
	if others > 0 {
		t.last = now
		return others, nil
	}
	t.alone = make(chan struct{})
	return 0, t.alone
}

func (c *company) leave(module string, alone chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.there[module]; t != nil && t.alone == alone {
		t.alone = nil
	}
}

// zeros is the probe.
var zeros [content.CompanyProbe]byte

// serveCompany answers content.PathCompany.
func (h *swarmHandler) serveCompany(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET")
		http.Error(w, "only GET is possible here", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, content.PathCompany)
	m := h.ms.get(name)
	if m == nil || !m.conf.SwarmEnabled() {
		http.Error(w, fmt.Sprintf("module %.100q is not in the swarm here", name), http.StatusNotFound)
		return
	}
	if !h.gate.allow(w, r, name) {
		return
	}
	peers, err := h.peers(r.Context(), m)
	if err != nil {
		unavailable(w, err)
		return
	}
	others, alone := h.company.enter(name, peers, time.Now())
	header := w.Header()
	header.Set(content.HeaderCompany, strconv.Itoa(others))
	header.Set("Cache-Control", "no-store")
	if alone == nil {
		header.Set("Content-Length", "0")
		return
	}
	defer h.company.leave(name, alone)
	http.NewResponseController(w).SetWriteDeadline(time.Time{}) // the transfer may take long
	header.Set("Content-Type", "application/octet-stream")
	if _, err := w.Write(zeros[:]); err != nil {
		return
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	tick := time.NewTicker(companyLook)
	defer tick.Stop()
	for {
		select {
		case <-alone:
			return
		case <-h.quit:
			return
		case <-r.Context().Done():
			return
		case <-tick.C:
			if n, err := h.peers(r.Context(), m); err != nil || n > 0 {
				return
			}
		}
	}
}

// peersOf counts the peers of all packs of a module.
func (c *central) peersOf(ctx context.Context, m *module) (n int, err error) {
	v := m.view.Load()
	if v == nil {
		return 0, errNotYet
	}
	packs := make([]content.InfoHash, 0, len(v.packs))
	for h := range v.packs {
		packs = append(packs, h)
	}
	counts, err := c.store.Scrape(ctx, packs, time.Now())
	for _, k := range counts {
		if c.seeder != nil {
			k.Complete = max(0, k.Complete-1) // the host itself
		}
		n += k.Complete + k.Incomplete
	}
	return n, err
}
