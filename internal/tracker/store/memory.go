package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// Memory is the store of a single host: see Open for the durable form. The
// zero value is not usable; New makes one.
type Memory struct {
	swarms   swarms
	holdings holdings

	mu         sync.RWMutex // guards the maps below and the volunteers in them
	volunteers map[string]*volunteer
	bySlot     []*volunteer // nil: free

	// gate is held for reading by every change that the journal records, and
	// for writing while a snapshot is taken. It comes before all other locks.
	gate    sync.RWMutex
	journal *journal // nil without a state dir
	dir     string
}

type volunteer struct {
	Volunteer
	slot   int
	issued int64
	// update serializes deltas of one volunteer; it is taken before mu.
	update sync.Mutex
}

// New returns an empty store that lives in memory only.
func New() *Memory {
	m := &Memory{volunteers: map[string]*volunteer{}}
	m.swarms.init()
	m.holdings.init()
	return m
}

// Announce implements Store.
func (m *Memory) Announce(ctx context.Context, ups []Update, now time.Time) ([]Swarm, error) {
	out := make([]Swarm, len(ups))
	for i := range ups {
		var err error
		if out[i], err = m.swarms.announce(&ups[i], now); err != nil {
			return nil, err
		}
	}
	return out, ctx.Err()
}

// Scrape implements Store.
func (m *Memory) Scrape(ctx context.Context, hashes []content.InfoHash, now time.Time) ([]Counts, error) {
	out := make([]Counts, len(hashes))
	for i, h := range hashes {
		out[i] = m.swarms.scrape(h)
	}
	return out, ctx.Err()
}

// PutVolunteer implements Store.
func (m *Memory) PutVolunteer(ctx context.Context, v Volunteer) (int64, error) {
	m.gate.RLock()
	defer m.gate.RUnlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.volunteers[v.Name]
	if old == nil {
		var err error
		if old, err = m.add(v.Name); err != nil {
			return 0, err
		}
		old.First = v.Seen
		m.journal.volunteer(&v)
	}
	first, version, contents, more := old.First, old.Version, old.Contents, old.More
	old.Volunteer = v
	old.First, old.Version, old.Contents, old.More = first, version, contents, more
	old.Confirmed = true
	return version, ctx.Err()
}

// Stop implements Store.
func (m *Memory) Stop(ctx context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.volunteers[name]; v != nil {
		v.Stopped = true
	}
	return ctx.Err()
}

// add makes room for a volunteer; m.mu is held.
func (m *Memory) add(name string) (*volunteer, error) {
	slot := -1
	for i, v := range m.bySlot {
		if v == nil {
			slot = i
			break
		}
	}
	if slot < 0 {
		if len(m.bySlot) >= MaxVolunteers {
			return nil, fmt.Errorf("volunteer %s: %w (%d volunteers)", name, ErrFull, MaxVolunteers)
		}
		slot = len(m.bySlot)
		m.bySlot = append(m.bySlot, nil)
		m.holdings.widen(len(m.bySlot))
	}
	v := &volunteer{slot: slot, Volunteer: Volunteer{Name: name}}
	m.bySlot[slot] = v
	m.volunteers[name] = v
	return v, nil
}

// Volunteers implements Store.
func (m *Memory) Volunteers(ctx context.Context) ([]Volunteer, error) {
	m.mu.RLock()
	out := make([]Volunteer, 0, len(m.volunteers))
	for _, v := range m.volunteers {
		out = append(out, v.Volunteer)
	}
	m.mu.RUnlock()
	sortVolunteers(out)
	return out, ctx.Err()
}

// Forget implements Store.
func (m *Memory) Forget(ctx context.Context, name string) error {
	m.gate.RLock()
	defer m.gate.RUnlock()
	m.mu.RLock()
	v := m.volunteers[name]
	m.mu.RUnlock()
	if v == nil {
		return ctx.Err()
	}
	v.update.Lock()
	defer v.update.Unlock()
	m.mu.Lock()
	if m.volunteers[name] != v {
		m.mu.Unlock()
		return nil
	}
	m.journal.forget(name)
	delete(m.volunteers, name)
	// The slot stays taken until its bits are clear, by someone without a name.
	m.bySlot[v.slot] = &volunteer{slot: v.slot}
	m.mu.Unlock()
	m.holdings.clear(v.slot)
	m.mu.Lock()
	m.bySlot[v.slot] = nil
	m.mu.Unlock()
	return ctx.Err()
}

// Update implements Store.
func (m *Memory) Update(ctx context.Context, name string, h *content.Holdings) (int64, error) {
	if len(h.Added)%len(content.ID{}) != 0 || len(h.Dropped)%len(content.ID{}) != 0 {
		return 0, fmt.Errorf("holdings of %s: length is not a multiple of %d bytes", name, len(content.ID{}))
	}
	m.gate.RLock()
	defer m.gate.RUnlock()
	m.mu.RLock()
	v := m.volunteers[name]
	m.mu.RUnlock()
	if v == nil {
		return 0, fmt.Errorf("holdings of %s: %w", name, ErrUnknown)
	}
	v.update.Lock()
	defer v.update.Unlock()
	m.mu.RLock()
	known, gone := v.Version, m.volunteers[name] != v
	m.mu.RUnlock()
	if gone {
		return 0, nil
	}
	if h.Base != 0 && h.Base != known {
		return known, nil
	}
	m.journal.delta(name, h)
	m.apply(v, h)
	return h.Version, ctx.Err()
}

// apply changes the holdings of v; v.update is held.
func (m *Memory) apply(v *volunteer, h *content.Holdings) {
	if h.Base == 0 {
		m.holdings.clear(v.slot)
	}
	n := m.holdings.change(v.slot, h.Dropped, false)
	n += m.holdings.change(v.slot, h.Added, true)
	m.mu.Lock()
	if h.Base == 0 {
		v.Contents = 0
	}
	v.Contents += int64(n)
	v.Version, v.More = h.Version, h.More != 0
	m.mu.Unlock()
}

// Holders implements Store.
func (m *Memory) Holders(ctx context.Context, id content.ID, dst []string) ([]string, error) {
	var buf [4]uint64
	words := m.holdings.get(id, buf[:0])
	m.mu.RLock()
	for w, bits := range words {
		for b := 0; bits != 0; b++ {
			if bits&1 != 0 {
				if s := w*64 + b; s < len(m.bySlot) && m.bySlot[s] != nil && m.bySlot[s].Name != "" {
					dst = append(dst, m.bySlot[s].Name)
				}
			}
			bits >>= 1
		}
	}
	m.mu.RUnlock()
	return dst, ctx.Err()
}

// Issued implements Store.
func (m *Memory) Issued(ctx context.Context, add map[string]int64) (map[string]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]int64, len(m.volunteers))
	for n, v := range m.volunteers {
		v.issued += add[n]
		out[n] = v.issued
	}
	return out, ctx.Err()
}

// Sweep implements Store.
func (m *Memory) Sweep(ctx context.Context, volTTL time.Duration, now time.Time) error {
	m.swarms.sweep(now)
	vols, err := m.Volunteers(ctx)
	for _, v := range vols {
		if err == nil && now.Sub(v.Seen) > volTTL {
			err = m.Forget(ctx, v.Name)
		}
	}
	return err
}
