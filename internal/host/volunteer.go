package host

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/time/rate"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/host/statedir"
	"github.com/prsync/prsync/internal/index"
	"github.com/prsync/prsync/internal/p2p"
)

// volunteer is an edge host.
type volunteer struct {
	o       *Options
	state   string
	started *conf.File
	ms      *modules
	web     *web
	gate    *gatekeeper
	meter   *meter
	seeder  *seeder // nil without an engine
	ann     *announcer
	metrics http.Handler
	central string
	serving chan struct{}     // one element per customer; nil: no limit
	passes  [sha256.Size]byte // key of customers' passes
	// restricted are the modules that not everybody may read at the central
	// host; nil: it has not said.
	restricted atomic.Pointer[map[string]bool]
	// refusals bounds the log of refused requests.
	refusals *rate.Limiter
}

// Volunteer runs an edge host until ctx ends, which is no error.
func Volunteer(ctx context.Context, o Options) error {
	o.setDefaults()
	f, err := o.load()
	if err != nil {
		return err
	}
	g := &f.Global
	switch {
	case g.CentralURL == "":
		return fmt.Errorf(`%s: a volunteer needs "central url", the address of the central host`, f.Path)
	case g.VolunteerName == "" || g.VolunteerSecret == "":
		return fmt.Errorf(`%s: a volunteer needs "volunteer name" and "volunteer secret", as in the central host's volunteer secrets file`, f.Path)
	}
	v := &volunteer{o: &o, started: f, central: g.CentralURL, refusals: rate.NewLimiter(1, 20)}
	if v.state, err = prepareState(f, o.Env, statedir.Volunteer); err != nil {
		return err
	}
	lock, err := lockState(filepath.Join(v.state, string(statedir.Volunteer), "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	in, err := inheritListeners(o.getenv)
	if err != nil {
		return err
	}
	in.override(g, o.Log)
	if v.web, err = newWeb(ctx, g, in.http, &o); err != nil {
		return err
	}
	defer v.web.close()
	return v.run(ctx)
}

// run joins the parts, and ends with the first of them.
func (v *volunteer) run(ctx context.Context) error {
	g := &v.started.Global
	uplink := newUplink(g.Uplink)
	v.meter = newMeter(uplink, v.o.Timing.Stalled)
	if g.CustomerLimit > 0 {
		v.serving = make(chan struct{}, g.CustomerLimit)
	}
	transport := newTransport(v.o.RootCAs)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	v.ms = &modules{role: statedir.Volunteer, state: v.state, o: v.o, newer: v.news}
	v.gate = &gatekeeper{ms: v.ms}
	if len(v.o.Engine) > 0 {
		socket := statedir.Engine(v.state)
		if len(socket) > maxSocketPath {
			return fmt.Errorf(`%s: the path of a socket has at most %d bytes; set "state dir" to a shorter one`, socket, maxSocketPath)
		}
		v.seeder = &seeder{
			ms: v.ms, host: v.central, secret: url.UserPassword(g.VolunteerName, g.VolunteerSecret), http: client, argv: v.o.Engine, log: v.o.Log, base: v.o.Timing.Retry,
			wake: make(chan struct{}, 1), lost: map[content.InfoHash]bool{},
			cfg: p2p.Config{Listen: g.SwarmListen, UploadLimit: g.Uplink, Socket: socket, Keep: 10 * time.Minute, Sleep: true,
				SpillDir: filepath.Join(v.state, string(statedir.Volunteer)), Logger: v.o.Log},
		}
	}
	v.passes = content.PassKey(g.VolunteerSecret)
	v.ann = &announcer{
		host: v.central, name: g.VolunteerName, secret: g.VolunteerSecret, http: client, seeder: v.seeder, meter: v.meter,
		uplink: g.Uplink, retry: v.o.Timing.Retry, log: v.o.Log, silent: v.o.noGoodbye, wake: make(chan struct{}, 1),
		restrict: v.restrict,
		holdings: newHoldings(v.ms, statedir.Announced(v.state), v.central, g.VolunteerName, v.o.Log),
	}
	v.customersAt(g)
	v.metrics = v.newMetrics()

	below, stopBelow := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBelow()
	if err := v.ms.apply(below, v.started); err != nil {
		v.o.Log.Error("modules are left out", "error", err)
	}
	defer v.ms.stop()
	v.ms.forget()
	if err := v.ms.register(v.central); err != nil {
		return err
	}

	parent := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var parts sync.WaitGroup
	parts.Go(func() { stop(v.web.run(ctx, v)) })
	parts.Go(func() { v.readJournals(ctx) })
	// The engine stays until the goodbye has gone through it.
	engine, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	var seeding sync.WaitGroup
	if v.seeder != nil {
		seeding.Go(func() { v.seeder.run(engine) })
		seeding.Go(func() { uplink.share(engine, v.seeder) })
	}
	parts.Go(func() { v.ann.run(ctx) })
	v.o.Log.Info("volunteer", "name", g.VolunteerName, "central", v.central, "http", v.web.addr().String(), "modules", len(v.ms.all()), "state", v.state)
	notify(v.o.getenv, "READY=1")
	v.o.Ready(Bound{HTTP: v.web.addr(), URL: v.ann.url, StateDir: v.state})
	for {
		select {
		case <-ctx.Done():
			notify(v.o.getenv, "STOPPING=1")
			parts.Wait()
			stopEngine()
			seeding.Wait()
			return failure(parent, ctx)
		case <-v.o.Reload:
			v.reload(below)
		}
	}
}

// customersAt finds where customers are to be sent: the public URL, else the
// address that is listened on, else the address that the central host sees.
func (v *volunteer) customersAt(g *conf.Global) {
	v.ann.url, v.ann.port, v.ann.scheme = g.PublicURL, listenPort(v.web.addr()), "http"
	if v.web.cert != nil {
		v.ann.scheme = "https"
	}
	if v.ann.url != "" {
		return
	}
	if host, _, err := net.SplitHostPort(v.web.addr().String()); err == nil {
		if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
			v.ann.url = v.ann.scheme + "://" + v.web.addr().String()
		}
	}
}

// restrict takes over which modules the central host keeps from some.
func (v *volunteer) restrict(names []string) {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[n] = true
	}
	if old := v.restricted.Swap(&set); old == nil || !maps.Equal(*old, set) {
		for _, m := range v.ms.all() {
			if set[m.name] && !v.open(m) {
				v.o.Log.Info("only customers whom the central host sends get files of this module, for it does not let everybody read it; "+
					"rules of its own (hosts allow, auth users) or \"redirect = yes\" let others too", "module", m.name)
			}
		}
	}
}

// open reports whether customers get files of the module without a pass of the
// central host: where it has rules, only by rules of our own, or by the word of
// who runs this volunteer. Until the host has told, nothing is open.
func (v *volunteer) open(m *module) bool {
	if !m.conf.PublicByDefault() || m.conf.Redirect.Or(false) {
		return true
	}
	r := v.restricted.Load()
	return r != nil && !(*r)[m.name]
}

// news is called with each new generation.
func (v *volunteer) news() {
	v.ann.poke()
	if v.seeder != nil {
		v.seeder.poke()
	}
}

// readJournals takes in what transfers of this machine have just written and
// verified, without reading the files again.
func (v *volunteer) readJournals(ctx context.Context) {
	tick := time.NewTicker(v.o.Timing.Journal)
	defer tick.Stop()
	sizes := map[string]int64{}
	var rest time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, m := range v.ms.all() {
			size := index.Journaled(m.dir)
			if size == 0 || size == sizes[m.name] || time.Now().Before(rest) || m.view.Load() == nil {
				continue
			}
			began := time.Now()
			m.absorb(ctx)
			sizes[m.name] = index.Journaled(m.dir) // not 0 when more came meanwhile, or after a failure
			// A generation of a large module takes its time to write.
			rest = time.Now().Add(4 * time.Since(began))
		}
	}
}

// reload takes over a changed configuration, as far as that is possible
// without a restart.
func (v *volunteer) reload(ctx context.Context) {
	notify(v.o.getenv, "RELOADING=1")
	defer notify(v.o.getenv, "READY=1")
	f, err := v.o.load()
	if err != nil {
		v.o.Log.Error("reload: the configuration stays as it was", "error", err)
		return
	}
	if err := v.ms.apply(ctx, f); err != nil {
		v.o.Log.Error("reload: modules are left out", "error", err)
	}
	if err := v.ms.register(v.central); err != nil {
		v.o.Log.Error("reload", "error", err)
	}
	if v.web.cert != nil {
		if err := v.web.cert.load(&f.Global); err != nil {
			v.o.Log.Error("reload: the certificate stays as it was", "error", err)
		}
	}
	if names := needRestart(&v.started.Global, &f.Global); len(names) > 0 {
		v.o.Log.Warn("reload: these parameters take a restart", "parameters", strings.Join(names, ", "))
	}
	v.news()
	v.o.Log.Info("configuration loaded", "modules", len(v.ms.all()))
}

func (v *volunteer) newMetrics() http.Handler {
	reg := prometheus.NewRegistry()
	gauge := func(name, help string, f func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "prsync", Subsystem: "volunteer", Name: name, Help: help}, f))
	}
	counter := func(name, help string, f func() float64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "prsync", Subsystem: "volunteer", Name: name, Help: help}, f))
	}
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	gauge("customers", "Customers being served.", func() float64 { return float64(v.meter.active.Load()) })
	counter("customer_sent_bytes_total", "Bytes sent to customers.", func() float64 { return float64(v.meter.sent.Load()) })
	gauge("files", "Files indexed.", func() (n float64) {
		for _, m := range v.ms.all() {
			if view := m.view.Load(); view != nil {
				n += float64(view.Len())
			}
		}
		return n
	})
	if v.seeder != nil {
		counter("peer_sent_bytes_total", "Bytes sent to peers.", func() float64 { return float64(v.seeder.stats().Uploaded) })
		gauge("peers", "Peers connected.", func() float64 { return float64(v.seeder.stats().Peers) })
	}
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}
