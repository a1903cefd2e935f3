package engine

import (
	"bufio"
	"bytes"
	"net"
	"strconv"
	"testing"
	"time"

	pp "github.com/anacrolix/torrent/peer_protocol"

	"github.com/prsync/prsync/internal/p2p/origin"
	"github.com/prsync/prsync/internal/p2p/swarmtest"
)

// knock connects to an engine from an address, as a peer with that id, and
// asks for the first block; it reports whether that came before the end of the
// connection.
func knock(t *testing.T, port int, b *swarmtest.Blob, from, id string) (given bool) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	nc, err := d.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	hello := appendHandshake(nil, b.Pack.InfoHash, id)
	hello = appendMessage(hello, pp.HaveNone)
	hello = appendMessage(hello, pp.Interested)
	hello = appendMessage(hello, pp.Request, 0, 0, chunkSize)
	if _, err := nc.Write(hello); err != nil {
		return false
	}
	if _, err := readHandshake(nc, b.Pack.InfoHash); err != nil {
		return false
	}
	r, buf := bufio.NewReader(nc), make([]byte, 9+chunkSize)
	for {
		var m pp.MessageType
		var err error
		if m, _, buf, err = readMessage(r, buf); err != nil {
			return false
		}
		switch m {
		case pp.Piece:
			return true
		case pp.Unchoke, pp.Reject: // what was asked for before is refused now
			nc.Write(appendMessage(nil, pp.Request, 0, 0, chunkSize))
		}
	}
}

// A closed pack is given to peers that the host has listed, from their
// addresses, and to nobody else who knows its info hash.
func TestClosedPack(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(70, 3*mb, 10_000)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	h.Closed.Store(true)
	first := newPeer(t, Config{})
	stop, err := first.e.Seed(h.Offer(), b.Pack, bytes.NewReader(b.Bytes), func(int) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	waitFor(t, "the seed to be listed", func() bool { return h.Peers(b) == 1 })
	const stranger = "-PR0001-stranger0000"
	if knock(t, first.e.Port(), b, "127.0.0.1", stranger) {
		t.Error("a stranger was given a closed pack")
	}
	h.OriginDead.Store(true)
	second := newPeer(t, Config{})
	second.fetchAll(h.Offer(), b)
	second.wait(40 * time.Second)
	second.check(b)
	if knock(t, first.e.Port(), b, "127.0.0.2", second.e.PeerID()) {
		t.Error("a listed peer's id was enough from another address")
	}
	if knock(t, first.e.Port(), b, "127.0.0.1", stranger) {
		t.Error("a stranger was given a closed pack")
	}
	// What it would have got without all this.
	h.Closed.Store(false)
	waitFor(t, "the pack to be open", func() bool { return knock(t, first.e.Port(), b, "127.0.0.1", stranger) })
}
