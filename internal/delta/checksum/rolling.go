package checksum

import "encoding/binary"

// Rolling returns the weak sum of b as it travels: the sum of the bytes, taken
// as signed, in the low half and the sum of its prefixes in the high half.
// rsync 3.5.0 checksum.c:get_checksum1, with CHAR_OFFSET 0
func Rolling(b []byte) uint32 { return rolling(b) }

// rollingGeneric is Rolling without the help of assembly.
func rollingGeneric(b []byte) uint32 {
	// A signed byte is the unsigned byte with its top bit flipped, less 128.
	// Eight unsigned bytes are added at once in the 16-bit lanes of a word; a
	// multiplication gathers the weighted lanes in the topmost.
	const (
		flip   = 0x8080808080808080
		even   = 0x00ff00ff00ff00ff
		ones   = 0x0001000100010001
		wEven  = 8<<48 | 6<<32 | 4<<16 | 2
		wOdd   = 7<<48 | 5<<32 | 3<<16 | 1
		offset = 128
	)
	n := uint64(len(b))
	var s1, s2 uint64
	for len(b) >= 16 {
		v := binary.LittleEndian.Uint64(b) ^ flip
		w := binary.LittleEndian.Uint64(b[8:]) ^ flip
		ve, vo := v&even, v>>8&even
		we, wo := w&even, w>>8&even
		vs := (ve + vo) * ones >> 48
		ws := (we + wo) * ones >> 48
		s2 += 16*s1 + 8*vs + (ve*wEven+vo*wOdd)>>48 + (we*wEven+wo*wOdd)>>48
		s1 += vs + ws
		b = b[16:]
	}
	for _, c := range b {
		s1 += uint64(c ^ 0x80)
		s2 += s1
	}
	// Wrapping is harmless: only the low 16 bits of either sum count.
	s1 -= offset * n
	s2 -= offset / 2 * n * (n + 1)
	return uint32(s1&0xffff) | uint32(s2)<<16
}
