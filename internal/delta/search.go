package delta

import (
	"bytes"

	"github.com/prsync/prsync/internal/delta/checksum"
)

// maxChain is how many blocks with the same rolling sum are compared at one
// offset; what lies beyond is sent as literal data. Images full of equal
// blocks would otherwise cost the square of their size.
// rsync 3.5.0 match.c:MAX_CHAIN_LEN
const maxChain = 1024

// SearchConfig is how one file is searched.
type SearchConfig struct {
	// Sums is how the strong sums of the blocks were made.
	Sums checksum.Config
	// File takes in the bytes of the file, those before the start of an
	// AppendTail excepted. nil computes no sum.
	File checksum.FileHash
	// InPlace says that the receiver overwrites its basis: only blocks that it
	// has not yet overwritten may be used.
	InPlace bool
	Append  Append
	// Progress, unless nil, is called now and then with the number of bytes
	// of the source that are done.
	Progress func(off int64)
	// Matched, unless nil, is called with each block that is found: its index,
	// its place in the source, its length, and the end of the block before it.
	Matched func(i int32, off, n, last int64)
}

// Stats counts what a search did. HashHits counts the offsets whose rolling
// sum passed the filter, FalseAlarms the strong sums that then differed.
type Stats struct {
	HashHits, FalseAlarms, Matches int64
	// Literal and Matched are bytes.
	Literal, Matched int64
}

// Add adds the counts of o to s.
func (s *Stats) Add(o Stats) {
	s.HashHits += o.HashHits
	s.FalseAlarms += o.FalseAlarms
	s.Matches += o.Matches
	s.Literal += o.Literal
	s.Matched += o.Matched
}

// Searcher finds the blocks of a basis in files. Its memory is reused from
// file to file; the zero Searcher is ready.
type Searcher struct {
	src  *Window
	sig  *Signature
	cfg  SearchConfig
	out  Output
	rng  RangeOutput // out, when it is one
	t    table
	same []bool // InPlace: block lies at the same offset in both files

	stats Stats
	want  int32 // the block after the last match
	last  int64 // end of what has been sent
	// matchEnd is the end of the last match.
	matchEnd int64

	strong    [checksum.MaxLen]byte
	strongAt  int64 // offset that strong belongs to, -1 for none
	strongLen int
}

// Search sends src to out as literals and blocks of sig. A nil sig, or one
// without blocks, sends it all as literals. The end of the file and its sum are
// left to the caller. A source that cannot be read is sent as zeros, and
// src.Err then tells why: the caller spoils the sum (see SpoilSum). Any error
// returned is one of out.
// rsync 3.5.0 match.c:match_sums
func (s *Searcher) Search(src *Window, sig *Signature, cfg SearchConfig, out Output) (Stats, error) {
	s.src, s.sig, s.cfg, s.out = src, sig, cfg, out
	s.rng, _ = out.(RangeOutput)
	s.stats, s.want, s.last, s.matchEnd, s.strongAt = Stats{}, 0, 0, 0, -1
	var err error
	switch {
	case sig != nil && cfg.Append != AppendOff:
		s.skipPrefix()
		err = s.literals(src.size)
	case sig != nil && sig.Head.Count > 0 && src.size > 0:
		err = s.blocks()
	default:
		err = s.literals(src.size)
	}
	s.src, s.sig, s.out, s.rng, s.cfg = nil, nil, nil, nil, SearchConfig{}
	return s.stats, err
}

// SpoilSum turns a file sum into one that no receiver can have computed, which
// is how a sender tells that it could not read all of the file.
// rsync 3.5.0 match.c:match_sums
func SpoilSum(sum []byte) {
	zero := true
	for _, b := range sum {
		zero = zero && b == 0
	}
	clear(sum)
	if zero && len(sum) > 0 {
		sum[len(sum)-1] = 1
	}
}

// skipPrefix passes over what the receiver says it has. It cannot have more
// than there is.
func (s *Searcher) skipPrefix() {
	end := min(s.sig.Head.FileLen(), s.src.size)
	if s.cfg.Append == AppendVerify && s.cfg.File != nil {
		for off := int64(0); off < end; {
			b := s.src.Bytes(off, int(min(windowLen, end-off)))
			s.cfg.File.Write(b)
			off += int64(len(b))
			s.progress(off)
		}
	}
	s.last = end
}

// literals sends everything up to end.
func (s *Searcher) literals(end int64) error {
	for s.last < end {
		b := s.src.Bytes(s.last, int(min(windowLen, end-s.last)))
		if err := s.literal(b); err != nil {
			return err
		}
	}
	return nil
}

// literal sends b, the bytes from s.last on.
func (s *Searcher) literal(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if s.cfg.File != nil {
		s.cfg.File.Write(b)
	}
	off := s.last
	s.last += int64(len(b))
	s.stats.Literal += int64(len(b))
	var err error
	if s.rng != nil {
		err = s.rng.LiteralRange(off, b)
	} else {
		err = s.out.Literal(b)
	}
	s.progress(s.last)
	return err
}

// match sends block i, whose bytes are data.
func (s *Searcher) match(i int32, data []byte) error {
	if s.cfg.File != nil {
		s.cfg.File.Write(data)
	}
	if s.cfg.Matched != nil {
		s.cfg.Matched(i, s.last, int64(len(data)), s.matchEnd)
	}
	s.want = i + 1
	s.last += int64(len(data))
	s.matchEnd = s.last
	s.stats.Matches++
	s.stats.Matched += int64(len(data))
	err := s.out.Match(i, data)
	s.progress(s.last)
	return err
}

func (s *Searcher) progress(off int64) {
	if s.cfg.Progress != nil {
		s.cfg.Progress(off)
	}
}

// blocks is the search proper. rsync 3.5.0 match.c:hash_search
//
// Whole blocks are looked for at every offset where one fits. The last block,
// when it is shorter, can only match the very end of the source.
func (s *Searcher) blocks() error {
	head, size := s.sig.Head, s.src.size
	s.t.build(s.sig.weak)
	s.same = s.same[:0]
	if s.cfg.InPlace {
		s.same = zeroed(s.same, int(head.Count))
	}
	k := int(head.BlockLen)
	stretch := int64(max(windowLen, 4*k))
	for s.last+int64(k) <= size {
		b := s.src.Bytes(s.last, int(min(stretch, size-s.last)))
		if err := s.stretch(b, k); err != nil {
			return err
		}
	}
	if tail := head.lastLen(); tail < int64(k) && s.last+tail <= size {
		if err := s.literals(size - tail); err != nil {
			return err
		}
		b := s.src.Bytes(size-tail, int(tail))
		i := head.Count - 1
		if s.sig.weak[i] == checksum.Rolling(b) {
			s.stats.HashHits++
			if !s.usable(i, s.last) {
				// Already overwritten.
			} else if s.equal(i, b, s.last) {
				return s.match(i, b)
			} else {
				s.stats.FalseAlarms++
			}
		}
	}
	return s.literals(size)
}

// stretch searches b, the bytes from s.last on, and sends all of them but those
// that belong to a block that may begin in b and end beyond it.
func (s *Searcher) stretch(b []byte, k int) error {
	base := s.last
	atEnd := base+int64(len(b)) == s.src.size
	sent := 0 // of b
	r := rollerOf(checksum.Rolling(b[:k]))
	for at := 0; ; {
		n, moved, hit := s.t.scan(b[at:], k, r)
		at, r = at+n, moved
		if hit {
			s.stats.HashHits++
			i, to, ok := s.find(b, base, at, k, r.sum())
			if i == needMore {
				// Leave the offset to the next stretch, which begins with it
				// and is long enough.
				return s.literal(b[sent:at])
			}
			if ok {
				if err := s.literal(b[sent:to]); err != nil {
					return err
				}
				sent = to + k
				if err := s.match(i, b[to:sent]); err != nil {
					return err
				}
				at = sent
				if at+k > len(b) {
					return nil
				}
				r = rollerOf(checksum.Rolling(b[at : at+k]))
				continue
			}
		}
		if at+k == len(b) {
			break
		}
		r.roll(b[at], b[at+k], uint32(k))
		at++
	}
	end := len(b) - k + 1
	if atEnd {
		// No whole block fits behind; blocks looks at the tail.
		end = max(end, sent)
	}
	return s.literal(b[sent:end])
}

// needMore is the block that find returns when b is too short to tell.
const needMore = -2

// find returns a block equal to the k bytes at b[at:], whose rolling sum is
// sum, and the offset in b at which it is to be used.
func (s *Searcher) find(b []byte, base int64, at, k int, sum uint32) (i int32, to int, ok bool) {
	off, data := base+int64(at), b[at:at+k]
	if w := s.want; !s.cfg.InPlace && w < s.sig.Head.Count && s.sig.weak[w] == sum && s.whole(w) &&
		s.equal(w, data, off) {
		// Blocks that follow each other are the common case, and the cheapest
		// to encode.
		return w, at, true
	}
	slot := s.t.slot(sum)
	if !slot.used {
		return 0, 0, false
	}
	prev := &slot.head
	for seen, i := 0, *prev; i >= 0; i = s.t.next[i] {
		if !s.usable(i, off) {
			// Offsets only grow: it will never be usable again.
			*prev = s.t.next[i]
			continue
		}
		prev = &s.t.next[i]
		if seen++; seen > maxChain {
			break
		}
		if !s.whole(i) {
			continue
		}
		if !s.equal(i, data, off) {
			s.stats.FalseAlarms++
			continue
		}
		if s.cfg.InPlace {
			if j, to, ok := s.align(i, b, base, at, k, sum); j == needMore || ok {
				return j, to, ok
			}
		}
		if w := s.want; w != i && w < s.sig.Head.Count && s.usable(w, off) &&
			s.sig.weak[w] == sum && s.whole(w) && s.equal(w, data, off) {
			i = w
		}
		return i, at, true
	}
	return 0, 0, false
}

// align prefers, while a basis is overwritten, the block that lies where the
// data goes: nothing has to be written then. A run of zeros inside another run
// of zeros even waits for the next such place.
func (s *Searcher) align(i int32, b []byte, base int64, at, k int, sum uint32) (int32, int, bool) {
	off := base + int64(at)
	n := (off + int64(k) - 1) / int64(k)
	place := n * int64(k)
	if n >= int64(s.sig.Head.Count) {
		return 0, 0, false
	}
	a := int32(n)
	if place != off && (sum != 0 || place+int64(k) > s.src.size) {
		return 0, 0, false
	}
	if a != i && (s.sig.weak[a] != sum || !s.whole(a) || !s.equal(a, b[at:at+k], off)) {
		return 0, 0, false
	}
	to := int(place - base)
	if to != at {
		if to+k > len(b) {
			return needMore, 0, false
		}
		if data := b[to : to+k]; checksum.Rolling(data) != s.sig.weak[a] || !s.equal(a, data, place) {
			return 0, 0, false
		}
	}
	s.same[a] = true
	return a, to, true
}

// usable reports whether block i may be used at offset off of the source.
func (s *Searcher) usable(i int32, off int64) bool {
	return !s.cfg.InPlace || int64(i)*int64(s.sig.Head.BlockLen) >= off || s.same[i]
}

// whole reports whether block i is as long as the others.
func (s *Searcher) whole(i int32) bool {
	return i != s.sig.Head.Count-1 || s.sig.Head.lastLen() == int64(s.sig.Head.BlockLen)
}

// equal compares the strong sum of data, at offset off, with that of block i.
func (s *Searcher) equal(i int32, data []byte, off int64) bool {
	if s.strongAt != off || s.strongLen != len(data) {
		s.cfg.Sums.Block(s.strong[:0], data)
		s.strongAt, s.strongLen = off, len(data)
	}
	return bytes.Equal(s.strong[:s.sig.Head.S2Len], s.sig.strongAt(i))
}
