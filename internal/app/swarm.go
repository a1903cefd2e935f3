package app

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
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/client"
	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/host/statedir"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/p2p"
	"github.com/prsync/prsync/internal/transfer"
)

// swarmClient is what a transfer has of the swarm: the central host by HTTP,
// an engine once one is needed, and what a volunteer on this machine holds.
type swarmClient struct {
	p    *program
	ctx  context.Context
	o    *options.Options
	plan *client.Plan

	http   *http.Client
	offer  content.Offer
	bases  []string // of a tracker: the module's directories that are transferred
	engine *p2p.Client
	local  *localContents
	cfg    *transfer.SwarmConfig
	alone  direct
}

func (p *program) newSwarmClient(ctx context.Context, o *options.Options, plan *client.Plan, local *localContents) *swarmClient {
	return &swarmClient{p: p, ctx: ctx, o: o, plan: plan, local: local, http: &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: time.Minute, MaxIdleConnsPerHost: 4,
	}}}
}

// open is the session's SwarmOpener.
func (s *swarmClient) open(offer *content.Offer) (*transfer.SwarmConfig, error) {
	lookup := false
	switch {
	case offer != nil:
		s.offer = *offer
	case s.o.Swarm.Tracker == "":
		return nil, nil
	default:
		if err := s.track(s.o.Swarm.Tracker); err != nil {
			return nil, err
		}
		lookup = true
	}
	if u, err := url.Parse(s.offer.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the offered central host %q is no web address", s.offer.URL)
	}
	cfg := &transfer.SwarmConfig{Open: s.start, Signature: s.signature, Held: s.local.held}
	if s.o.Swarm.Linger == 0 {
		cfg.Direct = s.direct
	}
	if lookup {
		cfg.Lookup = s.lookup
	}
	s.cfg = cfg
	return cfg, nil
}

// debugf tells what goes on, where somebody wants to know.
func (s *swarmClient) debugf(format string, args ...any) {
	if s.cfg.Debug != nil {
		s.cfg.Debug(fmt.Sprintf(format, args...))
	}
}

// track finds out which module a tracker is to be asked about: the one in the
// URL's path, else that of the daemon.
func (s *swarmClient) track(tracker string) error {
	u, err := url.Parse(tracker)
	if err != nil {
		return err
	}
	where := strings.Trim(u.Path, "/")
	u.Path, u.RawPath = "", ""
	s.offer.URL = strings.TrimSuffix(u.String(), "/")
	if where != "" {
		module, dir, _ := strings.Cut(where, "/")
		s.offer.Module, s.bases = module, []string{dir}
		return nil
	}
	if s.plan.Kind != client.KindDaemon {
		return fmt.Errorf("without a daemon, --swarm-tracker has to name the module and the directory: %s/MODULE/DIR", s.offer.URL)
	}
	for _, src := range s.plan.RemotePaths() {
		module, dir, _ := strings.Cut(strings.TrimPrefix(src, "/"), "/")
		if s.offer.Module == "" {
			s.offer.Module = module
		}
		if module != s.offer.Module {
			return errors.New("--swarm-tracker works for one module at a time")
		}
		if base := s.base(dir); len(s.bases) == 0 || s.bases[len(s.bases)-1] != base {
			s.bases = append(s.bases, base)
		}
	}
	return nil
}

// base is the directory that names of a source are relative to.
func (s *swarmClient) base(dir string) string {
	if s.o.Relative {
		if i := strings.Index(dir, "/./"); i >= 0 {
			return dir[:i]
		}
		return ""
	}
	if s.o.FilesFrom != "" || dir == "" || strings.HasSuffix(dir, "/") || strings.HasSuffix(dir, "/.") {
		return strings.Trim(path.Clean("/"+dir), "/")
	}
	return strings.Trim(path.Dir("/"+dir), "/")
}

// lookup asks for the contents of entries, in each directory that they can
// come from.
func (s *swarmClient) lookup(ctx context.Context, items []content.LookupItem) ([]content.ID, error) {
	ids := make([]content.ID, len(items))
	for _, base := range s.bases {
		q := content.LookupRequest{Module: s.offer.Module}
		var at []int
		for i, it := range items {
			if ids[i].IsZero() {
				it.Path = strings.TrimPrefix(path.Join("/", base, it.Path), "/")
				q.Items = append(q.Items, it)
				at = append(at, i)
			}
		}
		if len(at) == 0 {
			break
		}
		body, err := s.request(ctx, http.MethodPost, content.PathLookup, q.Encode(), int64(len(at))*32+4096)
		if err != nil {
			return nil, err
		}
		a, err := content.DecodeLookupReply(body, len(at))
		if err != nil {
			return nil, err
		}
		if a.Failure != "" {
			return nil, errors.New(a.Failure)
		}
		s.offer.Generation = a.Generation
		for k, i := range at {
			ids[i] = content.ID(a.IDs[32*k:])
		}
	}
	return ids, nil
}

func (s *swarmClient) signature(ctx context.Context, id content.ID) (*content.Signature, error) {
	body, err := s.request(ctx, http.MethodGet, content.PathSignature+id.String(), nil, content.MaxSignatureBytes)
	if err != nil {
		return nil, err
	}
	return content.ParseSignature(body)
}

// request asks the central host. The answer may have max bytes.
func (s *swarmClient) request(ctx context.Context, method, at string, body []byte, max int64) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.offer.URL+at, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	a, err := s.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", r.URL.Redacted(), a.Status)
	}
	b, err := io.ReadAll(io.LimitReader(a.Body, max+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.URL.Redacted(), err)
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("%s: the answer is longer than %d bytes", r.URL.Redacted(), max)
	}
	return b, nil
}

// start connects to the engine of a volunteer on this machine, or starts one
// for this transfer.
func (s *swarmClient) start(context.Context) (transfer.Swarm, error) {
	sw := &s.o.Swarm
	cfg := p2p.Config{
		Listen: sw.Listen, Stall: sw.Stall, Linger: sw.Linger,
		UploadLimit: lower(sw.UploadLimit, s.o.Bwlimit), DownloadLimit: lower(sw.DownloadLimit, s.o.Bwlimit),
	}
	if s.cfg.Debug != nil {
		cfg.Logger = slog.New(lines(s.cfg.Debug))
	}
	// What admits this transfer to the host does not admit others.
	if sw.Listen == "" && !s.admitted() {
		for _, dir := range s.p.stateDirs("") {
			if c, err := p2p.Dial(s.ctx, statedir.Engine(dir), cfg); err == nil {
				return s.use(c)
			}
		}
	}
	program, err := s.p.engineProgram()
	if err != nil {
		return nil, err
	}
	c, err := p2p.Spawn(s.ctx, []string{program}, cfg)
	if err != nil {
		return nil, err
	}
	return s.use(c)
}

// lines takes a log's records line by line, without time and level. The engine
// has made one text of each.
type lines func(string)

func (lines) Enabled(context.Context, slog.Level) bool { return true }

func (f lines) Handle(_ context.Context, r slog.Record) error {
	f(strings.TrimPrefix(r.Message, "swarm: "))
	return nil
}

func (f lines) WithAttrs([]slog.Attr) slog.Handler { return f }
func (f lines) WithGroup(string) slog.Handler      { return f }

// admitted reports whether the offer is for this transfer alone.
func (s *swarmClient) admitted() bool {
	u, err := url.Parse(s.offer.URL)
	return err == nil && u.User != nil
}

func (s *swarmClient) use(c *p2p.Client) (transfer.Swarm, error) {
	if err := c.SetOffer(s.offer); err != nil {
		c.Close()
		return nil, err
	}
	if s.engine != nil {
		s.engine.Close() // it has died
	}
	s.engine = c
	s.debugf("engine %d, port %d", c.PID(), c.Port())
	return c, nil
}

// close ends the use of the swarm: the engine lingers first where that is
// asked for.
func (s *swarmClient) close() {
	if s.engine != nil {
		s.engine.Close()
	}
	s.alone.close()
	s.http.CloseIdleConnections()
}

// lower returns the lower of two limits, of which 0 is none.
func lower(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// engineName is the swarm engine's program.
const engineName = "prsync-engine"

// engineProgram finds the swarm engine: beside this program, in ../libexec/prsync
// seen from there, or in $PATH.
func (p *program) engineProgram() (string, error) {
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		dir := filepath.Dir(self)
		for _, f := range []string{filepath.Join(dir, engineName), filepath.Join(dir, "../libexec/prsync", engineName)} {
			if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() {
				return f, nil
			}
		}
	}
	if f, err := exec.LookPath(engineName); err == nil {
		return f, nil
	}
	return "", fmt.Errorf("%s is installed neither beside prsync nor in PATH", engineName)
}
