package delta

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/prsync/prsync/internal/delta/checksum"
	"pgregory.net/rapid"
)

// file is an in-memory file that can be written in place.
type file struct{ b []byte }

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(f.b)) {
		return 0, io.EOF
	}
	n := copy(p, f.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if need := int(off) + len(p); need > len(f.b) {
		f.b = append(f.b, make([]byte, need-len(f.b))...)
	}
	return copy(f.b[off:], p), nil
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewPCG(seed, 1)
	for i := range b {
		b[i] = byte(r.Uint64() >> 56)
	}
	return b
}

// edited draws a file that shares much with old: pieces of it kept, moved,
// repeated or dropped, with noise, zeros and flipped bytes between them.
func edited(t *rapid.T, old []byte) []byte {
	var b []byte
	for range rapid.IntRange(0, 8).Draw(t, "pieces") {
		switch rapid.IntRange(0, 4).Draw(t, "piece") {
		case 0:
			b = append(b, noise(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 3000).Draw(t, "noise"))...)
		case 1:
			b = append(b, make([]byte, rapid.IntRange(0, 3000).Draw(t, "zeros"))...)
		default:
			if len(old) == 0 {
				continue
			}
			i := rapid.IntRange(0, len(old)-1).Draw(t, "from")
			if rapid.Bool().Draw(t, "here") {
				i = min(len(b), len(old)-1)
			}
			b = append(b, old[i:min(len(old), i+rapid.IntRange(0, len(old)).Draw(t, "len"))]...)
		}
	}
	if len(b) > 0 && rapid.Bool().Draw(t, "flip") {
		b[rapid.IntRange(0, len(b)-1).Draw(t, "flipped")] ^= 0x55
	}
	return b
}

func signature(t interface{ Fatal(...any) }, old []byte, head SumHead, cfg checksum.Config) *Signature {
	var wire bytes.Buffer
	win := NewWindow(&file{old}, int64(len(old)))
	if err := Sign(win, head, cfg, &wire); err != nil {
		t.Fatal(err)
	}
	if want := int(head.Count) * int(4+head.S2Len); wire.Len() != want || win.Err() != nil {
		t.Fatal("signature of", wire.Len(), "bytes, want", want, "read error", win.Err())
	}
	sig, err := ReadSignature(&wire, head)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// TestIdentity is the point of the package: whatever the two files, the block
// size, the sums and the way of writing, the receiver ends with the source.
func TestIdentity(t *testing.T) {
	var s Searcher
	rapid.Check(t, func(t *rapid.T) {
		old := noise(rapid.Uint64().Draw(t, "old"), rapid.IntRange(0, 9000).Draw(t, "oldLen"))
		if len(old) > 0 && rapid.Bool().Draw(t, "hole") {
			i := rapid.IntRange(0, len(old)-1).Draw(t, "holeAt")
			clear(old[i:min(len(old), i+4000)])
		}
		src := edited(t, old)
		mode := Append(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2}).Draw(t, "append"))
		inPlace := mode != AppendOff || rapid.Bool().Draw(t, "inPlace")
		if mode != AppendOff {
			src = append(bytes.Clone(old), src...)
		}
		name := rapid.SampledFrom([]string{"xxh128", "xxh3", "xxh64", "md5", "md4", "sha1"}).Draw(t, "sum")
		kind, _ := checksum.ByName(name)
		sums := checksum.Config{Kind: kind, Seed: rapid.Int32().Draw(t, "seed"), Protocol: 32}
		head, err := SumSizes(int64(len(old)), SizeConfig{
			Protocol:  32,
			BlockSize: rapid.SampledFrom([]int32{0, 1, 7, 64, 700, 1024, 5000, 1 << 17}).Draw(t, "block"),
			DigestLen: kind.Len(),
			FullSums:  true,
		})
		if err != nil {
			t.Fatal(err)
		}
		sig := &Signature{Head: head}
		if mode == AppendOff {
			sig = signature(t, old, head, sums)
		}

		basis := &file{bytes.Clone(old)}
		dst := &file{}
		if inPlace {
			dst = basis
		}
		theirs, ours := sums.NewFile(), sums.NewFile()
		a := NewApplier(dst, ApplyConfig{
			Head: head, Basis: NewWindow(basis, int64(len(old))), File: theirs, InPlace: inPlace, Append: mode,
		})
		win := NewWindow(&file{src}, int64(len(src)))
		stats, err := s.Search(win, sig, SearchConfig{Sums: sums, File: ours, InPlace: inPlace, Append: mode}, a)
		if err != nil || win.Err() != nil {
			t.Fatal(err, win.Err())
		}
		if a.Offset() < int64(len(dst.b)) {
			dst.b = dst.b[:a.Offset()]
		}
		if !bytes.Equal(dst.b, src) {
			t.Fatalf("rebuilt %d bytes differ from the %d of the source at %d", len(dst.b), len(src), diffAt(dst.b, src))
		}
		if o, th := ours.Sum(nil), theirs.Sum(nil); !bytes.Equal(o, th) {
			t.Fatalf("sender's file sum %x, receiver's %x", o, th)
		}
		if mode == AppendOff && stats.Literal+stats.Matched != int64(len(src)) {
			t.Fatalf("%+v does not add up to %d", stats, len(src))
		}
		if got := a.Stats(); got.Literal != stats.Literal || got.Matched != stats.Matched || got.Matches != stats.Matches {
			t.Fatalf("sender counted %+v, receiver %+v", stats, got)
		}
	})
}

func diffAt(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// tokens records what a search sends.
type tokens struct {
	literal int
	blocks  []int32
}

func (o *tokens) Literal(p []byte) error            { o.literal += len(p); return nil }
func (o *tokens) Match(block int32, _ []byte) error { o.blocks = append(o.blocks, block); return nil }

func search(t *testing.T, old, src []byte, block int32, cfg SearchConfig) (*tokens, Stats) {
	t.Helper()
	cfg.Sums = checksum.Config{Kind: checksum.XXH128, Seed: 7}
	head, err := SumSizes(int64(len(old)), SizeConfig{Protocol: 32, BlockSize: block, DigestLen: 16, FullSums: true})
	if err != nil {
		t.Fatal(err)
	}
	out := &tokens{}
	stats, err := new(Searcher).Search(NewWindow(&file{src}, int64(len(src))), signature(t, old, head, cfg.Sums), cfg, out)
	if err != nil {
		t.Fatal(err)
	}
	return out, stats
}

// TestMatches pins what the search must not miss.
func TestMatches(t *testing.T) {
	n := noise(1, 1<<20)
	insert := func(at int, what string) []byte {
		return append(append(bytes.Clone(n[:at]), what...), n[at:]...)
	}
	dups := bytes.Repeat(n[:1000], 10)
	holes := make([]byte, 8000)
	tests := []struct {
		what     string
		old, src []byte
		block    int32
		inPlace  bool
		literal  int
		blocks   []int32 // nil: not looked at
	}{
		{what: "equal", old: n, src: n},
		{what: "equal, short last block", old: n[:100_001], src: n[:100_001]},
		{what: "one block shorter than its length", old: n[:300], src: n[:300]},
		{what: "a byte in front", old: n, src: insert(0, "x"), literal: 1},
		{what: "a byte within", old: n, src: insert(500_500, "x"), block: 1000, literal: 1001},
		{what: "short last block moved", old: n[:1300], src: append([]byte("more"), n[1000:1300]...), block: 1000, literal: 4},
		{what: "short last block not at the end", old: n[:1300], src: append(bytes.Clone(n[1000:1300]), 'x'), block: 1000, literal: 301},
		{what: "across the window", old: n[windowLen-500 : windowLen+500], src: n, block: 1000, literal: len(n) - 1000},
		{what: "runs prefer their neighbours", old: dups, src: dups, block: 1000, blocks: []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{what: "in place prefers its own place", old: dups, src: dups, block: 1000, inPlace: true, blocks: []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{what: "in place, forward", old: n[:8000], src: n[1000:8000], block: 1000, inPlace: true, blocks: []int32{1, 2, 3, 4, 5, 6, 7}},
		{what: "in place, backward", old: n[:3000], src: append(noise(2, 1000), n[:3000]...), block: 1000, inPlace: true, literal: 4000, blocks: []int32{}},
		{what: "in place, zeros wait for theirs", old: holes, src: append([]byte{1}, holes...), block: 1000, inPlace: true, literal: 1001, blocks: []int32{1, 2, 3, 4, 5, 6, 7}},
	}
	for _, tt := range tests {
		out, stats := search(t, tt.old, tt.src, tt.block, SearchConfig{InPlace: tt.inPlace})
		if out.literal != tt.literal {
			t.Errorf("%s: %d literal bytes, want %d; %+v", tt.what, out.literal, tt.literal, stats)
		}
		if len(tt.blocks) > 0 && fmt.Sprint(out.blocks) != fmt.Sprint(tt.blocks) {
			t.Errorf("%s: blocks %v, want %v", tt.what, out.blocks, tt.blocks)
		}
	}
}

// TestChainCap: thousands of blocks with one rolling sum and other contents
// must not be compared at every offset.
func TestChainCap(t *testing.T) {
	decoy := bytes.Repeat([]byte{100}, 256)
	decoy[0], decoy[1], decoy[2] = 101, 98, 101
	old, src := bytes.Repeat(decoy, 8000), bytes.Repeat([]byte{100}, 3000)
	out, stats := search(t, old, src, 256, SearchConfig{})
	if out.literal != len(src) {
		t.Errorf("%d literal bytes, want %d", out.literal, len(src))
	}
	if stats.HashHits == 0 || stats.FalseAlarms != stats.HashHits*maxChain {
		t.Errorf("%+v, want %d false alarms a hit", stats, maxChain)
	}
}

// TestShrunk: a source that loses its end while it is read is sent with zeros
// in the place of it, and says so.
func TestShrunk(t *testing.T) {
	n := noise(3, 600_000)
	for _, sig := range []bool{false, true} {
		win := NewWindow(&file{n[:400_000]}, int64(len(n)))
		cfg := SearchConfig{Sums: checksum.Config{Kind: checksum.MD5}}
		var sg *Signature
		head, _ := SumSizes(int64(len(n)), SizeConfig{Protocol: 31, DigestLen: 16})
		if sig {
			sg = signature(t, n, head, cfg.Sums)
		}
		dst := &file{}
		a := NewApplier(dst, ApplyConfig{Head: head, Basis: NewWindow(&file{n}, int64(len(n)))})
		if _, err := new(Searcher).Search(win, sg, cfg, a); err != nil {
			t.Fatal(err)
		}
		want := append(bytes.Clone(n[:400_000]), make([]byte, 200_000)...)
		if !bytes.Equal(dst.b, want) {
			t.Errorf("got %d bytes, differing at %d", len(dst.b), diffAt(dst.b, want))
		}
		if !errors.Is(win.Err(), io.ErrUnexpectedEOF) {
			t.Errorf("read error %v", win.Err())
		}
	}
	for _, tt := range []struct{ in, want string }{{"\x01\x02", "\x00\x00"}, {"\x00\x00", "\x00\x01"}, {"", ""}} {
		b := []byte(tt.in)
		if SpoilSum(b); string(b) != tt.want {
			t.Errorf("SpoilSum(%x) = %x, want %x", tt.in, b, tt.want)
		}
	}
}

func TestAppendBeyondSource(t *testing.T) {
	out := &tokens{}
	sig := &Signature{Head: SumHead{Count: 1 << 20, BlockLen: 700}}
	for _, mode := range []Append{AppendTail, AppendVerify} {
		cfg := SearchConfig{Append: mode, File: checksum.New(checksum.MD5)}
		if _, err := new(Searcher).Search(NewWindow(&file{}, 0), sig, cfg, out); err != nil || out.literal != 0 {
			t.Errorf("mode %d: %v, %d bytes", mode, err, out.literal)
		}
	}
}

func TestApplierRefuses(t *testing.T) {
	head := SumHead{Count: 2, BlockLen: 10}
	a := NewApplier(&file{}, ApplyConfig{Head: head})
	for _, i := range []int32{-1, 2, 1 << 30} {
		if _, err := a.Block(i); err == nil || err.Error() != fmt.Sprintf("Invalid block index %d (count=2)", i) {
			t.Errorf("block %d: %v", i, err)
		}
	}
	if _, err := a.Block(1); !errors.Is(err, errNoBasis) {
		t.Errorf("no basis: %v", err)
	}
	a = NewApplier(nil, ApplyConfig{Head: head, Discard: true})
	if b, err := a.Block(1); b != nil || err != nil || a.Offset() != 10 {
		t.Errorf("discarded: %x, %v, offset %d", b, err, a.Offset())
	}
}
