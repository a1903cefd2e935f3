package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prsync/prsync/internal/daemon"
	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/host/statedir"
	"github.com/prsync/prsync/internal/p2p/origin"
	"github.com/prsync/prsync/internal/tracker"
	"github.com/prsync/prsync/internal/tracker/store"
	"github.com/prsync/prsync/internal/tracker/store/redisstore"
)

// central is the central host.
type central struct {
	o       *Options
	state   string
	started *conf.File // what cannot be changed by a reload is as in here
	ms      *modules
	web     *web
	url     string
	secrets *tracker.Secrets
	gate    *gatekeeper
	packs   *packCache
	store   store.Store
	seeder  *seeder // nil without "swarm listen"
	tracker *tracker.Tracker
	swarm   *swarmHandler
	meter   *meter
	hup     chan os.Signal // to the rsync daemon
}

// Serve runs the central host until ctx ends, which is no error.
func Serve(ctx context.Context, o Options) error {
	o.setDefaults()
	f, err := o.load()
	if err != nil {
		return err
	}
	c := &central{o: &o, started: f, hup: make(chan os.Signal, 1)}
	if c.state, err = prepareState(f, o.Env, statedir.Central); err != nil {
		return err
	}
	control, err := listenControl(statedir.Control(c.state))
	if err != nil {
		return err
	}
	defer control.Close()
	in, err := inheritListeners(o.getenv)
	if err != nil {
		return err
	}
	in.override(&f.Global, o.Log)
	if c.web, err = newWeb(ctx, &f.Global, in.http, &o); err != nil {
		return err
	}
	defer c.web.close()
	c.url = c.web.url(f.Global.PublicURL)
	st, err := c.openStore(ctx, f)
	if err != nil {
		return err
	}
	defer st.Close()
	return c.run(ctx, st, control, append(in.rsync, o.rsync...))
}

// openStore opens what "tracker store" names.
func (c *central) openStore(ctx context.Context, f *conf.File) (store.Store, error) {
	where := f.Global.TrackerStore
	if where != "" && where != "memory" {
		st, err := redisstore.Open(ctx, where)
		if err != nil {
			return nil, exitcode.New(exitcode.SocketIO, "%w", err)
		}
		return st, nil
	}
	dir := statedir.Tracker(c.state)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, exitcode.New(exitcode.FileIO, "tracker store: %w", Hint(err))
	}
	st, err := store.Open(dir)
	if errors.Is(err, store.ErrBadSnapshot) {
		c.o.Log.Warn("the tracker starts without what it knew; announces will tell it again", "error", err)
		err = nil
	}
	if err != nil {
		return nil, exitcode.New(exitcode.FileIO, "tracker store: %w", Hint(err))
	}
	return st, nil
}

// run joins the parts, and ends with the first of them.
func (c *central) run(ctx context.Context, st store.Store, control net.Listener, rsync []net.Listener) error {
	g := &c.started.Global
	c.store = st
	c.ms = &modules{role: statedir.Central, state: c.state, o: c.o, newer: c.news}
	c.secrets = &tracker.Secrets{}
	if g.VolunteerSecretsFile != "" {
		var err error
		if c.secrets, err = tracker.LoadSecrets(g.VolunteerSecretsFile); err != nil {
			return err
		}
	}
	tokens, err := statedir.MakeTokenKey(c.state)
	if err != nil {
		return exitcode.New(exitcode.FileIO, "state dir: key of tokens: %w", Hint(err))
	}
	c.gate = &gatekeeper{ms: c.ms, secrets: c.secrets, tokens: tokens}
	c.packs = newPackCache(c.ms)
	defer c.packs.close()
	uplink := newUplink(g.Uplink)
	c.meter = newMeter(uplink, c.o.Timing.Stalled)
	blobs := origin.New(c.packs.get, origin.Config{Wait: uplink.wait, Stalled: c.o.Timing.Stalled})
	c.swarm = &swarmHandler{ms: c.ms, packs: c.packs, blobs: blobs, gate: c.gate, url: c.urlFor, lookups: newLookups(), peers: c.peersOf}
	transport := newTransport(c.o.RootCAs)
	defer transport.CloseIdleConnections()
	c.seeder = c.newSeed(&http.Client{Transport: transport})
	c.tracker, err = tracker.New(tracker.Config{
		Catalog: catalog{c.ms}, Origin: c, Store: st, Secrets: c.secrets, PublicURL: g.PublicURL, Allow: c.gate.allow, Closed: c.closed, Restricted: c.restricted, Hidden: c.isSeed, Left: blobs.Left,
		CustomerLimit: g.CustomerLimit, Probe: &http.Client{Transport: transport}, VolunteerInterval: c.o.Timing.Announce,
		Software: c.o.software(), Log: c.o.Log,
	})
	if err != nil {
		return err
	}
	c.tracker.Registry().MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "prsync_origin_sent_bytes_total", Help: "Bytes of packs that left this host."},
			func() float64 { return float64(blobs.Sent()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "prsync_customer_sent_bytes_total", Help: "Bytes of files that this host sent to customers itself."},
			func() float64 { return float64(c.meter.sent.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "prsync_customers", Help: "Customers that this host serves itself now."},
			func() float64 { return float64(c.meter.active.Load()) }),
	)
	// Modules outlive the requests, and the tracker does too.
	below, stopBelow := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stopBelow()
	defer c.ms.stop()
	if err := c.ms.apply(below, c.started); err != nil {
		c.o.Log.Error("modules are left out", "error", err)
	}
	c.ms.forget()
	if err := c.ms.register(c.url); err != nil {
		return err
	}
	wg.Go(func() {
		if err := c.tracker.Run(below); err != nil {
			c.o.Log.Error("tracker state was not saved", "error", err)
		}
	})

	parent := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	c.swarm.quit = ctx.Done()
	var parts sync.WaitGroup
	defer parts.Wait()
	listening := make(chan []net.Addr, 1)
	parts.Go(func() {
		err := c.rsyncDaemon(ctx, rsync, func(a []net.Addr) { listening <- a })
		stop(err)
	})
	bound := Bound{HTTP: c.web.addr(), URL: c.url, StateDir: c.state}
	select {
	case bound.Rsync = <-listening:
	case <-ctx.Done():
		return failure(parent, ctx)
	}
	parts.Go(func() { stop(c.web.run(ctx, c)) })
	parts.Go(func() { stop(c.serveControl(ctx, control)) })
	if c.seeder != nil {
		// It goes last: its goodbye is for the tracker.
		seeding, stopSeeding := context.WithCancel(context.WithoutCancel(ctx))
		var seeder sync.WaitGroup
		defer seeder.Wait()
		defer stopSeeding()
		seeder.Go(func() { c.seeder.run(seeding) })
		seeder.Go(func() { uplink.share(seeding, c.seeder) })
	}
	if g.PublicURL == "" && isLocal(c.url) && slices.ContainsFunc(bound.Rsync, func(a net.Addr) bool { return !isLocal("rsync://" + a.String()) }) {
		c.o.Log.Warn("rsync clients from elsewhere are offered a swarm at an address that only this machine reaches: set \"public url\"", "url", c.url)
	}
	c.o.Log.Info("central host", "url", c.url, "http", bound.HTTP.String(), "rsync", fmt.Sprint(bound.Rsync), "modules", len(c.ms.all()), "state", c.state)
	notify(c.o.getenv, "READY=1")
	c.o.Ready(bound)
	prune := time.NewTicker(time.Minute)
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			notify(c.o.getenv, "STOPPING=1")
			parts.Wait()
			return failure(parent, ctx)
		case <-c.o.Reload:
			c.reload(below)
		case <-prune.C:
			c.packs.prune(blobs.Forget)
		}
	}
}

// closed reports whether not everybody may read a module.
func (c *central) closed(module string) bool {
	m := c.ms.get(module)
	return m == nil || !m.conf.PublicByDefault()
}

// restricted names those modules.
func (c *central) restricted() []string { return c.ms.set.Load().restricted }

// news is called with each new generation.
func (c *central) news() {
	if c.seeder != nil {
		c.seeder.poke()
	}
}

// rsyncDaemon runs the rsync daemon's listener.
func (c *central) rsyncDaemon(ctx context.Context, inherited []net.Listener, ready func([]net.Addr)) error {
	cfg := c.o.daemonConfig()
	cfg.Program, cfg.Listeners, cfg.Hangup = c.o.Program, inherited, c.hup
	cfg.Argv = []string{"prsync", "--daemon", "--config=" + c.o.Config}
	err := daemon.Listen(ctx, cfg, ready)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, os.ErrPermission) && c.started.Global.Port == 0 {
		err = fmt.Errorf("%w; set \"port\" in %s to one above 1023", err, c.o.Config)
	}
	return exitcode.New(exitcode.SocketIO, "rsync daemon: %w", Hint(err))
}

// reload takes over a changed configuration, as far as that is possible
// without a restart; with a mistake in it everything stays as it is.
func (c *central) reload(ctx context.Context) {
	notify(c.o.getenv, "RELOADING=1")
	defer notify(c.o.getenv, "READY=1")
	f, err := c.o.load()
	if err != nil {
		c.o.Log.Error("reload: the configuration stays as it was", "error", err)
		return
	}
	if err := c.ms.apply(ctx, f); err != nil {
		c.o.Log.Error("reload: modules are left out", "error", err)
	}
	if err := c.ms.register(c.url); err != nil {
		c.o.Log.Error("reload", "error", err)
	}
	if err := c.secrets.Reload(); err != nil {
		c.o.Log.Error("reload: the secrets stay as they were", "error", err)
	}
	if c.web.cert != nil {
		if err := c.web.cert.load(&f.Global); err != nil {
			c.o.Log.Error("reload: the certificate stays as it was", "error", err)
		}
	}
	if names := needRestart(&c.started.Global, &f.Global); len(names) > 0 {
		c.o.Log.Warn("reload: these parameters take a restart", "parameters", strings.Join(names, ", "))
	}
	select {
	case c.hup <- os.Interrupt:
	default:
	}
	c.o.Log.Info("configuration loaded", "modules", len(c.ms.all()))
}

// needRestart names the parameters that differ and are read at start only.
func needRestart(a, b *conf.Global) (names []string) {
	for _, p := range []struct {
		name string
		same bool
	}{
		{"http listen", a.HTTPListen == b.HTTPListen}, {"http proxies", a.HTTPProxies == b.HTTPProxies}, {"public url", a.PublicURL == b.PublicURL},
		{"state dir", a.StateDir == b.StateDir}, {"tracker store", a.TrackerStore == b.TrackerStore},
		{"volunteer secrets file", a.VolunteerSecretsFile == b.VolunteerSecretsFile},
		{"customer limit", a.CustomerLimit == b.CustomerLimit}, {"uplink", a.Uplink == b.Uplink},
		{"swarm listen", a.SwarmListen == b.SwarmListen}, {"port", a.Port == b.Port}, {"address", a.Address == b.Address},
		{"tls certificate", (a.TLSCertificate == "") == (b.TLSCertificate == "")},
		{"central url", a.CentralURL == b.CentralURL}, {"volunteer name", a.VolunteerName == b.VolunteerName},
		{"volunteer secret", a.VolunteerSecret == b.VolunteerSecret},
	} {
		if !p.same {
			names = append(names, p.name)
		}
	}
	return names
}

// urlFor is the host's address, as configured or as the client wrote it.
func (c *central) urlFor(r *http.Request) string {
	if c.started.Global.PublicURL != "" || r.Host == "" || strings.ContainsAny(r.Host, "/\\@?#\"<>' ") {
		return c.url
	}
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// ServeHTTP answers everything over HTTP.
func (c *central) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, prefixSwarm) {
		w.Header().Set("Server", c.o.software())
		c.swarm.ServeHTTP(w, r)
		return
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if m := c.ms.get(name); m != nil && m.view.Load() == nil {
		if !c.gate.allow(w, r, name) {
			return
		}
		w.Header().Set("Retry-After", "10")
		http.Error(w, errNotYet.Error(), http.StatusServiceUnavailable)
		return
	}
	c.tracker.ServeHTTP(w, r)
}

// againKey marks a request that is answered again, from a newer generation.
type againKey struct{}

// ServeFile implements tracker.Origin. A file that is not what the index says
// is about to be in the next generation: the answer waits for that, and comes
// from there.
func (c *central) ServeFile(w http.ResponseWriter, r *http.Request, name, path string, p tracker.Published) {
	m := c.ms.get(name)
	if m == nil {
		http.Error(w, "no such module", http.StatusNotFound)
		return
	}
	v := m.view.Load()
	if e, kept, ok := v.Small(path); ok && e.ID == p.ID {
		c.meter.active.Add(1)
		defer c.meter.active.Add(-1)
		setType(w, path)
		http.ServeContent(w, r, "", p.Mtime, bytes.NewReader(kept))
		return
	}
	h := w.Header()
	f, err := openContent(m.root, v.Reader, path, p.ID)
	if err == nil {
		defer f.Close()
		c.meter.serve(w, r, path, p.Mtime, f)
		return
	}
	for _, k := range []string{"Etag", "Last-Modified", "Repr-Digest", "Digest", "Accept-Ranges", "Link", "Content-Type"} {
		h.Del(k)
	}
	if p.Gone {
		http.Error(w, "this file has left the repository", http.StatusNotFound)
		return
	}
	m.poke()
	if r.Context().Value(againKey{}) == nil && m.await(r.Context(), p.Generation, c.o.Timing.Newer) {
		c.tracker.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), againKey{}, true)))
		return
	}
	c.o.Log.Warn("a published file cannot be served", "module", name, "path", path, "error", err)
	h.Set("Retry-After", strconv.Itoa(5))
	http.Error(w, "the file is just being changed; try again in some seconds", http.StatusServiceUnavailable)
}
