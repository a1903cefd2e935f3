package redisstore

import (
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// list are the peers of a swarm as a host read them last. It holds as long as
// the server says that its version is current and none of its peers has
// expired; those who announce meanwhile extend their time without changing the
// version, so that a list with an expired one is read again.
type list struct {
	version string
	want    int
	until   time.Time // the first expiry
	members []member
}

// maxLists bounds the lists that a host keeps.
const maxLists = 4096

func readList(version, peers string, want int, now time.Time) *list {
	l := &list{version: version, want: want, until: now.Add(time.Hour)}
	for len(peers) > 3 {
		n, v := int(peers[0]), int(peers[1])<<8|int(peers[2])
		if len(peers) < 3+n+v {
			break
		}
		m, err := decodeMember(peers[3:3+n], peers[3+n:3+n+v])
		peers = peers[3+n+v:]
		if err != nil || m.Expires <= now.UnixMilli() {
			continue // a sweep removes it
		}
		l.members = append(l.members, m)
		if t := time.UnixMilli(m.Expires); t.Before(l.until) {
			l.until = t
		}
	}
	return l
}

// lists are those of a host.
type lists struct {
	mu  sync.Mutex
	all map[content.InfoHash]*list
}

// get returns a list that can be used at the time, nil when there is none.
func (c *lists) get(h content.InfoHash, want int, now time.Time) *list {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.all[h]
	if l == nil || l.want != want || !now.Before(l.until) {
		return nil
	}
	return l
}

// put keeps a list, unless it is a random choice, which has no version.
func (c *lists) put(h content.InfoHash, l *list) {
	if l.version == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= maxLists {
		c.all = map[content.InfoHash]*list{}
	}
	c.all[h] = l
}
