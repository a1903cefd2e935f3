package engine

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/anacrolix/torrent"

	"github.com/prsync/prsync/internal/content"
)

// A pack of a GiB costs 3 MB and a loop, and a volunteer seeds as many as its
// mirror has: they sleep. Of one asleep there is what announces need. It wakes
// when a peer connects for it, or something of it is asked for, and falls
// asleep again when nobody has been there for Config.Idle. What describes it
// comes from the client that seeds it, so that the host need not be there.

// sleeper is a pack that is asleep; guarded by Engine.mu, but for what its
// tracker keeps.
type sleeper struct {
	hash  content.InfoHash
	tr    *tracker
	seeds []*sessionSeed

	// Guarded by tracker.mu.
	last      content.AnnouncePack // what a pack that was awake last told
	admission *admission
	knocked   bool // as in door
}

// sessionSeed is what a client seeds of a pack, awake or asleep.
type sessionSeed struct {
	owner *session
	held  []byte // bit field by entry
}

// on is the seed for a pack that is awake.
func (ss *sessionSeed) on(p *pack) *seed {
	cache := &seedFileCache{
		open:  func(id content.ID) (*os.File, error) { return ss.owner.open(p.meta.InfoHash, id) },
		ids:   func(entry int) content.ID { return p.meta.Entries[entry].ID },
		files: map[int]*seedFile{},
	}
	return &seed{
		owner: ss.owner, rest: ss,
		held:  func(entry int) bool { return entry/8 < len(ss.held) && ss.held[entry/8]&(0x80>>(entry%8)) != 0 },
		read:  cache.read,
		close: cache.close,
	}
}

// seedAsleep takes a client's seed in place of the one it gave before. A pack
// that is not awake stays asleep.
func (e *Engine) seedAsleep(tr *tracker, h content.InfoHash, ss *sessionSeed) {
	e.mu.Lock()
	if p := e.packs[h]; p != nil {
		p.use()
		e.mu.Unlock()
		p.addSeed(ss.on(p))
		return
	}
	sl := e.asleep[h]
	if sl == nil {
		sl = &sleeper{hash: h, tr: tr, last: content.AnnouncePack{InfoHash: string(h[:])}}
		e.asleep[h] = sl
		tr.addSleeper(sl)
	}
	sl.seeds = append(without(sl.seeds, ss.owner), ss)
	e.mu.Unlock()
	sl.tr.poke()
	if e.cfg.Sleep {
		return
	}
	if err := e.awaken(sl); err != nil {
		e.log.Warn("swarm: cannot seed", "pack", h, "err", err)
	}
}

// unseed ends a client's seed of a pack.
func (e *Engine) unseed(h content.InfoHash, owner *session) {
	e.mu.Lock()
	p, sl := e.packs[h], e.asleep[h]
	if sl != nil {
		if sl.seeds = without(sl.seeds, owner); len(sl.seeds) == 0 {
			delete(e.asleep, h)
			sl.tr.removeSleeper(sl)
		}
	}
	e.mu.Unlock()
	if p != nil {
		p.removeSeed(owner)
	}
}

func without(all []*sessionSeed, owner *session) []*sessionSeed {
	var rest []*sessionSeed
	for _, ss := range all {
		if ss.owner != owner {
			rest = append(rest, ss)
		}
	}
	return rest
}

// sleep puts a pack to sleep for which nobody has come for long. It returns
// false when somebody has meanwhile.
func (p *pack) sleep() bool {
	e := p.e
	p.mu.Lock()
	rest := p.mayRest()
	p.mu.Unlock()
	if !rest {
		return false
	}
	sl := &sleeper{hash: p.meta.InfoHash, tr: p.tr, last: p.announcePack(), admission: p.door.admission.Load()}
	sl.last.BadPeers, sl.last.Corrupt, sl.last.Event = nil, 0, ""
	e.mu.Lock()
	p.mu.Lock()
	if p.gone || e.closed || !p.mayRest() {
		p.mu.Unlock()
		e.mu.Unlock()
		return false
	}
	p.gone = true
	seeds := p.seeds
	p.seeds = nil
	p.mu.Unlock()
	for _, sd := range seeds {
		sl.seeds = append(sl.seeds, sd.rest)
	}
	delete(e.packs, sl.hash)
	e.byTor.Delete(p.t)
	p.t.Drop() // before it can be added again
	e.asleep[sl.hash] = sl
	p.tr.asleep(p, sl)
	e.mu.Unlock()
	p.end()
	for _, sd := range seeds {
		sd.close()
	}
	p.spill.close()
	e.log.Debug("swarm: pack asleep", "pack", p.meta.Name)
	return true
}

// mayRest reports whether nothing but seeds of clients, for which nobody has
// come lately, keeps the pack awake. p.mu is held.
func (p *pack) mayRest() bool {
	for _, sd := range p.seeds {
		if sd.rest == nil {
			return false
		}
	}
	return p.e.cfg.Sleep && len(p.slots) == 0 && p.left <= 0 && len(p.seeds) > 0 && p.idle() > p.e.cfg.Idle
}

// wakeFor is called with each handshake that a peer has made, before the
// library looks for its torrent.
func (e *Engine) wakeFor(c *torrent.PeerConn, h content.InfoHash) {
	e.mu.Lock()
	sl := e.asleep[h]
	e.mu.Unlock()
	if sl == nil || !sl.tr.admitsTo(sl, peerOf(c)) {
		return
	}
	if err := e.awaken(sl); err != nil {
		e.log.Warn("swarm: pack stays asleep", "pack", h, "err", err)
	}
}

// awaken makes a pack of a sleeper.
func (e *Engine) awaken(sl *sleeper) error {
	e.mu.Lock()
	seeds := sl.seeds
	e.mu.Unlock()
	err := errors.New("nobody seeds it")
	for _, ss := range seeds {
		var meta *content.Pack
		if meta, err = ss.owner.describe(sl.hash); err == nil {
			_, err = e.pack(meta, sl.tr)
			return err
		}
	}
	return err
}

// rise gives a new pack what a sleeper was. Engine.mu is held.
func (p *pack) rise(sl *sleeper) {
	p.tr.mu.Lock()
	p.door.admission.Store(sl.admission)
	p.tr.mu.Unlock()
	for _, ss := range sl.seeds {
		p.seeds = append(p.seeds, ss.on(p))
	}
	for i := range p.pieces {
		p.pieces[i].complete = p.seeded(i)
	}
}

// describe gets a pack's metainfo from the client that seeds it.
func (s *session) describe(h content.InfoHash) (*content.Pack, error) {
	f, err := s.open(h, content.ID{})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, content.MaxMetainfo+1))
	if err != nil {
		return nil, err
	}
	meta, err := content.ParseMetainfo(b)
	if err == nil && meta.InfoHash != h {
		err = fmt.Errorf("the client describes pack %s", meta.InfoHash)
	}
	return meta, err
}

// unknown tells those who seed the sleeper that the host does not know it. It
// is called with tracker.mu held, and takes Engine.mu later.
func (sl *sleeper) unknown() {
	e := sl.tr.e
	e.spawn(func() {
		e.mu.Lock()
		seeds := sl.seeds
		e.mu.Unlock()
		for _, ss := range seeds {
			ss.owner.unknown(sl.hash)
		}
	})
}

// What a tracker knows of sleepers.

func (t *tracker) addSleeper(sl *sleeper) {
	t.mu.Lock()
	t.packs[sl.hash] = &announced{hash: sl.hash, rest: sl}
	t.mu.Unlock()
}

// removeSleeper takes a sleeper off the list; the host is told that it has
// stopped.
func (t *tracker) removeSleeper(sl *sleeper) {
	t.mu.Lock()
	if a := t.packs[sl.hash]; a != nil && a.rest == sl {
		delete(t.packs, sl.hash)
		if last := sl.last; len(t.gone) < content.MaxAnnouncePacks {
			last.Event = content.EventStopped
			t.gone = append(t.gone, last)
		}
	}
	t.mu.Unlock()
	t.poke()
}

// asleep keeps what the host was told about a pack, which does not change.
func (t *tracker) asleep(p *pack, sl *sleeper) {
	t.mu.Lock()
	if a := t.packs[sl.hash]; a != nil && a.p == p {
		a.p, a.rest, a.peers = nil, sl, nil
	}
	t.mu.Unlock()
}

// admitsTo reports whether a peer may wake the pack. The host may have listed
// one who may not, by now: it is asked.
func (t *tracker) admitsTo(sl *sleeper, k peerKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if sl.admission.admits(k) {
		return true
	}
	sl.knocked = true
	t.poke()
	return false
}
