package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/ipc"
)

// openTimeout bounds how long a client may take to open a seed's file.
const openTimeout = 5 * time.Second

// RunChild is the engine process of one client: it serves the socket it
// inherited, with the settings that the client sends, until that is closed.
func RunChild(ctx context.Context, socket *os.File) error {
	return RunLogged(ctx, socket, nil)
}

// RunLogged does so, and log takes what the engine has to say. Without one the
// client does, if it wants to.
func RunLogged(ctx context.Context, socket *os.File, log *slog.Logger) error {
	conn, err := ipc.FileConn(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := hear(conn); err != nil {
		return err
	}
	f, err := conn.Receive()
	if err != nil {
		return err
	}
	f.Close()
	if f.Type != ipc.TypeSetup {
		return fmt.Errorf("engine: the client did not send its settings")
	}
	setup, err := ipc.DecodeSetup(f.Body)
	if err != nil {
		return err
	}
	s := newSession(conn)
	cfg := Config{
		Listen: setup.Listen, UploadLimit: setup.UploadLimit, DownloadLimit: setup.DownloadLimit,
		Stall: setup.Stall, SpillDir: setup.SpillDir, Keep: setup.Keep, Sleep: setup.Sleep,
	}
	if cfg.Logger = log; log == nil && setup.Verbose {
		cfg.Logger = slog.New(&logHandler{out: s.out})
	}
	e, stop, err := start(ctx, cfg, setup.Socket)
	if err != nil {
		return err
	}
	defer stop()
	return s.serve(ctx, e)
}

// start begins an engine that also serves other clients at the socket, unless
// that is "".
func start(ctx context.Context, cfg Config, socket string) (e *Engine, stop func(), err error) {
	var l *net.UnixListener
	if socket != "" {
		if l, err = listenUnix(socket); err != nil {
			return nil, nil, err
		}
	}
	if e, err = New(cfg); err != nil {
		if l != nil {
			l.Close()
		}
		return nil, nil, err
	}
	if l == nil {
		return e, func() { e.Close() }, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := e.Serve(ctx, l); err != nil {
			e.log.Error("swarm: no more clients are served", "err", err)
		}
	})
	return e, func() {
		cancel()
		wg.Wait()
		e.Close()
	}, nil
}

// listenUnix listens at a path, replacing a socket that an engine left behind
// when it was killed. Only the same user may connect.
func listenUnix(path string) (*net.UnixListener, error) {
	addr := &net.UnixAddr{Name: path, Net: "unix"}
	l, err := net.ListenUnix("unix", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		if c, dialErr := net.DialUnix("unix", nil, addr); dialErr == nil {
			c.Close()
			return nil, fmt.Errorf("engine socket %s: another engine is serving there", path)
		}
		if st, statErr := os.Lstat(path); statErr == nil && st.Mode()&os.ModeSocket != 0 {
			os.Remove(path)
		}
		l, err = net.ListenUnix("unix", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("engine socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("engine socket: %w", err)
	}
	return l, nil
}

// Serve takes clients at the listener, a unix socket, until ctx ends: the
// engine of a volunteer. Clients run as the same user or as root.
func (e *Engine) Serve(ctx context.Context, l *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wg.Go(func() {
			conn := ipc.NewConn(c)
			defer conn.Close()
			if err := e.serveConn(ctx, conn); err != nil {
				e.log.Info("swarm: client", "err", err)
			}
		})
	}
}

func (e *Engine) serveConn(ctx context.Context, conn *ipc.Conn) error {
	if err := conn.CheckPeer(); err != nil {
		return err
	}
	if err := hear(conn); err != nil {
		return err
	}
	return newSession(conn).serve(ctx, e)
}

// hear takes the client's greeting.
func hear(conn *ipc.Conn) error {
	f, err := conn.Receive()
	if err != nil {
		return err
	}
	f.Close()
	if f.Type != ipc.TypeHello {
		return fmt.Errorf("engine: frame of type %d before the greeting", f.Type)
	}
	h, err := ipc.DecodeHello(f.Body)
	if err == nil && h.Version != ipc.Version {
		// The client compares, too, and says so; answer before leaving.
		answer := ipc.Hello{Version: ipc.Version, PID: uint32(os.Getpid())}
		conn.Send(ipc.TypeHello, answer.Encode(), nil)
		err = fmt.Errorf("engine: the client speaks version %d of the protocol, not %d", h.Version, ipc.Version)
	}
	return err
}

// session is one client.
type session struct {
	conn *ipc.Conn
	out  *outbox
	e    *Engine

	mu      sync.Mutex
	offers  map[uint32]content.Offer
	wants   map[uint64]*want
	opens   map[uint64]chan opened
	request uint64
	seeds   map[content.InfoHash]struct{}
	ended   bool
	done    chan struct{}
}

type opened struct {
	f       *os.File
	failure string
}

func newSession(conn *ipc.Conn) *session {
	return &session{
		conn: conn, out: newOutbox(conn), done: make(chan struct{}),
		offers: map[uint32]content.Offer{}, wants: map[uint64]*want{},
		opens: map[uint64]chan opened{}, seeds: map[content.InfoHash]struct{}{},
	}
}

// serve answers the greeting and handles frames until the client goes.
func (s *session) serve(ctx context.Context, e *Engine) error {
	s.e = e
	hello := ipc.Hello{Version: ipc.Version, PID: uint32(os.Getpid()), PeerID: e.PeerID(), Port: uint32(e.Port())}
	if err := s.conn.Send(ipc.TypeHello, hello.Encode(), nil); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(s.out.run)
	wg.Go(s.heartbeat)
	err := s.frames()
	close(s.done)
	s.e.limits.drop(s)
	s.leave()
	s.out.close()
	s.conn.Close()
	wg.Wait()
	if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
		return nil
	}
	return err
}

// frames reads until the end of the stream, which is not an error.
func (s *session) frames() error {
	for {
		f, err := s.conn.Receive()
		if err != nil {
			if isEOF(err) {
				return nil
			}
			return err
		}
		err = s.handle(&f)
		f.Close()
		if err != nil {
			return err
		}
	}
}

func (s *session) handle(f *ipc.Frame) error {
	switch f.Type {
	case ipc.TypeSetup:
		m, err := ipc.DecodeSetup(f.Body)
		if err != nil {
			return err
		}
		s.e.limits.set(s, pace{up: m.UploadLimit, down: m.DownloadLimit})
	case ipc.TypeOffer:
		m, err := ipc.DecodeOffer(f.Body)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.offers) >= maxOffers {
			return fmt.Errorf("engine: more than %d offers", maxOffers)
		}
		s.offers[m.Number] = m.Offer
	case ipc.TypeWant:
		m, err := ipc.DecodeWant(f.Body)
		if err != nil {
			return err
		}
		s.want(m, f)
	case ipc.TypeCancel:
		m, err := ipc.DecodeCancel(f.Body)
		if err != nil {
			return err
		}
		s.mu.Lock()
		w := s.wants[m.Tag]
		s.mu.Unlock()
		if w != nil {
			s.e.cancelWant(w, errCancelled)
		}
	case ipc.TypeSeed:
		m, err := ipc.DecodeSeed(f.Body)
		if err != nil {
			return err
		}
		s.e.spawn(func() { s.seed(m) })
	case ipc.TypeUnseed:
		m, err := ipc.DecodeUnseed(f.Body)
		if err != nil {
			return err
		}
		s.mu.Lock()
		delete(s.seeds, m.InfoHash)
		s.mu.Unlock()
		s.e.unseed(m.InfoHash, s)
	case ipc.TypeOpened:
		m, err := ipc.DecodeOpened(f.Body)
		if err != nil {
			return err
		}
		s.mu.Lock()
		answer := s.opens[m.Request]
		delete(s.opens, m.Request)
		s.mu.Unlock()
		if answer != nil {
			answer <- opened{f.File, m.Failure}
			f.File = nil
		}
	case ipc.TypeAnnounce:
		m, err := ipc.DecodeAnnounce(f.Body)
		if err != nil {
			return err
		}
		s.e.spawn(func() { s.announce(m) })
	default:
		return fmt.Errorf("engine: frame of unknown type %d", f.Type)
	}
	return nil
}

const maxOffers = 10000

var (
	errCancelled  = errors.New("cancelled")
	errClientGone = errors.New("the client has gone")
)

// want begins a want; it takes the frame's file.
func (s *session) want(m *ipc.Want, f *ipc.Frame) {
	w := &want{sink: s, tag: m.Tag, id: m.ID, length: m.Length, waits: m.Waits, have: m.Have, file: f.File}
	f.File = nil
	s.mu.Lock()
	o, known := s.offers[m.Offer]
	_, busy := s.wants[m.Tag]
	if !busy {
		s.wants[m.Tag] = w
	}
	s.mu.Unlock()
	var err error
	switch {
	case busy:
		if w.file != nil {
			w.file.Close()
		}
		return
	case w.file == nil:
		w.end(errors.New("no file was sent with the request"), nil)
		return
	case m.Length <= 0:
		err = errors.New("the length is not positive")
	case !known:
		err = errors.New("unknown offer")
	}
	var c *catalog
	if err == nil {
		c, err = s.e.catalog(o)
	}
	if err != nil {
		w.end(err, m.Have)
		w.file.Close()
		return
	}
	c.add(w)
}

// cancelWant ends a want wherever it is.
func (e *Engine) cancelWant(w *want, err error) {
	if p := w.attached.Load(); p != nil {
		p.drop(w, err)
		return
	}
	w.end(err, w.have) // attach will find it over
}

// event is the session's side of its wants.
func (s *session) event(ev content.Event) {
	if ev.Done {
		s.mu.Lock()
		delete(s.wants, ev.Tag)
		s.mu.Unlock()
	}
	s.out.event(ev)
}

// leave ends everything that was done for the client. What it fetched goes on
// being seeded for a while.
func (s *session) leave() {
	s.mu.Lock()
	s.ended = true
	var wants []*want
	for _, w := range s.wants {
		wants = append(wants, w)
	}
	seeds := s.seeds
	s.seeds = map[content.InfoHash]struct{}{}
	for n, answer := range s.opens {
		answer <- opened{failure: errClientGone.Error()}
		delete(s.opens, n)
	}
	s.mu.Unlock()
	for _, w := range wants {
		s.e.cancelWant(w, errClientGone)
	}
	for h := range seeds {
		s.e.unseed(h, s)
	}
	for _, p := range s.e.allPacks() {
		p.orphan(s, s.e.cfg.Keep)
	}
}

// orphan starts the clock of files that a client gave before it went.
func (p *pack) orphan(owner sink, keep time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		if s.done && s.owner == owner {
			s.expires = time.Now().Add(keep)
		}
	}
}

// heartbeat reports the totals: often while they change.
func (s *session) heartbeat() {
	t := time.NewTicker(ipc.HeartbeatInterval / 4)
	defer t.Stop()
	var last content.SwarmStats
	var sent time.Time
	for {
		select {
		case <-s.done:
			return
		case now := <-t.C:
			st := s.e.Stats()
			if st == last && now.Sub(sent) < ipc.HeartbeatInterval*9/10 {
				continue
			}
			last, sent = st, now
			m := ipc.Stats(st)
			s.out.frame(ipc.TypeStats, m.Encode())
		}
	}
}

// seed adds or replaces a pack that the client holds.
func (s *session) seed(m *ipc.Seed) {
	s.mu.Lock()
	o, ok := s.offers[m.Offer]
	s.mu.Unlock()
	if !ok {
		return
	}
	tr, err := s.e.trackerOf(o.URL)
	if err != nil {
		return
	}
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.seeds[m.InfoHash] = struct{}{}
	s.mu.Unlock()
	s.e.seedAsleep(tr, m.InfoHash, &sessionSeed{owner: s, held: slices.Clone(m.Held)})
	select {
	case <-s.done: // it left meanwhile
		s.e.unseed(m.InfoHash, s)
	default:
	}
}

// open asks the client for a file of a seed, or, with no id, for the pack's
// metainfo.
func (s *session) open(h content.InfoHash, id content.ID) (*os.File, error) {
	answer := make(chan opened, 1)
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return nil, errClientGone
	}
	s.request++
	m := ipc.Open{Request: s.request, InfoHash: h, ID: id}
	s.opens[m.Request] = answer
	s.mu.Unlock()
	s.out.frame(ipc.TypeOpen, m.Encode())
	t := time.NewTimer(openTimeout)
	defer t.Stop()
	select {
	case r := <-answer:
		if r.f == nil {
			return nil, fmt.Errorf("content %s: %s", id, r.failure)
		}
		return r.f, nil
	case <-t.C:
		s.mu.Lock()
		delete(s.opens, m.Request)
		s.mu.Unlock()
		select { // it may have come at the same moment
		case r := <-answer:
			if r.f != nil {
				r.f.Close()
			}
		default:
		}
		return nil, fmt.Errorf("content %s: not opened within %v", id, openTimeout)
	}
}

func (s *session) announce(m *ipc.Announce) {
	answer := ipc.Announced{Request: m.Request}
	reply, err := s.announceFor(m)
	if err != nil {
		answer.Failure = err.Error()
	} else {
		reply.Packs = nil
		answer.Message = reply.Encode()
	}
	s.out.frame(ipc.TypeAnnounced, answer.Encode())
}

func (s *session) announceFor(m *ipc.Announce) (*content.AnnounceReply, error) {
	s.mu.Lock()
	o, ok := s.offers[m.Offer]
	s.mu.Unlock()
	if !ok {
		return nil, errors.New("unknown offer")
	}
	t, err := s.e.trackerOf(o.URL)
	if err != nil {
		return nil, err
	}
	req, err := content.DecodeAnnounceRequest(m.Message)
	if err != nil {
		return nil, err
	}
	return t.announceFor(s.e.ctx, req, m.Secret)
}
