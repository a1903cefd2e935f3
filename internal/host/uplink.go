package host

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/prsync/prsync/internal/p2p"
)

// uplink bounds all that a host sends: to customers, as the origin of packs,
// and by its BitTorrent engine. The first two ask one limiter. The engine is
// another process, with a limiter of its own: what it has sent is taken from
// the common one afterwards, and its own limit is kept at what the others
// leave, at least a half.
type uplink struct {
	limit   int64
	limiter *rate.Limiter // nil: no limit
	turn    chan struct{} // held by the one who waits for the limiter
	short   atomic.Bool   // somebody had to wait since this was looked at
	sent    atomic.Int64  // over HTTP
}

// newUplink limits to so many bytes per second, 0 is unlimited.
func newUplink(limit int64) *uplink {
	u := &uplink{limit: limit}
	if limit > 0 {
		u.limiter = rate.NewLimiter(rate.Limit(limit), int(max(sendChunk, min(limit, 1<<30))))
		u.turn = make(chan struct{}, 1)
	}
	return u
}

// wait waits until n bytes may be sent. One at a time asks the limiter, in the
// order in which they came: what the others would reserve there stays reserved
// when they give up, and holds up those who come later for as long as sending
// it would have taken.
func (u *uplink) wait(ctx context.Context, n int) error {
	if u.limiter == nil {
		return nil
	}
	select {
	case u.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-u.turn }()
	u.sent.Add(int64(n))
	if u.limiter.AllowN(time.Now(), n) {
		return nil
	}
	u.short.Store(true)
	return u.limiter.WaitN(ctx, n)
}

// debit takes what was sent without asking.
func (u *uplink) debit(n int64) {
	now := time.Now()
	for n > 0 {
		part := min(n, int64(u.limiter.Burst()))
		u.limiter.ReserveN(now, int(part))
		n -= part
	}
}

// shareTime is between two looks at what the engine has sent.
const shareTime = 250 * time.Millisecond

// share keeps the engine of s within the uplink until ctx ends.
func (u *uplink) share(ctx context.Context, s *seeder) {
	if u.limiter == nil {
		return
	}
	tick := time.NewTicker(shareTime)
	defer tick.Stop()
	var of *p2p.Client
	var uploaded, web int64
	var limit seedLimit
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		sent := u.sent.Load() - web
		web += sent
		c := s.client()
		if c == nil {
			continue
		}
		if c != of { // it was started with the whole uplink
			of, uploaded, limit = c, 0, seedLimit{all: u.limit, now: u.limit}
		}
		total := c.Stats().Uploaded
		u.debit(total - uploaded)
		uploaded = total
		if n, changed := limit.next(int64(float64(sent)/shareTime.Seconds()), u.short.Swap(false)); changed {
			c.LimitUpload(n) // fails with the engine alone, which is started anew
		}
	}
}

// seedLimit is what an engine may send, in bytes per second.
type seedLimit struct {
	all, now, told int64
}

// next takes what went over HTTP lately, in bytes per second, and whether
// somebody there had to wait. The limit falls at once and rises slowly, since
// an uplink that is full of peers' requests looks, but for those who wait, as
// if nobody asked for anything else.
func (l *seedLimit) next(web int64, short bool) (limit int64, changed bool) {
	if l.told == 0 {
		l.told = l.now
	}
	room := max(l.all/2, l.all-web)
	switch {
	case short:
		l.now = max(1, l.all/2)
	default:
		l.now = max(1, min(room, l.now+max(1, l.all/20)))
	}
	if d := l.now - l.told; d > l.all/50 || d < -l.all/50 || l.now == l.all && d != 0 {
		l.told = l.now
		return l.now, true
	}
	return l.told, false
}
