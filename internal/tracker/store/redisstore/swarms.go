package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker/store"
	"github.com/redis/go-redis/v9"
)

// keep is how long the keys of a swarm outlive its last announce, for when no
// host sweeps any more.
const keep = time.Hour

// idLen is the part of an entry's name that is the peer id; the address follows.
const idLen = 20

// member is a peer as stored; its id and address are the hash's field.
type member struct {
	Peer    store.Peer `json:"p"`
	Expires int64      `json:"e"` // Unix, ms
}

func encodeMember(p store.Peer, expires time.Time) ([]byte, error) {
	p.ID, p.IP = "", "" // ids are no text
	return json.Marshal(member{p, expires.UnixMilli()})
}

func decodeMember(entry string, js string) (m member, err error) {
	if len(entry) < idLen {
		return m, fmt.Errorf("malformed peer in the tracker store")
	}
	err = json.Unmarshal([]byte(js), &m)
	m.Peer.ID, m.Peer.IP = entry[:idLen], entry[idLen:]
	return m, err
}

type keys struct{ peers, down, seeds, paused, done string }

func keysOf(h content.InfoHash) keys {
	s := string(h[:])
	return keys{prefix + "p:" + s, prefix + "d:" + s, prefix + "s:" + s, prefix + "q:" + s, prefix + "n:" + s}
}

// Announce implements store.Store, in three round trips for all updates: look,
// change and list, read the peers.
func (s *Store) Announce(ctx context.Context, ups []store.Update, now time.Time) ([]store.Swarm, error) {
	if len(ups) == 0 {
		return nil, nil
	}
	out := make([]store.Swarm, len(ups))
	type look struct {
		prev  *redis.StringCmd
		n     *redis.IntCmd
		known *redis.BoolCmd
	}
	looks := make([]look, len(ups))
	var swarms *redis.IntCmd
	if err := s.pipe(ctx, func(p redis.Pipeliner) {
		swarms = p.SCard(ctx, prefix+"sw")
		for i := range ups {
			k := keysOf(ups[i].InfoHash)
			looks[i] = look{p.HGet(ctx, k.peers, entry(&ups[i].Peer)), p.HLen(ctx, k.peers), p.SIsMember(ctx, prefix+"sw", string(ups[i].InfoHash[:]))}
		}
	}); err != nil {
		return nil, err
	}
	for i, l := range looks {
		switch {
		case ups[i].Stopped:
		case !l.known.Val() && swarms.Val() >= store.MaxSwarms:
			return nil, fmt.Errorf("pack %s: %w (%d packs)", ups[i].InfoHash, store.ErrFull, store.MaxSwarms)
		case l.prev.Val() == "" && l.n.Val() >= store.MaxPeersPerSwarm:
			return nil, fmt.Errorf("pack %s: %w (%d peers)", ups[i].InfoHash, store.ErrFull, store.MaxPeersPerSwarm)
		}
		if l.prev.Val() != "" {
			if m, err := decodeMember(entry(&ups[i].Peer), l.prev.Val()); err == nil {
				out[i].Prev, out[i].Known = m.Peer, true
			}
		}
	}
	type list struct {
		down, seeds, paused *redis.StringSliceCmd
		nd, ns, np          *redis.IntCmd
	}
	lists := make([]list, len(ups))
	if err := s.pipe(ctx, func(p redis.Pipeliner) {
		for i := range ups {
			u, k := &ups[i], keysOf(ups[i].InfoHash)
			s.change(ctx, p, u, k, &out[i], now)
			l := &lists[i]
			if u.Want > 0 {
				l.down = p.ZRange(ctx, k.down, 0, int64(u.Want-1))
				l.seeds, l.paused = p.SRandMemberN(ctx, k.seeds, int64(u.Want)), p.SRandMemberN(ctx, k.paused, int64(u.Want/4))
			}
			l.nd, l.ns, l.np = p.ZCard(ctx, k.down), p.SCard(ctx, k.seeds), p.SCard(ctx, k.paused)
		}
	}); err != nil {
		return nil, err
	}
	reads := make([]*redis.SliceCmd, len(ups))
	names := make([][]string, len(ups))
	if err := s.pipe(ctx, func(p redis.Pipeliner) {
		for i, l := range lists {
			out[i].Complete, out[i].Incomplete = int(l.ns.Val()), int(l.nd.Val()+l.np.Val())
			if ups[i].Want <= 0 {
				continue
			}
			seeds := append(l.seeds.Val(), l.paused.Val()...)
			down := l.down.Val()
			if limit := max(ups[i].Want-min(len(seeds), ups[i].Want/4), 1); len(down) > limit {
				down = down[:limit]
			}
			if room := ups[i].Want - len(down); len(seeds) > room {
				// The server's choice is random, its order is not.
				rand.Shuffle(len(seeds), func(a, b int) { seeds[a], seeds[b] = seeds[b], seeds[a] })
				seeds = seeds[:room]
			}
			if names[i] = append(down, seeds...); len(names[i]) > 0 {
				reads[i] = p.HMGet(ctx, keysOf(ups[i].InfoHash).peers, names[i]...)
			}
		}
	}); err != nil {
		return nil, err
	}
	for i, r := range reads {
		if r == nil {
			continue
		}
		for j, v := range r.Val() {
			js, ok := v.(string)
			if !ok {
				continue
			}
			m, err := decodeMember(names[i][j], js)
			if err != nil || m.Expires <= now.UnixMilli() || m.Peer.Seed() && m.Peer.Port == 0 {
				continue
			}
			out[i].Peers = append(out[i].Peers, m.Peer)
		}
	}
	return out, nil
}

func entry(p *store.Peer) string { return p.ID + p.IP }

// change queues what one update does to its swarm.
func (s *Store) change(ctx context.Context, p redis.Pipeliner, u *store.Update, k keys, prev *store.Swarm, now time.Time) {
	e := entry(&u.Peer)
	p.ZRem(ctx, k.down, e)
	p.SRem(ctx, k.seeds, e)
	p.SRem(ctx, k.paused, e)
	if u.Stopped {
		p.HDel(ctx, k.peers, e)
		return
	}
	js, err := encodeMember(u.Peer, now.Add(u.TTL))
	if err != nil {
		return
	}
	p.SAdd(ctx, prefix+"sw", string(u.InfoHash[:]))
	p.HSet(ctx, k.peers, e, js)
	switch {
	case u.Peer.Left == 0:
		p.SAdd(ctx, k.seeds, e)
	case u.Peer.Paused:
		p.SAdd(ctx, k.paused, e)
	default:
		// A score is a float64: the order's upper 53 bits, then by name.
		p.ZAdd(ctx, k.down, redis.Z{Score: float64(store.Order(u.Peer.ID) >> 11), Member: e})
	}
	if prev.Known && prev.Prev.Left > 0 && u.Peer.Left == 0 {
		p.Incr(ctx, k.done)
	}
	for _, key := range []string{k.peers, k.down, k.seeds, k.paused, k.done} {
		p.Expire(ctx, key, keep)
	}
}

// pipe runs a pipeline; an absent key is no error.
func (s *Store) pipe(ctx context.Context, f func(redis.Pipeliner)) error {
	p := s.c.Pipeline()
	f(p)
	if p.Len() == 0 {
		return nil
	}
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	return nil
}

// Scrape implements store.Store.
func (s *Store) Scrape(ctx context.Context, hashes []content.InfoHash, now time.Time) ([]store.Counts, error) {
	type cmds struct {
		d, s, q *redis.IntCmd
		n       *redis.StringCmd
	}
	all := make([]cmds, len(hashes))
	if err := s.pipe(ctx, func(p redis.Pipeliner) {
		for i, h := range hashes {
			k := keysOf(h)
			all[i] = cmds{p.ZCard(ctx, k.down), p.SCard(ctx, k.seeds), p.SCard(ctx, k.paused), p.Get(ctx, k.done)}
		}
	}); err != nil {
		return nil, err
	}
	out := make([]store.Counts, len(hashes))
	for i, c := range all {
		out[i] = store.Counts{Complete: int(c.s.Val()), Incomplete: int(c.d.Val() + c.q.Val()), Downloaded: int(number(c.n.Val()))}
	}
	return out, nil
}

// luaDrop removes a peer if its entry is still the one seen.
var luaDrop = redis.NewScript(`
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1]); redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('SREM', KEYS[3], ARGV[1]); redis.call('SREM', KEYS[4], ARGV[1])
end
return 0`)

func (s *Store) sweepPeers(ctx context.Context, now time.Time) error {
	hashes, err := s.c.SMembers(ctx, prefix+"sw").Result()
	if err != nil {
		return err
	}
	for _, raw := range hashes {
		if len(raw) != len(content.InfoHash{}) {
			continue
		}
		k := keysOf(content.InfoHash([]byte(raw)))
		peers, err := s.c.HGetAll(ctx, k.peers).Result()
		if err != nil {
			return err
		}
		left := len(peers)
		for e, js := range peers {
			if m, err := decodeMember(e, js); err == nil && m.Expires > now.UnixMilli() {
				continue
			}
			if err := luaDrop.Run(ctx, s.c, []string{k.peers, k.down, k.seeds, k.paused}, e, js).Err(); err != nil {
				return err
			}
			left--
		}
		if left == 0 {
			if err := s.c.SRem(ctx, prefix+"sw", raw).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}
