package content

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Signature is a content's published block signature: a receiver matches what
// it already holds against it without asking the host to read the file.
// Rolling and strong sums are those of internal/delta over blocks of BlockLen
// bytes: rsync's rolling checksum and the first StrongLen bytes of XXH3-128
// with seed 0, both independent of any connection.
type Signature struct {
	Length    int64
	BlockLen  int32
	StrongLen int32
	// Rolling has one sum per block, the last one over the remainder.
	Rolling []uint32
	// Strong has StrongLen bytes per block.
	Strong []byte
}

// Blocks returns the number of blocks of the content.
func (s *Signature) Blocks() int { return len(s.Rolling) }

// BlockSize returns the length in bytes of block i: BlockLen for all but the
// last.
func (s *Signature) BlockSize(i int) int64 {
	return min(int64(s.BlockLen), s.Length-int64(i)*int64(s.BlockLen))
}

// Limits on a signature.
const (
	MinSignatureBlock  = 512
	MaxSignatureBlock  = 16 << 20
	MaxSignatureBlocks = 1 << 24
	MinSignatureStrong = 4
	MaxSignatureStrong = 16
	MaxSignatureBytes  = signatureHeader + MaxSignatureBlocks*(4+MaxSignatureStrong)
)

// The binary form of a signature, all numbers big-endian:
//
//	4 bytes  "psg1"
//	8 bytes  length of the content
//	4 bytes  block length
//	4 bytes  strong length
//	4 bytes  rolling sum, for each block
//	n bytes  strong sum, for each block
const (
	signatureMagic  = "psg1"
	signatureHeader = 4 + 8 + 4 + 4
)

// ErrBadSignature is wrapped by every error of ParseSignature.
var ErrBadSignature = errors.New("malformed signature")

// SignatureBlockLen returns the block length that signatures of contents of
// the given length use: the square root, at which the bytes of the signature
// and the bytes one changed block costs balance, in steps of 64 bytes, from
// 1 KiB; from 16 GiB on it grows further so that the blocks stay below 2^17.
func SignatureBlockLen(length int64) int32 {
	b := int64(math.Sqrt(float64(length)))
	b = max(1<<10, (b+63)&^63)
	if length/b >= 1<<17 {
		b = (length>>17 + 64) &^ 63
	}
	return int32(min(b, MaxSignatureBlock))
}

// SignatureStrongLen is the strong length of signatures made here. A false
// match takes 96 equal bits; it costs a refetch, as pieces and contents are
// verified by their own hashes.
const SignatureStrongLen = 8

// Encode returns the binary form.
func (s *Signature) Encode() []byte {
	b := make([]byte, 0, signatureHeader+4*len(s.Rolling)+len(s.Strong))
	b = append(b, signatureMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Length))
	b = binary.BigEndian.AppendUint32(b, uint32(s.BlockLen))
	b = binary.BigEndian.AppendUint32(b, uint32(s.StrongLen))
	for _, r := range s.Rolling {
		b = binary.BigEndian.AppendUint32(b, r)
	}
	return append(b, s.Strong...)
}

// ParseSignature is the inverse of Encode. Errors wrap ErrBadSignature.
func ParseSignature(data []byte) (*Signature, error) {
	bad := func(format string, args ...any) (*Signature, error) {
		return nil, fmt.Errorf("%w: %s", ErrBadSignature, fmt.Sprintf(format, args...))
	}
	if len(data) < signatureHeader || string(data[:4]) != signatureMagic {
		return bad("no header")
	}
	s := &Signature{
		Length:    int64(binary.BigEndian.Uint64(data[4:])),
		BlockLen:  int32(binary.BigEndian.Uint32(data[12:])),
		StrongLen: int32(binary.BigEndian.Uint32(data[16:])),
	}
	switch {
	case s.Length < 0:
		return bad("length %d", s.Length)
	case s.BlockLen < MinSignatureBlock || s.BlockLen > MaxSignatureBlock:
		return bad("block length %d", s.BlockLen)
	case s.StrongLen < MinSignatureStrong || s.StrongLen > MaxSignatureStrong:
		return bad("strong length %d", s.StrongLen)
	}
	blocks := s.Length / int64(s.BlockLen)
	if s.Length%int64(s.BlockLen) != 0 {
		blocks++
	}
	if blocks > MaxSignatureBlocks {
		return bad("%d blocks, the limit is %d", blocks, MaxSignatureBlocks)
	}
	data = data[signatureHeader:]
	if int64(len(data)) != blocks*int64(4+s.StrongLen) {
		return bad("%d bytes for %d blocks", len(data), blocks)
	}
	s.Rolling = make([]uint32, blocks)
	for i := range s.Rolling {
		s.Rolling[i] = binary.BigEndian.Uint32(data[4*i:])
	}
	s.Strong = append([]byte(nil), data[4*blocks:]...)
	return s, nil
}
