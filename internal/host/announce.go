package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// announcer tells the central host what the volunteer holds and how busy it
// is: at the interval that the host asks for, and as soon as it holds more.
type announcer struct {
	host         string // URL
	name, secret string
	url          string // for customers; "" is found out from the first answer
	port         string // of that
	scheme       string
	http         *http.Client
	holdings     *holdings
	seeder       *seeder // nil without an engine
	meter        *meter
	uplink       int64
	retry        time.Duration
	log          *slog.Logger
	silent       bool // no goodbye
	lost         sync.Once
	// restrict is told of the modules that not everybody may read at the host.
	restrict func([]string)

	wake   chan struct{}
	peerID string

	// What the last announce saw.
	at       time.Time
	sent     int64
	uploaded int64
	fetched  int64
}

const (
	announceTimeout = 15 * time.Second
	maxRetry        = 30 * time.Second
	goodbyeTimeout  = 3 * time.Second
	maxReply        = 16 << 20
)

// poke says that there may be something new to tell.
func (a *announcer) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run announces until ctx ends, and then says goodbye.
func (a *announcer) run(ctx context.Context) {
	var id [12]byte
	rand.Read(id[:])
	a.peerID = fmt.Sprintf("-PR0000-%.12s", fmt.Sprintf("%x", id))
	a.at = time.Now()
	wait, failures := time.Duration(0), 0
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			if !a.silent {
				a.goodbye(context.WithoutCancel(ctx))
			}
			return
		case <-a.wake:
			timer.Stop()
			if failures > 0 {
				// News do not make a host that fails answer.
				wait = min(wait, a.backoff(failures))
				if !sleep(ctx, wait) {
					continue
				}
			}
		case <-timer.C:
		}
		reply, more, err := a.announce(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			if failures++; failures == 1 || failures%20 == 0 {
				a.log.Warn("announce failed; trying again", "host", a.host, "error", err, "times", failures)
			}
			wait = a.backoff(failures)
		default:
			if failures > 0 {
				a.log.Info("announces are taken again", "host", a.host)
			}
			failures = 0
			wait = time.Duration(max(1, reply.Interval)) * time.Second
			if more {
				wait = 0
			} else if !sleep(ctx, min(wait, time.Duration(max(0, reply.MinInterval))*time.Second)/2) {
				continue
			}
		}
	}
}

func (a *announcer) backoff(failures int) time.Duration {
	return min(maxRetry, a.retry<<min(failures-1, 10))
}

// announce sends one message and takes the answer over.
func (a *announcer) announce(ctx context.Context) (reply *content.AnnounceReply, more bool, err error) {
	req := &content.AnnounceRequest{Name: a.name, URL: a.url, Load: a.load(), Holdings: a.holdings.next()}
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	if reply, err = a.send(ctx, req); err != nil {
		return nil, false, err
	}
	a.restrict(reply.Restricted)
	more = a.holdings.answered(reply.Holdings)
	you := net.ParseIP(reply.You)
	if you != nil && you.IsLoopback() && !isLocal(a.host) {
		// Nobody else reaches us there, customers and peers alike.
		a.lost.Do(func() {
			a.log.Warn("the central host sees this volunteer at an address that nobody else can reach: name the proxy in front of it in its \"http proxies\", and set \"public url\" here",
				"host", a.host, "address", you)
		})
		return reply, more, nil
	}
	if a.url == "" && a.port != "" && you != nil {
		a.url = a.scheme + "://" + net.JoinHostPort(reply.You, a.port)
		a.log.Info("customers will be sent to the address that the central host sees", "url", a.url)
		more = true
	}
	return reply, more, nil
}

// goodbye tells the host that customers are not to be sent any more.
func (a *announcer) goodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, goodbyeTimeout)
	defer cancel()
	if _, err := a.send(ctx, &content.AnnounceRequest{Name: a.name, URL: a.url, Stopping: 1}); err != nil {
		a.log.Debug("goodbye failed", "error", err)
	}
}

// load measures since the announce before.
func (a *announcer) load() *content.Load {
	now := time.Now()
	span := max(now.Sub(a.at).Seconds(), 0.001)
	l := &content.Load{Customers: int(a.meter.active.Load()), Served: a.meter.sent.Load(), Uplink: a.uplink}
	l.CustomerRate = int64(float64(l.Served-a.sent) / span)
	a.at, a.sent = now, l.Served
	if a.seeder == nil {
		return l
	}
	s := a.seeder.stats()
	fetched := s.Bytes[0] + s.Bytes[1] + s.Bytes[2]
	l.PeerRate = int64(float64(max(0, s.Uploaded-a.uploaded)) / span)
	if fetched > a.fetched {
		l.Syncing = 1
	}
	a.uploaded, a.fetched = s.Uploaded, fetched
	return l
}

// send goes through the engine, which adds what it shares and so tells its
// peers in the same message; without an engine it asks the host itself.
func (a *announcer) send(ctx context.Context, req *content.AnnounceRequest) (*content.AnnounceReply, error) {
	if a.seeder != nil {
		if c := a.seeder.client(); c != nil {
			return c.Announce(ctx, content.Offer{URL: a.host}, a.secret, req)
		}
	}
	req.PeerID = a.peerID
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.host+"/announce", bytes.NewReader(req.Encode()))
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(a.name, a.secret)
	r.Header.Set("Content-Type", "text/plain")
	resp, err := a.http.Do(r)
	if err != nil {
		return nil, hideURL(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return nil, err
	}
	reply, err := content.DecodeAnnounceReply(body)
	if err != nil {
		return nil, fmt.Errorf("%s answers %s and no announce reply; is \"central url\" right?", a.host, resp.Status)
	}
	if reply.Failure != "" {
		return nil, fmt.Errorf("%s: %s", resp.Status, reply.Failure)
	}
	return reply, nil
}

// isLocal reports whether a URL's host is this machine by its own word.
func isLocal(s string) bool {
	u, err := url.Parse(s)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// hideURL shortens an HTTP client's error, which repeats the request, and says
// what to do about it.
func hideURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return Hint(err)
}

// listenPort is the port customers reach, for an address without a host.
func listenPort(addr net.Addr) string {
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil || strings.Trim(port, "0123456789") != "" {
		return ""
	}
	return port
}
