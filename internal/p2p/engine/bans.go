package engine

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/anacrolix/torrent"
)

// peerKey identifies a peer: its id and the address it connected from or was
// reached at.
type peerKey struct {
	id   string
	addr string
}

func peerOf(c *torrent.PeerConn) peerKey {
	k := peerKey{id: string(c.PeerID[:])}
	if c.RemoteAddr != nil {
		k.addr = c.RemoteAddr.String()
	}
	return k
}

func (k peerKey) host() string {
	host, _, err := net.SplitHostPort(k.addr)
	if err != nil {
		return k.addr
	}
	return host
}

func (k peerKey) String() string { return fmt.Sprintf("%q at %s", k.id, k.addr) }

// idsPerHost is how many different peers of one address must send bad data
// until the whole address is refused. One is not enough: many peers share an
// address behind a translator, or on one machine.
const idsPerHost = 4

// bans remembers who sent bad data. The library's own list is never used: it
// bans whole addresses for good, and on suspicion.
type bans struct {
	mu    sync.Mutex
	ids   map[string]peerKey
	hosts map[string]int

	doomed chan *torrent.PeerConn
}

func newBans() *bans {
	return &bans{ids: map[string]peerKey{}, hosts: map[string]int{}, doomed: make(chan *torrent.PeerConn, 256)}
}

// ban returns false when the peer was banned already.
func (b *bans) ban(k peerKey) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.ids[k.id]; ok {
		return false
	}
	b.ids[k.id] = k
	b.hosts[k.host()]++
	return true
}

func (b *bans) banned(k peerKey) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.ids[k.id]
	return ok || b.hosts[k.host()] >= idsPerHost
}

func (b *bans) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.ids)
}

// drop closes the connection soon, in a goroutine that does not hold the
// library's lock.
func (b *bans) drop(c *torrent.PeerConn) {
	select {
	case b.doomed <- c:
	default:
	}
}

func (b *bans) run(ctx context.Context, wg *sync.WaitGroup) {
	defer wg.Done()
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-b.doomed:
			c.Close()
		}
	}
}
