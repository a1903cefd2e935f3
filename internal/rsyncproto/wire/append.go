package wire

import "encoding/binary"

// The Append functions encode into a buffer, for codecs that build a whole
// record before they write it once.

// AppendInt appends 32 bits, little-endian.
func AppendInt(b []byte, v int32) []byte { return binary.LittleEndian.AppendUint32(b, uint32(v)) }

// AppendLong appends the 64-bit integer of protocols below 30: 32 bits when
// it is not negative and fits, else 0xFFFFFFFF and 64 bits (io.c:write_longint).
func AppendLong(b []byte, v int64) []byte {
	if v >= 0 && v <= 0x7FFFFFFF {
		return AppendInt(b, int32(v))
	}
	b = AppendInt(b, -1)
	return binary.LittleEndian.AppendUint64(b, uint64(v))
}

// AppendVarint appends 32 bits as one to five bytes: the first byte's leading
// one bits count the bytes that follow, its low bits are the highest bits of
// the value; the rest follows little-endian.
func AppendVarint(b []byte, v int32) []byte { return appendVar(b, uint64(uint32(v)), 1, 4) }

// AppendVarlong is AppendVarint for 64 bits with at least minBytes bytes.
func AppendVarlong(b []byte, v int64, minBytes int) []byte {
	return appendVar(b, uint64(v), minBytes, 8)
}

func appendVar(b []byte, v uint64, minBytes, maxBytes int) []byte {
	n := minBytes // significant bytes
	for n < maxBytes && v>>(8*n) != 0 {
		n++
	}
	top := byte(v >> (8 * (n - 1)))
	room := byte(1) << (7 - (n - minBytes)) // first value the first byte cannot take
	var first byte
	tail := n - 1 // little-endian bytes after the first
	switch {
	case top >= room:
		first = ^(room - 1)
		tail = n
	case n > minBytes:
		first = top | ^(room*2 - 1)
	default:
		first = top
	}
	b = append(b, first)
	for i := 0; i < tail; i++ {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}
