package store

import (
	"encoding/binary"
	"sync"

	"github.com/prsync/prsync/internal/content"
)

// holdings is the set of (content, volunteer slot) pairs: contents are
// interned by shard, and each has a row of bits, one per volunteer. A million
// contents with up to 64 volunteers take about 90 MB.
type holdings struct {
	shards [256]holdingShard
}

type holdingShard struct {
	mu    sync.RWMutex
	rows  map[content.ID]uint32
	bits  []uint64 // stride words per row
	free  []uint32
	width int // stride
}

func (h *holdings) init() {
	for i := range h.shards {
		h.shards[i].rows = map[content.ID]uint32{}
		h.shards[i].width = 1
	}
}

func (h *holdings) shard(id *content.ID) *holdingShard { return &h.shards[id[0]] }

// widen makes room for n volunteers.
func (h *holdings) widen(n int) {
	words := (n + 63) / 64
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		if words > s.width {
			rows := len(s.bits) / s.width
			bits := make([]uint64, rows*words)
			for r := range rows {
				copy(bits[r*words:], s.bits[r*s.width:(r+1)*s.width])
			}
			s.bits, s.width = bits, words
		}
		s.mu.Unlock()
	}
}

// get appends the row of id to dst, nothing when no one holds it.
func (h *holdings) get(id content.ID, dst []uint64) []uint64 {
	s := h.shard(&id)
	s.mu.RLock()
	if r, ok := s.rows[id]; ok {
		dst = append(dst, s.bits[int(r)*s.width:(int(r)+1)*s.width]...)
	}
	s.mu.RUnlock()
	return dst
}

// change sets or clears the slot's bit for each of the concatenated ids and
// returns by how many contents the volunteer holds more.
func (h *holdings) change(slot int, ids []byte, hold bool) (n int) {
	const size = len(content.ID{})
	word, bit := slot/64, uint64(1)<<(slot%64)
	for ; len(ids) >= size; ids = ids[size:] {
		id := content.ID(ids[:size])
		s := h.shard(&id)
		s.mu.Lock()
		r, ok := s.rows[id]
		switch {
		case hold:
			if !ok {
				r = s.alloc()
				s.rows[id] = r
			}
			if p := &s.bits[int(r)*s.width+word]; *p&bit == 0 {
				*p |= bit
				n++
			}
		case ok:
			if p := &s.bits[int(r)*s.width+word]; *p&bit != 0 {
				*p &^= bit
				n--
				s.release(id, r)
			}
		}
		s.mu.Unlock()
	}
	return n
}

// clear removes the slot from every content.
func (h *holdings) clear(slot int) {
	word, bit := slot/64, uint64(1)<<(slot%64)
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		for id, r := range s.rows {
			if p := &s.bits[int(r)*s.width+word]; *p&bit != 0 {
				*p &^= bit
				s.release(id, r)
			}
		}
		s.mu.Unlock()
	}
}

// alloc returns a row of zeros; s.mu is held.
func (s *holdingShard) alloc() uint32 {
	if n := len(s.free); n > 0 {
		r := s.free[n-1]
		s.free = s.free[:n-1]
		return r
	}
	r := uint32(len(s.bits) / s.width)
	for range s.width {
		s.bits = append(s.bits, 0)
	}
	return r
}

// release frees the row when no one holds the content any more; s.mu is held.
func (s *holdingShard) release(id content.ID, r uint32) {
	for _, w := range s.bits[int(r)*s.width : (int(r)+1)*s.width] {
		if w != 0 {
			return
		}
	}
	delete(s.rows, id)
	s.free = append(s.free, r)
}

// size returns the words per row and the number of contents someone holds.
// Nothing may change meanwhile, nor in append and put.
func (h *holdings) size() (width, rows int) {
	for i := range h.shards {
		rows += len(h.shards[i].rows)
	}
	return h.shards[0].width, rows
}

// append encodes every content with its row.
func (h *holdings) append(buf []byte) []byte {
	for i := range h.shards {
		s := &h.shards[i]
		for id, r := range s.rows {
			buf = append(buf, id[:]...)
			for _, w := range s.bits[int(r)*s.width : (int(r)+1)*s.width] {
				buf = binary.LittleEndian.AppendUint64(buf, w)
			}
		}
	}
	return buf
}

// put is the inverse of append for one content.
func (h *holdings) put(id content.ID, width int, bits []byte) {
	s := h.shard(&id)
	r := s.alloc()
	s.rows[id] = r
	for w := range width {
		s.bits[int(r)*s.width+w] = binary.LittleEndian.Uint64(bits[8*w:])
	}
}
