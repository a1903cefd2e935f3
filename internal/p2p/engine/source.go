package engine

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"time"

	pp "github.com/anacrolix/torrent/peer_protocol"
)

// Times and sizes of sources.
const (
	dialTimeout   = 5 * time.Second
	greetTimeout  = 10 * time.Second
	sourceSilence = 2 * time.Minute // the library says something every second
	sourceKeep    = 2 * time.Second // without anything to fetch
	maxSources    = 50              // of one pack
	// leastQueue is a whole piece and more: when less is outstanding, more is
	// asked for. A source that is asked for little, since little comes from
	// it, loses its share of the other side's uplink to who asks for much.
	leastQueue = 12 * chunkSize
	mostQueue  = 256 * chunkSize
	queueTime  = 100 * time.Millisecond // beyond the round trip
)

// source is a connection of our own to another prsync engine, by which we only
// take: we say that we have nothing, and ask. The other side is the BitTorrent
// library, which serves it as any peer.
//
// The library asks on its connections as well, but refills one only when
// nothing is outstanding on it any more, with as many requests as it could add
// the last time: few when a peer's news had just filled it up. Who falls behind
// stays behind, and a round trip is lost every time. Sources keep a connection
// filled; the library is left with peers that are no prsync engines, or that
// cannot be reached from here.
type source struct {
	p   *pack
	key peerKey
	nc  net.Conn
	rtt time.Duration // of the dialling

	// Guarded by pack.mu.
	gone   bool
	choked bool
	have   []bool
	n      int // pieces it has
	asked  map[block]int
	queue  int       // bytes outstanding
	heard  time.Time // when a block came, or was asked for with nothing outstanding
	silent int       // how often in a row it was given up for a while
	bytes  int64
	rate   float64 // bytes per second, while something was outstanding
	rateAt time.Time
	counts int64 // bytes at rateAt

	out  sync.Mutex
	send []byte
	wake chan struct{}
}

// block is the key of a request.
type block struct {
	piece int
	begin uint32
}

// sources is a pack's; guarded by pack.mu.
type sources struct {
	by     map[string]*source // by peer id
	tries  map[string]*tries
	tasks  map[int]*task // by piece
	copies []uint16      // how many sources have a piece
	idleAt time.Time     // since when nothing is to be fetched
	tendAt time.Time     // when to look at all of them again
}

// tries are the attempts to connect to a peer.
type tries struct {
	busy bool
	n    int // failed in a row
	next time.Time
}

func (ss *sources) init(pieces int) {
	ss.by, ss.tries, ss.tasks = map[string]*source{}, map[string]*tries{}, map[int]*task{}
	ss.copies = make([]uint16, pieces)
}

// connectSources dials the prsync peers that are known and not connected, and
// hangs up when nothing is wanted any more.
func (p *pack) connectSources(now time.Time) {
	p.mu.Lock()
	if p.left > 0 {
		p.sources.idleAt = time.Time{}
	} else if p.sources.idleAt.IsZero() {
		p.sources.idleAt = now
	}
	if p.left <= 0 {
		var all []*source
		if now.Sub(p.sources.idleAt) > sourceKeep {
			for _, s := range p.sources.by {
				all = append(all, s)
			}
		}
		p.mu.Unlock()
		for _, s := range all {
			s.nc.Close()
		}
		return
	}
	p.mu.Unlock()
	addrs := map[string]string{}
	for id, peer := range p.tr.peersOf(p.meta.InfoHash) {
		addrs[id] = peer.addr
	}
	// Those that came here to take may not be listed yet.
	for _, c := range p.t.PeerConns() {
		id := string(c.PeerID[:])
		if _, ok := addrs[id]; !ok && c.PeerListenPort > 0 && c.RemoteAddr != nil {
			if host, _, err := net.SplitHostPort(c.RemoteAddr.String()); err == nil {
				addrs[id] = net.JoinHostPort(host, fmt.Sprint(c.PeerListenPort))
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, t := range p.sources.tries {
		if _, known := addrs[id]; !known && !t.busy {
			delete(p.sources.tries, id)
		}
	}
	for id, addr := range addrs {
		if len(p.sources.by) >= maxSources {
			return
		}
		if addr == "" || !isOurs(id) || id == p.e.peerID || p.sources.by[id] != nil || p.e.bans.banned(peerKey{id, addr}) {
			continue
		}
		t := p.sources.tries[id]
		if t == nil {
			t = &tries{}
			p.sources.tries[id] = t
		}
		if t.busy || now.Before(t.next) {
			continue
		}
		t.busy = p.e.spawn(func() { p.connect(t, peerKey{id, addr}) })
	}
}

// connect dials a peer and takes from it until one of the two hangs up.
func (p *pack) connect(t *tries, key peerKey) {
	s, err := p.dialSource(key)
	if err == nil {
		err = s.run()
	}
	p.e.log.Debug("swarm: source", "pack", p.meta.Name, "peer", key.addr, "err", err)
	p.mu.Lock()
	t.busy = false
	if t.n++; s != nil && s.bytes > 0 {
		t.n = 0
	}
	t.next = time.Now().Add(time.Second << min(t.n, 5))
	p.mu.Unlock()
	p.peersChanged()
}

func (p *pack) dialSource(key peerKey) (*source, error) {
	d := net.Dialer{Timeout: dialTimeout}
	began := time.Now()
	nc, err := d.DialContext(p.ctx, "tcp", key.addr)
	if err != nil {
		return nil, err
	}
	s := &source{
		p: p, key: key, nc: nc, rtt: time.Since(began), choked: true,
		have: make([]bool, len(p.pieces)), asked: map[block]int{}, wake: make(chan struct{}, 1),
	}
	stop := context.AfterFunc(p.ctx, func() { nc.Close() })
	defer stop()
	nc.SetDeadline(time.Now().Add(greetTimeout))
	hello := appendHandshake(nil, p.meta.InfoHash, p.e.peerID)
	hello = appendMessage(hello, pp.HaveNone)
	hello = appendExtended(hello, p.e.Port())
	hello = appendMessage(hello, pp.Interested)
	_, err = nc.Write(hello)
	var id string
	if err == nil {
		id, err = readHandshake(nc, p.meta.InfoHash)
	}
	if err == nil && id != key.id {
		err = fmt.Errorf("peer %q answers where %q was", id, key.id)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	nc.SetDeadline(time.Time{})
	return s, nil
}

// run takes from the peer until the connection ends.
func (s *source) run() error {
	p := s.p
	p.mu.Lock()
	p.sources.by[s.key.id] = s
	p.mu.Unlock()
	stop := context.AfterFunc(p.ctx, func() { s.nc.Close() })
	defer stop()
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() { s.write(done) })
	err := s.read()
	s.nc.Close()
	close(done)
	wg.Wait()
	p.mu.Lock()
	s.gone = true
	delete(p.sources.by, s.key.id)
	for i, ok := range s.have {
		if ok {
			p.sources.copies[i]--
		}
	}
	p.abandon(s)
	p.mu.Unlock()
	return err
}

// read handles the peer's messages.
func (s *source) read() error {
	r := bufio.NewReaderSize(s.nc, 64<<10)
	buf := make([]byte, 9+chunkSize)
	for {
		if err := s.nc.SetReadDeadline(time.Now().Add(sourceSilence)); err != nil {
			return err
		}
		var t pp.MessageType
		var payload []byte
		var err error
		if t, payload, buf, err = readMessage(r, buf); err != nil {
			return err
		}
		if err := s.handle(t, payload); err != nil {
			return err
		}
	}
}

func (s *source) handle(t pp.MessageType, payload []byte) error {
	p := s.p
	switch t {
	case pp.Piece:
		if len(payload) < 8 || len(payload) > 8+chunkSize {
			return fmt.Errorf("a block of %d bytes", len(payload)-8)
		}
		b := block{int(binary.BigEndian.Uint32(payload)), binary.BigEndian.Uint32(payload[4:])}
		if b.piece >= len(p.pieces) {
			return fmt.Errorf("a block of piece %d", b.piece)
		}
		if err := p.e.limitDown(p.ctx, len(payload)-8); err != nil {
			return err
		}
		p.take(s, b, payload[8:])
	case pp.Have:
		ints, err := integers(payload, 1)
		if err != nil {
			return err
		}
		if int64(ints[0]) >= int64(len(p.pieces)) {
			return fmt.Errorf("news of piece %d", ints[0])
		}
		p.mu.Lock()
		p.has(s, int(ints[0]))
		if i := int(ints[0]); s.room() && p.free(s, i) {
			p.askSource(s, p.newTask(s, i))
		}
		p.mu.Unlock()
	case pp.Bitfield, pp.HaveAll:
		if t == pp.Bitfield && len(payload) != (len(p.pieces)+7)/8 {
			return fmt.Errorf("a bit field of %d bytes", len(payload))
		}
		p.mu.Lock()
		for i := range p.pieces {
			if t == pp.HaveAll || payload[i/8]&(0x80>>(i%8)) != 0 {
				p.has(s, i)
			}
		}
		p.fill(s)
		p.mu.Unlock()
	case pp.Unchoke:
		p.mu.Lock()
		s.choked = false
		p.fill(s)
		p.mu.Unlock()
	case pp.Choke:
		p.mu.Lock()
		s.choked = true
		p.abandon(s)
		p.mu.Unlock()
	case pp.Reject:
		ints, err := integers(payload, 3)
		if err != nil {
			return err
		}
		if int64(ints[0]) < int64(len(p.pieces)) {
			p.mu.Lock()
			p.refusedBy(s, block{int(ints[0]), ints[1]})
			p.mu.Unlock()
		}
	}
	return nil
}

// write sends what is queued, until done is closed.
func (s *source) write(done chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-s.wake:
		}
		s.out.Lock()
		b := s.send
		s.send = nil
		s.out.Unlock()
		s.nc.SetWriteDeadline(time.Now().Add(greetTimeout))
		if _, err := s.nc.Write(b); err != nil {
			s.nc.Close()
			return
		}
	}
}

// tell queues a message.
func (s *source) tell(t pp.MessageType, ints ...uint32) {
	s.out.Lock()
	s.send = appendMessage(s.send, t, ints...)
	s.out.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// room reports whether more is to be asked for: a round trip's worth, and a
// little, shall always be outstanding. p.mu is held.
func (s *source) room() bool {
	worth := int(min(s.rate*(s.rtt+queueTime).Seconds(), mostQueue))
	return !s.gone && !s.choked && s.queue <= max(leastQueue, worth)
}

// measure keeps the rate: at once when it grows, slowly when it falls. p.mu is
// held.
func (s *source) measure(now time.Time) {
	dt := now.Sub(s.rateAt).Seconds()
	if dt < 0.2 {
		return
	}
	if !s.rateAt.IsZero() && s.queue > 0 {
		r := float64(s.bytes-s.counts) / dt
		s.rate = max(r, s.rate+(r-s.rate)*0.2)
	}
	s.rateAt, s.counts = now, s.bytes
}
