package engine

import (
	"testing"
	"time"

	"github.com/prsync/prsync/internal/p2p/origin"
)

const mb = 1 << 20

func TestSwarmSharesOneCopy(t *testing.T) {
	b := newBlob(1, 12*mb, 300_000, 5_000, 700, 4*mb)
	h := newHub(t, origin.Config{Uplink: 16 * mb}, b)
	var peers []*peer
	for range 4 {
		p := newPeer(t, Config{UploadLimit: 16 * mb})
		p.fetchAll(h.offer(), b)
		peers = append(peers, p)
	}
	for _, p := range peers {
		p.wait(30 * time.Second)
		p.check(b)
		var sum int64
		for _, n := range p.totals {
			sum += n
		}
		var want int64
		for _, e := range b.pack.Entries {
			want += e.Length
		}
		if sum != want {
			t.Errorf("events add up to %v = %d bytes, want %d", p.totals, sum, want)
		}
	}
	if c := h.copies(b); c > 1.25 {
		t.Errorf("the origin sent %.2f copies, want about one", c)
	} else {
		t.Logf("the origin sent %.2f copies", c)
	}
}
