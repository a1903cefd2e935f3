package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/origin"
	"github.com/prsync/prsync/internal/p2p/swarmtest"
)

// neverStall is longer than any test: what ends before does so for another
// reason.
const neverStall = time.Hour

// twoThatFetch are peers that fetch all of b and never stall.
func twoThatFetch(t *testing.T, h *swarmtest.Hub, b *swarmtest.Blob) (peers [2]*peer) {
	t.Helper()
	for i := range peers {
		peers[i] = newPeer(t, Config{Stall: neverStall})
		peers[i].fetchAll(h.Offer(), b)
	}
	return peers
}

// When the host goes and takes pieces with it, contents that lack one go back
// to their askers, without waiting for Stall and with all that anybody had.
func TestLostHost(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(60, 8*mb, 2*mb)
	h := swarmtest.NewHub(t, origin.Config{Uplink: 2 * mb}, b)
	peers := twoThatFetch(t, h, b)
	waitFor(t, "a third of it", func() bool { return h.Origin.Sent() > 3*mb })
	h.OriginDead.Store(true)
	h.TrackerDead.Store(true)
	h.CutConnections()
	var valid [2]int64
	for i, p := range peers {
		p.wait(time.Minute)
		for tag, ev := range p.ends {
			if ev.Err == nil || !strings.Contains(ev.Err.Error(), "the host does not answer") {
				t.Errorf("peer %d, content %d ended with %v", i, tag, ev.Err)
			}
			valid[i] += size(ev.Valid)
		}
	}
	if valid[0] != valid[1] || valid[0] < 2*mb {
		t.Errorf("the peers gave up with %d bytes: they had not exchanged what they had", valid)
	}
}

func size(rs []content.Range) (n int64) {
	for _, r := range rs {
		n += r.End - r.Off
	}
	return n
}

// A host that is back soon takes nobody out of the swarm.
func TestHostThatRestarts(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(61, 6*mb)
	h := swarmtest.NewHub(t, origin.Config{Uplink: 2 * mb}, b)
	peers := twoThatFetch(t, h, b)
	waitFor(t, "a third of it", func() bool { return h.Origin.Sent() > 2*mb })
	h.OriginDead.Store(true)
	h.CutConnections()
	time.Sleep(lossGrace / 2) // the restart
	h.OriginDead.Store(false)
	for _, p := range peers {
		p.wait(time.Minute)
		p.check(b)
	}
}

// What a live peer still gets is not lost to one whom the host has left.
func TestHostLostToOne(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(62, 5*mb)
	h := swarmtest.NewHub(t, origin.Config{Uplink: mb / 2}, b)
	p, q := newPeer(t, Config{Stall: neverStall}), newPeer(t, Config{Stall: neverStall})
	h.DeadTo.Store(p.e.PeerID())
	p.fetchAll(h.Offer(), b)
	q.fetchAll(h.Offer(), b)
	for _, x := range []*peer{q, p} {
		x.wait(time.Minute)
		x.check(b)
	}
}

// Who has nothing but the swarm waits for the host.
func TestLostHostIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(63, 2*mb, mb)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	p := newPeer(t, Config{Stall: 2 * lossGrace})
	h.OriginDead.Store(true)
	p.fetchAll(h.Offer(), b)
	p.waits, p.d = true, t.TempDir()
	p.fetch(h.Offer(), b, 0, nil)
	p.wait(time.Minute)
	for tag, want := range []string{"the host does not answer", "the host does not answer", "no progress"} {
		if err := p.ends[uint64(tag)].Err; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("content %d ended with %v, want %s", tag, err, want)
		}
	}
}
