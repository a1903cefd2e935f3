package engine

import (
	"hash/maphash"
	"time"

	"github.com/anacrolix/torrent"
	pp "github.com/anacrolix/torrent/peer_protocol"
)

// chunkSize is the library's: what peers ask each other for at a time.
const chunkSize = 16 << 10

var chunkSeed = maphash.MakeSeed()

// suspects is who sent which chunk of a piece that is not verified yet, and,
// when it failed before, who sent the chunks of those attempts. Once the piece
// is right, chunks that were not tell who lied.
type suspects struct {
	now  map[int]chunkFrom
	past []map[int]chunkFrom
}

type chunkFrom struct {
	peer peerKey
	sum  uint64
}

// maxAttempts bounds what is remembered of a piece that fails again and again.
const maxAttempts = 8

// dataReceived is called by the library for every useful chunk.
func (e *Engine) dataReceived(ev torrent.ReceivedUsefulDataEvent) {
	p := e.packOf(ev.Peer.Torrent())
	c, ok := ev.Peer.TryAsPeerConn()
	if p == nil || !ok {
		return
	}
	from := chunkFrom{peerOf(c), maphash.Bytes(chunkSeed, ev.Message.Piece)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noteFrom(int(ev.Message.Index), int(ev.Message.Begin)/chunkSize, from)
	p.plan.gotData(len(ev.Message.Piece))
}

// noteFrom remembers who sent chunk k of piece i. p.mu is held.
func (p *pack) noteFrom(i, k int, from chunkFrom) {
	s := p.blame[i]
	if s == nil {
		s = &suspects{now: map[int]chunkFrom{}}
		p.blame[i] = s
	}
	s.now[k] = from
}

// messageRead is called by the library for every message: news about pieces.
func (e *Engine) messageRead(c *torrent.PeerConn, m *pp.Message) {
	if e.deaf(c) {
		m.Keepalive = true // that is what the library does nothing about
		return
	}
	switch m.Type {
	case pp.Choke, pp.Unchoke:
		if p := e.packOf(c.Torrent()); p != nil {
			p.mu.Lock()
			if m.Type == pp.Choke {
				delete(p.plan.unchoked, c)
			} else if _, ok := p.plan.unchoked[c]; !ok {
				p.plan.unchoked[c] = time.Now()
			}
			p.mu.Unlock()
			p.peersChanged()
		}
	case pp.Have, pp.Bitfield, pp.HaveAll, pp.HaveNone:
		if p := e.packOf(c.Torrent()); p != nil {
			p.peersChanged()
		}
	}
}

// accuse is called when piece i, whose chunks came from peers, failed. A peer
// that sent all of it is banned at once; otherwise the truth will tell. mixed
// is set when some of the piece did not come from peers.
func (p *pack) accuse(i int, mixed bool) {
	p.mu.Lock()
	s := p.blame[i]
	if s == nil {
		p.mu.Unlock()
		return
	}
	peers := map[peerKey]struct{}{}
	for _, from := range s.now {
		peers[from.peer] = struct{}{}
	}
	chunks := int((p.meta.PieceSize(i) + chunkSize - 1) / chunkSize)
	alone := len(peers) == 1 && len(s.now) == chunks && !mixed
	if s.past = append(s.past, s.now); len(s.past) > maxAttempts {
		s.past = s.past[1:]
	}
	s.now = map[int]chunkFrom{}
	p.mu.Unlock()
	if alone {
		for k := range peers {
			p.ban(k)
		}
	}
}

// settle is called when piece i is right at last.
func (p *pack) settle(i int) {
	p.mu.Lock()
	s := p.blame[i]
	delete(p.blame, i)
	p.mu.Unlock()
	if s == nil || len(s.past) == 0 {
		return
	}
	buf := make([]byte, chunkSize)
	for k := 0; int64(k)*chunkSize < p.meta.PieceSize(i); k++ {
		off := int64(k) * chunkSize
		b := buf[:min(chunkSize, p.meta.PieceSize(i)-off)]
		if p.readAt(b, p.pieceOffset(i)+off) != nil {
			return
		}
		sum := maphash.Bytes(chunkSeed, b)
		for _, attempt := range s.past {
			if from, ok := attempt[k]; ok && from.sum != sum {
				p.ban(from.peer)
			}
		}
	}
}

// ban drops a peer for good and remembers to report it.
func (p *pack) ban(k peerKey) {
	addr := k.addr
	if known := p.tr.address(k.id); known != "" {
		addr = known
	}
	p.mu.Lock()
	p.bad[addr] = struct{}{}
	p.mu.Unlock()
	if !p.e.bans.ban(k) {
		return
	}
	p.e.log.Warn("swarm: peer sent bad data and is not asked any more", "peer", addr, "pack", p.meta.Name)
	for _, q := range p.e.allPacks() {
		for _, c := range q.t.PeerConns() {
			if string(c.PeerID[:]) == k.id {
				p.e.bans.drop(c)
			}
		}
		q.mu.Lock()
		s := q.sources.by[k.id]
		q.mu.Unlock()
		if s != nil {
			s.nc.Close()
		}
		q.peersChanged()
	}
	p.tr.poke()
}
