package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/p2p/origin"
)

// traceInterval is how often a pack tells how it stands, where somebody
// listens at the debug level. scripts/swarm-lab --trace makes a table of it.
const traceInterval = 500 * time.Millisecond

// trace counts what the pack's loop and its requests do; guarded by pack.mu.
type trace struct {
	at       time.Time
	granted  [3]int // requests to the origin that were answered, by claim
	refused  [3]int
	active   int   // requests to the origin that are under way
	kicks    int   // times the watchdog made the library ask again
	reopened int   // times it closed the connections
	twice    int64 // bytes that sources sent in vain
}

// claims are in the order of trace.granted.
var claims = [...]string{origin.ClaimOwn, origin.ClaimSpare, origin.ClaimMust}

func claimIndex(claim string) int {
	for i, c := range claims {
		if c == claim {
			return i
		}
	}
	return 0
}

// tell writes one line about the pack: milliseconds since it was added; KiB
// that are left; pieces that are ours to fetch and not here; pieces that some
// peer has, those left to the library; connections; KiB from peers and from
// the origin, KiB sent; requests to the origin under way, granted and refused
// as own, spare and must; kicks of the watchdog; KiB received twice; for each
// peer of the library its pieces, the KiB that came from it and went to it; for
// each source its pieces, the KiB that came, those outstanding, KiB a second.
func (p *pack) tell(now time.Time) {
	if now.Before(p.trace.at) || !p.e.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	p.trace.at = now.Add(traceInterval)
	var peers strings.Builder
	for _, c := range p.t.PeerConns() {
		have, st := c.PeerPieces(), c.Stats()
		fmt.Fprintf(&peers, " %x:%d/%d/%d", string(c.PeerID[16:]), have.GetCardinality(), st.BytesReadUsefulData.Int64()>>10, st.BytesWrittenData.Int64()>>10)
	}
	st := p.t.Stats()
	p.mu.Lock()
	peers.WriteString(" |")
	for id, s := range p.sources.by {
		fmt.Fprintf(&peers, " %x:%d/%d/%d/%d", id[16:], s.n, s.bytes>>10, s.queue>>10, int(s.rate)>>10)
	}
	mine, avail, enabled, wanted := 0, 0, 0, 0
	for i := range p.pieces {
		pc := &p.pieces[i]
		if pc.wanted == 0 || pc.complete {
			continue
		}
		wanted++
		if p.plan.mine[i] {
			mine++
		}
		if p.plan.avail[i] {
			avail++
		}
		if pc.enabled {
			enabled++
		}
	}
	tr := &p.trace
	line := fmt.Sprintf("ms=%d left=%d wanted=%d mine=%d avail=%d enabled=%d taken=%d ids=%d conns=%d peers=%d origin=%d sent=%d active=%d granted=%v refused=%v kicks=%d/%d twice=%d rate=%d",
		now.Sub(p.plan.began).Milliseconds(), p.left>>10, wanted, mine, avail, enabled, len(p.sources.tasks), len(p.plan.ids), p.plan.conns,
		p.bytes[byPeers]>>10, p.bytes[byOrigin]>>10, st.BytesWrittenData.Int64()>>10,
		tr.active, tr.granted, tr.refused, tr.kicks, tr.reopened,
		(p.trace.twice+st.BytesReadData.Int64()-st.BytesReadUsefulData.Int64())>>10, int(p.plan.rate)>>10)
	p.mu.Unlock()
	p.e.log.Debug("swarm: trace", "pack", p.meta.Name, "is", line+" |"+peers.String())
}
