package checksum

import (
	"crypto/md5"
	"crypto/sha1"
	"encoding/binary"
	"hash"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/zeebo/xxh3"
	//lint:ignore SA1019 the protocol names MD4; it guards against accidents here, not attackers
	"golang.org/x/crypto/md4"
)

// keyed is a reusable hash and the scratch space that keeps it off the heap.
type keyed struct {
	hash.Hash
	seed [4]byte
}

var (
	md5Pool  = sync.Pool{New: func() any { return &keyed{Hash: md5.New()} }}
	md4Pool  = sync.Pool{New: func() any { return &keyed{Hash: md4.New()} }}
	sha1Pool = sync.Pool{New: func() any { return &keyed{Hash: sha1.New()} }}
)

// Block appends the strong sum of the block b to dst. It allocates only to grow
// dst. None yields its one zero byte.
// rsync 3.5.0 checksum.c:get_checksum2
func (c Config) Block(dst, b []byte) []byte {
	seed := uint64(int64(c.Seed))
	switch c.Kind {
	case XXH128:
		h := xxh3.Hash128Seed(b, seed)
		dst = binary.LittleEndian.AppendUint64(dst, h.Lo)
		return binary.LittleEndian.AppendUint64(dst, h.Hi)
	case XXH3:
		return binary.LittleEndian.AppendUint64(dst, xxh3.HashSeed(b, seed))
	case XXH64:
		if seed == 0 {
			return binary.LittleEndian.AppendUint64(dst, xxhash.Sum64(b))
		}
		var d xxhash.Digest
		d.ResetWithSeed(seed)
		d.Write(b)
		return binary.LittleEndian.AppendUint64(dst, d.Sum64())
	case MD5:
		return c.keyed(&md5Pool, dst, b, c.ProperSeedOrder)
	case MD4, MD4Seeded:
		return c.keyed(&md4Pool, dst, b, false)
	case SHA1:
		return c.keyed(&sha1Pool, dst, b, true)
	}
	return append(dst, make([]byte, c.Kind.Len())...)
}

// keyed hashes b and, when there is one, the seed: before b or after it.
func (c Config) keyed(pool *sync.Pool, dst, b []byte, seedFirst bool) []byte {
	k := pool.Get().(*keyed)
	k.Reset()
	binary.LittleEndian.PutUint32(k.seed[:], uint32(c.Seed))
	if c.Seed != 0 && seedFirst {
		k.Write(k.seed[:])
	}
	k.Write(b)
	if c.Seed != 0 && !seedFirst {
		k.Write(k.seed[:])
	}
	dst = k.Sum(dst)
	pool.Put(k)
	return dst
}
