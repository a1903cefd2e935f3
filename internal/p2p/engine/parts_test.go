package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/p2p/origin"
	"github.com/prsync/prsync/internal/p2p/swarmtest"
)

// removedNeighbours is a pack of small contents with a large one between, of
// which a small one in its last piece and one of the others have left the
// repository since.
func removedNeighbours(seed uint64) (b *swarmtest.Blob, removed map[int]bool) {
	b = swarmtest.NewBlob(seed, 40_000, 50_000, 60_000, 2*mb+1000, 30_000, 20_000)
	b.Remove(1)
	b.Remove(4)
	return b, map[int]bool{1: true, 4: true}
}

// Small contents whose neighbour has left the repository go back to their asker
// at once; a large one comes although nobody has all of its last piece.
func TestNeighbourLeft(t *testing.T) {
	t.Parallel()
	b, _ := removedNeighbours(70)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	p := newPeer(t, Config{Stall: neverStall})
	p.fetchAll(h.Offer(), b)
	p.wait(time.Minute)
	for tag, ev := range p.ends {
		if large := tag == 3; large && ev.Err != nil || !large && !errors.Is(ev.Err, errGone) {
			t.Errorf("content %d ended with %v", tag, ev.Err)
		}
		delete(p.ends, tag)
		if tag == 3 {
			p.ends[tag] = ev
		}
	}
	p.check(b)
}

// Who has nothing but the swarm gets all that is still there.
func TestNeighbourLeftRequired(t *testing.T) {
	t.Parallel()
	b, removed := removedNeighbours(71)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	p := newPeer(t, Config{Stall: neverStall})
	p.waits = true
	var sum int64
	for i, e := range b.Pack.Entries {
		if !removed[i] {
			p.fetch(h.Offer(), b, i, nil)
			sum += e.Length
		}
	}
	p.wait(time.Minute)
	for tag, ev := range p.ends {
		if ev.Err != nil {
			t.Errorf("content %d ended with %v", tag, ev.Err)
		}
	}
	if got := p.totals[byOrigin]; got != sum {
		t.Errorf("%d bytes are told of, want %d", got, sum)
	}
	if sent := h.Origin.Sent(); sent > sum+b.Pack.PieceLength {
		t.Errorf("the origin sent %d bytes for %d", sent, sum)
	}
}

// Answers that always break off in the middle of a piece are no progress.
func TestAnswersThatBreakOff(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(72, 2*mb)
	b.Break(b.Pack.PieceLength + 100_000)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	p := newPeer(t, Config{Stall: 2 * time.Second})
	p.fetchAll(h.Offer(), b)
	p.wait(time.Minute)
	if ev := p.ends[0]; ev.Err == nil || size(ev.Valid) != 2*mb-b.Pack.PieceLength {
		t.Errorf("ended with %v, %d bytes of it valid", ev.Err, size(ev.Valid))
	}
}
