package app

import (
	"context"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/host/statedir"
)

// A swarm of one adds nothing: its engine has to start, announce, and hash
// what the connection would have brought by then. But whoever takes all from
// the central host's connection gives nothing to those who come a moment
// later, so that a client does it only when
//
//   - no volunteer runs on this machine: its engine is there already, and the
//     sooner it has something the better for all;
//   - the host knows of nobody else in the module's swarm, and lets it know
//     when somebody comes;
//   - the link is fast, as a probe of content.CompanyProbe bytes measures;
//   - it is done within directTime. Of all who start together one at most takes
//     this way, and the host sends one copy more at most.
const (
	// directRate is the least rate of a fast link, in bytes per second.
	directRate = 32 << 20
	directTime = 3 * time.Second
	// directProbe bounds the time for the probe, directAsk that for an answer.
	directProbe = 100 * time.Millisecond
	directAsk   = 2 * time.Second
)

// direct decides which bytes come straight from the sender.
type direct struct {
	once sync.Once
	left atomic.Int64 // bytes that may
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// direct is the transfer's Direct.
func (s *swarmClient) direct(size int64) bool {
	d := &s.alone
	d.once.Do(func() { s.askCompany(d) })
	for {
		left := d.left.Load()
		if size > left {
			return false
		}
		if d.left.CompareAndSwap(left, left-size) {
			return true
		}
	}
}

// askCompany asks the host whether somebody else is there, and measures the
// link if not.
func (s *swarmClient) askCompany(d *direct) {
	for _, dir := range s.p.stateDirs("") {
		if _, err := os.Stat(statedir.Engine(dir)); err == nil {
			return
		}
	}
	ctx, stop := context.WithCancel(s.ctx)
	d.stop = stop
	late := time.AfterFunc(directAsk, stop)
	defer late.Stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.offer.URL+content.PathCompany+s.offer.Module, nil)
	if err != nil {
		return
	}
	a, err := s.http.Do(r)
	if err != nil {
		s.debugf("who else is there cannot be found out: %v", err)
		return
	}
	rate := 0.0
	others := a.Header.Get(content.HeaderCompany)
	if n, err := strconv.Atoi(others); err == nil && n == 0 && a.StatusCode == http.StatusOK {
		late.Reset(directProbe)
		began := time.Now()
		if _, err := io.CopyN(io.Discard, a.Body, content.CompanyProbe); err == nil {
			rate = content.CompanyProbe / time.Since(began).Seconds()
		}
	}
	s.debugf("%q others in the swarm; a probe of the link came with %.1f MB/s", others, rate/1e6)
	if rate < directRate || !late.Stop() {
		stop()
		a.Body.Close()
		return
	}
	d.left.Store(int64(rate * directTime.Seconds()))
	d.wg.Go(func() {
		io.Copy(io.Discard, a.Body) // until somebody comes
		a.Body.Close()
		if ctx.Err() == nil {
			s.debugf("somebody else has come to the swarm, or the host has gone")
		}
		d.left.Store(0)
	})
}

func (d *direct) close() {
	if d.stop != nil {
		d.stop()
	}
	d.wg.Wait()
}
