package wire

import (
	"fmt"
	"math"
)

// Special file indexes (rsync.h).
const (
	NdxDone        = -1
	NdxFlistEOF    = -2
	NdxDelStats    = -3
	NdxFlistOffset = -101
)

// NdxState is the memory of one direction's file index encoding: indexes
// travel as differences (io.c:write_ndx, protocol 30). The zero value is not
// ready: use NewNdxState.
type NdxState struct{ pos, neg int32 }

// NewNdxState returns the state at the start of a connection.
func NewNdxState() NdxState { return NdxState{pos: -1, neg: 1} }

// WriteNdx writes a file index or one of the Ndx constants.
func (w *Writer) WriteNdx(s *NdxState, ndx int32) {
	if w.Protocol < 30 {
		w.Int(ndx)
		return
	}
	if ndx == NdxDone {
		w.Byte(0)
		return
	}
	var buf [6]byte
	b := buf[:0]
	var diff int32
	if ndx >= 0 {
		diff, s.pos = ndx-s.pos, ndx
	} else {
		b = append(b, 0xFF)
		ndx = -ndx
		diff, s.neg = ndx-s.neg, ndx
	}
	switch {
	case diff > 0 && diff < 0xFE:
		b = append(b, byte(diff))
	case diff < 0 || diff > 0x7FFF:
		b = append(b, 0xFE, byte(ndx>>24)|0x80, byte(ndx), byte(ndx>>8), byte(ndx>>16))
	default:
		b = append(b, 0xFE, byte(diff>>8), byte(diff))
	}
	w.Write(b)
}

// ReadNdx reads a file index or one of the Ndx constants.
func (r *Reader) ReadNdx(s *NdxState) int32 {
	if r.Protocol < 30 {
		return r.Int()
	}
	b := r.Byte()
	if r.err != nil {
		return NdxDone
	}
	prev := &s.pos
	negative := false
	switch b {
	case 0:
		return NdxDone
	case 0xFF:
		negative = true
		prev = &s.neg
		b = r.Byte()
	}
	ndx := uint32(*prev)
	if b == 0xFE {
		var p [4]byte
		copy(p[:2], r.next(2))
		if p[0]&0x80 != 0 {
			copy(p[2:], r.next(2))
			ndx = uint32(p[0]&0x7F)<<24 | uint32(p[1]) | uint32(p[2])<<8 | uint32(p[3])<<16
		} else {
			ndx += uint32(p[0])<<8 | uint32(p[1])
		}
	} else {
		ndx += uint32(b)
	}
	if r.err != nil {
		return NdxDone
	}
	if ndx > math.MaxInt32 {
		r.Fail(&ProtocolError{fmt.Sprintf("Invalid file index: %d", ndx)})
		return NdxDone
	}
	*prev = int32(ndx)
	if negative {
		return -*prev
	}
	return *prev
}
