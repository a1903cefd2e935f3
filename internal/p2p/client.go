package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/ipc"
)

// Errors that a caller tells apart. ErrNoOffer and ErrBusyTag are mistakes of
// the caller; ErrEngineGone ends every outstanding Want.
var (
	ErrNoOffer    = errors.New("no swarm is known for this transfer")
	ErrBusyTag    = errors.New("a content with this tag is already being fetched")
	ErrEngineGone = errors.New("the swarm engine has gone")
)

// childGrace is how long a child engine may take to leave after its socket
// was closed before it is killed.
const childGrace = 3 * time.Second

// startGrace is how long a child that did not start may take to say why.
const startGrace = 500 * time.Millisecond

// Client speaks to one engine process. Its methods may be called by several
// goroutines.
type Client struct {
	conn   *ipc.Conn
	cmd    *exec.Cmd // the child, or nil
	said   *lastWords
	ctx    context.Context
	linger time.Duration
	log    *slog.Logger
	// unknown is Config.Unknown.
	unknown func(content.InfoHash)
	setup   *ipc.Setup
	hello   *ipc.Hello

	queue  *eventQueue
	closed chan struct{} // no more is wanted of the engine
	ended  chan struct{} // the reader has returned
	once   sync.Once
	wg     sync.WaitGroup

	mu       sync.Mutex
	gone     error // why the engine cannot be used any more
	offer    uint32
	offers   map[content.Offer]uint32
	wants    map[uint64]struct{}
	stats    content.SwarmStats
	seeds    map[content.InfoHash]seeding
	request  uint64
	replies  map[uint64]chan *ipc.Announced
	lastSeen time.Time
}

// Spawn starts an engine of its own and returns when it is ready. argv is the
// engine's program and arguments; it finds its socket as descriptor 3. The
// engine ends with the client, whatever happens to either. ctx bounds the
// start and, later, the lingering in Close.
func Spawn(ctx context.Context, argv []string, cfg Config) (*Client, error) {
	if len(argv) == 0 {
		return nil, errors.New("swarm engine: no program to run")
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("swarm engine: %w", err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.ExtraFiles = []*os.File{theirs}
	said := new(lastWords)
	cmd.Stderr = said
	detach(cmd)
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("swarm engine: %w", err)
	}
	conn, err := ipc.FileConn(ours)
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, err
	}
	c, err := newClient(ctx, conn, cmd, said, cfg)
	if err != nil {
		return nil, fmt.Errorf("swarm engine %s: %w", argv[0], err)
	}
	return c, nil
}

// Dial connects to an engine that serves this machine, a volunteer's. Of cfg
// only Logger and Linger count: the engine has its own settings, and what was
// fetched goes on being seeded there.
func Dial(ctx context.Context, socket string, cfg Config) (*Client, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("swarm engine: %w", err)
	}
	conn := ipc.NewConn(nc.(*net.UnixConn))
	if err := conn.CheckPeer(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("swarm engine %s: %w", socket, err)
	}
	cfg.Linger = 0
	c, err := newClient(ctx, conn, nil, new(lastWords), cfg)
	if err != nil {
		return nil, fmt.Errorf("swarm engine %s: %w", socket, err)
	}
	return c, nil
}

// newClient exchanges greetings and starts the reader. It owns conn and cmd
// even when it fails.
func newClient(ctx context.Context, conn *ipc.Conn, cmd *exec.Cmd, said *lastWords, cfg Config) (*Client, error) {
	c := &Client{
		conn: conn, cmd: cmd, said: said, ctx: ctx, linger: cfg.Linger, log: cfg.Logger, unknown: cfg.Unknown, setup: cfg.setup(),
		queue:  newEventQueue(),
		closed: make(chan struct{}), ended: make(chan struct{}),
		offers: map[content.Offer]uint32{}, wants: map[uint64]struct{}{},
		seeds: map[content.InfoHash]seeding{}, replies: map[uint64]chan *ipc.Announced{},
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	hello, err := c.greet(cfg)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		c.reap(startGrace)
		if why := c.said.String(); why != "" {
			err = errors.New(why)
		}
		return nil, err
	}
	c.hello = hello
	c.lastSeen = time.Now()
	c.wg.Add(3)
	go c.read()
	go c.watch()
	go c.queue.run(&c.wg)
	return c, nil
}

func (c *Client) greet(cfg Config) (*ipc.Hello, error) {
	hello := ipc.Hello{Version: ipc.Version, PID: uint32(os.Getpid())}
	if err := c.conn.Send(ipc.TypeHello, hello.Encode(), nil); err != nil {
		return nil, err
	}
	if err := c.conn.Send(ipc.TypeSetup, cfg.setup().Encode(), nil); err != nil {
		return nil, err
	}
	for {
		f, err := c.conn.Receive()
		if err != nil {
			return nil, fmt.Errorf("it did not start: %w", err)
		}
		f.Close()
		switch f.Type {
		case ipc.TypeLog:
			c.handle(f)
		case ipc.TypeHello:
			h, err := ipc.DecodeHello(f.Body)
			if err != nil {
				return nil, err
			}
			if h.Version != ipc.Version {
				return nil, fmt.Errorf("it speaks version %d of the protocol, this program %d: install both from one release",
					h.Version, ipc.Version)
			}
			return h, nil
		default:
			return nil, fmt.Errorf("it greeted with a frame of type %d", f.Type)
		}
	}
}

// PeerID returns the engine's 20-byte id in the swarm.
func (c *Client) PeerID() string { return c.hello.PeerID }

// Port returns the port at which the engine takes BitTorrent connections, 0
// for none.
func (c *Client) Port() int { return int(c.hello.Port) }

// PID returns the engine's process id.
func (c *Client) PID() int { return int(c.hello.PID) }

// SetOffer says where the contents asked for from now on are to be found.
func (c *Client) SetOffer(o content.Offer) error {
	n, err := c.offerNumber(o)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.offer = n
	c.mu.Unlock()
	return nil
}

// offerNumber returns the number by which the engine knows o, telling it when
// it is new.
func (c *Client) offerNumber(o content.Offer) (uint32, error) {
	if o.URL == "" {
		return 0, ErrNoOffer
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone != nil {
		return 0, c.gone
	}
	if n, ok := c.offers[o]; ok {
		return n, nil
	}
	n := uint32(len(c.offers) + 1)
	m := ipc.Offer{Number: n, Offer: o}
	if err := c.conn.Send(ipc.TypeOffer, m.Encode(), nil); err != nil {
		return 0, fmt.Errorf("%w: %v", ErrEngineGone, err)
	}
	c.offers[o] = n
	return n, nil
}

// Fetch asks for one content and returns at once; progress and the end arrive
// on Events under w.Tag. When it returns an error there will be no event.
func (c *Client) Fetch(ctx context.Context, w content.Want) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.File == nil || w.Length <= 0 {
		return fmt.Errorf("swarm: content %s: no file or no length", w.ID)
	}
	c.mu.Lock()
	switch _, busy := c.wants[w.Tag]; {
	case c.gone != nil:
		defer c.mu.Unlock()
		return c.gone
	case c.offer == 0:
		defer c.mu.Unlock()
		return ErrNoOffer
	case busy:
		defer c.mu.Unlock()
		return ErrBusyTag
	}
	c.wants[w.Tag] = struct{}{}
	m := ipc.Want{Tag: w.Tag, Offer: c.offer, ID: w.ID, Length: w.Length, Waits: w.Waits, Have: w.Have}
	c.mu.Unlock()

	if err := c.conn.Send(ipc.TypeWant, m.Encode(), w.File); err != nil {
		c.mu.Lock()
		_, ours := c.wants[w.Tag]
		delete(c.wants, w.Tag)
		c.mu.Unlock()
		if ours {
			return fmt.Errorf("%w: %v", ErrEngineGone, err)
		}
		// The reader noticed first and has queued the event.
	}
	return nil
}

// Cancel gives up a Want; its last event follows, with the ranges that are
// valid.
func (c *Client) Cancel(tag uint64) error {
	m := ipc.Cancel{Tag: tag}
	return c.conn.Send(ipc.TypeCancel, m.Encode(), nil)
}

// Events returns where progress and results arrive. It is closed after Close,
// or when the engine has gone and every outstanding Want was reported.
func (c *Client) Events() <-chan content.Event { return c.queue.out }

// Stats returns the engine's totals as of at most a second ago.
func (c *Client) Stats() content.SwarmStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// LimitUpload changes what the engine may send, in bytes per second; 0 leaves
// what it was started with.
func (c *Client) LimitUpload(n int64) error {
	s := *c.setup
	if n > 0 {
		s.UploadLimit = n
	}
	return c.conn.Send(ipc.TypeSetup, s.Encode(), nil)
}

// Err returns nil while the engine can be used.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// Close ends the use of the engine. A child first goes on seeding for
// Config.Linger, unless the context given to Spawn ends; then it is told to
// leave, and killed if it does not.
func (c *Client) Close() error {
	c.once.Do(func() {
		if c.linger > 0 && c.Err() == nil {
			t := time.NewTimer(c.linger)
			select {
			case <-t.C:
			case <-c.ctx.Done():
			case <-c.ended:
			}
			t.Stop()
		}
		close(c.closed)
		c.conn.Close()
		<-c.ended
		c.queue.close()
		c.wg.Wait()
		c.reap(childGrace)
	})
	return nil
}

// reap waits for the child and kills it after grace.
func (c *Client) reap(grace time.Duration) {
	if c.cmd == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		c.cmd.Wait()
		close(done)
	}()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		c.cmd.Process.Kill()
		<-done
	}
}

// read is the goroutine that takes the engine's frames.
func (c *Client) read() {
	defer c.wg.Done()
	defer close(c.ended)
	var err error
	for err == nil {
		var f ipc.Frame
		if f, err = c.conn.Receive(); err == nil {
			c.mu.Lock()
			c.lastSeen = time.Now()
			c.mu.Unlock()
			err = c.handle(f)
			f.Close()
		}
	}
	c.conn.Close()
	c.lost(err)
}

// lost fails everything that is outstanding.
func (c *Client) lost(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = fmt.Errorf("%w: %v", ErrEngineGone, cause)
	if why := c.said.String(); why != "" {
		c.gone = fmt.Errorf("%w: %s", ErrEngineGone, why)
	}
	for tag := range c.wants {
		c.queue.push(content.Event{Tag: tag, Done: true, Err: c.gone})
	}
	clear(c.wants)
	for n, reply := range c.replies {
		reply <- &ipc.Announced{Request: n, Failure: c.gone.Error()}
	}
	clear(c.replies)
	c.queue.finish()
}

// watch drops an engine that does not even send its heartbeat.
func (c *Client) watch() {
	defer c.wg.Done()
	t := time.NewTicker(ipc.HeartbeatInterval)
	defer t.Stop()
	for {
		select {
		case <-c.ended:
			return
		case <-c.closed:
			return
		case now := <-t.C:
			c.mu.Lock()
			silent := now.Sub(c.lastSeen)
			c.mu.Unlock()
			if silent > ipc.HeartbeatLoss {
				c.conn.Close()
				return
			}
		}
	}
}

// handle takes one frame of the engine.
func (c *Client) handle(f ipc.Frame) error {
	switch f.Type {
	case ipc.TypeEvent:
		m, err := ipc.DecodeEvent(f.Body)
		if err != nil {
			return err
		}
		c.event(m)
	case ipc.TypeStats:
		m, err := ipc.DecodeStats(f.Body)
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.stats = content.SwarmStats(*m)
		c.mu.Unlock()
	case ipc.TypeOpen:
		m, err := ipc.DecodeOpen(f.Body)
		if err != nil {
			return err
		}
		return c.open(m)
	case ipc.TypeAnnounced:
		m, err := ipc.DecodeAnnounced(f.Body)
		if err != nil {
			return err
		}
		c.mu.Lock()
		reply := c.replies[m.Request]
		delete(c.replies, m.Request)
		c.mu.Unlock()
		if reply != nil {
			reply <- m
		}
	case ipc.TypeUnknown:
		m, err := ipc.DecodeUnknown(f.Body)
		if err != nil {
			return err
		}
		if c.unknown != nil {
			c.unknown(m.InfoHash)
		}
	case ipc.TypeLog:
		m, err := ipc.DecodeLog(f.Body)
		if err != nil {
			return err
		}
		c.log.Log(context.Background(), slog.Level(m.Level), m.Text)
	default:
		return fmt.Errorf("frame of unknown type %d", f.Type)
	}
	return nil
}

func (c *Client) event(m *ipc.Event) {
	e := content.Event{Tag: m.Tag, Bytes: m.Bytes, Wasted: m.Wasted, Done: m.Done, Valid: m.Valid}
	if m.Failure != "" {
		e.Err = errors.New(m.Failure)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.wants[m.Tag]; !ok {
		return
	}
	if e.Done {
		delete(c.wants, m.Tag)
	}
	c.queue.push(e)
}
