package tracker

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
)

const peerA, peerB = "-PS0001-aaaaaaaaaaaa", "-PS0001-bbbbbbbbbbbb"

func (f *fixture) post(from, user, secret string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/announce", bytes.NewReader(body))
	r.RemoteAddr = from
	if user != "" {
		r.SetBasicAuth(user, secret)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

func TestAnnouncePost(t *testing.T) {
	f := newFixture(t, nil)
	h, unknown := hash(1), content.InfoHash{1}
	req := content.AnnounceRequest{PeerID: peerA, Port: 7000, IP: "8.8.8.8", Packs: []content.AnnouncePack{
		{InfoHash: string(h[:]), Left: 10, Event: content.EventStarted}, {InfoHash: string(unknown[:]), Left: 5},
	}}
	f.post("192.0.2.1:5000", "", "", req.Encode())
	req.PeerID, req.IP, req.Packs[0].Left = peerB, "", 0
	w := f.post("[2001:db8::1]:5000", "", "", req.Encode())
	got, err := content.DecodeAnnounceReply(w.Body.Bytes())
	if err != nil || w.Code != 200 {
		t.Fatal(w.Code, err)
	}
	if got.You != "2001:db8::1" || got.Interval <= 0 || len(got.Packs) != 2 || got.Packs[1].Unknown != 1 {
		t.Errorf("%+v", got)
	}
	p := got.Packs[0]
	want := []content.ReplyPeer{{PeerID: peerA, IP: "192.0.2.1", Port: 7000}, {PeerID: peerB, IP: "2001:db8::1", Port: 7000, Seed: 1}}
	if p.Complete != 1 || p.Incomplete != 1 || len(p.Peers) != 2 || p.Peers[0] != want[0] || p.Peers[1] != want[1] {
		t.Errorf("the address of a stranger's message must not count: %+v", p)
	}
	// On the host's own loopback it does.
	req.IP = "198.51.100.7"
	w = f.post("127.0.0.1:5000", "", "", req.Encode())
	if got, _ = content.DecodeAnnounceReply(w.Body.Bytes()); got.You != "198.51.100.7" {
		t.Errorf("%+v", got)
	}
}

func TestAnnounceRefused(t *testing.T) {
	f := newFixture(t, nil)
	vol := func(name, url string) []byte {
		return (&content.AnnounceRequest{PeerID: peerA, Name: name, URL: url, Holdings: &content.Holdings{Version: 1}}).Encode()
	}
	for _, c := range []struct {
		name, user, secret string
		body               []byte
		want               int
	}{
		{"garbage", "", "", []byte("hello"), 400},
		{"deep nesting", "", "", bytes.Repeat([]byte("l"), 100000), 400},
		{"cut off", "", "", vol("v1", "")[:30], 400},
		{"body of a stranger", "", "", make([]byte, maxStrangerBody+1), 413},
		{"body of a volunteer", "v1", "s1", make([]byte, content.MaxAnnounceBody+1), 413},
		{"wrong secret", "v1", "s2", vol("v1", ""), 401},
		{"unknown name", "v9", "", vol("v9", ""), 401},
		{"no authentication", "", "", vol("v1", ""), 401},
		{"for another", "v1", "s1", vol("v2", ""), 403},
		{"for nobody", "v1", "s1", vol("", ""), 403},
		{"holdings of a stranger", "", "", vol("", "http://x"), 403},
		{"script as url", "v1", "s1", vol("v1", "javascript:alert(1)"), 400},
		{"url with query", "v1", "s1", vol("v1", "http://x/?a"), 400},
		{"url with quote", "v1", "s1", vol("v1", "http://x/\"><"), 400},
		{"long url", "v1", "s1", vol("v1", "http://"+strings.Repeat("x", 200)), 400},
		{"secret with colon", "v3", "s:3", vol("v3", "http://x"), 200},
		{"good", "v1", "s1", vol("v1", "http://x"), 200},
	} {
		if w := f.post("127.0.0.1:5000", c.user, c.secret, c.body); w.Code != c.want || c.want != 200 && !strings.Contains(w.Body.String(), "failure reason") {
			t.Errorf("%s: status %d, want %d: %.200q", c.name, w.Code, c.want, w.Body)
		}
	}
	if w := f.do("PUT", "/announce"); w.Code != 405 || w.Header().Get("Allow") == "" {
		t.Errorf("PUT: %d", w.Code)
	}
}

func TestAnnounceLimits(t *testing.T) {
	f := newFixture(t, nil)
	body := (&content.AnnounceRequest{PeerID: peerA}).Encode()
	codes := map[int]int{}
	for range 2 * announceBurst {
		codes[f.post("192.0.2.1:1", "", "", body).Code]++
	}
	if codes[200] != announceBurst || codes[429] != announceBurst {
		t.Errorf("%v", codes)
	}
	if w := f.post("192.0.2.2:1", "", "", body); w.Code != 200 {
		t.Errorf("another address got %d", w.Code)
	}
	for range failureBurst {
		f.post("192.0.2.3:1", "v1", "guess", body)
	}
	if w := f.post("192.0.2.3:1", "v1", "s1", body); w.Code != 429 {
		t.Errorf("after %d wrong secrets: %d", failureBurst, w.Code)
	}
	f.now = f.now.Add(time.Minute)
	if w := f.post("192.0.2.3:1", "v1", "s1", (&content.AnnounceRequest{PeerID: peerA, Name: "v1"}).Encode()); w.Code != 200 {
		t.Errorf("a minute later: %d", w.Code)
	}
	for i := range maxAddresses + 100 {
		f.limits.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), f.now)
	}
	if n := len(f.limits.all); n > maxAddresses+1 {
		t.Errorf("%d addresses are remembered", n)
	}
	f.limits.sweep(f.now.Add(time.Hour))
	if n := len(f.limits.all); n != 0 {
		t.Errorf("%d addresses after an hour", n)
	}
}

func TestAnnounceGet(t *testing.T) {
	f := newFixture(t, nil)
	h := hash(1)
	get := func(from string, kv ...string) string {
		q := url.Values{"info_hash": {string(h[:])}, "peer_id": {peerA}, "port": {"6881"}, "left": {"5"}, "uploaded": {"0"}, "downloaded": {"0"}}
		for i := 0; i < len(kv); i += 2 {
			q.Set(kv[i], kv[i+1])
		}
		r := httptest.NewRequest("GET", "/announce?"+q.Encode(), nil)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if w.Code != 200 {
			t.Errorf("%v: status %d", kv, w.Code)
		}
		return w.Body.String()
	}
	const head = "d8:completei0e10:incompletei1e8:intervali120e12:min intervali30e5:peers"
	if got := get("192.0.2.1:9"); got != head+"0:e" {
		t.Errorf("first: %q", got)
	}
	got := get("[2001:db8::1]:9", "peer_id", peerB, "port", "258", "event", "started")
	if want := "d8:completei0e10:incompletei2e8:intervali120e12:min intervali30e5:peers6:\xc0\x00\x02\x01\x1a\xe1e"; got != want {
		t.Errorf("compact: %q", got)
	}
	if got = get("192.0.2.1:9"); !strings.HasSuffix(got, "5:peers0:6:peers618:\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x02e") {
		t.Errorf("compact v6: %q", got)
	}
	if got = get("192.0.2.1:9", "compact", "0"); !strings.HasSuffix(got, "5:peersld2:ip11:2001:db8::17:peer id20:"+peerB+"4:porti258eeee") {
		t.Errorf("list: %q", got)
	}
	if got = get("192.0.2.1:9", "event", "paused", "numwant", "0"); !strings.HasPrefix(got, "d8:completei0e10:incompletei2e") || !strings.HasSuffix(got, "5:peers0:e") {
		t.Errorf("paused (BEP 21) is incomplete: %q", got)
	}
	if got = get("192.0.2.1:9", "event", "completed", "left", "0"); !strings.HasPrefix(got, "d8:completei1e10:incompletei1e") {
		t.Errorf("completed: %q", got)
	}
	scrape := f.do("GET", "/scrape?info_hash="+url.QueryEscape(string(h[:]))+"&info_hash="+url.QueryEscape(strings.Repeat("x", 20)))
	if got := scrape.Body.String(); got != "d5:filesd20:"+string(h[:])+"d8:completei1e10:downloadedi1e10:incompletei1eeee" {
		t.Errorf("scrape: %q", got)
	}
	for _, bad := range [][]string{{"info_hash", "short"}, {"port", "70000"}, {"left", "-1"}, {"event", "x"}, {"numwant", "x"}, {"info_hash", strings.Repeat("y", 20)}} {
		if got := get("192.0.2.1:9", bad...); !strings.HasPrefix(got, "d14:failure reason") {
			t.Errorf("%q: %q", bad, got)
		}
	}
	if got = get("192.0.2.1:9", "event", "stopped"); !strings.HasPrefix(got, "d8:completei0e10:incompletei1e") {
		t.Errorf("stopped: %q", got)
	}
	if w := f.do("GET", "/scrape"); w.Code != 400 {
		t.Errorf("full scrape: %d", w.Code)
	}
}

func TestSwarmTotals(t *testing.T) {
	f := newFixture(t, nil)
	h := hash(1)
	for _, d := range []int64{100, 300, 700} {
		req := content.AnnounceRequest{PeerID: peerA, Packs: []content.AnnouncePack{{InfoHash: string(h[:]), Left: 1000 - d, Downloaded: d, Origin: d / 10, Corrupt: 5, BadPeers: []string{"192.0.2.66"}}}}
		f.post("127.0.0.1:1", "", "", req.Encode())
	}
	s, err := f.Status(t.Context())
	if err != nil || s.Swarm.Downloaded != 600 || s.Swarm.Origin != 60 || s.Swarm.Share() != 0.9 || s.Swarm.BadPeers != 1 {
		t.Errorf("%+v %v", s.Swarm, err)
	}
}

func TestAccess(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Allow = func(w http.ResponseWriter, r *http.Request, module string) bool {
			if r.Header.Get("X-In") == "" {
				w.WriteHeader(403)
				return false
			}
			return true
		}
	})
	h := hash(1)
	w := f.post("127.0.0.1:1", "", "", (&content.AnnounceRequest{PeerID: peerA, Packs: []content.AnnouncePack{{InfoHash: string(h[:]), Left: 1}}}).Encode())
	if got, err := content.DecodeAnnounceReply(w.Body.Bytes()); err != nil || got.Packs[0].Unknown != 1 {
		t.Errorf("%+v %v", got, err)
	}
	if w := f.do("GET", "/m/a.deb"); w.Code != 403 {
		t.Errorf("%d", w.Code)
	}
	if w := f.do("GET", "/m/a.deb", "X-In", "1"); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	if w := f.do("GET", "/status.json?q=m/a.deb"); strings.Contains(w.Body.String(), `"generation"`) || strings.Contains(w.Body.String(), "sha256") {
		t.Errorf("the status names a closed module: %s", w.Body)
	}
}

func TestSecretsFile(t *testing.T) {
	f := t.TempDir() + "/s"
	write := func(text string, mode os.FileMode) {
		t.Helper()
		os.Remove(f)
		if err := os.WriteFile(f, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("a:b\n", 0o600)
	s, err := LoadSecrets(f)
	if err != nil || !s.Check("a", "b") || s.Check("a", "") || s.Check("", "") || s.Check("b", "b") {
		t.Fatal(err)
	}
	write("a:c\n", 0o600)
	if err := s.Reload(); err != nil || s.Check("a", "b") || !s.Check("a", "c") {
		t.Error("not reloaded", err)
	}
	for text, mode := range map[string]os.FileMode{"a:d\n": 0o604, "a\n": 0o600, ":x\n": 0o600, "a:\n": 0o600, strings.Repeat("name:secret\n", maxSecretsFile/12+1): 0o600} {
		write(text, mode)
		os.Chmod(f, mode)
		if err := s.Reload(); err == nil {
			t.Errorf("%.20q with mode %o was taken", text, mode)
		}
		if !s.Check("a", "c") {
			t.Error("the old secrets must stay")
		}
	}
	var zero Secrets
	if zero.Check("a", "") {
		t.Error("the zero value knows someone")
	}
}

func FuzzAnnounce(f *testing.F) {
	h := hash(1)
	f.Add([]byte("de"))
	f.Add((&content.AnnounceRequest{PeerID: peerA, Packs: []content.AnnouncePack{{InfoHash: string(h[:]), Left: 5}}}).Encode())
	f.Add((&content.AnnounceRequest{PeerID: peerA, Name: "v1", URL: "http://x", Holdings: &content.Holdings{Version: 1, Added: make([]byte, 64)}, Load: &content.Load{}}).Encode())
	fx := newFixture(f, nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, user := range []string{"", "v1"} {
			w := fx.post("127.0.0.1:1", user, "s1", body)
			if _, err := content.DecodeAnnounceReply(w.Body.Bytes()); err != nil {
				t.Fatalf("our own reply: %v", err)
			}
			if w.Code >= 500 && w.Code != 507 {
				t.Fatalf("status %d", w.Code)
			}
		}
	})
}

func FuzzAnnounceQuery(f *testing.F) {
	h := hash(1)
	f.Add("info_hash=" + url.QueryEscape(string(h[:])) + "&peer_id=" + peerA + "&port=1&left=0&compact=0&numwant=5")
	f.Add("info_hash=%zz&ip=1.2.3.4&event=paused")
	fx := newFixture(f, nil)
	f.Fuzz(func(t *testing.T, q string) {
		for _, path := range []string{"/announce", "/scrape"} {
			r := httptest.NewRequest("GET", path, nil)
			r.RemoteAddr = "127.0.0.1:1"
			r.URL.RawQuery = q
			w := httptest.NewRecorder()
			fx.ServeHTTP(w, r)
			if w.Code >= 500 || w.Body.Len() == 0 {
				t.Fatalf("status %d, %d bytes", w.Code, w.Body.Len())
			}
		}
	})
}

// Who hears of peers that leave hears of those that were known, and of nobody
// whom another names.
func TestLeft(t *testing.T) {
	var left []string
	f := newFixture(t, func(c *Config) {
		c.Left = func(h content.InfoHash, peer string) {
			if h != hash(1) {
				t.Errorf("left %v", h)
			}
			left = append(left, peer)
		}
	})
	h := hash(1)
	say := func(from, event string) {
		req := content.AnnounceRequest{PeerID: peerA, Port: 7000, Packs: []content.AnnouncePack{{InfoHash: string(h[:]), Left: 10, Event: event}}}
		if w := f.post(from, "", "", req.Encode()); w.Code != 200 {
			t.Fatal(w.Code, w.Body)
		}
	}
	say("192.0.2.1:5000", content.EventStarted)
	say("192.0.2.9:5000", content.EventStopped)
	if len(left) != 0 {
		t.Errorf("another address said that %q leaves", left)
	}
	say("192.0.2.1:5001", content.EventStopped)
	say("192.0.2.1:5001", content.EventStopped)
	if len(left) != 1 || left[0] != peerA {
		t.Errorf("left: %q, want the peer, once", left)
	}
}
