package delta

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/prsync/prsync/internal/delta/checksum"
)

// benchSize stands for a larger file: the block length, the number of blocks
// and so the load of the table are those of 1 GiB.
const (
	benchSize  = 64 << 20
	benchBlock = 32768
	benchCount = 32768
)

// nowhere is an Output that only counts.
type nowhere struct{ n int }

func (o *nowhere) Literal(p []byte) error        { o.n += len(p); return nil }
func (o *nowhere) Match(_ int32, p []byte) error { o.n += len(p); return nil }

func benchSignature(b *testing.B, data []byte, sums checksum.Config) *Signature {
	b.Helper()
	head := SumHead{int32(len(data) / benchBlock), benchBlock, 4, 0}
	var wire bytes.Buffer
	if err := Sign(NewWindow(bytes.NewReader(data), int64(len(data))), head, sums, &wire); err != nil {
		b.Fatal(err)
	}
	// Fill up with blocks that nothing matches.
	more := noise(77, (benchCount-int(head.Count))*8)
	wire.Write(more)
	head.Count = benchCount
	sig, err := ReadSignature(&wire, head)
	if err != nil {
		b.Fatal(err)
	}
	return sig
}

func BenchmarkSearch(b *testing.B) {
	data := noise(1, benchSize)
	changed := bytes.Clone(data)
	for i := 0; i < len(changed); i += 100 * benchBlock {
		copy(changed[i:], noise(uint64(i), benchBlock))
	}
	for _, kind := range []checksum.Kind{checksum.XXH128, checksum.MD5} {
		sums := checksum.Config{Kind: kind, Seed: 5, ProperSeedOrder: true}
		sig := benchSignature(b, data, sums)
		for _, bb := range []struct {
			name string
			src  []byte
		}{
			{"equal", data},
			{"1%changed", changed},
			{"literal", noise(2, benchSize)},
		} {
			b.Run(fmt.Sprintf("%s/%s", kind, bb.name), func(b *testing.B) {
				var s Searcher
				win := NewWindow(nil, 0)
				sum := sums.NewFile()
				out := &nowhere{}
				b.SetBytes(int64(len(bb.src)))
				b.ReportAllocs()
				for b.Loop() {
					sum.Reset()
					win.Reset(bytes.NewReader(bb.src), int64(len(bb.src)))
					if _, err := s.Search(win, sig, SearchConfig{Sums: sums, File: sum}, out); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkScan(b *testing.B) {
	data := noise(1, 1<<20)
	var t table
	weak := make([]uint32, benchCount)
	for i := range weak {
		weak[i] = checksum.Rolling(noise(uint64(i), 64))
	}
	t.build(weak)
	b.SetBytes(int64(len(data) - benchBlock))
	for b.Loop() {
		r := rollerOf(checksum.Rolling(data[:benchBlock]))
		for at := 0; at+benchBlock < len(data); {
			n, moved, _ := t.scan(data[at:], benchBlock, r)
			at, r = at+n, moved
			if at+benchBlock < len(data) {
				r.roll(data[at], data[at+benchBlock], benchBlock)
				at++
			}
		}
	}
}

func BenchmarkSign(b *testing.B) {
	data := noise(1, benchSize)
	for _, kind := range []checksum.Kind{checksum.XXH128, checksum.MD5} {
		for _, block := range []int32{700, benchBlock} {
			b.Run(fmt.Sprintf("%s/%d", kind, block), func(b *testing.B) {
				head, _ := SumSizes(int64(len(data)), SizeConfig{Protocol: 32, BlockSize: block, DigestLen: 16})
				win := NewWindow(nil, 0)
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					win.Reset(bytes.NewReader(data), int64(len(data)))
					if err := Sign(win, head, checksum.Config{Kind: kind, Seed: 5}, io.Discard); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
