package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// firstRate is what one request to the origin is expected to bring, in bytes
// per second, until one has come to its end.
const firstRate = 256 << 10

// Times of the announces.
const (
	announceTimeout  = 15 * time.Second
	goodbyeTimeout   = 2 * time.Second
	announceGather   = 20 * time.Millisecond // packs that come together go together
	announceInterval = time.Minute           // when the host names none
	announceAtLeast  = time.Second           // between two that nobody asked for
	failureBackoff   = 30 * time.Second      // the longest
	originBackoff    = 5 * time.Second       // likewise, for ranges
)

// tracker is one central host: it announces the engine's packs there, and
// counts the requests for ranges.
type tracker struct {
	e    *Engine
	url  string // without a trailing slash
	wake chan struct{}

	mu       sync.Mutex
	packs    map[content.InfoHash]*announced
	gone     []content.AnnouncePack // left, and not told to the host
	external bool                   // a volunteer's host calls announce by itself
	next     int                    // first pack of the next announce, when they do not fit in one
	interval time.Duration
	least    time.Duration
	last     time.Time
	failures int

	active  int // requests for ranges
	pauseTo time.Time
	fails   int // in a row
	err     error
	// failing is when the first of those failed, failed when the last one did.
	failing, failed time.Time
	rate            float64 // bytes per second of one request, smoothed
}

// announced is what the host was told, and said, about one pack.
type announced struct {
	hash    content.InfoHash
	p       *pack    // nil while it sleeps
	rest    *sleeper // then
	started bool
	left    int64
	replied bool
	peers   map[string]peerAddr // by peer id
}

type peerAddr struct {
	addr string // "" for one that only connects out
	ip   netip.Addr
	seed bool
}

func newTracker(e *Engine, url string) *tracker {
	return &tracker{
		e: e, url: strings.TrimSuffix(url, "/"), wake: make(chan struct{}, 1),
		packs: map[content.InfoHash]*announced{}, interval: announceInterval, least: announceAtLeast,
		rate: firstRate,
	}
}

// shown is the URL without what admits us.
func (t *tracker) shown() string {
	u, err := url.Parse(t.url)
	if err != nil {
		return "the host"
	}
	return u.Redacted()
}

func (t *tracker) add(p *pack) {
	t.mu.Lock()
	if a := t.packs[p.meta.InfoHash]; a != nil && a.rest != nil {
		a.p, a.rest = p, nil
	} else {
		t.packs[p.meta.InfoHash] = &announced{hash: p.meta.InfoHash, p: p}
	}
	t.mu.Unlock()
	t.poke()
}

// remove takes a pack off the list; the host is told that it has stopped.
func (t *tracker) remove(p *pack) {
	a := p.announcePack()
	a.Event = content.EventStopped
	t.mu.Lock()
	if t.packs[p.meta.InfoHash] != nil && t.packs[p.meta.InfoHash].p == p {
		delete(t.packs, p.meta.InfoHash)
		if len(t.gone) < content.MaxAnnouncePacks {
			t.gone = append(t.gone, a)
		}
	}
	t.mu.Unlock()
	t.poke()
}

// poke says that there may be news to announce.
func (t *tracker) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// answered reports whether the host has listed the pack's peers yet.
func (t *tracker) answered(h content.InfoHash) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.packs[h]
	return a != nil && a.replied
}

// peersOf returns the peers that the host listed, by id. The map is not
// changed afterwards.
func (t *tracker) peersOf(h content.InfoHash) map[string]peerAddr {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.packs[h]; a != nil {
		return a.peers
	}
	return nil
}

// address returns where the host said the peer listens, "" if it did not.
func (t *tracker) address(id string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.packs {
		if addr := a.peers[id].addr; addr != "" {
			return addr
		}
	}
	return ""
}

// run announces until the engine ends.
func (t *tracker) run() {
	defer t.e.wg.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(t.wait(time.Now()))
		select {
		case <-t.e.ctx.Done():
			return
		case <-timer.C:
			t.announce(t.e.ctx, &content.AnnounceRequest{}, "")
		case <-t.wake:
		}
	}
}

// wait returns how long to wait for the next announce.
func (t *tracker) wait(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.packs) == 0 && len(t.gone) == 0 || t.external && !t.fresh() && !t.knocked() {
		return time.Hour
	}
	if t.failures > 0 {
		return time.Until(t.last.Add(min(time.Second<<min(t.failures-1, 5), failureBackoff)))
	}
	switch {
	case t.fresh():
		return announceGather
	case t.news() || t.knocked():
		// Nothing is gathered here: whoever pokes faster than that, as a stranger
		// may who knocks and knocks, would put it off for ever.
		return max(t.last.Add(t.least).Sub(now), 0)
	}
	return max(t.last.Add(t.interval).Sub(now), 0)
}

// fresh reports whether the host has not heard of one of the packs at all.
func (t *tracker) fresh() bool {
	for _, a := range t.packs {
		if !a.started {
			return true
		}
	}
	return false
}

// knocked reports whether somebody came to a closed pack whom the host may have
// listed by now.
func (t *tracker) knocked() bool {
	for _, a := range t.packs {
		if a.p != nil && a.p.door.knocked.Load() || a.rest != nil && a.rest.knocked {
			return true
		}
	}
	return false
}

// news reports whether a pack has come to its end, or begun again, or a bad
// peer is to be reported.
func (t *tracker) news() bool {
	if len(t.gone) > 0 {
		return true
	}
	for _, a := range t.packs {
		if a.p == nil {
			continue
		}
		a.p.mu.Lock()
		left, bad := a.p.left, len(a.p.bad)
		a.p.mu.Unlock()
		if (left > 0) != (a.left > 0) || bad > 0 {
			return true
		}
	}
	return false
}

// announceFor performs an announce with what a volunteer's host adds.
func (t *tracker) announceFor(ctx context.Context, req *content.AnnounceRequest, secret string) (*content.AnnounceReply, error) {
	t.mu.Lock()
	t.external = true
	t.mu.Unlock()
	return t.announce(ctx, req, secret)
}

// announce tells the host about the packs and takes its answer.
func (t *tracker) announce(ctx context.Context, req *content.AnnounceRequest, secret string) (*content.AnnounceReply, error) {
	req.PeerID, req.Port = t.e.peerID, t.e.Port()
	told := t.gather(req)
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	reply, err := t.post(ctx, req, secret)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = time.Now()
	if err != nil {
		t.failures++
		for _, a := range told {
			a.replied = true // that is: do not wait for it
		}
		level := slog.LevelInfo
		if t.external {
			level = slog.LevelDebug // the volunteer's host says so itself
		}
		t.e.log.Log(t.e.ctx, level, "swarm: announce failed", "host", t.shown(), "err", err)
		return nil, err
	}
	t.failures = 0
	if reply.Interval > 0 {
		t.interval = time.Duration(reply.Interval) * time.Second
	}
	t.least = max(time.Duration(reply.MinInterval)*time.Second, announceAtLeast)
	t.take(reply)
	return reply, nil
}

// gather adds the packs to a request, as many as fit.
func (t *tracker) gather(req *content.AnnounceRequest) (told []*announced) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.Collect(maps.Values(t.packs))
	if len(all) > content.MaxAnnouncePacks {
		slices.SortFunc(all, func(a, b *announced) int {
			return bytes.Compare(a.hash[:], b.hash[:])
		})
		start := t.next % len(all)
		all = append(all[start:], all[:start]...)[:content.MaxAnnouncePacks]
		t.next = start + len(all)
	}
	room := content.MaxAnnouncePacks - len(all)
	for len(t.gone) > 0 && room > 0 {
		if g := t.gone[0]; t.packs[content.InfoHash([]byte(g.InfoHash))] == nil {
			req.Packs = append(req.Packs, g)
			room--
		}
		t.gone = t.gone[1:]
	}
	for _, a := range all {
		var ap content.AnnouncePack
		if a.p != nil {
			a.p.door.knocked.Store(false)
			ap = a.p.announcePack()
		} else {
			ap = a.rest.last
			a.rest.knocked = false
		}
		switch {
		case !a.started:
			ap.Event = content.EventStarted
		case ap.Left == 0 && a.left > 0:
			ap.Event = content.EventPaused
			if a.p != nil && a.p.whole() {
				ap.Event = content.EventCompleted
			}
		}
		a.started, a.left = true, ap.Left
		req.Packs = append(req.Packs, ap)
		told = append(told, a)
	}
	return told
}

// announcePack describes the pack for an announce.
func (p *pack) announcePack() content.AnnouncePack {
	stats := p.t.Stats()
	p.mu.Lock()
	defer p.mu.Unlock()
	a := content.AnnouncePack{
		InfoHash: string(p.meta.InfoHash[:]), Left: p.left,
		Uploaded:   stats.BytesWrittenData.Int64(),
		Downloaded: p.bytes[byPeers] + p.bytes[byOrigin],
		Origin:     p.bytes[byOrigin],
		Corrupt:    p.corrupt,
	}
	a.BadPeers = slices.Sorted(maps.Keys(p.bad))
	clear(p.bad)
	p.corrupt = 0
	return a
}

func (p *pack) whole() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.pieces {
		if !p.pieces[i].complete {
			return false
		}
	}
	return true
}

// post sends one announce.
func (t *tracker) post(ctx context.Context, req *content.AnnounceRequest, secret string) (*content.AnnounceReply, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url+"/announce", bytes.NewReader(req.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-bencode")
	if secret != "" {
		r.SetBasicAuth(req.Name, secret)
	}
	body, err := t.e.do(r, content.MaxAnnounceBody)
	if err != nil {
		return nil, fmt.Errorf("announce: %w", err)
	}
	reply, err := content.DecodeAnnounceReply(body)
	if err != nil {
		return nil, fmt.Errorf("announce to %s: %w", t.shown(), err)
	}
	if reply.Failure != "" {
		return nil, fmt.Errorf("announce to %s: %s", t.shown(), reply.Failure)
	}
	return reply, nil
}

// do performs a request and returns the body of a 200 answer.
func (e *Engine) do(r *http.Request, limit int64) ([]byte, error) {
	resp, err := e.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.URL.Redacted(), err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", r.URL.Redacted(), resp.Status)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%s: the answer has more than %d bytes", r.URL.Redacted(), limit)
	}
	return body, nil
}

// take uses the host's answer. t.mu is held.
func (t *tracker) take(reply *content.AnnounceReply) {
	for i := range reply.Packs {
		rp := &reply.Packs[i]
		var h content.InfoHash
		copy(h[:], rp.InfoHash)
		a := t.packs[h]
		if a == nil {
			continue
		}
		a.replied = true
		peers := map[string]peerAddr{}
		for _, peer := range rp.Peers {
			if peer.PeerID == t.e.peerID {
				continue
			}
			pa := peerAddr{seed: peer.Seed != 0}
			if ip, err := netip.ParseAddr(peer.IP); err == nil {
				pa.ip = ip.Unmap()
				if peer.Port > 0 && peer.Port < 1<<16 {
					pa.addr = net.JoinHostPort(pa.ip.String(), strconv.Itoa(peer.Port))
				}
			}
			peers[peer.PeerID] = pa
		}
		ad := newAdmission(rp, peers)
		if a.p == nil {
			if a.rest.admission = ad; rp.Unknown != 0 {
				a.rest.unknown()
			}
			continue
		}
		a.peers = peers
		a.p.door.admission.Store(ad)
		if rp.Unknown != 0 {
			a.p.unknown()
		}
		a.p.plan.redialSoon.Store(true)
		a.p.peersChanged()
	}
}

// goodbye tells the host that the engine stops.
func (t *tracker) goodbye() {
	req := &content.AnnounceRequest{PeerID: t.e.peerID, Port: t.e.Port(), Stopping: 1}
	told := t.gather(req)
	if len(told) == 0 {
		return
	}
	for i := range req.Packs {
		req.Packs[i].Event = content.EventStopped
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	if _, err := t.post(ctx, req, ""); err != nil {
		t.e.log.Debug("swarm: goodbye", "host", t.shown(), "err", err)
	}
}

// acquire takes one of the places for requests to the origin.
func (t *tracker) acquire(now time.Time, limit int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fails > 0 {
		limit = 1 // see whether it is back
	}
	if now.Before(t.pauseTo) || t.active >= limit {
		return false
	}
	t.active++
	return true
}

func (t *tracker) releaseSlot() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active--
}

// originDone takes note of how a request for a range went.
func (t *tracker) originDone(n int64, took time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n > 0 && took > 0 {
		t.rate += (float64(n)/took.Seconds() - t.rate) / 4
	}
	if err == nil {
		t.fails, t.err = 0, nil
		return
	}
	t.err = err
	var busy *busyError
	if errors.As(err, &busy) {
		t.pauseTo = time.Now().Add(busy.after)
		return
	}
	now := time.Now()
	if t.fails == 0 {
		t.failing = now
	}
	t.failed = now
	if now.Before(t.pauseTo) { // it was made before the one that failed first
		return
	}
	t.fails++
	t.pauseTo = now.Add(min(250*time.Millisecond<<min(t.fails, 6), originBackoff))
}

func (t *tracker) originError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *tracker) originRate() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rate
}
