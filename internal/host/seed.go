package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/p2p"
)

// seeder runs the swarm engine and offers what the modules hold through it.
type seeder struct {
	ms   *modules
	host string // URL of the central host
	// secret is what lets the engine have modules that not everybody may read;
	// nil: nothing.
	secret *url.Userinfo
	http   *http.Client
	argv   []string
	cfg    p2p.Config
	log    *slog.Logger
	base   time.Duration // first pause after a failure
	// only tells which modules are shared; nil: all in the swarm.
	only func(*conf.Module) bool

	wake    chan struct{}
	current atomic.Pointer[p2p.Client]
	last    atomic.Pointer[content.SwarmStats] // totals of engines that ended

	mu   sync.Mutex
	lost map[content.InfoHash]bool // packs that the host publishes no more

	// The rest is run's alone.
	shared map[string]*shared // by module
}

// shared is what one module has in the swarm.
type shared struct {
	tree  *tree
	gen   int64 // of the index that was looked at
	packs map[content.InfoHash]*content.Pack
	// missing are contents that the host shares in no pack, or did not tell.
	missing map[content.ID]bool
	retry   time.Time
	pause   time.Duration
	// guarded is set when the host wants to know who asks; refused, the last
	// refusal that was logged.
	guarded bool
	refused string
}

const (
	// batch is how many contents one look-up locates: a MiB, which proxies
	// take without being told to.
	batch         = 30000
	minLocate     = 5 * time.Second
	maxLocate     = 10 * time.Minute
	maxEnginePark = time.Minute
)

func (s *seeder) client() *p2p.Client {
	if c := s.current.Load(); c != nil && c.Err() == nil {
		return c
	}
	return nil
}

// stats are the totals over all engines.
func (s *seeder) stats() content.SwarmStats {
	var sum content.SwarmStats
	if l := s.last.Load(); l != nil {
		sum = *l
	}
	if c := s.current.Load(); c != nil {
		add(&sum, c.Stats())
	}
	return sum
}

func add(sum *content.SwarmStats, s content.SwarmStats) {
	for i := range s.Bytes {
		sum.Bytes[i] += s.Bytes[i]
	}
	sum.Uploaded += s.Uploaded
	sum.Wasted += s.Wasted
	sum.BadPeers += s.BadPeers
	sum.Peers = s.Peers
}

// poke says that the modules may hold something else.
func (s *seeder) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// unknown takes note of a pack that the host does not publish any more.
func (s *seeder) unknown(h content.InfoHash) {
	s.mu.Lock()
	s.lost[h] = true
	s.mu.Unlock()
	s.poke()
}

// run keeps an engine running until ctx ends.
func (s *seeder) run(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; failures++ {
		began := time.Now()
		err := s.runEngine(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxEnginePark {
			failures = 0
		}
		pause := min(maxEnginePark, s.base<<min(failures, 10))
		s.log.Error("the swarm engine ended and will be started again; customers are served meanwhile", "error", err, "in", pause)
		sleep(ctx, pause)
	}
}

// runEngine runs one engine to its end.
func (s *seeder) runEngine(ctx context.Context) error {
	cfg := s.cfg
	cfg.Unknown = s.unknown
	c, err := p2p.Spawn(ctx, s.argv, cfg)
	if err != nil {
		return err
	}
	s.shared = map[string]*shared{}
	s.current.Store(c)
	defer func() {
		var sum content.SwarmStats
		if l := s.last.Load(); l != nil {
			sum = *l
		}
		add(&sum, c.Stats())
		s.current.Store(nil)
		s.last.Store(&sum)
		c.Close()
	}()
	s.log.Info("swarm engine", "port", c.Port(), "socket", s.cfg.Socket, "pid", c.PID())
	tick := time.NewTimer(minLocate)
	defer tick.Stop()
	for {
		s.update(ctx, c)
		tick.Reset(s.rest(time.Now()))
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-c.Events():
			if !ok {
				return errors.Join(p2p.ErrEngineGone, c.Err())
			}
		case <-s.wake:
		case <-tick.C:
		}
	}
}

// rest is how long nothing is to be done by itself.
func (s *seeder) rest(now time.Time) time.Duration {
	d := minLocate
	for _, sh := range s.shared {
		if len(sh.missing) > 0 {
			d = min(d, sh.retry.Sub(now))
		}
	}
	return max(d, s.base)
}

// update shares what the modules hold now.
func (s *seeder) update(ctx context.Context, c *p2p.Client) {
	s.mu.Lock()
	lost := s.lost
	s.lost = map[content.InfoHash]bool{}
	s.mu.Unlock()
	for name, sh := range s.shared {
		if m := s.ms.get(name); m == nil || m.tree != sh.tree {
			for h := range sh.packs {
				c.Unseed(h)
			}
			delete(s.shared, name)
		}
	}
	for _, m := range s.ms.all() {
		sh := s.shared[m.name]
		if sh == nil {
			sh = &shared{tree: m.tree, packs: map[content.InfoHash]*content.Pack{}, missing: map[content.ID]bool{}}
			s.shared[m.name] = sh
		}
		if err := s.updateModule(ctx, c, m, sh, lost); err != nil && ctx.Err() == nil {
			s.log.Debug("not all of the module is in the swarm yet", "module", m.name, "error", err)
		}
	}
}

func (s *seeder) updateModule(ctx context.Context, c *p2p.Client, m *module, sh *shared, lost map[content.InfoHash]bool) error {
	v := m.view.Load()
	if v == nil || !m.conf.SwarmEnabled() || s.only != nil && !s.only(m.conf) {
		return nil
	}
	again := map[content.InfoHash]bool{} // to be told to the engine
	for h := range lost {
		if p := sh.packs[h]; p != nil {
			c.Unseed(h)
			delete(sh.packs, h)
			for i := range p.Entries {
				if v.Holds(p.Entries[i].ID) {
					sh.missing[p.Entries[i].ID] = true
				}
			}
			sh.retry, sh.pause = time.Time{}, 0
		}
	}
	if v.Generation() != sh.gen {
		ch, err := m.idx.Load().Changes(sh.gen)
		if err != nil {
			return err
		}
		for _, id := range ch.Added {
			sh.missing[id] = true
		}
		for _, id := range ch.Dropped {
			delete(sh.missing, id)
		}
		if len(ch.Dropped) > 0 || ch.Since != sh.gen {
			for h := range sh.packs {
				again[h] = true
			}
		}
		sh.gen = ch.Version
		if len(ch.Added) > 0 {
			sh.retry, sh.pause = time.Time{}, 0
		}
	}
	var failed error
	if len(sh.missing) > 0 && !time.Now().Before(sh.retry) {
		failed = s.locate(ctx, m.name, sh, again)
		if s.mustAsk(failed) && !sh.guarded {
			sh.guarded = true
			failed = s.locate(ctx, m.name, sh, again)
		}
		s.complain(m.name, sh, failed)
		least := minLocate
		if failed != nil {
			least = s.base // the host may just not be ready yet
		}
		sh.pause = max(least, min(maxLocate, 2*sh.pause))
		sh.retry = time.Now().Add(sh.pause)
	}
	offer := content.Offer{URL: s.offered(sh), Module: m.name}
	for h := range again {
		p := sh.packs[h]
		held := func(i int) bool { return v.Holds(p.Entries[i].ID) }
		open := func(id content.ID) (*os.File, error) {
			now := m.view.Load()
			if now == nil {
				return nil, errNotYet
			}
			f, err := openContent(m.root, now.Reader, "", id)
			if err != nil {
				return nil, err
			}
			return f.File, nil
		}
		if err := c.Seed(offer, p, held, open); err != nil {
			return err
		}
	}
	return failed
}

// offered is the host's address for the engine, with the volunteer's secret
// where that is needed. The engine keeps what it does with it apart from what
// others of this machine ask it for.
func (s *seeder) offered(sh *shared) string {
	u, err := url.Parse(s.host)
	if err != nil || !sh.guarded {
		return s.host
	}
	u.User = s.secret
	return u.String()
}

// refusal is an answer of the central host other than 200.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

// mustAsk reports whether the host has refused because it does not know who
// asks. (It does not take passwords from afar without TLS: then it says so.)
func (s *seeder) mustAsk(err error) bool {
	var r *refusal
	return s.secret != nil && errors.As(err, &r) && (r.code == http.StatusUnauthorized || r.code == http.StatusForbidden)
}

// complain logs a refusal, once, and that it is over.
func (s *seeder) complain(module string, sh *shared, err error) {
	var r *refusal
	switch {
	case errors.As(err, &r) && r.code < 500:
		if sh.refused != r.text {
			s.log.Warn("the module is not seeded: the central host refuses it", "module", module, "error", err)
		}
		sh.refused = r.text
	case err == nil && sh.refused != "":
		s.log.Info("the central host lets the module be seeded", "module", module)
		sh.refused = ""
	}
}

// locate asks the host which packs the missing contents are in.
func (s *seeder) locate(ctx context.Context, module string, sh *shared, again map[content.InfoHash]bool) error {
	ids := make([]content.ID, 0, len(sh.missing))
	for id := range sh.missing {
		ids = append(ids, id)
	}
	for len(ids) > 0 {
		part := ids[:min(len(ids), batch)]
		ids = ids[len(part):]
		body, err := s.ask(ctx, sh, http.MethodPost, content.PathLocate, (&content.LocateRequest{Module: module, IDs: join(part)}).Encode(), content.MaxLocateRequest)
		if err != nil {
			return err
		}
		reply, err := content.DecodeLocateReply(body, len(part))
		if err != nil {
			return err
		}
		packs := make([]content.InfoHash, len(reply.InfoHashes)/len(content.InfoHash{}))
		usable := make([]bool, len(packs))
		for i := range packs {
			packs[i] = content.InfoHash(reply.InfoHashes[i*len(content.InfoHash{}):])
			if sh.packs[packs[i]] == nil {
				p, err := s.fetch(ctx, sh, packs[i])
				if err != nil {
					return err
				}
				sh.packs[packs[i]] = p
			}
			usable[i] = true
		}
		for i, n := range reply.Pack {
			if n >= 0 && n < len(packs) && usable[n] {
				again[packs[n]] = true
				delete(sh.missing, part[i])
			}
		}
	}
	return nil
}

// fetch gets a pack's metainfo and checks that it is what its name says.
func (s *seeder) fetch(ctx context.Context, sh *shared, h content.InfoHash) (*content.Pack, error) {
	body, err := s.ask(ctx, sh, http.MethodGet, content.PathPack+h.String()+".torrent", nil, content.MaxMetainfo)
	if err != nil {
		return nil, err
	}
	p, err := content.ParseMetainfo(body)
	if err != nil {
		return nil, err
	}
	if p.InfoHash != h {
		return nil, fmt.Errorf("the host sent pack %s for %s", p.InfoHash, h)
	}
	return p, nil
}

// ask is a request to the central host.
func (s *seeder) ask(ctx context.Context, sh *shared, method, path string, body []byte, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if sh.guarded {
		secret, _ := s.secret.Password()
		r.SetBasicAuth(s.secret.Username(), secret)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return nil, hideURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		if a, err := content.DecodeAnnounceReply(why); err == nil && a.Failure != "" {
			why = []byte(a.Failure)
		}
		return nil, &refusal{resp.StatusCode, fmt.Sprintf("%s%s: %s: %.200q", s.host, path, resp.Status, bytes.TrimSpace(why))}
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s%s: more than %d bytes", s.host, path, limit)
	}
	return b, err
}
