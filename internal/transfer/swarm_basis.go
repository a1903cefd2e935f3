package transfer

import (
	"bytes"
	"encoding/binary"
	"os"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/fsroot"
)

// matchBasis rolls over the job's basis against the published signature, and
// writes what matches into the temporary file. It returns the ranges that are
// there. The roles are the reverse of rsync's: the sums describe what we want,
// and we search what we have.
func (s *swarmer) matchBasis(j *swarmJob) []content.Range {
	if s.cfg.Signature == nil {
		return nil
	}
	sig, err := s.cfg.Signature(s.ctx, j.id)
	if err != nil || sig == nil || sig.Length != j.t.f.Size || sig.Blocks() == 0 {
		if err != nil {
			s.why(2, j, "no signature: %v", err)
		}
		return nil
	}
	src, err := openBasis(j.basis.look.at, s.r.c)
	if err != nil {
		return nil
	}
	defer src.Close()
	if !s.begin(j) {
		return nil
	}
	m := &matcher{sig: sig, dst: j.w.file, have: make([]bool, sig.Blocks())}
	if err := m.run(src, j.basis.look.st.Size); err != nil {
		j.err = err
		return nil
	}
	have, matched := m.ranges()
	missing := sig.Length - matched
	if cost := piecesCost(have, sig.Length); missing > 0 && matched > 0 && cost > missing+missing/4+cheapDelta {
		s.why(1, j, "%d bytes differ in so many places that the swarm would fetch %d: exact delta", missing, cost)
		j.plain = "cheaper as an exact delta"
		return nil
	}
	s.why(1, j, "%d of %d bytes match %s", matched, sig.Length, j.basis.look.at.shown)
	return have
}

// smallDelta is the size from which it pays to ask the host for a signature: a
// round trip for each file, where the sender's sums travel with the others'.
const smallDelta = 256 << 10

// cheapDelta is what a fetch may cost beyond the bytes that are missing.
const cheapDelta = 64 << 10

// piecesCost estimates the bytes of the pieces that have something missing:
// pieces are fetched whole.
func piecesCost(have []content.Range, length int64) int64 {
	piece := content.PieceLengthFor(length)
	cost, end := int64(0), int64(0) // end of the pieces counted so far
	gap := func(off, to int64) {
		if off >= to {
			return
		}
		first := max(off/piece*piece, end)
		last := min((to+piece-1)/piece*piece, length)
		if last > first {
			cost += last - first
			end = last
		}
	}
	at := int64(0)
	for _, h := range have {
		gap(at, h.Off)
		at = h.End
	}
	gap(at, length)
	return cost
}

// matcher takes the blocks of a signature that are found in a basis.
type matcher struct {
	sig  *content.Signature
	dst  *os.File
	have []bool
}

// strongSums is how the strong sums of published signatures are made.
var strongSums = checksum.Config{Kind: checksum.XXH128}

func (m *matcher) run(src *os.File, size int64) error {
	sums, err := m.sums()
	if err != nil {
		return err
	}
	var search delta.Searcher
	if _, err := search.Search(delta.NewWindow(src, size), sums, delta.SearchConfig{Sums: strongSums}, m); err != nil {
		return err
	}
	return m.repeats()
}

// sums gives the signature the form in which a sender gets it.
func (m *matcher) sums() (*delta.Signature, error) {
	g := m.sig
	head := delta.SumHead{
		Count: int32(g.Blocks()), BlockLen: g.BlockLen, S2Len: g.StrongLen, Remainder: int32(g.Length % int64(g.BlockLen)),
	}
	n := int(g.StrongLen)
	b := make([]byte, 0, g.Blocks()*(4+n))
	for i, r := range g.Rolling {
		b = binary.LittleEndian.AppendUint32(b, r)
		b = append(b, g.Strong[i*n:(i+1)*n]...)
	}
	return delta.ReadSignature(bytes.NewReader(b), head)
}

// Literal passes over what is not wanted.
func (m *matcher) Literal([]byte) error { return nil }

// Match takes a block.
func (m *matcher) Match(i int32, data []byte) error {
	if m.have[i] {
		return nil
	}
	m.have[i] = true
	_, err := m.dst.WriteAt(data, int64(i)*int64(m.sig.BlockLen))
	return err
}

// repeats copies blocks that the content has more than once: the search names
// any one of them.
func (m *matcher) repeats() error {
	n := int(m.sig.StrongLen)
	key := func(i int) string {
		return string(binary.LittleEndian.AppendUint32(m.sig.Strong[i*n:(i+1)*n:(i+1)*n], m.sig.Rolling[i]))
	}
	missing := map[string][]int{}
	for i, ok := range m.have {
		if !ok && m.sig.BlockSize(i) == int64(m.sig.BlockLen) {
			k := key(i)
			missing[k] = append(missing[k], i)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	buf := make([]byte, m.sig.BlockLen)
	for i, ok := range m.have {
		if !ok || m.sig.BlockSize(i) != int64(m.sig.BlockLen) {
			continue
		}
		k := key(i)
		targets := missing[k]
		if targets == nil {
			continue
		}
		delete(missing, k)
		if _, err := m.dst.ReadAt(buf, int64(i)*int64(m.sig.BlockLen)); err != nil {
			return err
		}
		for _, t := range targets {
			m.have[t] = true
			if _, err := m.dst.WriteAt(buf, int64(t)*int64(m.sig.BlockLen)); err != nil {
				return err
			}
		}
	}
	return nil
}

// ranges joins the blocks that are there.
func (m *matcher) ranges() (have []content.Range, bytes int64) {
	for i, ok := range m.have {
		if !ok {
			continue
		}
		off := int64(i) * int64(m.sig.BlockLen)
		end := off + m.sig.BlockSize(i)
		bytes += end - off
		if n := len(have); n > 0 && have[n-1].End == off {
			have[n-1].End = end
		} else {
			have = append(have, content.Range{Off: off, End: end})
		}
	}
	return have, bytes
}

// punchZeros takes the blocks that hold nothing but zeros out of a file
// (--sparse).
func punchZeros(f *os.File, size int64) error {
	const unit = 4096
	w := delta.NewWindow(f, size)
	hole := int64(-1)
	punch := func(end int64) error {
		if hole < 0 {
			return nil
		}
		off := hole
		hole = -1
		return fsroot.PunchHole(f, off, end-off)
	}
	for off := int64(0); off < size; off += unit {
		if allZero(w.Bytes(off, int(min(unit, size-off)))) {
			if hole < 0 {
				hole = off
			}
			continue
		}
		if err := punch(off); err != nil {
			return err
		}
	}
	return punch(size)
}
