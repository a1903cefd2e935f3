#include "textflag.h"

// The weight of each byte of a stretch of 32 in the sum of its prefixes.
DATA weights<>+0(SB)/8, $0x191a1b1c1d1e1f20
DATA weights<>+8(SB)/8, $0x1112131415161718
DATA weights<>+16(SB)/8, $0x090a0b0c0d0e0f10
DATA weights<>+24(SB)/8, $0x0102030405060708
GLOBL weights<>(SB), RODATA|NOPTR, $32

// func sumAVX2(p *byte, n int) (s1, s2 uint32)
//
// Lanes of 32 bits: Y3 sums the bytes, Y4 sums Y3 as it was before each
// stretch, Y5 sums the weighted bytes; s2 is 32 Y4 + Y5.
TEXT ·sumAVX2(SB), NOSPLIT, $0-24
	MOVQ     p+0(FP), SI
	MOVQ     n+8(FP), CX
	VMOVDQU  weights<>(SB), Y0
	VPCMPEQB Y1, Y1, Y1
	VPABSB   Y1, Y1
	VPCMPEQW Y2, Y2, Y2
	VPABSW   Y2, Y2
	VPXOR    Y3, Y3, Y3
	VPXOR    Y4, Y4, Y4
	VPXOR    Y5, Y5, Y5

loop:
	VMOVDQU    (SI), Y6
	VPADDD     Y3, Y4, Y4
	VPMADDUBSW Y6, Y0, Y7
	VPMADDUBSW Y6, Y1, Y8
	VPMADDWD   Y7, Y2, Y7
	VPMADDWD   Y8, Y2, Y8
	VPADDD     Y7, Y5, Y5
	VPADDD     Y8, Y3, Y3
	ADDQ       $32, SI
	SUBQ       $32, CX
	JNZ        loop

	VPSLLD       $5, Y4, Y4
	VPADDD       Y4, Y5, Y5
	VEXTRACTI128 $1, Y3, X6
	VPADDD       X6, X3, X3
	VPSHUFD      $0x4e, X3, X6
	VPADDD       X6, X3, X3
	VPSHUFD      $0xb1, X3, X6
	VPADDD       X6, X3, X3
	VEXTRACTI128 $1, Y5, X6
	VPADDD       X6, X5, X5
	VPSHUFD      $0x4e, X5, X6
	VPADDD       X6, X5, X5
	VPSHUFD      $0xb1, X5, X6
	VPADDD       X6, X5, X5
	VMOVD        X3, AX
	VMOVD        X5, BX
	VZEROUPPER
	MOVL         AX, s1+16(FP)
	MOVL         BX, s2+20(FP)
	RET
