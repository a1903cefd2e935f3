package engine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/prsync/prsync/internal/p2p/swarmtest"
)

// A content may be asked for while a piece that it shares with others is on
// its way: what has arrived already lies in the spill, and comes along.
func TestWantOfAPieceOnItsWay(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(20, 40_000, 30_000, 20_000)
	p := newPeer(t, Config{})
	pk := p.join(b)
	const half = 55_000 // in the middle of content 1
	for _, source := range []struct {
		name  string
		write func(b []byte, off int64) error
	}{
		{"peer", func(b []byte, off int64) error { return pk.writePeer(0, b, off) }},
		{"origin", func(b []byte, off int64) error { return pk.writeOrigin(0, b, off) }},
	} {
		pk.mu.Lock()
		pk.pieces[0] = piece{origin: source.name == "origin"}
		pk.mu.Unlock()
		if err := source.write(b.Bytes[:half], 0); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(p.d, source.name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		e := b.Pack.Entries[1]
		w := &want{sink: p, tag: 1, id: e.ID, length: e.Length, file: f}
		pk.attach(1, w)
		if err := source.write(b.Bytes[half:], half); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(b.Content(1)) {
			t.Errorf("%s: bytes that came before the content was asked for are not in its file", source.name)
		}
		pk.drop(w, ErrClosed)
	}
}

// An honest peer is not blamed when a piece fails because what it sent was not
// all kept.
func TestNoBlameForWhatWasNotKept(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(21, 100_000)
	p := newPeer(t, Config{})
	pk := p.join(b)
	honest := peerKey{id: "-PR0000-honestpeer00", addr: "192.0.2.1:1"}
	sent := func() {
		s := &suspects{now: map[int]chunkFrom{}}
		for k := 0; k*chunkSize < 100_000; k++ {
			s.now[k] = chunkFrom{peer: honest}
		}
		pk.mu.Lock()
		pk.blame[0] = s
		pk.mu.Unlock()
	}
	sent()
	pk.mu.Lock()
	pk.pieces[0].origin = true // which then fails, half way
	pk.mu.Unlock()
	if err := pk.writePeer(0, b.Bytes[:50_000], 0); err != nil {
		t.Fatal(err)
	}
	pk.mu.Lock()
	pk.pieces[0].origin = false
	pk.mu.Unlock()
	if err := pk.writePeer(0, b.Bytes[50_000:], 50_000); err != nil {
		t.Fatal(err)
	}
	if err := pk.verified(0, byPeers); err == nil {
		t.Fatal("a piece with a hole is verified")
	}
	if p.e.bans.banned(honest) {
		t.Error("the peer was banned for a hole that is ours")
	}
	// The same again without a hole is a lie.
	sent()
	if err := pk.writePeer(0, make([]byte, 100_000), 0); err != nil {
		t.Fatal(err)
	}
	if err := pk.verified(0, byPeers); err == nil {
		t.Fatal("zeros are verified")
	}
	if !p.e.bans.banned(honest) {
		t.Error("a peer that sent all of a wrong piece was not banned")
	}
}
