package tracker

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker/store"
)

// The announce of standard clients: BEP 3 with BEP 7 (peers6), BEP 21 (event
// paused), BEP 23 (compact) and BEP 48 (scrape). As every tracker does, it
// answers 200 with a failure reason where the client should show it.

const (
	defaultNumwant = 50
	maxScrape      = 100
)

// bep3Request is a parsed GET /announce.
type bep3Request struct {
	hash               content.InfoHash
	peer               store.Peer
	event              string
	numwant            int
	compact, noPeerIDs bool
	ip                 string
}

// parseBEP3 reads the query of an announce.
func parseBEP3(q url.Values) (b bep3Request, err error) {
	ih, id := q.Get("info_hash"), q.Get("peer_id")
	if len(ih) != len(b.hash) || len(id) != 20 {
		return b, fmt.Errorf("info_hash and peer_id must be 20 bytes each, escaped")
	}
	if len(q["info_hash"]) > 1 {
		return b, fmt.Errorf("one info_hash for each announce")
	}
	b.hash = content.InfoHash([]byte(ih))
	b.peer.ID = id
	num := func(key string, least, most, def int64) int64 {
		s := q.Get(key)
		if s == "" {
			return def
		}
		n, perr := strconv.ParseInt(s, 10, 64)
		if (perr != nil || n < least || n > most) && err == nil {
			err = fmt.Errorf("%s must be a number from %d to %d", key, least, most)
		}
		return n
	}
	const most = 1 << 60
	b.peer.Port = uint16(num("port", 0, 65535, 0))
	b.peer.Uploaded = num("uploaded", 0, most, 0)
	b.peer.Downloaded = num("downloaded", 0, most, 0)
	b.peer.Corrupt = num("corrupt", 0, most, 0)
	b.peer.Left = num("left", 0, 1<<63-1, most)
	b.numwant = int(min(num("numwant", -1, 1<<31, defaultNumwant), content.MaxAnnouncePeers))
	if b.numwant < 0 {
		b.numwant = defaultNumwant
	}
	b.compact = q.Get("compact") != "0"
	b.noPeerIDs = q.Get("no_peer_id") == "1"
	b.ip = q.Get("ip")
	switch b.event = q.Get("event"); b.event {
	case content.EventNone, content.EventStarted, content.EventStopped, content.EventCompleted:
	case content.EventPaused:
		b.peer.Paused = true
	case "empty":
		b.event = content.EventNone
	default:
		return b, fmt.Errorf("unknown event")
	}
	return b, err
}

func (t *Tracker) announceGet(w http.ResponseWriter, r *http.Request, who announcer, now time.Time) {
	w.Header().Set("Content-Type", "text/plain")
	fail := func(reason string) {
		t.metrics.refused.WithLabelValues("200").Inc()
		w.Write((&content.AnnounceReply{Failure: reason}).Encode())
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		fail("malformed query")
		return
	}
	b, err := parseBEP3(q)
	if err != nil {
		fail(err.Error())
		return
	}
	ip := who.addr
	if b.ip != "" && who.mayOverride() {
		if a, err := netip.ParseAddr(b.ip); err == nil && a.Zone() == "" {
			ip = a.Unmap()
		}
	}
	b.peer.IP = ip.String()
	module, ok := t.cfg.Catalog.Pack(b.hash)
	if !ok || t.cfg.Allow != nil && !t.cfg.Allow(discard{}, r, module) {
		fail("this tracker does not publish that torrent (any more)")
		return
	}
	up := store.Update{
		InfoHash: b.hash, Peer: b.peer, Stopped: b.event == content.EventStopped, Want: b.numwant,
		TTL: time.Duration(ttlIntervals * float64(bep3Interval)),
	}
	sw, err := t.cfg.Store.Announce(r.Context(), []store.Update{up}, now)
	if err != nil {
		fail(err.Error())
		return
	}
	t.totals.account(&up, &sw[0])
	t.metrics.announces.WithLabelValues("bep3").Inc()
	if up.Stopped {
		sw[0].Peers = nil
	}
	w.Write(bep3Reply(&b, &sw[0]))
}

// bep3Interval is what standard clients are told; they ask one torrent at a
// time and must not be asked to do so as often as ours.
const bep3Interval = 2 * time.Minute

// bep3Reply encodes the answer, keys in order. Peers that take no connections
// are of no use to these clients.
func bep3Reply(b *bep3Request, sw *store.Swarm) []byte {
	var list, v4, v6 []byte
	n := 0
	for i := range sw.Peers {
		p := &sw.Peers[i]
		a, err := netip.ParseAddr(p.IP)
		if err != nil || p.Port == 0 || p.ID == b.peer.ID {
			continue
		}
		n++
		port := []byte{byte(p.Port >> 8), byte(p.Port)}
		switch {
		case !b.compact:
			list = append(list, "d2:ip"...)
			list = appendString(list, p.IP)
			if !b.noPeerIDs {
				list = append(list, "7:peer id"...)
				list = appendString(list, p.ID)
			}
			list = fmt.Appendf(list, "4:porti%dee", p.Port)
		case a.Is4():
			v4 = append(append(v4, a.AsSlice()...), port...)
		default:
			v6 = append(append(v6, a.AsSlice()...), port...)
		}
	}
	out := fmt.Appendf(nil, "d8:completei%de10:incompletei%de8:intervali%de12:min intervali%de5:peers",
		sw.Complete, sw.Incomplete, int(bep3Interval.Seconds()), int(bep3Interval.Seconds()/4))
	if !b.compact {
		out = append(append(append(out, 'l'), list...), 'e')
	} else {
		out = appendString(out, v4)
		if len(v6) > 0 {
			out = append(out, "6:peers6"...)
			out = appendString(out, v6)
		}
	}
	return append(out, 'e')
}

func appendString[S string | []byte](b []byte, s S) []byte {
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, ':')
	return append(b, s...)
}

// serveScrape answers BEP 48 for named torrents; there is no full scrape.
func (t *Tracker) serveScrape(w http.ResponseWriter, r *http.Request) {
	now := t.cfg.Now()
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET")
		t.refuse(w, r, http.StatusMethodNotAllowed, "scrape with GET")
		return
	}
	if a := remote(r); !a.IsValid() || !t.limits.allow(a, now) {
		t.refuse(w, r, http.StatusTooManyRequests, "too many scrapes from this address")
		return
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	hashes := q["info_hash"]
	if err != nil || len(hashes) == 0 || len(hashes) > maxScrape {
		t.refuse(w, r, http.StatusBadRequest, fmt.Sprintf("scrape takes 1 to %d info_hash parameters", maxScrape))
		return
	}
	var known []content.InfoHash
	for _, s := range hashes {
		if len(s) != 20 {
			t.refuse(w, r, http.StatusBadRequest, "info_hash must be 20 bytes, escaped")
			return
		}
		h := content.InfoHash([]byte(s))
		if m, ok := t.cfg.Catalog.Pack(h); ok && (t.cfg.Allow == nil || t.cfg.Allow(discard{}, r, m)) {
			known = append(known, h)
		}
	}
	sortHashes(known)
	counts, err := t.cfg.Store.Scrape(r.Context(), known, now)
	if err != nil {
		t.refuse(w, r, storeStatus(err), err.Error())
		return
	}
	var out bytes.Buffer
	out.WriteString("d5:filesd")
	for i, h := range known {
		if i > 0 && h == known[i-1] {
			continue
		}
		fmt.Fprintf(&out, "20:%sd8:completei%de10:downloadedi%de10:incompletei%dee", h[:], counts[i].Complete, counts[i].Downloaded, counts[i].Incomplete)
	}
	out.WriteString("ee")
	w.Header().Set("Content-Type", "text/plain")
	w.Write(out.Bytes())
}
