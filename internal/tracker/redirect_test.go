package tracker

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func TestRedirect(t *testing.T) {
	f := newFixture(t, nil)
	f.volunteer(t, "v1", "http://one:81/x/", "a.deb", "gone", "small")
	f.volunteer(t, "v2", "https://two", "b.deb")
	id := idOf("a.deb").String()
	w := f.do("GET", "/m/a.deb")
	want := map[string]string{
		"Location": "http://one:81/x/m/a.deb?id=" + id, "Etag": `"` + id + `"`, "Accept-Ranges": "bytes",
		"Last-Modified": "Sun, 01 Mar 2026 11:00:00 GMT",
		"Link":          `<http://central/m/a.deb.meta4>; rel=describedby; type="application/metalink4+xml"`,
	}
	if w.Code != 302 || w.Body.Len() != 0 {
		t.Errorf("status %d, body %q", w.Code, w.Body)
	}
	for k, v := range want {
		if got := w.Header().Get(k); got != v {
			t.Errorf("%s: %s, want %s", k, got, v)
		}
	}
	if got := w.Header().Get("Repr-Digest"); !strings.HasPrefix(got, "sha-256=:") || !strings.HasSuffix(got, "=:") || len(got) != len("sha-256=::")+44 {
		t.Errorf("Repr-Digest: %s", got)
	} else if old := w.Header().Get("Digest"); old != "" {
		t.Errorf("a redirect with Digest: %s", old)
	}
	for _, c := range []struct {
		target  string
		headers []string
		code    int
		from    string // host in Location, or start of the body
	}{
		{"/m/a.deb", nil, 302, "http://one:81/"},
		{"//m///a.deb", nil, 302, "http://one:81/"},
		{"/m/%61.deb", nil, 302, "http://one:81/"},
		{"/m/b.deb", nil, 302, "https://two/"},
		{"/m/gone", nil, 302, "http://one:81/"},
		{"/m/small", nil, 200, "origin:small"},
		{"/m/only-host", nil, 200, "origin:only-host"},
		{"/m/only-host", []string{"Range", "bytes=0-2"}, 206, "ori"},
		{"/m/a.deb?origin", nil, 200, "origin:a.deb"},
		{"/m/long/" + strings.Repeat("x", 300), nil, 200, "origin:long/"},
		{"/m/a.deb", []string{"If-None-Match", `"` + id + `"`}, 304, ""},
		{"/m/a.deb", []string{"If-None-Match", `"x", W/"` + id + `"`}, 304, ""},
		{"/m/a.deb", []string{"If-None-Match", `"x"`, "If-Modified-Since", "Sun, 01 Mar 2026 11:00:00 GMT"}, 302, "http://one:81/"},
		{"/m/a.deb", []string{"If-Modified-Since", "Sun, 01 Mar 2026 11:00:00 GMT"}, 304, ""},
		{"/m/a.deb", []string{"If-Modified-Since", "Sun, 01 Mar 2026 10:59:59 GMT"}, 302, "http://one:81/"},
		{"/m/a.deb", []string{"If-Match", `"x"`}, 412, ""},
		{"/m/none", nil, 404, "no such file"},
		{"/n/a.deb", nil, 404, "no such module"},
		{"/m/sub", nil, 301, "./sub/"},
		{"/m", nil, 301, "./m/"},
		{"/m/nodir/", nil, 404, ""},
	} {
		w := f.do("GET", c.target, c.headers...)
		got := w.Header().Get("Location") + w.Body.String()
		if w.Code != c.code || c.from != "" && !strings.HasPrefix(got, c.from) {
			t.Errorf("%s %q: %d %q, want %d %q", c.target, c.headers, w.Code, got, c.code, c.from)
		}
	}
	if w := f.do("HEAD", "/m/a.deb"); w.Code != 302 {
		t.Errorf("HEAD: %d", w.Code)
	}
	for _, m := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE"} {
		if w := f.do(m, "/m/a.deb"); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d", m, w.Code)
		}
	}
}

func TestPathTricks(t *testing.T) {
	f := newFixture(t, nil)
	f.volunteer(t, "v1", "http://one", "a.deb")
	for _, raw := range []string{
		"/m/../a.deb", "/m/./a.deb", "/m/%2e%2e/a.deb", "/m/%2E/a.deb", "/m/.%2e/a.deb", "/m%2fa.deb", "/m/x%2Fa.deb",
		"/m/a.deb%00", "/m/a%0d%0aX-Evil:1", "/..", "/%2e%2e/%2e%2e/etc/passwd", "/m/a%7f", "/" + strings.Repeat("a/", 10000),
	} {
		r := httptest.NewRequest("GET", "/", nil)
		u, err := url.Parse("http://h" + raw)
		if err != nil {
			t.Fatal(err)
		}
		r.URL = u
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if w.Code != 400 {
			t.Errorf("%.60s: %d %q", raw, w.Code, w.Header())
		}
	}
}

func TestAwkwardNames(t *testing.T) {
	const name = "sub/a b+c;\"<x>?#%.rpm"
	f := newFixture(t, func(c *Config) {
		c.Catalog.(catalog)[name] = Published{ID: idOf(name), Size: 9, Mtime: now0}
	})
	f.volunteer(t, "v1", "http://one", name)
	w := f.do("GET", string(escapePath([]byte("/m/"), name)))
	u, err := url.Parse(w.Header().Get("Location"))
	if w.Code != 302 || err != nil || u.Path != "/m/"+name || u.Query().Get("id") != idOf(name).String() {
		t.Errorf("%d %v %+v", w.Code, err, u)
	}
}

func TestHeaderLines(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		for _, n := range []int{100, 150, 200, 250} {
			p := strings.Repeat("p", n)
			c.Catalog.(catalog)[p] = Published{ID: idOf("p"), Size: 9, Mtime: now0}
		}
	})
	f.volunteer(t, "v1", "http://one.example", "p")
	f.volunteer(t, "v2", "http://two."+strings.Repeat("x", 100), "p")
	f.volunteer(t, "v3", "http://three.example", "p")
	links := 0
	for _, n := range []int{100, 150, 200, 250} {
		for range 20 {
			w := f.do("GET", "/m/"+strings.Repeat("p", n))
			for k, vs := range w.Header() {
				for _, v := range vs {
					if len(k)+2+len(v) >= 360 {
						t.Errorf("header line of %d bytes: %s", len(k)+2+len(v), k)
					}
				}
			}
			links = max(links, strings.Count(strings.Join(w.Header()["Link"], " "), "rel=duplicate"))
		}
	}
	if links == 0 || links > maxDuplicates {
		t.Errorf("%d duplicates", links)
	}
}

func TestRequestBytes(t *testing.T) {
	p := Published{Size: 1000, Mtime: now0}
	for spec, want := range map[string]int64{
		"": 1000, "bytes=0-99": 100, "bytes=900-": 100, "bytes=-50": 50, "bytes=-5000": 1000, "bytes=0-9,20-29": 20, "bytes=990-5000": 10,
		"bytes=2000-": 0, "items=0-1": 1000, "bytes=x": 1000, "bytes=5-1": 1000, "bytes=0-9223372036854775807,0-9223372036854775807": 1000,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Range", spec)
		if got := requestBytes(r, `"e"`, p); got != want {
			t.Errorf("%q asks for %d, want %d", spec, got, want)
		}
		r.Header.Set("If-Range", `"other"`)
		if got := requestBytes(r, `"e"`, p); got != 1000 {
			t.Errorf("%q of another state asks for %d", spec, got)
		}
	}
}

func TestHoldingsAreRoutedAtOnce(t *testing.T) {
	f := newFixture(t, nil)
	f.volunteer(t, "v1", "http://one", "a.deb")
	f.volunteer(t, "v1", "http://one", "b.deb") // states anew, without a.deb
	if w := f.do("GET", "/m/a.deb"); w.Code != 200 {
		t.Errorf("a dropped file is redirected: %d", w.Code)
	}
	if w := f.do("GET", "/m/b.deb"); w.Code != 302 {
		t.Errorf("a new file is not: %d", w.Code)
	}
	f.now = f.now.Add(21 * time.Second)
	if w := f.do("GET", "/m/b.deb"); w.Code != 200 {
		t.Errorf("a silent volunteer gets customers: %d", w.Code)
	}
	f.volunteer(t, "v1", "http://one", "b.deb")
	req := &content.AnnounceRequest{PeerID: peerA, Name: "v1", URL: "http://one", Stopping: 1}
	if w := f.post("127.0.0.1:1", "v1", "s1", req.Encode()); w.Code != 200 {
		t.Errorf("stopping: %d %s", w.Code, w.Body)
	}
	if w := f.do("GET", "/m/b.deb"); w.Code != 200 {
		t.Errorf("a stopped volunteer gets customers: %d", w.Code)
	}
	f.now = f.now.Add(time.Second)
	f.volunteer(t, "v1", "http://one", "b.deb")
	if w := f.do("GET", "/m/b.deb"); w.Code != 302 {
		t.Errorf("one that came back gets none: %d", w.Code)
	}
}

func TestCustomerLimit(t *testing.T) {
	hold := make(chan struct{})
	f := newFixture(t, func(c *Config) { c.CustomerLimit, c.Origin = 1, origin{hold} })
	done := make(chan int)
	go func() { done <- f.do("GET", "/m/only-host").Code }()
	for len(f.serving) == 0 {
		time.Sleep(time.Millisecond)
	}
	if w := f.do("GET", "/m/only-host"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("over the limit: %d", w.Code)
	}
	close(hold)
	if code := <-done; code != 200 {
		t.Errorf("within the limit: %d", code)
	}
	if w := f.do("GET", "/m/only-host"); w.Code != 200 {
		t.Errorf("afterwards: %d", w.Code)
	}
}

func TestFormats(t *testing.T) {
	f := newFixture(t, nil)
	f.volunteer(t, "v1", "http://one", "a.deb")
	f.volunteer(t, "v2", "http://two", "a.deb")
	w := f.do("GET", "/m/a.deb.meta4")
	var m metalink
	if err := xml.Unmarshal(w.Body.Bytes(), &m); err != nil || w.Header().Get("Content-Type") != "application/metalink4+xml" {
		t.Fatal(err, w.Header())
	}
	if m.File.Name != "a.deb" || m.File.Size != 1000 || m.File.Hash.Value != idOf("a.deb").String() || len(m.File.URLs) != 3 ||
		m.File.URLs[2].URL != "http://central/m/a.deb?origin" || m.File.URLs[0].Priority != 1 {
		t.Errorf("%+v", m)
	}
	if w = f.do("GET", "/m/a.deb.torrent"); w.Code != 302 || w.Header().Get("Location") != content.PathPack+hash(3).String()+".torrent" {
		t.Errorf("torrent: %d %v", w.Code, w.Header())
	}
	if w = f.do("GET", "/m/none.meta4"); w.Code != 404 {
		t.Errorf("metalink of nothing: %d", w.Code)
	}
	w = f.do("GET", "/m/a.deb?mirrorlist")
	var list struct {
		Mirrors []mirror
		Sha256  string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list.Mirrors) != 2 || list.Sha256 != idOf("a.deb").String() {
		t.Errorf("%v %s", err, w.Body)
	}
	if w = f.do("GET", "/m/a.deb?mirrorlist", "Accept", "text/html,*/*"); !strings.Contains(w.Body.String(), "<table>") || w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("%s", w.Body)
	}
	w = f.do("GET", "/m/sub/")
	body := w.Body.String()
	dir, file := strings.Index(body, `href="./b%252f/"`), strings.Index(body, "z&lt;i&gt;.txt")
	if w.Code != 200 || dir < 0 || file < dir || strings.Contains(body, "0001-01-01") {
		t.Errorf("listing: %d %s", w.Code, body)
	}
	if w = f.do("HEAD", "/m/sub/"); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("HEAD of a listing: %d", w.Code)
	}
}

func TestStatusAndMetrics(t *testing.T) {
	f := newFixture(t, nil)
	f.volunteer(t, "v1", "http://one", "a.deb")
	f.do("GET", "/m/a.deb")
	w := f.do("GET", "/status.json?q=m/a.deb")
	var s struct {
		Redirects  int
		Volunteers []struct{ State string }
		Search     struct{ Holders []string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || s.Redirects != 1 || s.Volunteers[0].State != "ready" || len(s.Search.Holders) != 1 {
		t.Errorf("%v %s", err, w.Body)
	}
	if w = f.do("GET", "/?q=../x"); w.Code != 200 || !strings.Contains(w.Body.String(), "Nothing is published") {
		t.Errorf("%d", w.Code)
	}
	w = f.do("GET", "/metrics")
	for _, want := range []string{"prsync_redirects_total 1", `prsync_volunteer_up{volunteer="v1"} 1`, "# HELP prsync_served_total"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("metrics lack %q", want)
		}
	}
	problems, err := promlint.New(w.Body).Lint() // as "promtool check metrics"
	if err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", problems, err)
	}
}

// TestRatesOfTheLate: what a volunteer sent when it was last heard of is not what
// it sends.
func TestRatesOfTheLate(t *testing.T) {
	f := newFixture(t, nil)
	req := &content.AnnounceRequest{PeerID: peerA, Name: "v1", URL: "http://one", Load: &content.Load{Uplink: 1e7, Customers: 3, CustomerRate: 1000, PeerRate: 100}}
	if _, _, err := f.Announce(t.Context(), req, netip.MustParseAddr("10.0.0.1"), "v1", nil, f.now); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		later time.Duration
		state string
		want  content.Load
	}{{0, "ready", *req.Load}, {time.Hour, "late", content.Load{Uplink: 1e7}}} {
		f.now = f.now.Add(c.later)
		s, err := f.Status(t.Context())
		if err != nil || s.Volunteers[0].State != c.state || s.Volunteers[0].Load != c.want {
			t.Errorf("after %v: %+v, %v; want %s, %+v", c.later, s.Volunteers, err, c.state, c.want)
		}
	}
}

// TestProbes runs real HTTP servers: one good, one that lost the file, one
// that is gone.
func TestProbes(t *testing.T) {
	var heads atomic.Int32
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heads.Add(1)
		w.Header().Set("ETag", `"`+r.URL.Query().Get("id")+`"`)
	}))
	defer good.Close()
	lost := httptest.NewServer(http.NotFoundHandler())
	defer lost.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	f := newFixture(t, func(c *Config) { c.Probe, c.Now = client, time.Now })
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- f.Run(ctx) }()
	f.now = time.Now()
	f.volunteer(t, "v1", good.URL, "a.deb")
	f.volunteer(t, "v2", lost.URL, "b.deb")
	f.volunteer(t, "v3", gone.URL, "only-host")
	wait := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("never happened: " + what)
			}
		}
	}
	wait("proved volunteers get customers", func() bool { return f.do("GET", "/m/a.deb").Code == 302 })
	wait("the one without the file gets its one customer", func() bool {
		if f.missing.has("v2", idOf("b.deb"), time.Now()) {
			return true
		}
		f.prober.mu.Lock()
		f.prober.all["v2"].next = time.Time{} // no need to wait for the interval
		f.prober.mu.Unlock()
		return f.do("GET", "/m/b.deb").Code == 200 && f.missing.has("v2", idOf("b.deb"), time.Now())
	})
	if w := f.do("GET", "/m/b.deb"); w.Code != 200 {
		t.Errorf("it gets another: %d", w.Code)
	}
	if w := f.do("GET", "/m/only-host"); w.Code != 200 {
		t.Errorf("an unreachable volunteer gets customers: %d", w.Code)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if heads.Load() == 0 {
		t.Error("nothing was probed")
	}
}

func FuzzRedirect(f *testing.F) {
	for _, s := range []string{"/m/a.deb", "/m/%2e%2e/x", "//m//a.deb.meta4", "/m/a%0d%0a", "/m/sub/", "/%6d/a.deb?mirrorlist"} {
		f.Add(s, "bytes=0-5", "text/html")
	}
	fx := newFixture(f, nil)
	fx.volunteer(f, "v1", "http://one", "a.deb")
	f.Fuzz(func(t *testing.T, target, rng, accept string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(u.EscapedPath(), "/") {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL = u
		r.Header.Set("Range", rng)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		fx.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%q: status %d", target, w.Code)
		}
		for k, vs := range w.Header() {
			for _, v := range vs {
				if strings.ContainsAny(v, "\r\n\x00") || len(k)+2+len(v) >= 360 && k != "Content-Security-Policy" && w.Code == 302 {
					t.Fatalf("%q: header %s: %q", target, k, v)
				}
			}
		}
		if l := w.Header().Get("Location"); w.Code == 302 && !strings.HasPrefix(l, "http://one/m/") && !strings.HasPrefix(l, content.PathPack) {
			t.Fatalf("%q is sent to %q", target, l)
		}
	})
}
