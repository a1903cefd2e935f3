package delta

// roller is the rolling sum of the block at one offset.
// Only the low 16 bits of s1 and s2 count.
type roller struct{ s1, s2 uint32 }

func rollerOf(sum uint32) roller { return roller{sum & 0xffff, sum >> 16} }

func (r roller) sum() uint32 { return r.s1&0xffff | r.s2<<16 }

// roll moves the sum of k bytes one byte on.
func (r *roller) roll(out, in byte, k uint32) {
	o := uint32(int8(out))
	r.s1 += uint32(int8(in)) - o
	r.s2 += r.s1 - k*o
}

// scan looks at the offsets 0, 1, … of b, where r is the sum of b[:k], and
// returns the first whose sum may belong to a block, with r moved there. If
// there is none it returns the last offset it may look at, len(b)-k.
func (t *table) scan(b []byte, k int, r roller) (at int, _ roller, hit bool) {
	last := len(b) - k
	out, in := b[:last], b[k:]
	in = in[:len(out)]
	s1, s2 := r.s1, r.s2
	filter, mult, shift, kk := t.filter, t.mult, t.shift&31, uint32(k)
	for i, o := range out {
		h := (s1&0xffff | s2<<16) * mult >> shift
		if filter[h>>6]>>(h&63)&1 != 0 {
			return i, roller{s1, s2}, true
		}
		d := uint32(int8(o))
		s1 += uint32(int8(in[i])) - d
		s2 += s1 - kk*d
	}
	h := (s1&0xffff | s2<<16) * mult >> shift
	return last, roller{s1, s2}, filter[h>>6]>>(h&63)&1 != 0
}
