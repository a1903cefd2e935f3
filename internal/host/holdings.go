package host

import (
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/fsroot"
)

// holdings is what the central host knows that a volunteer holds, as deltas
// against what it acknowledged last. It is for one goroutine.
//
// A version of holdings stands for one generation of each module's index. The
// host answers every announce with the version it has; any other than ours
// means that one of us forgot, and everything is stated anew.
type holdings struct {
	ms   *modules
	file string
	log  *slog.Logger
	now  func() time.Time
	part int // how many contents one announce adds or drops

	acked   acknowledged
	pending struct {
		added, dropped []content.ID
		covers         map[string]int64
		sent           int64 // version of the part that waits for its acknowledgement, 0: none
		parts          bool  // there is something to send, be it nothing at all
	}
}

// acknowledged is kept over restarts.
type acknowledged struct {
	Host    string           `json:"host"`
	Name    string           `json:"name"`
	Version int64            `json:"version"` // 0: nothing was stated
	Covers  map[string]int64 `json:"generations"`
}

// maxPart is holdings.part: an announce has to fit the messages to the engine.
const maxPart = 25000

// newHoldings starts with what a run before has left.
func newHoldings(ms *modules, file, host, name string, log *slog.Logger) *holdings {
	h := &holdings{ms: ms, file: file, log: log, now: time.Now, part: maxPart}
	if b, err := os.ReadFile(file); err == nil {
		if json.Unmarshal(b, &h.acked) != nil || h.acked.Host != host || h.acked.Name != name {
			h.acked = acknowledged{}
		}
	}
	h.acked.Host, h.acked.Name = host, name
	return h
}

// reset makes the next statement a complete one.
func (h *holdings) reset() {
	h.acked.Version, h.acked.Covers = 0, nil
	h.clear()
}

func (h *holdings) clear() {
	p := &h.pending
	p.added, p.dropped, p.covers, p.sent, p.parts = nil, nil, nil, 0, false
}

// next returns what to announce, nil for nothing new.
func (h *holdings) next() *content.Holdings {
	p := &h.pending
	if !p.parts && !h.collect() {
		return nil
	}
	m := &content.Holdings{Base: h.acked.Version, Version: h.acked.Version + 1}
	if m.Base == 0 {
		m.Version = h.now().UnixMilli()
	}
	added := p.added[:min(len(p.added), h.part)]
	dropped := p.dropped[:min(len(p.dropped), h.part-len(added))]
	m.Added, m.Dropped = join(added), join(dropped)
	if len(added) < len(p.added) || len(dropped) < len(p.dropped) {
		m.More = 1
	}
	p.sent = m.Version
	return m
}

// collect finds what changed, false when nothing did.
func (h *holdings) collect() bool {
	mods := h.ms.all()
	for name, gen := range h.acked.Covers {
		if m := h.ms.get(name); m == nil || m.generation() < gen {
			h.reset()
			break
		}
	}
	p := &h.pending
	p.covers = map[string]int64{}
	for _, m := range mods {
		since := h.acked.Covers[m.name]
		if m.generation() == since {
			if since > 0 {
				p.covers[m.name] = since
			}
			continue
		}
		ch, err := m.idx.Load().Changes(since)
		if err != nil {
			h.log.Error("what changed cannot be told", "module", m.name, "error", err)
			p.covers[m.name] = since
			continue
		}
		if ch.Since != since {
			h.reset()
			return h.collect()
		}
		p.covers[m.name] = ch.Version
		p.added = append(p.added, ch.Added...)
		for _, id := range ch.Dropped {
			if !h.elsewhere(m, id) {
				p.dropped = append(p.dropped, id)
			}
		}
	}
	if h.acked.Version == 0 {
		p.dropped = nil
	}
	p.parts = h.acked.Version == 0 || len(p.added)+len(p.dropped) > 0
	if !p.parts {
		h.acked.Covers = p.covers
		h.clear()
	}
	return p.parts
}

// elsewhere tells whether another module holds a content too.
func (h *holdings) elsewhere(not *module, id content.ID) bool {
	for _, m := range h.ms.all() {
		if v := m.view.Load(); m.name != not.name && v != nil && v.Holds(id) {
			return true
		}
	}
	return false
}

// answered takes the version that the host has after an announce, and reports
// whether there is more to say at once.
func (h *holdings) answered(version int64) (more bool) {
	p := &h.pending
	if p.sent == 0 {
		if version != h.acked.Version {
			h.log.Info("the central host knows another state; stating everything", "its_version", version, "ours", h.acked.Version)
			h.reset()
			return true
		}
		return false
	}
	if version != p.sent {
		h.log.Info("the central host did not take a change of holdings; stating everything", "its_version", version, "ours", p.sent)
		h.reset()
		return true
	}
	h.acked.Version, p.sent = version, 0
	n := min(len(p.added), h.part)
	p.dropped = p.dropped[min(len(p.dropped), h.part-n):]
	if p.added = p.added[n:]; len(p.added)+len(p.dropped) > 0 {
		return true
	}
	h.acked.Covers = maps.Clone(p.covers)
	h.clear()
	if b, err := json.Marshal(&h.acked); err == nil {
		if err := fsroot.ReplacePath(h.file, b, 0o644); err != nil {
			h.log.Warn("what the host knows is not kept; a restart will state everything", "error", err)
		}
	}
	return false
}

func join(ids []content.ID) []byte {
	b := make([]byte, 0, len(ids)*len(content.ID{}))
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return b
}
