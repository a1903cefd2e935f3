// Package checksum holds the sums of the rsync protocol: the rolling sum of a
// block, the strong sum of a block, the sum of a whole transferred file and
// the sum that --checksum compares before a transfer.
//
// The same algorithm is seeded differently in each of these places, and
// differently again by protocol version; Config knows the rules. All of them
// are fixed by rsync 3.5.0 checksum.c.
package checksum

import (
	"strings"
)

// Kind names one strong checksum algorithm as the protocol sees it.
// The zero Kind is no valid choice.
type Kind uint8

const (
	// XXH128 is the 128-bit XXH3 hash.
	XXH128 Kind = iota + 1
	// XXH3 is the 64-bit XXH3 hash.
	XXH3
	// XXH64 is the 64-bit XXH hash; "xxhash" is another name for it.
	XXH64
	// MD5 is what protocol 30 and later use when nothing is negotiated.
	MD5
	// MD4 is the MD4 that was asked for by name: its file sum has no seed.
	MD4
	// SHA1 is the 160-bit SHA.
	SHA1
	// None sends one zero byte per file and turns the delta transfer off.
	None
	// MD4Seeded is what protocols 27 to 29 use when nothing is chosen: MD4
	// whose file sum starts with the seed, even when that is zero. It has no
	// name on the command line.
	MD4Seeded
	// SHA256 serves daemon authentication only.
	SHA256
	// SHA512 serves daemon authentication only.
	SHA512
)

// MaxLen is the length in bytes of the longest digest of any Kind.
const MaxLen = 64

var kinds = [...]struct {
	name string
	len  int
}{
	XXH128:    {"xxh128", 16},
	XXH3:      {"xxh3", 8},
	XXH64:     {"xxh64", 8},
	MD5:       {"md5", 16},
	MD4:       {"md4", 16},
	SHA1:      {"sha1", 20},
	None:      {"none", 1},
	MD4Seeded: {"md4", 16},
	SHA256:    {"sha256", 32},
	SHA512:    {"sha512", 64},
}

// Names lists the transfer checksums in the order in which rsync advertises
// them, most preferred first.
func Names() []string {
	return []string{"xxh128", "xxh3", "xxh64", "md5", "md4", "sha1", "none"}
}

// AuthNames lists the daemon authentication digests, strongest first.
func AuthNames() []string {
	return []string{"sha512", "sha256", "sha1", "md5", "md4"}
}

// ByName returns the transfer checksum of that name, in any case of letters.
// The names are those of Names and "xxhash".
func ByName(name string) (Kind, bool) {
	if strings.EqualFold(name, "xxhash") {
		return XXH64, true
	}
	for k := XXH128; k <= None; k++ {
		if strings.EqualFold(name, kinds[k].name) {
			return k, true
		}
	}
	return 0, false
}

// AuthByName returns the daemon authentication digest of that name, one of
// AuthNames in any case of letters, and its rank: 0 is the strongest.
func AuthByName(name string) (k Kind, rank int, ok bool) {
	for i, k := range [...]Kind{SHA512, SHA256, SHA1, MD5, MD4} {
		if strings.EqualFold(name, kinds[k].name) {
			return k, i, true
		}
	}
	return 0, 0, false
}

// Default returns the checksum that both sides use when neither negotiation
// nor --checksum-choice chose one.
func Default(protocol int) Kind {
	if protocol >= 30 {
		return MD5
	}
	return MD4Seeded
}

// Valid reports whether k is one of the constants of this package.
func (k Kind) Valid() bool { return k >= XXH128 && k <= SHA512 }

// Name returns the name under which k is negotiated, "md4" for MD4Seeded.
func (k Kind) Name() string {
	if !k.Valid() {
		return "invalid"
	}
	return kinds[k].name
}

// String returns Name.
func (k Kind) String() string { return k.Name() }

// Len returns the length of the digest in bytes; 1 for None.
func (k Kind) Len() int {
	if !k.Valid() {
		return 0
	}
	return kinds[k].len
}

// Canonical reports whether the pre-transfer sum of k is the plain, unseeded
// digest that other programs print, so that %C may show it.
func (k Kind) Canonical() bool {
	return k.Valid() && k != None && k != MD4Seeded
}

// AppendHex appends the digest sum as %C and --itemize-changes show it.
// The 64-bit lanes of the xxHash family travel as little-endian numbers and are
// shown most significant digit first; a sum whose seed nobody knows is not shown.
// rsync 3.5.0 checksum.c:canonical_checksum, log.c
func (k Kind) AppendHex(dst, sum []byte) []byte {
	const digits = "0123456789abcdef"
	switch k {
	case None, MD4Seeded:
	case XXH128, XXH3, XXH64:
		for i := len(sum) - 1; i >= 0; i-- {
			dst = append(dst, digits[sum[i]>>4], digits[sum[i]&15])
		}
	default:
		for _, b := range sum {
			dst = append(dst, digits[b>>4], digits[b&15])
		}
	}
	return dst
}

// Config says how sums are computed in one connection. It is a value, safe for
// concurrent use.
type Config struct {
	Kind Kind
	// Seed is the checksum seed of the connection, as sent in the handshake.
	Seed int32
	// ProperSeedOrder is the compatibility flag CF_CHKSUM_SEED_FIX: an MD5
	// block sum hashes the seed before the data instead of after it.
	ProperSeedOrder bool
	// Protocol is the negotiated protocol version, 27 to 32. The rules that
	// depend on it are already in the choice of Kind (see Default).
	Protocol int
}

// Len returns the length of a digest in bytes.
func (c Config) Len() int { return c.Kind.Len() }
