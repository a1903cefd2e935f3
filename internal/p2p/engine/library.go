package engine

// What the BitTorrent library is told: which pieces to fetch, which peers to
// connect to, and to ask again.

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/anacrolix/torrent"
)

func (p *pack) applyPriorities(now time.Time) {
	var on, off, more []int
	helpless := p.tr.originError() != nil
	p.mu.Lock()
	p.plan.helpless = helpless
	lure := p.lure()
	n := 0
	for i := range p.pieces {
		pc := &p.pieces[i]
		if p.plan.avail[i] {
			pc.refused = time.Time{}
		}
		leave := pc.idle() && !pc.taken && p.plan.library[i] && (!pc.insist || helpless)
		if leave && pc.enabled && p.sources.copies[i] > 0 && now.Sub(pc.since) > libraryGrace {
			leave = false
		}
		switch {
		case i == lure && !pc.enabled:
			on = append(on, i)
		case leave && !pc.enabled:
			more = append(more, i)
		case leave:
			n++
		case pc.enabled && i != lure:
			pc.enabled = false
			if !pc.complete {
				off = append(off, i)
			}
		}
	}
	if most := p.pipeline(); n <= most*3/4 {
		if len(more) > most-n {
			rand.Shuffle(len(more), func(a, b int) { more[a], more[b] = more[b], more[a] })
			slices.SortStableFunc(more, func(a, b int) int { return int(p.plan.copies[a]) - int(p.plan.copies[b]) })
			more = more[:most-n]
		}
		on = append(on, more...)
	}
	for _, i := range on {
		p.pieces[i].enabled, p.pieces[i].since = true, now
	}
	lost := p.plan.lost
	p.plan.lost = nil
	p.mu.Unlock()
	for _, i := range lost {
		p.t.Piece(i).UpdateCompletion()
	}
	for _, i := range off {
		p.t.Piece(i).SetPriority(torrent.PiecePriorityNone)
	}
	for _, i := range on {
		p.t.Piece(i).SetPriority(torrent.PiecePriorityNormal)
	}
}

func (p *pack) pipeline() int {
	return max(4, 4*p.plan.conns, int(p.plan.rate*pipelineTime.Seconds()/float64(p.meta.PieceLength)))
}

func (p *pack) lure() int {
	lure := -1
	for i := range p.pieces {
		pc := &p.pieces[i]
		if pc.complete || pc.idle() && p.plan.avail[i] {
			return -1
		}
		if lure < 0 && pc.idle() && !p.plan.mine[i] || pc.enabled && pc.idle() {
			lure = i
		}
	}
	if lure < 0 && p.left > 0 {
		for i := range p.pieces {
			if p.pieces[i].idle() {
				return i
			}
		}
	}
	return lure
}

func (p *pack) watchdog(now time.Time) {
	p.mu.Lock()
	redial := p.plan.redialSoon.Swap(false) || !now.Before(p.plan.redialAt)
	if redial {
		p.plan.redialAt = now.Add(redialPeriod)
	}
	p.mu.Unlock()
	if redial {
		p.dial()
	}
	var idle []int
	p.mu.Lock()
	if now.Before(p.plan.watchAt) {
		p.mu.Unlock()
		return
	}
	wait := watchdogPeriod << min(p.plan.kicks, 5)
	var silent []*torrent.PeerConn
	for c, since := range p.plan.unchoked {
		if now.Sub(since) >= wait {
			silent = append(silent, c)
		}
	}
	if len(silent) > 0 && now.Sub(p.plan.peerData) >= wait {
		for i := range p.pieces {
			if p.pieces[i].enabled && p.plan.library[i] {
				if idle = append(idle, i); len(idle) == 64 {
					break
				}
			}
		}
	}
	if len(idle) == 0 {
		p.mu.Unlock()
		return
	}
	p.plan.kicks++
	p.trace.kicks++
	p.plan.watchAt = now.Add(wait)
	kicks := p.plan.kicks
	p.mu.Unlock()
	for _, i := range idle {
		p.t.Piece(i).SetPriority(torrent.PiecePriorityNone)
		p.t.Piece(i).SetPriority(torrent.PiecePriorityNormal)
	}
	if kicks >= 3 {
		p.e.log.Debug("swarm: peers went silent, reconnecting", "pack", p.meta.Name, "kicks", kicks)
		p.trace.reopened++
		for _, c := range silent {
			c.Close()
		}
		p.dial()
	}
}

func (p *pack) dial() {
	p.mu.Lock()
	busy := p.left > 0
	p.mu.Unlock()
	if !busy {
		return
	}
	now := time.Now()
	connected := map[string]bool{p.e.peerID: true}
	for _, c := range p.t.PeerConns() {
		connected[string(c.PeerID[:])] = true
	}
	var add []torrent.PeerInfo
	for id, peer := range p.tr.peersOf(p.meta.InfoHash) {
		if peer.addr == "" || connected[id] || p.e.bans.banned(peerKey{id: id, addr: peer.addr}) {
			continue
		}
		if isOurs(id) && !p.hides(id, peer, now) {
			continue
		}
		info := torrent.PeerInfo{Addr: torrent.StringAddr(peer.addr), Source: torrent.PeerSourceTracker}
		copy(info.Id[:], id)
		add = append(add, info)
	}
	if len(add) > 0 {
		p.t.AddPeers(add)
	}
}

func (p *pack) hides(id string, peer peerAddr, now time.Time) bool {
	if peer.seed {
		return false
	}
	since, known := p.plan.listed[id]
	if !known {
		p.plan.listed[id] = now
		return false
	}
	return now.Sub(since) > absence
}
