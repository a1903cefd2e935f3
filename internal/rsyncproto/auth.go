package rsyncproto

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/prsync/prsync/internal/delta/checksum"
)

// AuthDigest is the digest that two sides agreed on for the challenge and
// response of a daemon module with `auth users`.
type AuthDigest struct {
	kind checksum.Kind
}

// AuthDigests returns the names of the digests that both greetings of prsync
// offer, strongest first.
func AuthDigests() []string { return checksum.AuthNames() }

// NoAuthDigestError says that the other side has none of our digests.
type NoAuthDigestError struct{ Theirs []string }

func (e *NoAuthDigestError) Error() string {
	return fmt.Sprintf("no common digest for authentication: the other side has %q, this side %q",
		strings.Join(e.Theirs, " "), strings.Join(AuthDigests(), " "))
}

// AgreeAuthDigest returns the strongest digest that the other side's greeting
// offers. A greeting without digests means md5, or before protocol 30 the md4
// that is seeded with four zero bytes. The error is a *NoAuthDigestError.
// (rsync 3.5.0 compat.c:negotiate_daemon_auth.)
func AgreeAuthDigest(protocol int, theirs []string) (AuthDigest, error) {
	if theirs == nil {
		if protocol >= 30 {
			return AuthDigest{checksum.MD5}, nil
		}
		return AuthDigest{checksum.MD4Seeded}, nil
	}
	best := -1
	var found AuthDigest
	for _, name := range theirs {
		if kind, rank, ok := checksum.AuthByName(name); ok && (best < 0 || rank < best) {
			best, found = rank, AuthDigest{kind}
		}
	}
	if best < 0 {
		return AuthDigest{}, &NoAuthDigestError{theirs}
	}
	return found, nil
}

// Name returns the name of the digest, as `auth digest` spells it.
func (d AuthDigest) Name() string { return d.kind.Name() }

// AtLeast reports whether the digest is no weaker than the named one, and
// whether the name is known.
func (d AuthDigest) AtLeast(floor string) (enough, known bool) {
	_, want, known := checksum.AuthByName(floor)
	_, have, _ := checksum.AuthByName(d.Name())
	return known && have <= want, known
}

// NewChallenge returns an unpredictable challenge that looks like one of
// rsync's: a digest in base64.
func (d AuthDigest) NewChallenge() string {
	b := make([]byte, d.kind.Len())
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return base64.RawStdEncoding.EncodeToString(b)
}

// Response returns what the holder of a password answers to a challenge: the
// digest of both, in base64 without padding.
// (rsync 3.5.0 authenticate.c:generate_hash.)
func (d AuthDigest) Response(password, challenge string) string {
	h := checksum.Config{Kind: d.kind}.NewFile()
	h.Write([]byte(password))
	h.Write([]byte(challenge))
	return base64.RawStdEncoding.EncodeToString(h.Sum(nil))
}
