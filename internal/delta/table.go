package delta

import (
	"math/bits"
	"math/rand/v2"
)

// table finds the blocks with a given rolling sum.
//
// Nearly every offset of a changed stretch has a sum that no block has, so a
// bitmap, small enough for the processor's cache, answers first. Behind it an
// open-addressed table leads from a sum to the chain of the blocks that share
// it, highest index first. The multiplier is random, so that nobody can choose
// sums that pile up.
type table struct {
	filter []uint64
	shift  uint32 // of the hash, to index a bit of filter
	mult   uint32
	slots  []slot
	mask   uint32
	next   []int32 // the chain: block to block, -1 ends it
}

type slot struct {
	sum  uint32
	head int32 // -1: chain emptied; the slot stays
	used bool
}

// build fills t with the rolling sums of all blocks, reusing its memory.
func (t *table) build(weak []uint32) {
	n := len(weak)
	t.mult = rand.Uint32()<<1 | 1
	if t.mult < 1<<30 {
		t.mult |= 1 << 30
	}
	// 32 to 64 bits a block, 8 KiB to 2 MiB in all.
	order := min(max(bits.Len(uint(n))+5, 16), 24)
	t.shift = uint32(32 - order)
	t.filter = zeroed(t.filter, 1<<order/64)
	size := 1 << max(bits.Len(uint(n))+1, 4)
	t.mask = uint32(size - 1)
	t.slots = zeroed(t.slots, size)
	t.next = zeroed(t.next, n)
	for i, sum := range weak {
		h := sum * t.mult >> t.shift
		t.filter[h>>6] |= 1 << (h & 63)
		s := t.slot(sum)
		if !s.used {
			*s = slot{sum: sum, head: -1, used: true}
		}
		t.next[i] = s.head
		s.head = int32(i)
	}
}

// slot returns the slot of sum, or the unused one where it would be.
func (t *table) slot(sum uint32) *slot {
	h := sum * t.mult
	for i := h ^ h>>15; ; i++ {
		s := &t.slots[i&t.mask]
		if !s.used || s.sum == sum {
			return s
		}
	}
}

func zeroed[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}
