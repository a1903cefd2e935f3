package checksum

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// slowRolling is the definition: signed bytes, one after the other.
func slowRolling(b []byte) uint32 {
	var s1, s2 uint32
	for _, c := range b {
		s1 += uint32(int8(c))
		s2 += s1
	}
	return s1&0xffff | s2<<16
}

func TestRolling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "b")
		for at := range min(len(b), 3) {
			b := b[at:]
			if got, want := Rolling(b), slowRolling(b); got != want {
				t.Fatalf("Rolling(%x) = %08x, want %08x", b, got, want)
			}
			if got, want := rollingGeneric(b), slowRolling(b); got != want {
				t.Fatalf("rollingGeneric(%x) = %08x, want %08x", b, got, want)
			}
		}
	})
	for _, fill := range []byte{0, 1, 0x7f, 0x80, 0xff} {
		b := bytes.Repeat([]byte{fill}, 1<<17+13)
		if got, want := Rolling(b), slowRolling(b); got != want {
			t.Errorf("Rolling of %d times %#x = %08x, want %08x", len(b), fill, got, want)
		}
		if got, want := rollingGeneric(b), slowRolling(b); got != want {
			t.Errorf("rollingGeneric of %d times %#x = %08x, want %08x", len(b), fill, got, want)
		}
	}
}

// TestVectors pins every rule of seed placement. The unseeded digests of the
// empty string and of "abc" are those that the algorithms' authors publish.
func TestVectors(t *testing.T) {
	sum := func(k Kind, parts ...string) string {
		h := New(k)
		for _, p := range parts {
			h.Write([]byte(p))
		}
		return hex.EncodeToString(h.Sum(nil))
	}
	const seed = "\x39\x30\x00\x00" // 12345
	tests := []struct {
		what      string
		got, want string
	}{
		{"md4 abc", sum(MD4, "abc"), "a448017aaf21d8525fc10ae87aa6729d"},
		{"md5 abc", sum(MD5, "abc"), "900150983cd24fb0d6963f7d28e17f72"},
		{"sha1 abc", sum(SHA1, "abc"), "a9993e364706816aba3e25717850c26c9cd0d89d"},
		{"sha256 abc", sum(SHA256, "abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"sha512 abc", sum(SHA512, "abc")[:32], "ddaf35a193617abacc417349ae204131"},
		{"xxh64 empty", sum(XXH64), "99e9d85137db46ef"},
		{"xxh3 empty", sum(XXH3), "c294d3380580062d"},
		{"xxh128 empty", sum(XXH128), "7f498d4624c30160d8984701d306aa99"},
		{"none", sum(None, "abc"), "00"},

		{"md5 block, seed first", block(Config{Kind: MD5, Seed: 12345, ProperSeedOrder: true}, "abc"), sum(MD5, seed, "abc")},
		{"md5 block, seed last", block(Config{Kind: MD5, Seed: 12345}, "abc"), sum(MD5, "abc", seed)},
		{"md5 block, no seed", block(Config{Kind: MD5}, "abc"), sum(MD5, "abc")},
		{"md4 block", block(Config{Kind: MD4, Seed: 12345, ProperSeedOrder: true}, "abc"), sum(MD4, "abc", seed)},
		{"old md4 block", block(Config{Kind: MD4Seeded, Seed: 12345}, "abc"), sum(MD4, "abc", seed)},
		{"old md4 block, no seed", block(Config{Kind: MD4Seeded}, "abc"), sum(MD4, "abc")},
		{"sha1 block", block(Config{Kind: SHA1, Seed: 12345}, "abc"), sum(SHA1, seed, "abc")},

		{"md5 file", file(Config{Kind: MD5, Seed: 12345, ProperSeedOrder: true}, "abc"), sum(MD5, "abc")},
		{"md4 file", file(Config{Kind: MD4, Seed: 12345}, "abc"), sum(MD4, "abc")},
		{"old md4 file", file(Config{Kind: MD4Seeded, Seed: 12345}, "abc"), sum(MD4, seed, "abc")},
		{"old md4 file, seed 0", file(Config{Kind: MD4Seeded}, "abc"), sum(MD4, "\x00\x00\x00\x00", "abc")},
		{"xxh128 file", file(Config{Kind: XXH128, Seed: 12345}, "abc"), sum(XXH128, "abc")},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s: %s, want %s", tt.what, tt.got, tt.want)
		}
	}
}

func block(c Config, s string) string { return hex.EncodeToString(c.Block(nil, []byte(s))) }

func file(c Config, s string) string {
	h := c.NewFile()
	h.Write([]byte("left over"))
	h.Reset()
	h.Write([]byte(s))
	return hex.EncodeToString(h.Sum(nil))
}

// TestStreamingEqualsOneShot writes unevenly around the libraries'
// internal block sizes.
func TestStreamingEqualsOneShot(t *testing.T) {
	data := make([]byte, 100_000)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(data)
	for _, k := range []Kind{XXH128, XXH3, XXH64, MD5, MD4, SHA1} {
		for _, n := range []int{0, 1, 16, 17, 128, 129, 240, 241, 1023, 1024, 1025, 4096, 99_999} {
			h := New(k)
			for rest := data[:n]; len(rest) > 0; {
				m := min(len(rest), 1+n/7)
				h.Write(rest[:m])
				rest = rest[m:]
			}
			got, want := h.Sum(nil), Config{Kind: k}.Block(nil, data[:n])
			if !bytes.Equal(got, want) {
				t.Errorf("%s of %d bytes: streamed %x, at once %x", k, n, got, want)
			}
			if len(got) != k.Len() || h.Len() != k.Len() {
				t.Errorf("%s: digest of %d bytes, Len %d, want %d", k, len(got), h.Len(), k.Len())
			}
		}
	}
}

func TestSeedChangesBlockSum(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 700)
	for _, name := range Names() {
		k, ok := ByName(name)
		if !ok || k.Name() != name {
			t.Fatalf("ByName(%q) = %v, %v", name, k, ok)
		}
		a, b := block(Config{Kind: k, Seed: 0}, string(data)), block(Config{Kind: k, Seed: -7}, string(data))
		if (a == b) != (k == None) {
			t.Errorf("%s: seed 0 gives %s, seed -7 gives %s", name, a, b)
		}
	}
}

func TestNames(t *testing.T) {
	if k, ok := ByName("XXHash"); !ok || k != XXH64 {
		t.Errorf("xxhash is %v, %v", k, ok)
	}
	for _, bad := range []string{"", "sha512", "auto", "md"} {
		if k, ok := ByName(bad); ok {
			t.Errorf("ByName(%q) = %v", bad, k)
		}
	}
	for i, name := range AuthNames() {
		k, rank, ok := AuthByName(name)
		if !ok || rank != i || k.Name() != name {
			t.Errorf("AuthByName(%q) = %v, %d, %v", name, k, rank, ok)
		}
	}
	if Default(29) != MD4Seeded || Default(30) != MD5 {
		t.Error("wrong defaults")
	}
	if got := string(XXH3.AppendHex(nil, []byte{1, 2, 0xab})); got != "ab0201" {
		t.Errorf("xxh3 shown as %s", got)
	}
	if got := string(MD4Seeded.AppendHex(nil, []byte{1, 2, 0xab})); got != "" {
		t.Errorf("seeded md4 shown as %s", got)
	}
	if got := string(MD5.AppendHex(nil, []byte{1, 2, 0xab})); got != "0102ab" {
		t.Errorf("md5 shown as %s", got)
	}
}

func TestNoAllocation(t *testing.T) {
	data := make([]byte, 700)
	dst := make([]byte, 0, MaxLen)
	for _, name := range Names() {
		k, _ := ByName(name)
		c := Config{Kind: k, Seed: 99, ProperSeedOrder: true}
		if n := testing.AllocsPerRun(100, func() { dst = c.Block(dst[:0], data) }); n != 0 {
			t.Errorf("%s: %v allocations per block", name, n)
		}
	}
}

func BenchmarkRolling(b *testing.B) {
	for _, n := range []int{700, 32 << 10} {
		data := make([]byte, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				Rolling(data)
			}
		})
	}
}

func BenchmarkBlock(b *testing.B) {
	for _, name := range Names() {
		k, _ := ByName(name)
		for _, n := range []int{700, 32 << 10} {
			data, dst := make([]byte, n), make([]byte, 0, MaxLen)
			c := Config{Kind: k, Seed: 1, ProperSeedOrder: true}
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					dst = c.Block(dst[:0], data)
				}
			})
		}
	}
}
