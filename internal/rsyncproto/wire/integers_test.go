package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// written returns what put writes at a protocol, in hexadecimal.
func written(protocol int, put func(w *Writer)) string {
	var b bytes.Buffer
	w := NewWriter(&b)
	w.Protocol = protocol
	put(w)
	w.Flush()
	return hex.EncodeToString(b.Bytes())
}

func reader(t testing.TB, protocol int, hexBytes string) *Reader {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(hexBytes, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(bytes.NewReader(b))
	r.Protocol = protocol
	return r
}

// The bytes of rsync 3.5.0 io.c:write_varint.
func TestVarint(t *testing.T) {
	for _, tt := range []struct {
		v    int32
		want string
	}{
		{0, "00"}, {1, "01"}, {0x7F, "7f"},
		{0x80, "8080"}, {0xFF, "80ff"}, {0x100, "8100"}, {0x3FFF, "bfff"},
		{0x4000, "c00040"}, {0x1FFFFF, "dfffff"},
		{0x200000, "e0000020"}, {0xFFFFFFF, "efffffff"},
		{0x10000000, "f000000010"}, {math.MaxInt32, "f0ffffff7f"},
		{-1, "f0ffffffff"}, {math.MinInt32, "f000000080"},
	} {
		if got := written(32, func(w *Writer) { w.Varint(tt.v) }); got != tt.want {
			t.Errorf("Varint(%#x) = %s, want %s", tt.v, got, tt.want)
		}
		r := reader(t, 32, tt.want)
		if got := r.Varint(); got != tt.v || r.Err() != nil {
			t.Errorf("reading %s: %#x, %v; want %#x", tt.want, got, r.Err(), tt.v)
		}
	}
}

// The bytes of rsync 3.5.0 io.c:write_varlong.
func TestVarlong(t *testing.T) {
	for _, tt := range []struct {
		v    int64
		min  int
		want string
	}{
		{0, 3, "000000"}, {1, 3, "000100"}, {0xFFFF, 3, "00ffff"}, {0x7FFFFF, 3, "7fffff"},
		{0x800000, 3, "80000080"}, {0xFFFFFF, 3, "80ffffff"}, {0x3FFFFFFF, 3, "bfffffff"},
		{0x40000000, 3, "c000000040"}, {math.MaxInt64, 3, "fcffffffffffffff7f"},
		{-1, 3, "fcffffffffffffffff"}, {math.MinInt64, 3, "fc0000000000000080"},
		{0, 4, "00000000"}, {0x65A0BC00, 4, "6500bca0"}, {0x7FFFFFFF, 4, "7fffffff"},
		{0x80000000, 4, "8000000080"}, {-1, 4, "f8ffffffffffffffff"},
	} {
		if got := written(32, func(w *Writer) { w.Varlong(tt.v, tt.min) }); got != tt.want {
			t.Errorf("Varlong(%#x, %d) = %s, want %s", tt.v, tt.min, got, tt.want)
		}
		r := reader(t, 32, tt.want)
		if got := r.Varlong(tt.min); got != tt.v || r.Err() != nil {
			t.Errorf("reading %s: %#x, %v; want %#x", tt.want, got, r.Err(), tt.v)
		}
	}
}

func TestLong(t *testing.T) {
	for v, want := range map[int64]string{
		0: "00000000", 0x7FFFFFFF: "ffffff7f", 0x80000000: "ffffffff0000008000000000", -1: "ffffffffffffffffffffffff",
	} {
		if got := written(29, func(w *Writer) { w.Varlong30(v, 3) }); got != want {
			t.Errorf("Long(%#x) = %s, want %s", v, got, want)
		}
		if r := reader(t, 29, want); r.Varlong30(3) != v || r.Err() != nil {
			t.Errorf("reading %s: %v", want, r.Err())
		}
	}
}

func TestIntegerLimits(t *testing.T) {
	for name, read := range map[string]func(*Reader){
		"f80102030405 varint":      func(r *Reader) { r.Varint() },
		"f101020304 varint":        func(r *Reader) { r.Varint() },
		"fcffffffffffffffff varl.": func(r *Reader) { r.Varlong(4) },
		"fd0000000000000000 varl.": func(r *Reader) { r.Varlong(3) },
		"81 cut":                   func(r *Reader) { r.Varint() },
		"c0ffff range":             func(r *Reader) { r.VarintMax(9, "number") },
		"f0ffffffff negative":      func(r *Reader) { r.VarintMax(9, "number") },
		"8200 vstring":             func(r *Reader) { r.Vstring(255) },
	} {
		r := reader(t, 32, strings.Fields(name)[0])
		read(r)
		if r.Err() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	r := reader(t, 32, "0a")
	r.VarintMax(9, "xattr count")
	var bad *ProtocolError
	if !errors.As(r.Err(), &bad) || bad.Text != "wire value xattr count out of range: 10 not in [0,9]" {
		t.Errorf("out of range: %v", r.Err())
	}
}

func TestVstring(t *testing.T) {
	for _, n := range []int{0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF} {
		s := strings.Repeat("x", n)
		h := written(32, func(w *Writer) { w.Vstring(s) })
		want := n + 1
		if n > 0x7F {
			want++
		}
		if len(h)/2 != want {
			t.Errorf("a string of %d bytes takes %d, want %d", n, len(h)/2, want)
		}
		if r := reader(t, 32, h); r.Vstring(0x7FFF) != s || r.Err() != nil {
			t.Errorf("length %d does not return: %v", n, r.Err())
		}
	}
}

// The bytes of rsync 3.5.0 io.c:write_ndx, one state throughout.
func TestNdx(t *testing.T) {
	steps := []struct {
		ndx  int32
		want string
	}{
		{0, "01"}, {1, "01"}, {254, "fd"}, {508, "fe00fe"}, {508, "fe0000"}, {NdxDone, "00"},
		{509, "01"}, {508, "fe80fc0100"}, {33275, "fe7fff"}, {66043, "fe80fb0101"},
		{NdxFlistEOF, "ff01"}, {NdxDelStats, "ff01"}, {NdxFlistOffset, "ff62"}, {-103, "ff02"}, {-102, "fffe80660000"},
		{math.MaxInt32, "feffffffff"},
	}
	in, out := NewNdxState(), NewNdxState()
	for _, s := range steps {
		if got := written(30, func(w *Writer) { w.WriteNdx(&out, s.ndx) }); got != s.want {
			t.Errorf("index %d: %s, want %s", s.ndx, got, s.want)
		}
		if got := reader(t, 30, s.want).ReadNdx(&in); got != s.ndx {
			t.Errorf("%s: read %d, want %d", s.want, got, s.ndx)
		}
	}
	// One more than the highest would wrap.
	r := reader(t, 30, "01")
	if got := r.ReadNdx(&in); got != NdxDone || !strings.Contains(r.Err().Error(), "Invalid file index: 2147483648") {
		t.Errorf("overflow: %d, %v", got, r.Err())
	}
	if got := written(29, func(w *Writer) { w.WriteNdx(&out, NdxFlistEOF) }); got != "feffffff" {
		t.Errorf("protocol 29: %s", got)
	}
}

func TestIntegersReturn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		protocol := rapid.IntRange(27, 32).Draw(t, "protocol")
		ints := rapid.SliceOf(rapid.Int32()).Draw(t, "ints")
		longs := rapid.SliceOf(rapid.Int64()).Draw(t, "longs")
		ndxs := rapid.SliceOf(rapid.Int32Range(-5000, math.MaxInt32)).Draw(t, "ndxs")
		min := rapid.IntRange(3, 4).Draw(t, "min")
		var b bytes.Buffer
		w := NewWriter(&b)
		w.Protocol = protocol
		w.StartMux()
		out := NewNdxState()
		for _, v := range ints {
			w.Varint30(v)
			w.Int(v)
		}
		for _, v := range longs {
			w.Varlong30(v, min)
		}
		for _, v := range ndxs {
			w.WriteNdx(&out, v)
		}
		w.Flush()
		r := NewReader(&b)
		r.Protocol = protocol
		r.StartMux()
		in := NewNdxState()
		for _, v := range ints {
			if a, b := r.Varint30(), r.Int(); a != v || b != v {
				t.Fatalf("%d came as %d, %d", v, a, b)
			}
		}
		for _, v := range longs {
			if got := r.Varlong30(min); got != v {
				t.Fatalf("%d came as %d", v, got)
			}
		}
		for _, v := range ndxs {
			if got := r.ReadNdx(&in); got != v {
				t.Fatalf("index %d came as %d", v, got)
			}
		}
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		if r.Byte(); !errors.Is(r.Err(), io.ErrUnexpectedEOF) {
			t.Fatalf("at the end: %v", r.Err())
		}
	})
}
