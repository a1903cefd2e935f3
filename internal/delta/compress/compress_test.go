package compress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func TestNames(t *testing.T) {
	for _, name := range Names() {
		c, ok := ByName(name)
		if !ok || c.Name() != name {
			t.Errorf("ByName(%q) = %v, %v", name, c, ok)
		}
	}
	if c, ok := ByName("ZSTD"); !ok || c != Zstd {
		t.Errorf("ZSTD is %v, %v", c, ok)
	}
	if _, ok := ByName("gzip"); ok {
		t.Error("gzip is known")
	}
	if _, err := NewWriter(io.Discard, Config{Choice: 99}); err == nil {
		t.Error("a Writer of an unknown choice")
	}
	if _, err := NewReader(nil, Config{Choice: 99}); err == nil {
		t.Error("a Reader of an unknown choice")
	}
}

func TestResolve(t *testing.T) {
	tests := []struct {
		c     Choice
		level int
		want  string
	}{
		{None, 5, "none 0"},
		{Zlib, LevelUnset, "zlib 6"},
		{Zlib, -1, "zlib 6"},
		{Zlib, 0, "none 0"},
		{Zlibx, 0, "none 0"},
		{Zlib, -2, "zlib 1"},
		{Zlibx, 99, "zlibx 9"},
		{Zstd, LevelUnset, "zstd 3"},
		{Zstd, 0, "zstd 3"},
		{Zstd, -1, "zstd -1"},
		{Zstd, -1 << 20, "zstd -131072"},
		{Zstd, 99, "zstd 22"},
		{LZ4, 9, "lz4 0"},
		{LZ4, LevelUnset, "lz4 0"},
	}
	for _, tt := range tests {
		c, level := tt.c.Resolve(tt.level)
		if got := fmt.Sprint(c, " ", level); got != tt.want {
			t.Errorf("%v.Resolve(%d) = %s, want %s", tt.c, tt.level, got, tt.want)
		}
	}
}

func text(seed uint64, n int) []byte {
	r := rand.NewPCG(seed, 3)
	var b []byte
	for len(b) < n {
		b = append(b, "block and token "...)
		b = strconv.AppendUint(b, r.Uint64()>>40, 10)
	}
	return b[:n]
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewPCG(seed, 4)
	for i := range b {
		b[i] = byte(r.Uint64() >> 32)
	}
	return b
}

var configs = []Config{
	{Choice: None, Protocol: 32},
	{Choice: Zlib, Level: 6, Protocol: 32},
	{Choice: Zlib, Level: 9, Protocol: 31},
	{Choice: Zlib, Level: 1, Protocol: 30},
	{Choice: Zlibx, Level: 6, Protocol: 32},
	{Choice: LZ4, Protocol: 32},
	{Choice: Zstd, Level: 3, Protocol: 32},
	{Choice: Zstd, Level: 19, Protocol: 32},
	{Choice: Zstd, Level: 3, Threads: 3, Protocol: 32},
}

func (c Config) name() string {
	return fmt.Sprintf("%s-%d-p%d-t%d", c.Choice, c.Level, c.Protocol, c.Threads)
}

// step is a token to send: a literal, or a block with its data.
type step struct {
	literal bool
	block   int32
	data    []byte
}

// TestRoundTrip sends random files over one connection of each kind.
func TestRoundTrip(t *testing.T) {
	for _, cfg := range configs {
		t.Run(cfg.name(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				// Empty literals may be dropped, neighbours joined or cut, so
				// they are compared as bytes.
				step := rapid.Custom(func(t *rapid.T) step {
					n := rapid.SampledFrom([]int{0, 1, 5, 700, 16303, 16383, 16384, 32768, 65535, 65536, 100_000}).Draw(t, "len")
					seed := rapid.Uint64Range(0, 3).Draw(t, "seed")
					data := text(seed, n)
					if rapid.Bool().Draw(t, "random") {
						data = random(seed, n)
					}
					return step{
						rapid.Bool().Draw(t, "literal"),
						rapid.OneOf(rapid.Int32Range(0, 70), rapid.Int32Range(0, maxIndex)).Draw(t, "block"),
						data,
					}
				})
				files := rapid.SliceOfN(rapid.SliceOfN(step, 0, 6), 1, 4).Draw(t, "files")
				var wire bytes.Buffer
				w, err := NewWriter(&wire, cfg)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range files {
					if s, ok := w.(Skipper); ok {
						s.Skip(rapid.Bool().Draw(t, "skip"))
					}
					for _, s := range f {
						if s.literal {
							err = w.Literal(s.data)
						} else {
							err = w.Match(s.block, s.data)
						}
						if err != nil {
							t.Fatal(err)
						}
					}
					if err := w.End(); err != nil {
						t.Fatal(err)
					}
				}
				r, err := NewReader(iotest.HalfReader(&wire), cfg)
				if err != nil {
					t.Fatal(err)
				}
				for i, f := range files {
					var want []byte
					for _, s := range f {
						if s.literal {
							want = append(want, s.data...)
							continue
						}
						got := readUntilToken(t, r)
						if !bytes.Equal(got.literal, want) || got.End || got.Block != s.block {
							t.Fatalf("file %d: %d literal bytes and %+v, want %d and block %d", i, len(got.literal), got.Token, len(want), s.block)
						}
						want = nil
						if err := r.Matched(s.data); err != nil {
							t.Fatal(err)
						}
					}
					if got := readUntilToken(t, r); !bytes.Equal(got.literal, want) || !got.End {
						t.Fatalf("file %d: %d literal bytes and %+v, want %d and the end", i, len(got.literal), got.Token, len(want))
					}
				}
				if wire.Len() != 0 {
					t.Fatalf("%d bytes left over", wire.Len())
				}
			})
		})
	}
}

type literalAndToken struct {
	literal []byte
	Token
}

func readUntilToken(t *rapid.T, r Reader) (got literalAndToken) {
	for {
		tok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if len(tok.Literal) == 0 {
			got.Token = tok
			return got
		}
		got.literal = append(got.literal, tok.Literal...)
	}
}

// TestRuns pins the framing of blocks. rsync 3.5.0 token.c
func TestRuns(t *testing.T) {
	tests := []struct {
		blocks []int32
		want   string
	}{
		{nil, "\x00"},
		{[]int32{0}, "\x80\x00"},
		{[]int32{63}, "\xbf\x00"},
		{[]int32{64}, "\x20\x40\x00\x00\x00\x00"},
		{[]int32{0, 1, 2}, "\xc0\x02\x00\x00"},
		{[]int32{5, 6, 4}, "\xc5\x01\x00\x20\x04\x00\x00\x00\x00"},
		{[]int32{5, 6, 7, 9}, "\xc5\x02\x00\x82\x00"},
		{[]int32{5, 5}, "\x85\x80\x00"},
		{[]int32{0x01020304, 0x01020305}, "\x21\x04\x03\x02\x01\x01\x00\x00"},
	}
	for _, tt := range tests {
		var wire bytes.Buffer
		w, _ := NewWriter(&wire, Config{Choice: LZ4})
		for _, b := range tt.blocks {
			w.Match(b, nil)
		}
		w.End()
		if wire.String() != tt.want {
			t.Errorf("%v: % x, want % x", tt.blocks, wire.String(), tt.want)
		}
	}
	// A run holds 65536 blocks, and the distance counts from its last one.
	var wire bytes.Buffer
	w, _ := NewWriter(&wire, Config{Choice: Zstd, Level: 3})
	for i := range int32(65537) {
		w.Match(i, nil)
	}
	w.End()
	if want := "\xc0\xff\xff\x81\x00"; wire.String() != want {
		t.Errorf("long run: % x, want % x", wire.String(), want)
	}
}

// TestReadPlainLong: some senders use literals longer than rsync's own.
func TestReadPlainLong(t *testing.T) {
	wire := append([]byte{0, 0, 1, 0}, random(1, 1<<16)...)
	wire = append(wire, 0, 0, 0, 0)
	r, _ := NewReader(bytes.NewReader(wire), Config{})
	for i := range 2 {
		tok, err := r.Next()
		if err != nil || !bytes.Equal(tok.Literal, wire[4+i*chunkSize:][:chunkSize]) {
			t.Fatalf("piece %d: %d bytes, %v", i, len(tok.Literal), err)
		}
	}
	if tok, err := r.Next(); err != nil || !tok.End {
		t.Fatalf("%+v, %v", tok, err)
	}
}

func TestReadBad(t *testing.T) {
	tests := []struct {
		what   string
		choice Choice
		wire   string
		want   error // nil: any
	}{
		{"nothing", None, "", io.ErrUnexpectedEOF},
		{"half a length", None, "\x01\x00", io.ErrUnexpectedEOF},
		{"half a literal", None, "\x05\x00\x00\x00ab", io.ErrUnexpectedEOF},
		{"nothing", LZ4, "", io.ErrUnexpectedEOF},
		{"half a data item", LZ4, "\x40\x05ab", io.ErrUnexpectedEOF},
		{"bad lz4", LZ4, "\x40\x05abcde", nil},
		{"bad deflate", Zlib, "\x40\x05\xff\xff\xff\xff\xff", nil},
		{"deflate that ends", Zlibx, "\x40\x05\x01\x00\x00\xff\xff\x00", nil},
		{"half a data item", Zlib, "\x40\x05ab", io.ErrUnexpectedEOF},
		{"bad zstd", Zstd, "\x40\x05abcde\x00", nil},
		{"half a zstd header", Zstd, "\x40\x04\x28\xb5\x2f\xfd\x00", nil},
		{"window of 3 TiB", Zstd, "\x40\x06\x28\xb5\x2f\xfd\x00\xff\x00", nil},
		{"negative index", Zstd, "\x20\xff\xff\xff\xff", errBlockIndex},
		{"largest index", LZ4, "\x20\xff\xff\xff\x7f", errBlockIndex},
		{"empty run", LZ4, "\xc0\x00\x00", errBlockIndex},
		{"run past the largest index", Zlib, "\x21\xfe\xff\xff\x7f\x01\x00", errBlockIndex},
		{"distance past the largest index", Zlib, "\x20\xfe\xff\xff\x7f\x81", errBlockIndex},
		{"half a run", Zlib, "\xc0\x01", io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		r, err := NewReader(bytes.NewReader([]byte(tt.wire)), Config{Choice: tt.choice, Protocol: 32})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			var tok Token
			if tok, err = r.Next(); err != nil || tok.End {
				break
			}
		}
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s, %s: %v, want %v", tt.choice, tt.what, err, tt.want)
		}
	}
}

// TestFailingOutput: an error of the connection must come out.
func TestFailingOutput(t *testing.T) {
	for _, cfg := range configs {
		w, err := NewWriter(failing{}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.Literal(random(1, 200_000))
		if err := w.End(); !errors.Is(err, errFailing) {
			t.Errorf("%s: %v", cfg.name(), err)
		}
	}
}

var errFailing = errors.New("connection lost")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFailing }

// FuzzReader feeds hostile streams to every decoder.
func FuzzReader(f *testing.F) {
	for i, cfg := range configs {
		var wire bytes.Buffer
		w, err := NewWriter(&wire, cfg)
		if err != nil {
			f.Fatal(err)
		}
		for file := range uint64(2) {
			w.Literal(text(file, 3000))
			w.Match(3, text(9, 700))
			w.Match(4, random(9, 700))
			w.Literal(text(9, 700))
			w.Match(1, text(9, 700))
			w.End()
		}
		f.Add(byte(i), wire.Bytes())
	}
	f.Fuzz(func(t *testing.T, which byte, wire []byte) {
		cfg := configs[int(which)%len(configs)]
		r, err := NewReader(bytes.NewReader(wire), cfg)
		if err != nil {
			t.Fatal(err)
		}
		block := text(9, 700)
		for range 100_000 {
			tok, err := r.Next()
			if err != nil {
				return
			}
			if !tok.End && len(tok.Literal) == 0 {
				if tok.Block < 0 {
					t.Fatalf("block %d", tok.Block)
				}
				if err := r.Matched(block); err != nil {
					return
				}
			}
		}
	})
}

func benchmarkData(b *testing.B) []byte {
	b.Helper()
	return append(text(1, 3<<20), random(1, 1<<20)...)
}

func BenchmarkWrite(b *testing.B) {
	data := benchmarkData(b)
	for _, cfg := range configs {
		b.Run(cfg.name(), func(b *testing.B) {
			w, err := NewWriter(io.Discard, cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				for p := data; len(p) > 0; p = p[min(len(p), 256<<10):] {
					w.Literal(p[:min(len(p), 256<<10)])
				}
				if err := w.End(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	data := benchmarkData(b)
	for _, cfg := range configs {
		b.Run(cfg.name(), func(b *testing.B) {
			loop := &repeater{}
			var wire bytes.Buffer
			w, err := NewWriter(&wire, cfg)
			if err != nil {
				b.Fatal(err)
			}
			// A zstd frame starts once: the first file leads in, the second
			// repeats itself.
			w.Literal(data)
			w.End()
			loop.first = bytes.Clone(wire.Bytes())
			wire.Reset()
			w.Literal(data)
			w.End()
			loop.again = wire.Bytes()
			r, err := NewReader(loop, cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				for {
					tok, err := r.Next()
					if err != nil {
						b.Fatal(err)
					}
					if tok.End {
						break
					}
				}
			}
		})
	}
}

// repeater reads first once and again forever.
type repeater struct {
	first, again []byte
	n            int
}

func (r *repeater) Read(p []byte) (int, error) {
	if r.n == len(r.first) {
		r.first, r.n = r.again, 0
	}
	n := copy(p, r.first[r.n:])
	r.n += n
	return n, nil
}

func (r *repeater) ReadByte() (byte, error) {
	var b [1]byte
	_, err := r.Read(b[:])
	return b[0], err
}

// TestDeflateFindsEnough compresses text of few words: at zlib's default level the
// library's own one of that number would leave 3 % more.
func TestDeflateFindsEnough(t *testing.T) {
	rnd := rand.New(rand.NewPCG(20, 8))
	words := make([]string, 3000)
	for i := range words {
		words[i] = strconv.FormatUint(rnd.Uint64N(1<<rnd.Uint64N(40)), 36)
	}
	var text bytes.Buffer
	for text.Len() < 1<<20 {
		text.WriteString(words[int(rnd.ExpFloat64()*300)%len(words)])
		text.WriteByte(' ')
	}
	size := func(level int) int {
		var out bytes.Buffer
		w, err := NewWriter(&out, Config{Choice: Zlibx, Level: level, Protocol: 31})
		if err != nil {
			t.Fatal(err)
		}
		for p := text.Bytes(); len(p) > 0; p = p[min(len(p), 32<<10):] {
			if err := w.Literal(p[:min(len(p), 32<<10)]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.End(); err != nil {
			t.Fatal(err)
		}
		return out.Len()
	}
	if six, most := size(6), size(9); six > most+most/100 {
		t.Errorf("%d bytes at level 6, %d at level 9", six, most)
	}
}
