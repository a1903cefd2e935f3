package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/exitcode"
)

// defaultHTTP is "http listen" when the configuration has none.
const defaultHTTP = ":8080"

// web is the HTTP side of a service.
type web struct {
	srv       *http.Server
	listeners []net.Listener
	cert      *certificate // nil: plain HTTP
	proxies   *proxies
	grace     time.Duration
	log       *slog.Logger
}

// newWeb binds what the configuration says, unless listeners were inherited.
func newWeb(ctx context.Context, g *conf.Global, inherited []net.Listener, o *Options) (*web, error) {
	w := &web{listeners: inherited, proxies: newProxies(g.HTTPProxies, o.Log), grace: o.Timing.Grace, log: o.Log}
	if g.TLSCertificate != "" || g.TLSKey != "" {
		w.cert = &certificate{}
		if err := w.cert.load(g); err != nil {
			return nil, err
		}
	}
	if len(w.listeners) == 0 {
		addr := g.HTTPListen
		if addr == "" {
			addr = defaultHTTP
		}
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, exitcode.New(exitcode.SocketIO, "http listen = %s: %w", addr, Hint(err))
		}
		w.listeners = []net.Listener{l}
	}
	return w, nil
}

func (w *web) addr() net.Addr { return w.listeners[0].Addr() }

// url is the service's own address for others, when none is configured.
func (w *web) url(public string) string {
	if public != "" {
		return public
	}
	scheme := "http"
	if w.cert != nil {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(w.addr().String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			return ""
		}
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// run answers requests until ctx ends, and then finishes those under way.
func (w *web) run(ctx context.Context, h http.Handler) error {
	w.srv = &http.Server{
		Handler:           limitBodies(w.proxies.handler(logRequests(w.log, h))),
		ReadHeaderTimeout: 20 * time.Second,
		WriteTimeout:      answerLimit,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	if w.cert != nil {
		w.srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: w.cert.get}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, l := range w.listeners {
		wg.Go(func() {
			var err error
			if w.cert != nil {
				err = w.srv.ServeTLS(l, "", "")
			} else {
				err = w.srv.Serve(l)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("http: %w", err))
			}
		})
	}
	<-ctx.Done()
	cause := context.Cause(ctx)
	limit, stop := context.WithTimeout(context.WithoutCancel(ctx), w.grace)
	defer stop()
	if err := w.srv.Shutdown(limit); err != nil {
		w.log.Warn("requests were cut off", "after", w.grace)
		w.srv.Close()
	}
	wg.Wait()
	return cause
}

const (
	// bodyLimit is how long a client may take to send the body of a request.
	bodyLimit = time.Minute
	// answerLimit is how long it may take for the answer. Files and pieces may
	// take longer, as long as the client goes on taking them (Timing.Stalled).
	answerLimit = 10 * time.Minute
)

func limitBodies(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyLimit))
		}
		h.ServeHTTP(w, r)
	})
}

func (w *web) close() {
	for _, l := range w.listeners {
		l.Close()
	}
}

// certificate is what TLS shows, exchanged by a reload.
type certificate struct {
	p atomic.Pointer[tls.Certificate]
}

func (c *certificate) load(g *conf.Global) error {
	if g.TLSCertificate == "" || g.TLSKey == "" {
		return errors.New(`"tls certificate" and "tls key" go together; set both, or none for plain HTTP`)
	}
	pair, err := tls.LoadX509KeyPair(g.TLSCertificate, g.TLSKey)
	if err != nil {
		return fmt.Errorf("tls certificate = %s, tls key = %s: %w", g.TLSCertificate, g.TLSKey, err)
	}
	c.p.Store(&pair)
	return nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.p.Load(), nil }
