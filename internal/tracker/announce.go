package tracker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker/store"
)

const (
	// maxStrangerBody bounds an announce without authentication: 4096 packs
	// fit, holdings are not its to state.
	maxStrangerBody = 1 << 20
	// maxReplyPeers bounds the peers in one reply over all packs.
	maxReplyPeers = 20000
	// minInterval is the least time between two announces, in seconds.
	minInterval = 1
	// ttlIntervals is after how many intervals a silent peer is forgotten.
	ttlIntervals = 2.5
)

// announcer is who sent an announce, as far as it was verified.
type announcer struct {
	addr netip.Addr // of the connection
	name string     // of the volunteer, "" for a stranger
}

// mayOverride reports whether an address in the message is honoured.
func (a announcer) mayOverride() bool { return a.name != "" || a.addr.IsLoopback() }

// serveAnnounce answers both forms of /announce.
func (t *Tracker) serveAnnounce(w http.ResponseWriter, r *http.Request) {
	now := t.cfg.Now()
	who := announcer{addr: remote(r)}
	if !who.addr.IsValid() {
		t.refuse(w, r, http.StatusBadRequest, "the connection has no address")
		return
	}
	if who.addr.IsUnspecified() {
		t.refuse(w, r, http.StatusForbidden, `this came through a proxy before the central host that does not say whose request it is, or that the host does not know; see "http proxies" in prsyncd.conf(5)`)
		return
	}
	// What a client's token opens is for Allow to say.
	if name, secret, ok := r.BasicAuth(); ok && name != content.TokenUser {
		if !t.limits.mayAuthenticate(who.addr, now) {
			t.refuse(w, r, http.StatusTooManyRequests, "too many failed authentications from this address; wait a minute")
			return
		}
		if !t.cfg.Secrets.Check(name, secret) {
			t.limits.failed(who.addr, now)
			w.Header().Set("WWW-Authenticate", `Basic realm="prsync volunteers"`)
			t.refuse(w, r, http.StatusUnauthorized, "unknown volunteer or wrong secret; compare volunteer name and volunteer secret with the host's volunteer secrets file")
			return
		}
		who.name = name
	}
	if who.name == "" && !t.limits.allow(who.addr, now) {
		w.Header().Set("Retry-After", "10")
		t.refuse(w, r, http.StatusTooManyRequests, "too many announces from this address")
		return
	}
	switch r.Method {
	case http.MethodPost:
		t.announcePost(w, r, who, now)
	case http.MethodGet:
		t.announceGet(w, r, who, now)
	default:
		w.Header().Set("Allow", "GET, POST")
		t.refuse(w, r, http.StatusMethodNotAllowed, "announce with GET (BEP 3) or POST")
	}
}

// warn logs what a client did wrong, unless there is too much of it.
func (t *Tracker) warn(msg string, args ...any) {
	if t.logged.AllowN(t.cfg.Now(), 1) {
		t.cfg.Log.Warn(msg, args...)
	}
}

// refuse answers with a bencoded failure reason.
func (t *Tracker) refuse(w http.ResponseWriter, r *http.Request, code int, reason string) {
	t.metrics.refused.WithLabelValues(fmt.Sprint(code)).Inc()
	t.warn("announce refused", "from", r.RemoteAddr, "status", code, "reason", reason)
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(code)
	w.Write((&content.AnnounceReply{Failure: reason}).Encode())
}

func (t *Tracker) announcePost(w http.ResponseWriter, r *http.Request, who announcer, now time.Time) {
	limit := int64(maxStrangerBody)
	if who.name != "" {
		limit = content.MaxAnnounceBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
			t.refuse(w, r, http.StatusRequestEntityTooLarge, fmt.Sprintf("announce of more than %d bytes; send it in parts", limit))
			return
		}
		t.refuse(w, r, http.StatusBadRequest, "announce body: "+err.Error())
		return
	}
	req, err := content.DecodeAnnounceRequest(body)
	if err != nil {
		t.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	name := who.name
	if req.Name == "" { // the secret is there for Allow
		name = ""
	}
	reply, code, err := t.Announce(r.Context(), req, who.addr, name, func(module string) bool {
		return t.cfg.Allow == nil || t.cfg.Allow(discard{}, r, module)
	}, now)
	if err != nil {
		t.refuse(w, r, code, err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Write(reply.Encode())
}

// discard is a ResponseWriter for asking Allow without answering.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// Announce takes a decoded announce over. addr is where it came from; name is
// the authenticated volunteer, "" for others and for a volunteer's engine that
// announces packs on its own; allow tells which modules the
// peer may see, nil all. The status code goes with err.
func (t *Tracker) Announce(ctx context.Context, req *content.AnnounceRequest, addr netip.Addr, name string, allow func(module string) bool, now time.Time) (_ *content.AnnounceReply, code int, _ error) {
	who := announcer{addr, name}
	switch {
	case req.Name != "" && name == "":
		return nil, http.StatusUnauthorized, fmt.Errorf("volunteer %s must authenticate with its secret", req.Name)
	case req.Name != name:
		return nil, http.StatusForbidden, fmt.Errorf("authenticated as %s, announcing for %q", name, req.Name)
	case name == "" && (req.Holdings != nil || req.URL != ""):
		return nil, http.StatusForbidden, errors.New("only a volunteer with a secret can state holdings or a URL")
	}
	ip := addr
	if req.IP != "" && who.mayOverride() {
		a, err := netip.ParseAddr(req.IP)
		if err != nil || a.Zone() != "" {
			return nil, http.StatusBadRequest, fmt.Errorf("ip %q is not an address", req.IP)
		}
		ip = a.Unmap()
	}
	reply := &content.AnnounceReply{
		Interval: int(t.cfg.PeerInterval.Seconds()), MinInterval: minInterval, You: ip.String(),
	}
	interval := t.cfg.PeerInterval
	if name != "" {
		interval = t.cfg.VolunteerInterval
		reply.Interval = int(interval.Seconds())
		var err error
		if reply.Holdings, code, err = t.announceVolunteer(ctx, req, ip, now); err != nil {
			return nil, code, err
		}
		if t.cfg.Restricted != nil {
			reply.Restricted = t.cfg.Restricted()
		}
	}
	var ups []store.Update
	reply.Packs = make([]content.ReplyPack, len(req.Packs))
	at := make([]int, 0, len(req.Packs)) // index into reply.Packs of each update
	for i := range req.Packs {
		p := &req.Packs[i]
		h := content.InfoHash([]byte(p.InfoHash))
		reply.Packs[i].InfoHash = p.InfoHash
		module, ok := t.cfg.Catalog.Pack(h)
		if !ok || allow != nil && !allow(module) {
			reply.Packs[i].Unknown = 1
			continue
		}
		if t.cfg.Closed != nil && t.cfg.Closed(module) {
			reply.Packs[i].Closed = 1
		}
		ups = append(ups, store.Update{
			InfoHash: h, Stopped: p.Event == content.EventStopped || req.Stopping != 0,
			TTL:  time.Duration(ttlIntervals * float64(interval)),
			Want: min(content.MaxAnnouncePeers, max(1, maxReplyPeers/len(req.Packs))),
			Peer: store.Peer{
				ID: req.PeerID, IP: ip.String(), Port: uint16(req.Port), Name: name, Left: p.Left,
				Paused: p.Event == content.EventPaused, Uploaded: p.Uploaded,
				Downloaded: p.Downloaded, Origin: p.Origin, Corrupt: p.Corrupt,
			},
		})
		at = append(at, i)
		if p.Corrupt > 0 && len(p.BadPeers) > 0 {
			t.totals.bad(p.BadPeers)
		}
	}
	swarms, err := t.cfg.Store.Announce(ctx, ups, now)
	if err != nil {
		return nil, storeStatus(err), err
	}
	for i := range swarms {
		t.totals.account(&ups[i], &swarms[i])
		rp := &reply.Packs[at[i]]
		rp.Complete, rp.Incomplete = swarms[i].Complete, swarms[i].Incomplete
		if ups[i].Stopped {
			if t.cfg.Left != nil && swarms[i].Known {
				t.cfg.Left(ups[i].InfoHash, ups[i].Peer.ID)
			}
			continue
		}
		rp.Peers = make([]content.ReplyPeer, 0, len(swarms[i].Peers))
		for j := range swarms[i].Peers {
			p := &swarms[i].Peers[j]
			if t.cfg.Hidden != nil && t.cfg.Hidden(p.ID) {
				continue
			}
			rp.Peers = append(rp.Peers, content.ReplyPeer{PeerID: p.ID, IP: p.IP, Port: int(p.Port)})
			if p.Seed() {
				rp.Peers[len(rp.Peers)-1].Seed = 1
			}
		}
	}
	t.metrics.announces.WithLabelValues("prsync").Inc()
	return reply, http.StatusOK, nil
}

// announceVolunteer takes over what a volunteer says of itself.
func (t *Tracker) announceVolunteer(ctx context.Context, req *content.AnnounceRequest, ip netip.Addr, now time.Time) (version int64, code int, err error) {
	if req.Stopping != 0 {
		t.mu.Lock()
		if v := t.vols[req.Name]; v != nil {
			v.stopped, v.proved = true, false
		}
		t.mu.Unlock()
		return 0, storeStatus(nil), t.cfg.Store.Stop(ctx, req.Name)
	}
	if err := checkURL(req.URL); err != nil {
		return 0, http.StatusBadRequest, err
	}
	v := store.Volunteer{Name: req.Name, URL: strings.TrimRight(req.URL, "/"), Addr: ip.String(), Seen: now, Confirmed: true}
	if req.Load != nil {
		v.Load = *req.Load
	}
	if version, err = t.cfg.Store.PutVolunteer(ctx, v); err != nil {
		return 0, storeStatus(err), err
	}
	if req.Holdings != nil {
		if version, err = t.cfg.Store.Update(ctx, req.Name, req.Holdings); err != nil {
			return 0, storeStatus(err), err
		}
		if len(req.Holdings.Added) > 0 || req.Holdings.Base == 0 {
			t.missing.forget(req.Name)
		}
	}
	t.mu.Lock()
	t.heard(&v)
	t.mu.Unlock()
	return version, http.StatusOK, nil
}

// checkURL accepts what may stand in front of a redirect's path; "" is a
// volunteer that only seeds.
func checkURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case len(s) > 160:
		return errors.New("url is longer than 160 bytes; redirects would not fit the header lines of old clients")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return fmt.Errorf("url %.200q is not an http or https URL", s)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return fmt.Errorf("url %.200q must not have user, query or fragment", s)
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || strings.IndexByte(`"<>\^{|}`+"`", s[i]) >= 0 {
			return fmt.Errorf("url %.200q has a byte that URLs must escape", s)
		}
	}
	return nil
}

// storeStatus is the status of an announce that the store did not take.
func storeStatus(err error) int {
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, store.ErrFull):
		return http.StatusInsufficientStorage
	case errors.Is(err, store.ErrUnknown):
		return http.StatusConflict
	}
	return http.StatusServiceUnavailable
}
