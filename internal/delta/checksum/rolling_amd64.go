package checksum

import "golang.org/x/sys/cpu"

var hasAVX2 = cpu.X86.HasAVX2

// sumAVX2 returns both sums of the n bytes at p; n is a multiple of 32, not 0.
//
//go:noescape
func sumAVX2(p *byte, n int) (s1, s2 uint32)

func rolling(b []byte) uint32 {
	n := len(b) &^ 31
	if !hasAVX2 || n == 0 {
		return rollingGeneric(b)
	}
	s1, s2 := sumAVX2(&b[0], n)
	for _, c := range b[n:] {
		s1 += uint32(int8(c))
		s2 += s1
	}
	return s1&0xffff | s2<<16
}
