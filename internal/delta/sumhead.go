package delta

import (
	"errors"
	"fmt"
	"math"
)

// Limits of rsync 3.5.0 rsync.h.
const (
	// DefaultBlockLen is the block length of files up to its square.
	DefaultBlockLen = 700
	// MaxBlockLen bounds the block length from protocol 30 on.
	MaxBlockLen = 1 << 17
	// OldMaxBlockLen bounds it below protocol 30.
	OldMaxBlockLen = 1 << 29

	maxStrong   = 16 // bytes of a block's strong sum that are ever sent
	shortStrong = 2  // the least of them in a first pass
	strongBias  = 10 // bits of strong sum for safety
)

// SumHead says how the sums of a file were made. It travels before them as
// four int32 in this order. Count is the number of blocks, BlockLen the length
// in bytes of all but the last, S2Len the number of bytes sent of each strong
// sum, and Remainder the length of the last block, or 0 when that is whole.
// The zero SumHead stands for a file without a basis.
type SumHead struct {
	Count, BlockLen, S2Len, Remainder int32
}

// SizeConfig is what the choice of block sizes depends on.
type SizeConfig struct {
	Protocol int
	// BlockSize is --block-size; 0 chooses by the length of the file.
	BlockSize int32
	// DigestLen is the length of the negotiated strong sum in bytes.
	DigestLen int
	// FullSums asks for the longest strong sums, as the second pass over a
	// file that failed its verification does.
	FullSums bool
}

// ErrTooManyBlocks means that a file cannot be described by an int32 count of
// blocks and has to be sent whole.
var ErrTooManyBlocks = errors.New("file has too many blocks to be compared")

// MaxBlock returns the longest block that the protocol allows.
func MaxBlock(protocol int) int32 {
	if protocol < 30 {
		return OldMaxBlockLen
	}
	return MaxBlockLen
}

// SumSizes chooses the block length, about the square root of the file's
// length, and how much of the strong sums is needed to make a false match
// unlikely. rsync 3.5.0 generator.c:sum_sizes_sqroot
func SumSizes(size int64, cfg SizeConfig) (SumHead, error) {
	if size < 0 {
		return SumHead{}, ErrTooManyBlocks
	}
	blen := cfg.BlockSize
	if blen <= 0 {
		blen = blockLen(size, MaxBlock(cfg.Protocol))
	}
	strong := min(maxStrong, cfg.DigestLen)
	if !cfg.FullSums {
		bits := strongBias
		for l := size >> 1; l > 0; l >>= 1 {
			bits += 2
		}
		for c := blen >> 1; c > 0 && bits > 0; c >>= 1 {
			bits--
		}
		// One bit more, less those of the rolling sum, in whole bytes.
		strong = min(max((bits+1-32+7)/8, shortStrong), strong)
	}
	count := size / int64(blen)
	rem := size % int64(blen)
	if rem != 0 {
		count++
	}
	if count > math.MaxInt32 {
		return SumHead{}, ErrTooManyBlocks
	}
	return SumHead{int32(count), blen, int32(strong), int32(rem)}, nil
}

// blockLen returns the square root of size rounded down to a multiple of 8.
func blockLen(size int64, limit int32) int32 {
	if size <= DefaultBlockLen*DefaultBlockLen {
		return DefaultBlockLen
	}
	bit := int64(1)
	for l := size >> 2; l > 0; l >>= 2 {
		bit <<= 1
	}
	if bit >= int64(limit) {
		return limit
	}
	var b int64
	for ; bit >= 8; bit >>= 1 {
		if b |= bit; size < b*b {
			b &^= bit
		}
	}
	return int32(max(b, DefaultBlockLen))
}

// Check validates a head that came from the peer. The errors have rsync's
// words; the caller adds the role in brackets.
// rsync 3.5.0 io.c:read_sum_head
func (h SumHead) Check(protocol, digestLen int) error {
	switch {
	case h.Count < 0:
		return fmt.Errorf("Invalid checksum count %d", h.Count) //nolint:staticcheck // rsync's wording
	case h.BlockLen < 0 || h.BlockLen > MaxBlock(protocol):
		return fmt.Errorf("Invalid block length %d", h.BlockLen) //nolint:staticcheck // rsync's wording
	case h.Count > 0 && h.BlockLen == 0:
		return errors.New("Invalid zero block length") //nolint:staticcheck // rsync's wording
	case h.S2Len < 0 || int(h.S2Len) > digestLen:
		return fmt.Errorf("Invalid checksum length %d", h.S2Len) //nolint:staticcheck // rsync's wording
	case h.Remainder < 0 || h.Remainder > h.BlockLen:
		return fmt.Errorf("Invalid remainder length %d", h.Remainder) //nolint:staticcheck // rsync's wording
	}
	return nil
}

// FileLen returns the length of the file that h describes.
func (h SumHead) FileLen() int64 {
	n := int64(h.Count) * int64(h.BlockLen)
	if h.Count > 0 && h.Remainder != 0 {
		n -= int64(h.BlockLen - h.Remainder)
	}
	return n
}

// Block returns where block i lies in the basis. i must be less than Count.
func (h SumHead) Block(i int32) (off int64, n int) {
	off = int64(i) * int64(h.BlockLen)
	if i == h.Count-1 && h.Remainder != 0 {
		return off, int(h.Remainder)
	}
	return off, int(h.BlockLen)
}

// lastLen returns the length of the last block.
func (h SumHead) lastLen() int64 {
	if h.Remainder != 0 {
		return int64(h.Remainder)
	}
	return int64(h.BlockLen)
}
