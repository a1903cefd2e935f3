// Package redisstore keeps tracker state in Redis or Valkey, so that several
// central hosts share it: whichever host an announce reaches, all route by it.
// A single server or one behind a proxy; not a cluster, since scripts touch
// several keys.
//
// Keys, all under the prefix "prsync:":
//
//	v      hash: volunteer name → JSON of store.Volunteer
//	ver, cnt, more, iss, slotof   hashes by name: version of holdings, number
//	       of contents, statement unfinished, bytes redirected, slot
//	slots  hash: slot → name;  epoch: counts changes of slots
//	next   next new slot;  free, retired: sets of slots
//	h:ID   bit string: bit s is set when the volunteer in slot s holds ID
//	sw     set of info hashes with peers
//	p:H    hash: peer id + address → the peer (swarms.go)
//	d:H    sorted set of those that download, by store.Order
//	s:H, q:H   sets of seeds (Left is 0) and of paused ones
//	n:H    completed downloads;  g:H  version of what others see of the peers
//	lock:… taken while one host changes a volunteer's holdings or sweeps
//
// A volunteer that states everything anew gets a fresh slot, so that the old
// statement vanishes at once; the old slot is reused after a sweep has cleared
// its bit everywhere.
package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/tracker/store"
	"github.com/redis/go-redis/v9"
)

const (
	prefix  = "prsync:"
	timeout = 3 * time.Second // of one round trip
)

// Store is a store.Store in Redis. It is safe for concurrent use.
type Store struct {
	c         *redis.Client
	lists     lists
	announces batch

	mu    sync.Mutex
	epoch string         // of slots
	slots map[int]string // slot → name
}

var _ store.Store = (*Store)(nil)

// Open connects to the server at url (redis://[user:password@]host:port/db,
// rediss:// or unix://).
func Open(ctx context.Context, url string) (*Store, error) {
	opt, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("tracker store: %w", err)
	}
	opt.DialTimeout, opt.ReadTimeout, opt.WriteTimeout = timeout, timeout, timeout
	opt.ContextTimeoutEnabled = true
	// Errors are returned; the library would also print them.
	redis.SetLogger(quiet{})
	s := &Store{c: redis.NewClient(opt), epoch: "-"}
	s.announces.c, s.announces.script = s.c, luaAnnounce
	if err := s.c.Ping(ctx).Err(); err != nil {
		s.c.Close()
		return nil, fmt.Errorf("tracker store at %s: %w; is Redis or Valkey running there?", opt.Addr, err)
	}
	return s, nil
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// Save implements store.Store; the server does it.
func (s *Store) Save(ctx context.Context) error { return ctx.Err() }

// Close implements store.Store.
func (s *Store) Close() error {
	s.announces.close()
	return s.c.Close()
}

// luaPut records a volunteer unless there are too many and returns its version.
var luaPut = redis.NewScript(`
local p = ARGV[1]
local old = redis.call('HGET', p..'v', ARGV[2])
if not old and redis.call('HLEN', p..'v') >= tonumber(ARGV[5]) then return -1 end
local first = redis.call('HGET', p..'first', ARGV[2])
if not old then
  redis.call('HSET', p..'first', ARGV[2], ARGV[4])
  redis.call('HSET', p..'iss', ARGV[2], 0)
end
redis.call('HSET', p..'v', ARGV[2], ARGV[3])
return tonumber(redis.call('HGET', p..'ver', ARGV[2]) or 0)`)

// PutVolunteer implements store.Store.
func (s *Store) PutVolunteer(ctx context.Context, v store.Volunteer) (int64, error) {
	js, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	n, err := luaPut.Run(ctx, s.c, nil, prefix, v.Name, js, v.Seen.UnixNano(), store.MaxVolunteers).Int64()
	if err == nil && n < 0 {
		return 0, fmt.Errorf("volunteer %s: %w (%d volunteers)", v.Name, store.ErrFull, store.MaxVolunteers)
	}
	return n, err
}

// Stop implements store.Store.
func (s *Store) Stop(ctx context.Context, name string) error {
	js, err := s.c.HGet(ctx, prefix+"v", name).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	var v store.Volunteer
	if err != nil || json.Unmarshal(js, &v) != nil {
		return err
	}
	v.Stopped = true
	if js, err = json.Marshal(v); err != nil {
		return err
	}
	return s.c.HSet(ctx, prefix+"v", name, js).Err()
}

// Volunteers implements store.Store.
func (s *Store) Volunteers(ctx context.Context) ([]store.Volunteer, error) {
	var vol, ver, cnt, more, first *redis.MapStringStringCmd
	if _, err := s.c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		vol, ver, cnt = p.HGetAll(ctx, prefix+"v"), p.HGetAll(ctx, prefix+"ver"), p.HGetAll(ctx, prefix+"cnt")
		more, first = p.HGetAll(ctx, prefix+"more"), p.HGetAll(ctx, prefix+"first")
		return nil
	}); err != nil {
		return nil, err
	}
	out := make([]store.Volunteer, 0, len(vol.Val()))
	for name, js := range vol.Val() {
		var v store.Volunteer
		if err := json.Unmarshal([]byte(js), &v); err != nil {
			return nil, fmt.Errorf("volunteer %s in the tracker store: %w", name, err)
		}
		v.Version = number(ver.Val()[name])
		v.Contents = number(cnt.Val()[name])
		v.More = number(more.Val()[name]) != 0
		v.First = time.Unix(0, number(first.Val()[name])).In(v.Seen.Location())
		v.Confirmed = true
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b store.Volunteer) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // "" counts as 0
	return n
}

// luaIssued adds to totals of known volunteers and returns all.
var luaIssued = redis.NewScript(`
local p = ARGV[1]
for i = 2, #ARGV, 2 do
  if redis.call('HEXISTS', p..'v', ARGV[i]) == 1 then redis.call('HINCRBY', p..'iss', ARGV[i], ARGV[i+1]) end
end
return redis.call('HGETALL', p..'iss')`)

// Issued implements store.Store.
func (s *Store) Issued(ctx context.Context, add map[string]int64) (map[string]int64, error) {
	args := []any{prefix}
	for n, b := range add {
		args = append(args, n, b)
	}
	list, err := luaIssued.Run(ctx, s.c, nil, args...).StringSlice()
	if err != nil {
		return nil, err
	}
	out := make(map[string]int64, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		out[list[i]] = number(list[i+1])
	}
	return out, nil
}

// lock takes the named lock, waiting while another holds it; unlock releases
// it. It lapses after a time, so that a dead host blocks no one for long.
func (s *Store) lock(ctx context.Context, name string, lapse time.Duration) (unlock func(), err error) {
	token := strconv.FormatInt(time.Now().UnixNano(), 36) + name
	key := prefix + "lock:" + name
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		ok, err := s.c.SetNX(ctx, key, token, lapse).Result()
		if err != nil {
			return nil, err
		}
		if ok {
			return func() {
				luaUnlock.Run(context.WithoutCancel(ctx), s.c, []string{key}, token)
			}, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

var luaUnlock = redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)
