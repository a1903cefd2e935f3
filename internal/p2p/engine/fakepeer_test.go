package engine

import (
	"bufio"
	"encoding/binary"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	pp "github.com/anacrolix/torrent/peer_protocol"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/swarmtest"
)

// fakePeer is a seed that does what a test wants it to.
type fakePeer struct {
	t  *testing.T
	b  *swarmtest.Blob
	id string
	l  net.Listener
	wg sync.WaitGroup

	unchoke time.Duration                  // how long it chokes; negative: for good
	answer  func(piece int) pp.MessageType // Piece, Reject or, for nothing, KeepAlive

	mu    sync.Mutex
	conns []net.Conn
	asked map[int]int // requests, by piece
}

// silence is an answer of a fakePeer: none.
const silence = pp.MessageType(255)

// newFakePeer listens, and announces itself to the hub, with so much left to
// fetch. The id begins as given.
func newFakePeer(t *testing.T, h *swarmtest.Hub, b *swarmtest.Blob, id string, left int64) *fakePeer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakePeer{t: t, b: b, id: id + strings.Repeat("x", 20-len(id)), l: l, asked: map[int]int{},
		answer: func(int) pp.MessageType { return pp.Piece }}
	t.Cleanup(func() {
		l.Close()
		f.mu.Lock()
		for _, c := range f.conns {
			c.Close()
		}
		f.mu.Unlock()
		f.wg.Wait()
	})
	req := content.AnnounceRequest{PeerID: f.id, Port: l.Addr().(*net.TCPAddr).Port,
		Packs: []content.AnnouncePack{{InfoHash: string(b.Pack.InfoHash[:]), Left: left, Event: content.EventStarted}}}
	resp, err := http.Post(h.Offer().URL+"/announce", "application/x-bencode", strings.NewReader(string(req.Encode())))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return f
}

// start takes connections.
func (f *fakePeer) start() {
	f.wg.Go(func() {
		for {
			c, err := f.l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, c)
			f.mu.Unlock()
			f.wg.Go(func() { f.serve(c) })
		}
	})
}

func (f *fakePeer) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

func (f *fakePeer) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	if _, err := readHandshake(r, f.b.Pack.InfoHash); err != nil {
		return
	}
	hello := appendHandshake(nil, f.b.Pack.InfoHash, f.id)
	hello = appendMessage(hello, pp.HaveAll)
	if _, err := c.Write(hello); err != nil {
		return
	}
	if f.unchoke >= 0 {
		f.wg.Go(func() {
			time.Sleep(f.unchoke)
			c.Write(appendMessage(nil, pp.Unchoke))
		})
	}
	buf := make([]byte, 1<<16)
	for {
		var typ pp.MessageType
		var payload []byte
		var err error
		if typ, payload, buf, err = readMessage(r, buf); err != nil {
			return
		}
		if typ != pp.Request {
			continue
		}
		ints, err := integers(payload, 3)
		if err != nil {
			f.t.Errorf("request: %v", err)
			return
		}
		i, begin, n := int(ints[0]), int64(ints[1]), int64(ints[2])
		f.mu.Lock()
		f.asked[i]++
		f.mu.Unlock()
		var out []byte
		switch f.answer(i) {
		case pp.Piece:
			off := int64(i)*f.b.Pack.PieceLength + begin
			out = binary.BigEndian.AppendUint32(nil, uint32(9+n))
			out = append(out, byte(pp.Piece))
			out = binary.BigEndian.AppendUint32(out, ints[0])
			out = binary.BigEndian.AppendUint32(out, ints[1])
			out = append(out, f.b.Bytes[off:off+n]...)
		case pp.Reject:
			out = appendMessage(nil, pp.Reject, ints...)
		case silence:
			continue
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}
