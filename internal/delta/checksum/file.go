package checksum

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"

	"github.com/cespare/xxhash/v2"
	"github.com/zeebo/xxh3"
	//lint:ignore SA1019 the protocol names MD4; it guards against accidents here, not attackers
	"golang.org/x/crypto/md4"
)

// FileHash computes the sum of a whole file. It is reusable through Reset and
// not safe for concurrent use. Write never fails.
type FileHash interface {
	Write(p []byte) (int, error)
	// Sum appends the digest, Len bytes, to dst without changing the state.
	Sum(dst []byte) []byte
	Reset()
	Len() int
}

// NewFile returns the hash that sender and receiver compute over the bytes of
// a transferred file. Only MD4Seeded uses the seed, in front of the data.
// rsync 3.5.0 checksum.c:sum_init, sum_update, sum_end
func (c Config) NewFile() FileHash {
	if c.Kind == MD4Seeded {
		f := &seeded{plain: plain{md4.New(), c.Kind.Len()}}
		binary.LittleEndian.PutUint32(f.seed[:], uint32(c.Seed))
		f.Reset()
		return f
	}
	return New(c.Kind)
}

// New returns the unseeded hash of kind k: the pre-transfer sum of --checksum
// and the digest of daemon authentication.
// rsync 3.5.0 checksum.c:file_checksum
func New(k Kind) FileHash {
	switch k {
	case XXH128:
		return &xxh128Sum{}
	case XXH3:
		return &xxh3Sum{}
	case XXH64:
		return &xxh64Sum{xxhash.New()}
	case MD5:
		return plain{md5.New(), md5.Size}
	case MD4, MD4Seeded:
		return plain{md4.New(), md4.Size}
	case SHA1:
		return plain{sha1.New(), sha1.Size}
	case SHA256:
		return plain{sha256.New(), sha256.Size}
	case SHA512:
		return plain{sha512.New(), sha512.Size}
	}
	return noSum(k.Len())
}

// plain is a hash of the standard library's shape.
type plain struct {
	hash.Hash
	n int
}

func (p plain) Len() int { return p.n }

// seeded starts with the seed after every Reset.
type seeded struct {
	plain
	seed [4]byte
}

func (s *seeded) Reset() {
	s.plain.Reset()
	s.Write(s.seed[:])
}

// The xxHash family sends its 64-bit words in little-endian order, low word
// first; the libraries' own Sum methods are big-endian.

type xxh128Sum struct{ xxh3.Hasher }

func (h *xxh128Sum) Len() int { return 16 }

func (h *xxh128Sum) Sum(dst []byte) []byte {
	v := h.Sum128()
	dst = binary.LittleEndian.AppendUint64(dst, v.Lo)
	return binary.LittleEndian.AppendUint64(dst, v.Hi)
}

type xxh3Sum struct{ xxh3.Hasher }

func (h *xxh3Sum) Len() int { return 8 }

func (h *xxh3Sum) Sum(dst []byte) []byte {
	return binary.LittleEndian.AppendUint64(dst, h.Sum64())
}

type xxh64Sum struct{ *xxhash.Digest }

func (h *xxh64Sum) Len() int { return 8 }

func (h *xxh64Sum) Sum(dst []byte) []byte {
	return binary.LittleEndian.AppendUint64(dst, h.Sum64())
}

// noSum is the sum of None: its length in zero bytes.
type noSum int

func (n noSum) Write(p []byte) (int, error) { return len(p), nil }
func (n noSum) Sum(dst []byte) []byte       { return append(dst, make([]byte, n)...) }
func (n noSum) Reset()                      {}
func (n noSum) Len() int                    { return int(n) }
