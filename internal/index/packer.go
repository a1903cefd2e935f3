package index

import (
	"crypto/sha1"
	"fmt"
	"hash"
	"sort"

	"github.com/prsync/prsync/internal/content"
)

// A pack is laid out while its contents arrive, in the order of their paths.
// One of a piece or more starts at the next piece boundary. Smaller ones fill
// what is left of pieces that are not full, oldest first; failing that they
// run on at the end of the blob, or open a new piece there. Every byte is
// hashed as it arrives: of a piece that is not full only the state of its hash
// is held.
type packer struct {
	pieceLength int64
	length      int64
	pieces      []byte
	open        []openPiece // ascending
	placed      []placed
	bytes       int64 // of the contents
}

type openPiece struct {
	index int64
	fill  int64
	sha   hash.Hash
}

type placed struct {
	content.Entry
	ref uint32 // the content's index among those of this generation
}

// maxOpen bounds the pieces held open; the one with the least room goes first.
const maxOpen = 64

// place appends a content that was read and returns its offset.
func (p *packer) place(j *reading, ref uint32) int64 {
	var off int64
	if j.got.Size >= p.pieceLength {
		off = p.placeLarge(j)
	} else {
		off = p.placeSmall(j.body)
	}
	p.placed = append(p.placed, placed{content.Entry{ID: j.id, Offset: off, Length: j.got.Size}, ref})
	p.bytes += j.got.Size
	return off
}

func (p *packer) placeLarge(j *reading) int64 {
	off := int64(len(p.pieces)/20) * p.pieceLength
	p.pieces = append(p.pieces, j.pieces...)
	p.length = off + j.got.Size
	if j.tail != nil {
		p.openPiece(j.got.Size%p.pieceLength, j.tail)
	}
	return off
}

func (p *packer) openPiece(fill int64, sha hash.Hash) {
	p.open = append(p.open, openPiece{int64(len(p.pieces) / 20), fill, sha})
	p.pieces = append(p.pieces, make([]byte, 20)...)
	if len(p.open) > maxOpen {
		// Never the last one: the blob may go on in it.
		full := 0
		for i := range p.open[:maxOpen] {
			if p.open[i].fill > p.open[full].fill {
				full = i
			}
		}
		p.close(full, true)
	}
}

// close completes an open piece, with zero bytes unless it ends the blob.
func (p *packer) close(i int, pad bool) {
	o := p.open[i]
	if pad {
		writeZeros(o.sha, p.pieceLength-o.fill)
	}
	copy(p.pieces[20*o.index:], o.sha.Sum(nil))
	p.open = append(p.open[:i], p.open[i+1:]...)
}

func (p *packer) placeSmall(body []byte) int64 {
	for i := range p.open {
		if p.pieceLength-p.open[i].fill >= int64(len(body)) {
			return p.add(i, body)
		}
	}
	last := len(p.open) - 1
	if last >= 0 && p.open[last].index == int64(len(p.pieces)/20)-1 {
		room := p.pieceLength - p.open[last].fill
		off := p.add(last, body[:room])
		p.openPiece(0, sha1.New())
		p.add(len(p.open)-1, body[room:])
		return off
	}
	p.openPiece(0, sha1.New())
	return p.add(len(p.open)-1, body)
}

func (p *packer) add(i int, b []byte) int64 {
	o := &p.open[i]
	off := o.index*p.pieceLength + o.fill
	o.sha.Write(b)
	o.fill += int64(len(b))
	p.length = max(p.length, off+int64(len(b)))
	if o.fill == p.pieceLength {
		p.close(i, false)
	}
	return off
}

var zeros [16 << 10]byte

func writeZeros(h hash.Hash, n int64) {
	for n > 0 {
		k := min(n, int64(len(zeros)))
		h.Write(zeros[:k])
		n -= k
	}
}

// finish returns the completed pack.
func (p *packer) finish(name string) (*content.Pack, error) {
	pieces := int64(len(p.pieces) / 20)
	for len(p.open) > 0 {
		p.close(0, p.open[0].index < pieces-1)
	}
	sort.Slice(p.placed, func(i, j int) bool { return p.placed[i].Offset < p.placed[j].Offset })
	pack := &content.Pack{
		Name: name, Length: p.length, PieceLength: p.pieceLength, Pieces: p.pieces,
		Entries: make([]content.Entry, len(p.placed)),
	}
	for i := range p.placed {
		pack.Entries[i] = p.placed[i].Entry
	}
	pack.Seal()
	if err := pack.Check(); err != nil {
		return nil, fmt.Errorf("pack %s: %w", name, err)
	}
	return pack, nil
}

// plan cuts what is to be packed into packs of about equal size, from the
// sizes alone, before anything is read: the length of the pieces must be known
// by then.
type plan struct {
	target int64 // bytes of a pack
	giant  int64 // size from which a content gets a pack of its own
	number int   // of the current pack
	alone  bool  // the current pack is a giant
	bytes  int64
	count  int
}

func newPlan(total, target int64) *plan {
	packs := max(1, (total+target/2)/target)
	return &plan{target: total/packs + 1, giant: target}
}

// next returns the pack that a content of the given size goes to, and the
// length of its pieces.
func (p *plan) next(size int64) (number int, pieceLength int64) {
	giant := size >= p.giant
	if p.count > 0 && (giant || p.alone || p.bytes >= p.target || p.count >= content.MaxMetainfoContents) {
		p.number++
		p.bytes, p.count = 0, 0
	}
	p.alone = giant
	p.bytes += size
	p.count++
	if giant {
		return p.number, content.PieceLengthFor(size)
	}
	return p.number, content.PieceLengthFor(p.target)
}
