package host

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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
		{"127.0.0.1:5", "unknown", "", "127.0.0.1 false"},
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
	for range 2 {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = "127.0.0.1:5"
		r.Header.Set(forwardedFor, "192.0.2.7")
		p.handler(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	}
	if n := strings.Count(log.String(), "http proxies"); n != 1 {
		t.Errorf("a proxy that is not known was warned of %d times", n)
	}
}
