package delta

import (
	"bytes"
	"fmt"
	"math"
	"testing"
)

// TestSumSizes holds heads that rsync 3.5.0 prints with --debug=deltasum2.
func TestSumSizes(t *testing.T) {
	tests := []struct {
		size     int64
		protocol int
		block    int32
		digest   int
		full     bool
		want     SumHead
	}{
		{1, 32, 0, 16, false, SumHead{1, 700, 2, 1}},
		{699, 29, 0, 16, false, SumHead{1, 700, 2, 699}},
		{700, 32, 0, 16, false, SumHead{1, 700, 2, 0}},
		{701, 32, 1000, 16, false, SumHead{1, 1000, 2, 701}},
		{489999, 32, 0, 16, false, SumHead{700, 700, 2, 699}},
		{490001, 32, 0, 8, false, SumHead{701, 700, 2, 1}},
		{500000, 32, 0, 16, false, SumHead{711, 704, 2, 160}},
		{1000000, 32, 0, 16, false, SumHead{1000, 1000, 2, 0}},
		{12345678, 31, 0, 16, false, SumHead{3516, 3512, 2, 998}},
		{104857600, 32, 0, 16, false, SumHead{10240, 10240, 3, 0}},
		{104857600, 32, 1000, 16, false, SumHead{104858, 1000, 3, 600}},
		{104857600, 32, 0, 8, true, SumHead{10240, 10240, 8, 0}},
		{104857600, 32, 0, 20, true, SumHead{10240, 10240, 16, 0}},
		{104857600, 32, 0, 1, false, SumHead{10240, 10240, 1, 0}},
		{20000000000, 32, 0, 8, false, SumHead{152588, 131072, 4, 116736}},
		{5000000000000, 32, 0, 16, false, SumHead{38146973, 131072, 6, 86016}},
	}
	for _, tt := range tests {
		got, err := SumSizes(tt.size, SizeConfig{tt.protocol, tt.block, tt.digest, tt.full})
		if err != nil || got != tt.want {
			t.Errorf("%+v: %+v, %v", tt, got, err)
		}
	}
	if _, err := SumSizes(-1, SizeConfig{Protocol: 32, DigestLen: 16}); err != ErrTooManyBlocks {
		t.Errorf("negative size: %v", err)
	}
	if _, err := SumSizes(math.MaxInt64, SizeConfig{Protocol: 32, DigestLen: 16}); err != ErrTooManyBlocks {
		t.Errorf("largest size: %v", err)
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		head     SumHead
		protocol int
		want     string
	}{
		{SumHead{}, 32, "<nil>"},
		{SumHead{1, 700, 16, 700}, 32, "<nil>"},
		{SumHead{1, MaxBlockLen, 2, 0}, 30, "<nil>"},
		{SumHead{1, OldMaxBlockLen, 2, 0}, 29, "<nil>"},
		{SumHead{-1, 700, 2, 0}, 32, "Invalid checksum count -1"},
		{SumHead{1, MaxBlockLen + 1, 2, 0}, 30, "Invalid block length 131073"},
		{SumHead{1, -1, 2, 0}, 30, "Invalid block length -1"},
		{SumHead{1, 0, 2, 0}, 32, "Invalid zero block length"},
		{SumHead{1, 700, 17, 0}, 32, "Invalid checksum length 17"},
		{SumHead{1, 700, -1, 0}, 32, "Invalid checksum length -1"},
		{SumHead{1, 700, 2, 701}, 32, "Invalid remainder length 701"},
		{SumHead{1, 700, 2, -1}, 32, "Invalid remainder length -1"},
	}
	for _, tt := range tests {
		if got := fmt.Sprint(tt.head.Check(tt.protocol, 16)); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.head, got, tt.want)
		}
	}
	if n := (SumHead{Remainder: 5, BlockLen: 10}).FileLen(); n != 0 {
		t.Errorf("no blocks hold %d bytes", n)
	}
}

// TestReadSignatureBounded: a head that promises two thousand million sums
// costs no more than what arrives.
func TestReadSignatureBounded(t *testing.T) {
	head := SumHead{Count: math.MaxInt32, BlockLen: 700, S2Len: 16}
	if _, err := ReadSignature(bytes.NewReader(make([]byte, 1<<20)), head); err == nil {
		t.Fatal("a truncated signature was accepted")
	}
	if _, err := ReadSignature(bytes.NewReader(nil), SumHead{Count: 1, BlockLen: 700}); err == nil {
		t.Fatal("a missing signature was accepted")
	}
}

func FuzzReadSignature(f *testing.F) {
	f.Add(int32(3), int32(700), int32(2), int32(0), []byte("aaaabbccccddeeeeff"))
	f.Add(int32(1), int32(1), int32(0), int32(1), []byte("aaaa"))
	f.Add(int32(math.MaxInt32), int32(1), int32(16), int32(0), []byte{})
	f.Fuzz(func(t *testing.T, count, block, s2, rem int32, wire []byte) {
		head := SumHead{count, block, s2, rem}
		if head.Check(32, 16) != nil {
			return
		}
		sig, err := ReadSignature(bytes.NewReader(wire), head)
		if err != nil {
			return
		}
		src := bytes.Repeat(wire, 3)
		for _, inPlace := range []bool{false, true} {
			win := NewWindow(bytes.NewReader(src), int64(len(src)))
			a := NewApplier(nil, ApplyConfig{Head: head, Discard: true})
			if _, err := new(Searcher).Search(win, sig, SearchConfig{InPlace: inPlace}, a); err != nil {
				t.Fatal(err)
			}
			if a.Offset() != int64(len(src)) {
				t.Fatalf("sent %d of %d bytes", a.Offset(), len(src))
			}
		}
	})
}
