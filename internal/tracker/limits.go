package tracker

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits on what one address may ask: announces and scrapes, with room for a
// site behind one address, and failed authentications, which stop guessing.
const (
	announceRate  = 20 // per second
	announceBurst = 200
	failureRate   = 0.2
	failureBurst  = 10
	maxAddresses  = 1 << 16
	addressIdle   = 2 * time.Minute
)

// limits counts per address; IPv6 addresses count as their /64. The host's
// own loopback is not limited.
type limits struct {
	mu  sync.Mutex
	all map[netip.Addr]*bucket
}

type bucket struct {
	announces, failures *rate.Limiter
	used                time.Time
}

func (l *limits) init() { l.all = map[netip.Addr]*bucket{} }

// get returns the bucket of the address, nil when it is not limited.
func (l *limits) get(a netip.Addr, now time.Time) *bucket {
	if a.IsLoopback() {
		return nil
	}
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			a = p.Addr()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.all[a]
	if b == nil {
		if len(l.all) >= maxAddresses {
			// A flood from very many addresses shares the bucket of the zero
			// address; those known already keep their own.
			a = netip.Addr{}
			b = l.all[a]
		}
		if b == nil {
			b = &bucket{rate.NewLimiter(announceRate, announceBurst), rate.NewLimiter(failureRate, failureBurst), now}
			l.all[a] = b
		}
	}
	b.used = now
	return b
}

func (l *limits) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for a, b := range l.all {
		if now.Sub(b.used) > addressIdle {
			delete(l.all, a)
		}
	}
}

// allow reports whether the address may announce or scrape now.
func (l *limits) allow(a netip.Addr, now time.Time) bool {
	b := l.get(a, now)
	return b == nil || b.announces.AllowN(now, 1)
}

// mayAuthenticate reports whether the address has failures left.
func (l *limits) mayAuthenticate(a netip.Addr, now time.Time) bool {
	b := l.get(a, now)
	return b == nil || b.failures.TokensAt(now) >= 1
}

// failed records a failed authentication.
func (l *limits) failed(a netip.Addr, now time.Time) {
	if b := l.get(a, now); b != nil {
		b.failures.AllowN(now, 1)
	}
}

// remote returns the address of the connection; the zero address when the
// server did not say.
func remote(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
