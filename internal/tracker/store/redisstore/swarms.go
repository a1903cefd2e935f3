package redisstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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

// A peer is stored under its id and address as
//
//	byte 0       class: d (downloads), s (seed), q (paused), as its sets go
//	byte 1       Paused, 0 or 1
//	bytes 2…3    port
//	bytes 4…51   expiry (Unix, ms), left, uploaded, downloaded, origin, corrupt
//	rest         the volunteer's name
//
// with all numbers big endian.
const (
	classDown   = 'd'
	classSeed   = 's'
	classPaused = 'q'
	memberSize  = 4 + 6*8
)

// member is a peer as stored; its id and address are the hash's field.
type member struct {
	Peer    store.Peer
	Expires int64 // Unix, ms
}

func class(p *store.Peer) byte {
	switch {
	case p.Left == 0:
		return classSeed
	case p.Paused:
		return classPaused
	}
	return classDown
}

func encodeMember(p *store.Peer, expires time.Time) []byte {
	b := make([]byte, 0, memberSize+len(p.Name))
	b = append(b, class(p), 0)
	if p.Paused {
		b[1] = 1
	}
	b = binary.BigEndian.AppendUint16(b, p.Port)
	for _, n := range []int64{expires.UnixMilli(), p.Left, p.Uploaded, p.Downloaded, p.Origin, p.Corrupt} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, p.Name...)
}

func decodeMember(entry, value string) (m member, err error) {
	if len(entry) < idLen || len(value) < memberSize {
		return m, errors.New("malformed peer in the tracker store")
	}
	var n [6]int64
	for i := range n {
		for _, c := range []byte(value[4+8*i : 12+8*i]) {
			n[i] = n[i]<<8 | int64(c)
		}
	}
	m.Expires = n[0]
	m.Peer = store.Peer{
		ID: entry[:idLen], IP: entry[idLen:], Port: uint16(value[2])<<8 | uint16(value[3]), Paused: value[1] != 0, Name: value[memberSize:],
		Left: n[1], Uploaded: n[2], Downloaded: n[3], Origin: n[4], Corrupt: n[5],
	}
	return m, nil
}

type keys struct{ peers, down, seeds, paused, done string }

func keysOf(h content.InfoHash) keys {
	s := string(h[:])
	return keys{prefix + "p:" + s, prefix + "d:" + s, prefix + "s:" + s, prefix + "q:" + s, prefix + "n:" + s}
}

// luaAnnounce records one peer in one swarm and lists the others. One call
// instead of some twenty is what lets a host take ten thousand announces a
// second. A peer that announces the same as before costs one write.
//
// ARGV: prefix, info hash, entry, value ("" when it leaves), score among those
// that download, peers wanted, seconds to keep, limits of swarms and peers, and the version of
// the list that the host has.
// It returns -1 or -2 for a limit that was reached, else the value before,
// how many seed, how many do not, the version of the list, and the peers if
// the host has another version: one string with the lengths of name (one byte)
// and value (two), name, value. A list of them would be hundreds of strings to
// send and to read.
var luaAnnounce = redis.NewScript(`
local P, h, e, v = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local want = tonumber(ARGV[6])
local kp, kn, kg = P..'p:'..h, P..'n:'..h, P..'g:'..h
local sets = {d = P..'d:'..h, s = P..'s:'..h, q = P..'q:'..h}
local prev = redis.call('HGET', kp, e)
local was = prev and string.sub(prev, 1, 1) or ''
local is = string.sub(v, 1, 1)
if was ~= is and prev then
  redis.call('ZREM', sets.d, e)
  redis.call('SREM', sets.s, e)
  redis.call('SREM', sets.q, e)
end
if v == '' then
  if prev then
    redis.call('HDEL', kp, e)
    redis.call('INCR', kg)
  end
else
  if not prev then
    if redis.call('SADD', P..'sw', h) == 1 and redis.call('SCARD', P..'sw') > tonumber(ARGV[8]) then
      redis.call('SREM', P..'sw', h)
      return -1
    end
    if redis.call('HLEN', kp) >= tonumber(ARGV[9]) then return -2 end
  end
  redis.call('HSET', kp, e, v)
  if was ~= is then
    if is == 'd' then redis.call('ZADD', sets.d, ARGV[5], e) else redis.call('SADD', sets[is], e) end
    if is == 's' and (was == 'd' or was == 'q') then redis.call('INCR', kn) end
  end
  -- Others see class, port and name.
  if was ~= is or string.sub(prev, 2, 4) ~= string.sub(v, 2, 4) or string.sub(prev, 53) ~= string.sub(v, 53) then
    if redis.call('INCR', kg) == 1 then
      local t = redis.call('TIME')
      redis.call('SET', kg, t[1]..string.format('%06d', t[2])) -- never a version that was
    end
  end
  local keep = tonumber(ARGV[7])
  if was ~= is or redis.call('TTL', kp) < keep / 2 then
    for _, k in ipairs({kp, sets.d, sets.s, sets.q, kn, kg}) do redis.call('EXPIRE', k, keep) end
  end
end
local nd, ns, nq = redis.call('ZCARD', sets.d), redis.call('SCARD', sets.s), redis.call('SCARD', sets.q)
local version = redis.call('GET', kg) or ''
if want <= 0 or version ~= '' and version == ARGV[10] then return {prev, ns, nd + nq, version} end
if nd + ns + nq == 0 then return {prev, ns, nd + nq, version, ''} end
-- A quarter of the answer is for seeds, if there are so many.
local quarter = math.floor(want / 4)
local paused = math.min(nq, quarter)
local names = redis.call('ZRANGE', sets.d, 0, math.max(want - math.min(ns + paused, quarter), 1) - 1)
local room, seeds = want - #names, ns
if ns + paused > room then
  version = '' -- a choice that is not to be kept
  paused = math.floor(room * paused / (ns + paused))
  seeds = room - paused
end
for _, l in ipairs({{sets.s, seeds}, {sets.q, paused}}) do
  if l[2] > 0 then
    for _, n in ipairs(redis.call('SRANDMEMBER', l[1], l[2])) do names[#names + 1] = n end
  end
end
if #names == 0 then return {prev, ns, nd + nq, version, ''} end
local list, values = {}, redis.call('HMGET', kp, unpack(names))
for i, n in ipairs(names) do
  local value = values[i]
  if value then
    list[#list + 1] = string.char(#n, math.floor(#value / 256), #value % 256)
    list[#list + 1] = n
    list[#list + 1] = value
  end
end
return {prev, ns, nd + nq, version, table.concat(list)}`)

// Announce implements store.Store, in one round trip with others that come at
// the same time.
func (s *Store) Announce(ctx context.Context, ups []store.Update, now time.Time) ([]store.Swarm, error) {
	if len(ups) == 0 {
		return nil, nil
	}
	out := make([]store.Swarm, len(ups))
	have := make([]*list, len(ups))
	args := make([][]any, len(ups))
	for i := range ups {
		u := &ups[i]
		var value []byte
		if !u.Stopped {
			value = encodeMember(&u.Peer, now.Add(u.TTL))
		}
		version := ""
		if have[i] = s.lists.get(u.InfoHash, u.Want, now); have[i] != nil {
			version = have[i].version
		}
		// A score is a float64: the order's upper 53 bits, then by name.
		args[i] = []any{prefix, u.InfoHash[:], entry(&u.Peer), value, store.Order(u.Peer.ID) >> 11, u.Want,
			int(keep.Seconds()), store.MaxSwarms, store.MaxPeersPerSwarm, version}
	}
	answers, err := s.announces.run(ctx, args)
	if err != nil {
		return nil, err
	}
	for i, answer := range answers {
		switch n, _ := answer.(int64); n {
		case -1:
			return nil, fmt.Errorf("pack %s: %w (%d packs)", ups[i].InfoHash, store.ErrFull, store.MaxSwarms)
		case -2:
			return nil, fmt.Errorf("pack %s: %w (%d peers)", ups[i].InfoHash, store.ErrFull, store.MaxPeersPerSwarm)
		}
		l, err := readSwarm(&out[i], &ups[i], answer, have[i], now)
		if err != nil {
			return nil, err
		}
		if l != nil && l != have[i] {
			s.lists.put(ups[i].InfoHash, l)
		}
	}
	return out, nil
}

// readSwarm reads what luaAnnounce returned, and the peers from there or from
// the list that the host has already.
func readSwarm(out *store.Swarm, u *store.Update, answer any, have *list, now time.Time) (*list, error) {
	fields, _ := answer.([]any)
	if len(fields) < 4 {
		return nil, fmt.Errorf("tracker store: unexpected answer %T", answer)
	}
	if prev, ok := fields[0].(string); ok {
		if m, err := decodeMember(entry(&u.Peer), prev); err == nil {
			out.Prev, out.Known = m.Peer, true
		}
	}
	complete, _ := fields[1].(int64)
	incomplete, _ := fields[2].(int64)
	out.Complete, out.Incomplete = int(complete), int(incomplete)
	if u.Want <= 0 {
		return nil, nil
	}
	l := have
	if len(fields) > 4 {
		peers, _ := fields[4].(string)
		version, _ := fields[3].(string)
		l = readList(version, peers, u.Want, now)
	}
	if l == nil {
		return nil, errors.New("tracker store: an answer without peers")
	}
	for i := range l.members {
		if m := &l.members[i]; m.Expires > now.UnixMilli() && !(m.Peer.Seed() && m.Peer.Port == 0) {
			out.Peers = append(out.Peers, m.Peer)
		}
	}
	return l, nil
}

func entry(p *store.Peer) string { return p.ID + p.IP }

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
  if redis.call('EXISTS', KEYS[5]) == 1 then redis.call('INCR', KEYS[5]) end
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
			if err := luaDrop.Run(ctx, s.c, []string{k.peers, k.down, k.seeds, k.paused, prefix + "g:" + raw}, e, js).Err(); err != nil {
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
