package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker/store"
	"github.com/redis/go-redis/v9"
)

const (
	updateTime = time.Minute
	// updateLapse is longer than an update may take: a slot is never reused
	// while someone may still write to it.
	updateLapse = 2 * time.Minute
	perTrip     = 4000 // commands in one pipeline
)

// luaFresh gives a volunteer a fresh slot, retires the old one and returns it.
var luaFresh = redis.NewScript(`
local p, name = ARGV[1], ARGV[2]
if redis.call('HEXISTS', p..'v', name) == 0 then return -1 end
local old = redis.call('HGET', p..'slotof', name)
if old then redis.call('HDEL', p..'slots', old); redis.call('SADD', p..'retired', old) end
local slot = redis.call('SPOP', p..'free')
if not slot then slot = redis.call('INCR', p..'next') - 1 end
redis.call('HSET', p..'slotof', name, slot)
redis.call('HSET', p..'slots', slot, name)
redis.call('HSET', p..'ver', name, 0)
redis.call('HSET', p..'cnt', name, 0)
redis.call('INCR', p..'epoch')
return tonumber(slot)`)

// luaForget removes a volunteer.
var luaForget = redis.NewScript(`
local p, name = ARGV[1], ARGV[2]
local old = redis.call('HGET', p..'slotof', name)
if old then redis.call('HDEL', p..'slots', old); redis.call('SADD', p..'retired', old) end
for _, k in ipairs({'v', 'ver', 'cnt', 'more', 'iss', 'first', 'slotof'}) do redis.call('HDEL', p..k, name) end
return redis.call('INCR', p..'epoch')`)

// luaClear clears the bit ARGV[1] of the keys, deletes those without bits and
// returns how many bits were set.
var luaClear = redis.NewScript(`
local n = 0
for _, k in ipairs(KEYS) do
  if redis.call('EXISTS', k) == 1 then
    n = n + redis.call('SETBIT', k, ARGV[1], 0)
    if redis.call('BITCOUNT', k) == 0 then redis.call('DEL', k) end
  end
end
return n`)

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, name string, h *content.Holdings) (int64, error) {
	const size = len(content.ID{})
	if len(h.Added)%size != 0 || len(h.Dropped)%size != 0 {
		return 0, fmt.Errorf("holdings of %s: length is not a multiple of %d bytes", name, size)
	}
	ctx, cancel := context.WithTimeout(ctx, updateTime)
	defer cancel()
	unlock, err := s.lock(ctx, "holdings:"+name, updateLapse)
	if err != nil {
		return 0, err
	}
	defer unlock()
	var slot int
	if h.Base == 0 {
		if slot, err = luaFresh.Run(ctx, s.c, nil, prefix, name).Int(); err != nil {
			return 0, err
		}
	} else {
		ver, err := s.c.HGet(ctx, prefix+"ver", name).Int64()
		if errors.Is(err, redis.Nil) {
			ver, err = 0, nil
		}
		if err != nil || ver != h.Base {
			return ver, err
		}
		if slot, err = s.c.HGet(ctx, prefix+"slotof", name).Int(); errors.Is(err, redis.Nil) {
			slot = -1
		} else if err != nil {
			return 0, err
		}
	}
	if slot < 0 {
		return 0, fmt.Errorf("holdings of %s: %w", name, store.ErrUnknown)
	}
	n, err := s.clear(ctx, slot, h.Dropped)
	if err != nil {
		return 0, err
	}
	m, err := s.set(ctx, slot, h.Added)
	if err != nil {
		return 0, err
	}
	_, err = s.c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, prefix+"ver", name, h.Version)
		p.HSet(ctx, prefix+"more", name, h.More)
		p.HIncrBy(ctx, prefix+"cnt", name, m-n)
		return nil
	})
	return h.Version, err
}

func (s *Store) set(ctx context.Context, slot int, ids []byte) (changed int64, err error) {
	const size = len(content.ID{})
	for len(ids) > 0 {
		part := ids[:min(len(ids), perTrip*size)]
		ids = ids[len(part):]
		cmds, err := s.c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for ; len(part) > 0; part = part[size:] {
				p.SetBit(ctx, holdKey(part[:size]), int64(slot), 1)
			}
			return nil
		})
		if err != nil {
			return changed, err
		}
		for _, c := range cmds {
			changed += 1 - c.(*redis.IntCmd).Val()
		}
	}
	return changed, nil
}

func (s *Store) clear(ctx context.Context, slot int, ids []byte) (changed int64, err error) {
	const size = len(content.ID{})
	for len(ids) > 0 {
		var keys []string
		for ; len(ids) > 0 && len(keys) < 1000; ids = ids[size:] {
			keys = append(keys, holdKey(ids[:size]))
		}
		n, err := luaClear.Run(ctx, s.c, keys, slot).Int64()
		if err != nil {
			return changed, err
		}
		changed += n
	}
	return changed, nil
}

func holdKey(id []byte) string { return prefix + "h:" + string(id) }

// Holders implements store.Store.
func (s *Store) Holders(ctx context.Context, id content.ID, dst []string) ([]string, error) {
	// Both in one command: a slot's bits and its owner belong together.
	both, err := s.c.MGet(ctx, holdKey(id[:]), prefix+"epoch").Result()
	if err != nil || len(both) != 2 {
		return dst, err
	}
	b, _ := both[0].(string)
	if b == "" {
		return dst, nil
	}
	epoch, _ := both[1].(string)
	slots, err := s.names(ctx, epoch)
	if err != nil {
		return dst, err
	}
	for i := 0; i < len(b); i++ {
		for k := 0; b[i]<<k != 0 && k < 8; k++ {
			if b[i]<<k&0x80 != 0 {
				if n := slots[i*8+k]; n != "" {
					dst = append(dst, n)
				}
			}
		}
	}
	return dst, nil
}

// names returns the volunteers by slot, as of the epoch or later.
func (s *Store) names(ctx context.Context, epoch string) (map[int]string, error) {
	s.mu.Lock()
	slots, known := s.slots, s.epoch == epoch
	s.mu.Unlock()
	if known {
		return slots, nil
	}
	var all *redis.MapStringStringCmd
	var now *redis.StringCmd
	if _, err := s.c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		all, now = p.HGetAll(ctx, prefix+"slots"), p.Get(ctx, prefix+"epoch")
		return nil
	}); err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	slots = make(map[int]string, len(all.Val()))
	for k, n := range all.Val() {
		if i, err := strconv.Atoi(k); err == nil {
			slots[i] = n
		}
	}
	s.mu.Lock()
	s.slots, s.epoch = slots, now.Val()
	s.mu.Unlock()
	return slots, nil
}

// Forget implements store.Store.
func (s *Store) Forget(ctx context.Context, name string) error {
	unlock, err := s.lock(ctx, "holdings:"+name, updateLapse)
	if err != nil {
		return err
	}
	defer unlock()
	return luaForget.Run(ctx, s.c, nil, prefix, name).Err()
}

// Sweep implements store.Store. Of several hosts one does it at a time.
func (s *Store) Sweep(ctx context.Context, volTTL time.Duration, now time.Time) error {
	unlock, err := s.lock(ctx, "sweep", 5*time.Minute)
	if err != nil {
		return err
	}
	defer unlock()
	vols, err := s.Volunteers(ctx)
	if err != nil {
		return err
	}
	for _, v := range vols {
		if now.Sub(v.Seen) > volTTL {
			if err := s.Forget(ctx, v.Name); err != nil {
				return err
			}
		}
	}
	if err := s.sweepPeers(ctx, now); err != nil {
		return err
	}
	retired, err := s.c.SMembers(ctx, prefix+"retired").Result()
	if err != nil {
		return err
	}
	for _, slot := range retired {
		n, err := strconv.Atoi(slot)
		if err != nil {
			continue
		}
		if err := s.sweepSlot(ctx, n); err != nil {
			return err
		}
		if err := s.c.SMove(ctx, prefix+"retired", prefix+"free", slot).Err(); err != nil {
			return err
		}
	}
	return nil
}

// sweepSlot clears the slot's bit in every content.
func (s *Store) sweepSlot(ctx context.Context, slot int) error {
	var cursor uint64
	for {
		keys, next, err := s.c.Scan(ctx, cursor, prefix+"h:*", 1000).Result()
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			if err := luaClear.Run(ctx, s.c, keys, slot).Err(); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
