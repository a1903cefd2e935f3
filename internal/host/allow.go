package host

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker"
)

// gatekeeper applies the modules' rules of access to HTTP requests.
type gatekeeper struct {
	ms      *modules
	secrets *tracker.Secrets
	tokens  []byte // the key of tokens, nil: none are accepted

	mu     sync.Mutex
	failed map[netip.Addr]int // wrong passwords since minute
	minute time.Time
}

const (
	// maxFailed is how many wrong passwords a minute an address may try.
	maxFailed   = 20
	maxFailures = 10000
)

// remoteAddr is the address of the client, invalid for none.
func remoteAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// allow reports whether the request may see the module; if not it has answered.
// Passwords are as in auth users and the secrets file, by Basic
// authentication and over https only, since here they travel in clear.
// Volunteers with a secret are let in by that, and clients that proved to the
// rsync daemon who they are by the token it gave them.
func (g *gatekeeper) allow(w http.ResponseWriter, r *http.Request, name string) bool {
	s := g.ms.set.Load()
	m := s.byName[name]
	if m == nil {
		http.Error(w, "no such module", http.StatusNotFound)
		return false
	}
	addr := remoteAddr(r)
	if !s.gate.AllowHost(r.Context(), m.conf, addr.String()) {
		http.Error(w, "access denied to "+name+" from "+addr.String(), http.StatusForbidden)
		return false
	}
	if m.conf.AuthUsers == "" {
		return true
	}
	user, secret, given := r.BasicAuth()
	switch {
	case given && user == content.TokenUser && content.CheckToken(g.tokens, secret, name, addr, time.Now()):
		return true
	case r.TLS == nil && !addr.IsLoopback():
		http.Error(w, "module "+name+" takes a password, and passwords take https", http.StatusForbidden)
		return false
	case given && g.tooMany(addr, false):
		w.Header().Set("Retry-After", "60")
		http.Error(w, "too many wrong passwords", http.StatusTooManyRequests)
		return false
	case given && (g.secrets != nil && g.secrets.Check(user, secret) || s.gate.AllowUser(m.conf, user, secret)):
		return true
	case given:
		g.tooMany(addr, true)
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="prsync module", charset="UTF-8"`)
	http.Error(w, "module "+name+" takes a name and a password", http.StatusUnauthorized)
	return false
}

// tooMany counts wrong passwords of an address and reports whether it has no
// more tries.
func (g *gatekeeper) tooMany(addr netip.Addr, wrong bool) bool {
	if p, err := addr.Prefix(64); err == nil && addr.Is6() {
		addr = p.Addr() // who has one address of a /64 has them all
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); now.Sub(g.minute) > time.Minute || len(g.failed) > maxFailures {
		g.failed, g.minute = map[netip.Addr]int{}, now
	}
	if wrong {
		g.failed[addr]++
	}
	return g.failed[addr] >= maxFailed
}
