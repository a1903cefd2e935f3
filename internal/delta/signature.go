package delta

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/prsync/prsync/internal/delta/checksum"
)

// Signature is what a sender holds of the basis: the sums of its blocks.
type Signature struct {
	Head   SumHead
	weak   []uint32
	strong []byte // Head.S2Len bytes per block
}

// recordBatch is how many bytes of sums are moved at once.
const recordBatch = 32 << 10

// ReadSignature reads the sums that follow head on the wire: for each block
// its rolling sum and the first S2Len bytes of its strong sum. Memory grows
// with what arrives, not with what head promises. head must have passed Check.
// rsync 3.5.0 sender.c:receive_sums
func ReadSignature(r io.Reader, head SumHead) (*Signature, error) {
	s := &Signature{Head: head}
	rec := 4 + int(head.S2Len)
	batch := make([]byte, min(max(recordBatch/rec, 1), max(int(head.Count), 1))*rec)
	for left := int(head.Count); left > 0; {
		n := min(left, len(batch)/rec)
		b := batch[:n*rec]
		if m, err := io.ReadFull(r, b); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("reading the sums of %d blocks, at block %d: %w",
				head.Count, int(head.Count)-left+m/rec, err)
		}
		for ; len(b) > 0; b = b[rec:] {
			s.weak = append(s.weak, binary.LittleEndian.Uint32(b))
			s.strong = append(s.strong, b[4:rec]...)
		}
		left -= n
	}
	return s, nil
}

// strongAt returns the strong sum of block i as far as it was sent.
func (s *Signature) strongAt(i int32) []byte {
	n := int(s.Head.S2Len)
	return s.strong[int(i)*n : int(i)*n+n]
}

// Sign writes the sums of the blocks of the basis to w as ReadSignature reads
// them, a batch of blocks per Write. The length of basis must be that of head.
// A basis that cannot be read is taken as zeros; see Window.Err.
// rsync 3.5.0 generator.c:generate_and_send_sums
func Sign(basis *Window, head SumHead, cfg checksum.Config, w io.Writer) error {
	batch := make([]byte, 0, recordBatch)
	var sum [checksum.MaxLen]byte
	for i := range head.Count {
		off, n := head.Block(i)
		b := basis.Bytes(off, n)
		batch = binary.LittleEndian.AppendUint32(batch, checksum.Rolling(b))
		batch = append(batch, cfg.Block(sum[:0], b)[:head.S2Len]...)
		if len(batch)+checksum.MaxLen > recordBatch {
			if _, err := w.Write(batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	if len(batch) > 0 {
		_, err := w.Write(batch)
		return err
	}
	return nil
}
