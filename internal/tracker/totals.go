package tracker

import (
	"slices"
	"sync"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker/store"
)

// maxBadPeers bounds the addresses that are remembered for bad pieces.
const maxBadPeers = 1024

// totals sum what peers report between two announces.
type totals struct {
	mu                                    sync.Mutex
	downloaded, origin, uploaded, corrupt int64
	badPeers                              map[string]int
}

// account adds what an announced peer did since its previous announce. What a
// peer had done before it was known here is not counted: it may be known to,
// or have been counted by, another host.
func (t *totals) account(u *store.Update, s *store.Swarm) {
	if !s.Known {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.downloaded += max(0, u.Peer.Downloaded-s.Prev.Downloaded)
	t.origin += max(0, u.Peer.Origin-s.Prev.Origin)
	t.uploaded += max(0, u.Peer.Uploaded-s.Prev.Uploaded)
	t.corrupt += max(0, u.Peer.Corrupt-s.Prev.Corrupt)
}

// bad counts reports of addresses that sent bad pieces.
func (t *totals) bad(addrs []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.badPeers == nil {
		t.badPeers = map[string]int{}
	}
	for _, a := range addrs {
		if _, ok := t.badPeers[a]; ok || len(t.badPeers) < maxBadPeers {
			t.badPeers[a]++
		}
	}
}

func sortHashes(h []content.InfoHash) {
	slices.SortFunc(h, func(a, b content.InfoHash) int { return slices.Compare(a[:], b[:]) })
}
