package host

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// Who asks is who a proxy that is known says last, and nobody else's word counts.
func TestProxies(t *testing.T) {
	var log syncBuffer
	p := newProxies("127.0.0.0/8 10.1.0.0/16 ::1/128", slog.New(slog.NewTextHandler(&log, nil)))
	var got string
	h := p.handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = fmt.Sprint(remoteAddr(r), r.TLS != nil)
	}))
	for _, c := range []struct{ remote, forwarded, proto, want string }{
		{"127.0.0.1:5", "", "https", "127.0.0.1 false"},
		{"127.0.0.1:5", "192.0.2.7", "", "192.0.2.7 false"},
		{"127.0.0.1:5", "192.0.2.7", "https", "192.0.2.7 true"},
		{"[::1]:5", "127.0.0.1, 192.0.2.7, 10.1.2.3", "http", "192.0.2.7 false"},
		{"127.0.0.1:5", "lies, 2001:db8::7", "", "2001:db8::7 false"},
		{"127.0.0.1:5", "[2001:db8::7]:99", "", "2001:db8::7 false"},
		{"127.0.0.1:5", "10.1.2.3", "", "10.1.2.3 false"},
		{"127.0.0.1:5", "unknown", "", "0.0.0.0 false"},
		{"127.0.0.1:5", "lies, 127.0.0.1", "https", "0.0.0.0 true"},
		{"127.0.0.1:5", "127.0.0.1", "", "127.0.0.1 false"},
		{"192.0.2.9:5", "192.0.2.7", "https", "192.0.2.9 false"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.remote
		if c.forwarded != "" {
			r.Header.Set(forwardedFor, c.forwarded)
		}
		if c.proto != "" {
			r.Header.Set(forwardedProto, c.proto)
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got != c.want {
			t.Errorf("%s for %q by %q: %s, want %s", c.remote, c.forwarded, c.proto, got, c.want)
		}
	}
	if s := log.String(); s != "" {
		t.Errorf("logged: %s", s)
	}
	p = newProxies("", p.log)
	for _, header := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "X-Real-IP", "Via", ""} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = "127.0.0.1:5"
		want := "127.0.0.1"
		if header != "" {
			r.Header.Set(header, "192.0.2.7")
			want = "0.0.0.0"
		}
		p.handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if got := remoteAddr(r).String(); got != want {
				t.Errorf("%q of a proxy that is not known: %s, want %s", header, got, want)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
	}
	if n := strings.Count(log.String(), "http proxies"); n != 1 {
		t.Errorf("a proxy that is not known was warned of %d times", n)
	}
}

// TestUnreachable: who runs a host that others cannot reach under the address
// that they are told learns that from its log.
func TestUnreachable(t *testing.T) {
	s := newSite(t)
	s.write("tree/file", "content")
	hub := s.central(pub+"path = "+s.path("tree"), nil)
	if log := hub.log.String(); strings.Contains(log, "public url") {
		t.Errorf("a host for this machine alone: %s", log)
	}
	_, port, err := net.SplitHostPort(hub.Bound.HTTP.String())
	if err != nil {
		t.Fatal(err)
	}
	edge := s.volunteer(1, hub.Bound.URL, "http listen = 0.0.0.0:0\n", nil)
	s.wait("the first announce", 10*time.Second, func() bool { return strings.Contains(edge.log.String(), "the address that the central host sees") })
	edge.stop()
	edge = s.volunteer(2, "http://0.0.0.0:"+port, "http listen = 0.0.0.0:0\n", nil)
	s.wait("a word of the proxy", 10*time.Second, func() bool { return strings.Contains(edge.log.String(), "http proxies") })
	if log := edge.log.String(); strings.Contains(log, "customers will be sent") {
		t.Errorf("customers are sent to themselves: %s", log)
	}
	hub.stop()
	hub = s.central(pub+"path = "+s.path("tree"), func(o *Options) {
		l, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		o.rsync[0].Close()
		o.rsync[0] = l
	})
	if log := hub.log.String(); !strings.Contains(log, "public url") {
		t.Errorf("rsync is for everybody, HTTP for this machine alone: %s", log)
	}
}

// TestUnknownProxy: through a proxy that the host does not know nobody announces,
// and nobody shows a password over what may be plain http.
func TestUnknownProxy(t *testing.T) {
	s := newSite(t)
	s.write("tree/file", "content")
	s.write("ann.secrets", "ann:sesame\n")
	if err := os.Chmod(s.path("ann.secrets"), 0o600); err != nil {
		t.Fatal(err)
	}
	hub := s.central("[named]\nrescan interval = 0\nswarm = yes\nauth users = ann\nsecrets file = "+s.path("ann.secrets")+"\npath = "+s.path("tree")+
		"\n[near]\nrescan interval = 0\nswarm = yes\nhosts allow = 127.0.0.1\npath = "+s.path("tree")+"\n", nil)
	get := func(path, forwarded string) answer {
		req, err := http.NewRequest(http.MethodGet, hub.Bound.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("ann", "sesame")
		if forwarded != "" {
			req.Header.Set(forwardedFor, forwarded)
		}
		a, err := s.do(req, s.web)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	s.wait("the first scans", 10*time.Second, func() bool { return get("/named/file", "").code == 200 && get("/near/file", "").code == 200 })
	for _, path := range []string{"/named/file", "/near/file", "/announce"} {
		if a := get(path, "127.0.0.1"); a.code != http.StatusForbidden {
			t.Errorf("%s through a proxy: %d %s", path, a.code, a.body)
		}
	}
}
