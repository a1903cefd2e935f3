package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anacrolix/torrent"
	"github.com/anacrolix/torrent/types/infohash"
	"golang.org/x/time/rate"

	"github.com/prsync/prsync/internal/content"
)

// Config are the settings of an engine; the zero value works.
type Config struct {
	Listen        string // "ADDR:PORT", ":PORT"; empty: any port
	UploadLimit   int64  // bytes per second; 0: unlimited
	DownloadLimit int64
	Stall         time.Duration // 0: 15 s
	// SpillDir takes nameless temporary files; empty: the system's.
	SpillDir string
	// Keep is how long files that were fetched go on being seeded when their
	// client has gone.
	Keep time.Duration
	// Idle is how long a pack stays in memory of which nothing is wanted or
	// held here, and that is not seeded or for which no peer is there; 0: a
	// minute. It comes back when it is asked for.
	Idle time.Duration
	// Sleep lets packs that clients seed sleep while nobody comes for them.
	Sleep bool
	// OriginRequests is the number of requests to a central host at a time;
	// 0: 3.
	OriginRequests int
	Transport      http.RoundTripper // for the central host; nil: one of our own
	Logger         *slog.Logger
}

// Engine is one peer of the swarm.
type Engine struct {
	cfg    Config
	log    *slog.Logger
	peerID string
	client *torrent.Client
	http   *http.Client
	limits *limits
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	bans   *bans
	// strangers are connections to closed packs that are not let in.
	strangers sync.Map // *torrent.PeerConn → struct{}

	spawning sync.Mutex // orders wg.Go against the end of ctx

	mu       sync.Mutex
	closed   bool
	packs    map[content.InfoHash]*pack
	asleep   map[content.InfoHash]*sleeper // seeded, and not in packs
	trackers map[string]*tracker
	catalogs map[catalogKey]*catalog
	byTor    sync.Map // *torrent.Torrent → *pack

	totals totals
}

// spawn runs f as a goroutine that Close waits for. It returns false, and does
// nothing, when the engine has been closed.
func (e *Engine) spawn(f func()) bool {
	e.spawning.Lock()
	defer e.spawning.Unlock()
	if e.ctx.Err() != nil {
		return false
	}
	e.wg.Go(f)
	return true
}

// totals count since the engine started.
type totals struct {
	bytes    [3]atomic.Int64
	wasted   atomic.Int64
	progress atomic.Int64 // unix nanoseconds of the last verified piece
}

// ErrClosed is what unfinished wants get when the engine ends.
var ErrClosed = errors.New("the swarm engine is shutting down")

// New starts an engine.
func New(cfg Config) (*Engine, error) {
	if cfg.Stall <= 0 {
		cfg.Stall = 15 * time.Second
	}
	if cfg.Idle <= 0 {
		cfg.Idle = time.Minute
	}
	if cfg.OriginRequests <= 0 {
		cfg.OriginRequests = 3
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		cfg: cfg, log: cfg.Logger, peerID: newPeerID(), bans: newBans(),
		packs: map[content.InfoHash]*pack{}, asleep: map[content.InfoHash]*sleeper{}, trackers: map[string]*tracker{}, catalogs: map[catalogKey]*catalog{},
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.limits = newLimits(pace{up: cfg.UploadLimit, down: cfg.DownloadLimit})
	transport := cfg.Transport
	if transport == nil {
		transport = newTransport()
	}
	e.http = &http.Client{Transport: transport, CheckRedirect: sameHost}
	tc, err := e.clientConfig()
	if err != nil {
		return nil, err
	}
	if e.client, err = torrent.NewClient(tc); err != nil {
		return nil, fmt.Errorf("swarm: listen on %q: %w", cfg.Listen, err)
	}
	e.wg.Add(1)
	go e.bans.run(e.ctx, &e.wg)
	return e, nil
}

func newPeerID() string {
	return "-PR0001-" + rand.Text()[:12]
}

func newTransport() *http.Transport {
	dialer := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 15 * time.Second,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   8,
		DisableCompression:    true,
		ReadBufferSize:        64 << 10,
	}
}

// sameHost keeps redirects on the central host: what it is asked for names
// contents, and volunteers are peers.
func sameHost(r *http.Request, via []*http.Request) error {
	if len(via) > 3 || r.URL.Host != via[0].URL.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

// clientConfig sets the library up as docs/design.md lists under library
// facts.
func (e *Engine) clientConfig() (*torrent.ClientConfig, error) {
	host, port, err := splitListen(e.cfg.Listen)
	if err != nil {
		return nil, err
	}
	c := torrent.NewDefaultClientConfig()
	c.PeerID = e.peerID
	c.ListenHost = func(string) string { return host }
	c.ListenPort = port
	if ip := net.ParseIP(host); ip != nil && ip.To4() != nil {
		c.DisableIPv6 = true
	}
	c.NoDHT = true
	c.DisablePEX = true
	c.DisableUTP = true
	c.DisableWebtorrent = true
	c.DisableWebseeds = true
	c.DisableTrackers = true
	c.NoDefaultPortForwarding = true
	c.Seed = true
	c.AlwaysWantConns = e.cfg.Sleep // or it would accept none while all sleep
	c.DisableAggressiveUpload = false
	c.DialRateLimiter = rate.NewLimiter(rate.Inf, 1)
	c.StealRequestGrace = 2 * time.Second
	c.KeepAliveTimeout = time.Second
	c.HeaderObfuscationPolicy = torrent.HeaderObfuscationPolicy{Preferred: false, RequirePreferred: true}
	c.DefaultStorage = noStorage{}
	c.ExtendedHandshakeClientVersion = "prsync"
	c.HTTPUserAgent = "prsync"
	c.Slogger = slog.New(slog.DiscardHandler)
	c.UploadRateLimiter = e.limits.up
	// What comes is limited in storePiece.WriteAt: with a limiter of its own the
	// library takes and makes no connections while that is exhausted, which is
	// always when the origin's answers draw on it, too.
	c.Callbacks.CompletedHandshake = func(c *torrent.PeerConn, h infohash.T) { e.wakeFor(c, content.InfoHash(h)) }
	c.Callbacks.PeerConnAdded = append(c.Callbacks.PeerConnAdded, e.connAdded)
	c.Callbacks.PeerConnClosed = e.connClosed
	c.Callbacks.ReadMessage = e.messageRead
	c.Callbacks.ReceivedUsefulData = append(c.Callbacks.ReceivedUsefulData, e.dataReceived)
	return c, nil
}

func splitListen(listen string) (host string, port int, err error) {
	if listen == "" {
		return "", 0, nil
	}
	host, p, err := net.SplitHostPort(listen)
	if err == nil {
		port, err = strconv.Atoi(p)
	}
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("swarm listen address %q: want [ADDR]:PORT", listen)
	}
	return host, port, nil
}

// PeerID returns the engine's id in the swarm, 20 bytes.
func (e *Engine) PeerID() string { return e.peerID }

// Port returns the port that takes BitTorrent connections.
func (e *Engine) Port() int { return e.client.LocalPort() }

// Stats returns the totals since the engine started.
func (e *Engine) Stats() content.SwarmStats {
	s := content.SwarmStats{Wasted: e.totals.wasted.Load(), BadPeers: e.bans.count()}
	for i := range s.Bytes {
		s.Bytes[i] = e.totals.bytes[i].Load()
	}
	cs := e.client.ConnStats()
	s.Uploaded = cs.BytesWrittenData.Int64()
	peers := map[string]struct{}{}
	for _, p := range e.allPacks() {
		for _, c := range p.t.PeerConns() {
			peers[string(c.PeerID[:])] = struct{}{}
		}
		p.mu.Lock()
		for id := range p.sources.by {
			peers[id] = struct{}{}
		}
		p.mu.Unlock()
	}
	s.Peers = len(peers)
	return s
}

func (e *Engine) allPacks() []*pack {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*pack, 0, len(e.packs))
	for _, p := range e.packs {
		all = append(all, p)
	}
	return all
}

// Close fails what is unfinished, says goodbye to the trackers and releases
// every file.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	trackers := make([]*tracker, 0, len(e.trackers))
	for _, t := range e.trackers {
		trackers = append(trackers, t)
	}
	e.mu.Unlock()

	var bye sync.WaitGroup
	for _, t := range trackers {
		bye.Go(t.goodbye)
	}
	bye.Wait()
	e.spawning.Lock()
	e.cancel()
	e.spawning.Unlock()
	e.wg.Wait()
	closed := make(chan struct{})
	go func() {
		e.client.Close()
		close(closed)
	}()
	t := time.NewTimer(5 * time.Second)
	defer t.Stop()
	select {
	case <-closed:
	case <-t.C:
		e.log.Warn("swarm: the BitTorrent library did not close in time")
	}
	for _, p := range e.allPacks() {
		p.release()
	}
	e.http.CloseIdleConnections()
	return nil
}

// trackerOf returns the announcer to the central host at url.
func (e *Engine) trackerOf(url string) (*tracker, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	t := e.trackers[url]
	if t == nil {
		t = newTracker(e, url)
		e.trackers[url] = t
		e.wg.Add(1)
		go t.run()
	}
	return t, nil
}

// Library callbacks; the client lock is held, so they only take notes.

func (e *Engine) packOf(t *torrent.Torrent) *pack {
	if p, ok := e.byTor.Load(t); ok {
		return p.(*pack)
	}
	return nil
}

func (e *Engine) connAdded(c *torrent.PeerConn) {
	if e.bans.banned(peerOf(c)) {
		e.bans.drop(c)
		return
	}
	if p := e.packOf(c.Torrent()); p != nil && !e.turnedAway(c, p) {
		p.peersChanged()
	}
}

func (e *Engine) connClosed(c *torrent.PeerConn) {
	e.strangers.Delete(c)
	if t := c.Torrent(); t != nil {
		if p := e.packOf(t); p != nil {
			p.mu.Lock()
			delete(p.plan.unchoked, c)
			p.mu.Unlock()
			p.peersChanged()
		}
	}
}
