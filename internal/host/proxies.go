package host

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// proxies are the reverse proxies that are believed when they say for whom they
// ask.
type proxies struct {
	networks []netip.Prefix
	log      *slog.Logger
	warned   sync.Once
}

// newProxies takes the value of "http proxies", which has been checked.
func newProxies(list string, log *slog.Logger) *proxies {
	p := &proxies{log: log}
	for f := range strings.FieldsSeq(list) {
		if n, err := netip.ParsePrefix(f); err == nil {
			p.networks = append(p.networks, n.Masked())
		}
	}
	return p
}

func (p *proxies) trusts(a netip.Addr) bool {
	for _, n := range p.networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

const (
	forwardedFor   = "X-Forwarded-For"
	forwardedProto = "X-Forwarded-Proto"
)

// nobody is where a request comes from that came through a proxy, but for whom is
// not known: it has no part in what is only for this machine.
var nobody = netip.AddrPortFrom(netip.IPv4Unspecified(), 0).String()

// proxied are the headers by which a proxy shows itself.
var proxied = []string{forwardedFor, forwardedProto, "Forwarded", "X-Real-Ip", "Via"}

// handler gives h requests that came through a proxy as if they had come from
// its client. Of one that is on this machine and not known, it gives those that
// show it as nobody's, since everybody would be as trusted as this machine is.
func (p *proxies) handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addr := remoteAddr(r)
		switch {
		case p.trusts(addr):
			if _, ok := r.Header[forwardedFor]; ok {
				p.forward(r)
			}
		case addr.IsLoopback() && slices.ContainsFunc(proxied, func(name string) bool { return r.Header[name] != nil }):
			r.RemoteAddr = nobody
			p.warned.Do(func() {
				p.log.Warn("requests come through a proxy on this machine, and whose they are is not known: name it in \"http proxies\"", "proxy", addr)
			})
		}
		h.ServeHTTP(w, r)
	})
}

// forward puts the client in the place of the proxy: the last one in the list
// of addresses that is no proxy of ours, since what is before it anybody can
// have written.
func (p *proxies) forward(r *http.Request) {
	r.RemoteAddr = nobody
	list := strings.Split(strings.Join(r.Header[forwardedFor], ","), ",")
	for i := len(list) - 1; i >= 0; i-- {
		s := strings.TrimSpace(list[i])
		a, err := netip.ParseAddr(s)
		if err != nil {
			ap, err := netip.ParseAddrPort(s)
			if err != nil {
				r.RemoteAddr = nobody
				break
			}
			a = ap.Addr()
		}
		a = a.Unmap().WithZone("")
		r.RemoteAddr = netip.AddrPortFrom(a, 0).String()
		if !p.trusts(a) {
			break
		}
	}
	if proto := r.Header[forwardedProto]; len(proto) > 0 {
		r.TLS = nil
		if strings.EqualFold(proto[len(proto)-1], "https") {
			r.TLS = &tls.ConnectionState{}
		}
	}
}
