package engine

import (
	"bytes"
	"testing"
	"time"

	pp "github.com/anacrolix/torrent/peer_protocol"
	"golang.org/x/time/rate"

	"github.com/prsync/prsync/internal/p2p/origin"
	"github.com/prsync/prsync/internal/p2p/swarmtest"
)

// What a prsync peer holds is taken from it, by a connection of our own.
func TestSource(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(40, 3*mb, 10_000)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	f := newFakePeer(t, h, b, "-PR0001-", 0)
	f.start()
	h.OriginDead.Store(true)
	p := newPeer(t, Config{})
	p.fetchAll(h.Offer(), b)
	p.wait(20 * time.Second)
	p.check(b)
	if n := f.connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if got, want := p.totals[byPeers], int64(3*mb+10_000); got != want {
		t.Errorf("%d bytes came from peers, want %d", got, want)
	}
}

// A source that refuses some pieces, and never answers for others, does not
// hold the transfer up: those come from elsewhere.
func TestSourceThatDoesNotGive(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(41, 3*mb)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	f := newFakePeer(t, h, b, "-PR0001-", 0)
	f.answer = func(piece int) pp.MessageType {
		return []pp.MessageType{pp.Piece, pp.Reject, silence}[piece%3]
	}
	f.start()
	p := newPeer(t, Config{})
	p.fetchAll(h.Offer(), b)
	p.wait(60 * time.Second)
	p.check(b)
}

// A piece moves to a source that has nothing else to do when the one that it
// was asked of is slow, and only when nothing else is left.
func TestStealFromTheSlow(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(42, 4*mb)
	p := newPeer(t, Config{})
	pk := p.join(b)
	n := len(pk.pieces)
	newSource := func(id string, rate float64) *source {
		return &source{p: pk, key: peerKey{id: id}, rate: rate, have: make([]bool, n), asked: map[block]int{}, wake: make(chan struct{}, 1)}
	}
	slow, fast := newSource("slow", 10<<10), newSource("fast", 10<<20)
	pk.mu.Lock()
	defer pk.mu.Unlock()
	for i := range n {
		pk.has(slow, i)
		pk.has(fast, i)
	}
	for i := range 2 {
		pk.pieces[i].wanted = 1
		pk.left += b.Pack.PieceSize(i)
	}
	task := pk.newTask(slow, 0)
	pk.askSource(slow, task)
	later := time.Now().Add(10 * time.Second)
	if got := pk.steal(fast, later); got != nil {
		t.Error("a piece was asked of another while one was free")
	}
	pk.pieces[1].wanted, pk.left = 0, b.Pack.PieceSize(0)
	if got := pk.steal(fast, time.Now()); got != nil {
		t.Error("a piece was asked of another at once")
	}
	if got := pk.steal(fast, later); got != task || task.s != fast || slow.queue != 0 {
		t.Errorf("the slow source keeps the last piece, %d bytes outstanding", slow.queue)
	}
	pk.giveUp(task)
	pk.pieces[0].wanted, pk.left = 0, 0
}

// A source's connection is kept filled: what is outstanding grows with the
// round trip and the rate.
func TestSourceRoom(t *testing.T) {
	t.Parallel()
	s := &source{rtt: 100 * time.Millisecond, rate: 10 << 20}
	for _, c := range []struct {
		queue int
		room  bool
	}{{0, true}, {leastQueue, true}, {1 << 20, true}, {3 << 20, false}} {
		if s.queue = c.queue; s.room() != c.room {
			t.Errorf("%d bytes outstanding at 10 MiB/s and 100 ms: room %v", c.queue, !c.room)
		}
	}
	if s.choked, s.queue = true, 0; s.room() {
		t.Error("room on a choked connection")
	}
}

// Messages of a peer that make no sense end its connection.
func TestSourceNonsense(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(43, mb)
	p := newPeer(t, Config{})
	pk := p.join(b)
	s := &source{p: pk, have: make([]bool, len(pk.pieces)), asked: map[block]int{}, wake: make(chan struct{}, 1)}
	for _, m := range []struct {
		t       pp.MessageType
		payload []byte
	}{
		{pp.Have, nil}, {pp.Have, []byte{255, 255, 255, 255}}, {pp.Have, []byte{0, 0, 0, 8}},
		{pp.Bitfield, make([]byte, 100)}, {pp.Bitfield, nil},
		{pp.Piece, make([]byte, 7)}, {pp.Piece, make([]byte, 9+chunkSize)}, {pp.Piece, []byte{255, 255, 255, 255, 0, 0, 0, 0}},
		{pp.Reject, make([]byte, 5)},
	} {
		if s.handle(m.t, m.payload) == nil {
			t.Errorf("message %v with %d bytes is taken", m.t, len(m.payload))
		}
	}
	// Not asked for, or refused without having been asked: no harm.
	for _, m := range []struct {
		t       pp.MessageType
		payload []byte
	}{
		{pp.Piece, make([]byte, 8+100)}, {pp.Reject, make([]byte, 12)}, {pp.Reject, bytes.Repeat([]byte{255}, 12)}, {pp.Extended, []byte{0}},
	} {
		if err := s.handle(m.t, m.payload); err != nil {
			t.Errorf("message %v: %v", m.t, err)
		}
	}
}

// FuzzSource has a source take whatever a peer may send after its handshake.
func FuzzSource(f *testing.F) {
	b := swarmtest.NewBlob(46, mb)
	p := newPeer(f, Config{})
	pk := p.join(b)
	all := appendMessage(nil, pp.HaveAll)
	all = appendMessage(all, pp.Unchoke)
	all = appendMessage(all, pp.Have, 1)
	all = appendMessage(all, pp.Reject, 0, 0, chunkSize)
	f.Add(appendMessage(all, pp.Choke))
	f.Add(appendExtended(nil, 6881))
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x0d\x07\x00\x00\x00\x01\x00\x00\x40\x00data"))
	f.Add([]byte("\x00\x00\x00\x02\x05\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := &source{p: pk, key: peerKey{id: "fuzz"}, have: make([]bool, len(pk.pieces)), asked: map[block]int{}, wake: make(chan struct{}, 1)}
		r, buf := bytes.NewReader(in), make([]byte, 9+chunkSize)
		for {
			var m pp.MessageType
			var payload []byte
			var err error
			if m, payload, buf, err = readMessage(r, buf); err != nil {
				break
			}
			if s.handle(m, payload) != nil {
				break
			}
		}
		pk.mu.Lock()
		defer pk.mu.Unlock()
		pk.abandon(s)
		for i, ok := range s.have {
			if ok {
				pk.hasNot(s, i)
			}
		}
		for i, n := range pk.sources.copies {
			if n != 0 {
				t.Fatalf("%d sources have piece %d after the only one has gone", n, i)
			}
		}
	})
}

// Foreign clients may take long to unchoke; they are not hung up on meanwhile.
func TestSlowToUnchoke(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(44, 2*mb)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	f := newFakePeer(t, h, b, "-XX0001-", 0)
	f.unchoke = 4 * time.Second
	f.start()
	h.OriginDead.Store(true)
	p := newPeer(t, Config{})
	p.fetchAll(h.Offer(), b)
	p.wait(30 * time.Second)
	p.check(b)
	if n := f.connections(); n != 1 {
		t.Errorf("%d connections were made to a peer that unchokes late, want 1", n)
	}
}

// An engine whose download limit is exhausted goes on taking connections.
func TestDownloadLimitExhausted(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(45, 2*mb)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	first := newPeer(t, Config{DownloadLimit: 64 * mb})
	first.fetchAll(h.Offer(), b)
	first.wait(20 * time.Second)
	h.OriginDead.Store(true)
	first.e.limits.down.SetLimit(rate.Limit(1)) // byte per second
	for first.e.limits.down.Tokens() > 0 {
		first.e.limits.down.ReserveN(time.Now(), first.e.limits.down.Burst())
	}
	second := newPeer(t, Config{})
	second.fetchAll(h.Offer(), b)
	second.wait(20 * time.Second)
	second.check(b)
}

// A pack of which nothing is wanted or held any more leaves memory and the
// swarm, and comes back when it is asked for.
func TestPackIsLeft(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(46, mb)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	p := newPeer(t, Config{Idle: 300 * time.Millisecond})
	for range 2 {
		p.fetchAll(h.Offer(), b)
		p.wait(20 * time.Second)
		if n := len(p.e.allPacks()); n != 1 {
			t.Fatalf("%d packs with a file that is seeded, want 1", n)
		}
		for _, pk := range p.e.allPacks() {
			pk.orphan(p, 0)
		}
		waitFor(t, "the pack to be left", func() bool { return len(p.e.allPacks()) == 0 && h.Peers(b) == 0 })
		if n := len(p.e.client.Torrents()); n != 0 {
			t.Errorf("the library keeps %d torrents", n)
		}
		p.d = t.TempDir()
	}
	p.check(b)
}

// A prsync peer that downloads and does not come to take anything here cannot
// reach us: the library connects to it, so that it can.
func TestPeerThatCannotReachUs(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(48, 2*mb)
	h := swarmtest.NewHub(t, origin.Config{Uplink: 64 << 10}, b)
	f := newFakePeer(t, h, b, "-PR0001-", 1)
	f.unchoke = -1
	f.start()
	p := newPeer(t, Config{})
	p.fetchAll(h.Offer(), b)
	waitFor(t, "a connection to take, and one for the other to take", func() bool { return f.connections() >= 2 })
}
