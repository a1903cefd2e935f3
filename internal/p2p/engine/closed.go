package engine

import (
	"net/netip"
	"sync/atomic"

	"github.com/anacrolix/torrent"

	"github.com/prsync/prsync/internal/content"
)

// A pack of a module that not everybody may read is closed: its pieces are
// given only to the peers that the central host has listed, each from its
// address, since the host lists whoever it has let in. Knowing the info hash
// is not enough. Until the host has said what a pack is, it is closed to all.

// admission tells who may take from a pack.
type admission struct {
	closed bool
	peers  map[string]netip.Addr // by peer id; of a closed pack only
}

func (a *admission) admits(k peerKey) bool {
	if a == nil {
		return false
	}
	if !a.closed {
		return true
	}
	addr, listed := a.peers[k.id]
	from, err := netip.ParseAddrPort(k.addr)
	return listed && err == nil && from.Addr().Unmap().WithZone("") == addr
}

// newAdmission takes who may take from a pack from the host's answer.
func newAdmission(rp *content.ReplyPack, peers map[string]peerAddr) *admission {
	// What the host does not know any more may have been closed to us.
	ad := &admission{closed: rp.Closed != 0 || rp.Unknown != 0}
	if ad.closed {
		ad.peers = make(map[string]netip.Addr, len(peers))
		for id, pa := range peers {
			ad.peers[id] = pa.ip
		}
	}
	return ad
}

// door is the state of a pack's admission. It takes no lock: the library asks
// with its own held.
type door struct {
	admission atomic.Pointer[admission]
	// knocked is set when somebody came who is not listed: he may have asked
	// the host after us.
	knocked atomic.Bool
}

// turnedAway reports whether a new connection is not let in. From then on none
// of its messages is heard, and it is closed.
func (e *Engine) turnedAway(c *torrent.PeerConn, p *pack) bool {
	if p.door.admission.Load().admits(peerOf(c)) {
		return false
	}
	e.strangers.Store(c, struct{}{})
	e.bans.drop(c)
	p.door.knocked.Store(true)
	p.tr.poke()
	return true
}

// deaf reports whether messages of the connection are not to be heard.
func (e *Engine) deaf(c *torrent.PeerConn) bool {
	if _, ok := e.strangers.Load(c); !ok {
		return false
	}
	e.bans.drop(c)
	return true
}
