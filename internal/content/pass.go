package content

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// A pass lets a customer fetch one content from a volunteer, out of a module
// that not everybody may read: the central host has let him in, and the
// volunteer has neither its rules nor its passwords. It is the parameter
// QueryPass of the address the host sends him to, and good for one volunteer,
// one content of one module, and a time:
//
//	8 bytes    when it ends, seconds since 1970, big-endian
//	16 bytes   HMAC-SHA256 of module, 0, content id, those 8 bytes;
//	           the key is the SHA-256 of the volunteer's secret
//
// in base64 for URLs. It names no address: a customer may come to the volunteer
// from another one than to the host.
const (
	QueryPass = "pass"
	// PassTime is how long one lasts: longer than a download that goes on in
	// several requests.
	PassTime = 6 * time.Hour
)

// PassKey is the key of a volunteer's passes.
func PassKey(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

// NewPass makes a pass that ends at a time.
func NewPass(key [sha256.Size]byte, module string, id ID, end time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(end.Unix()))
	return base64.RawURLEncoding.EncodeToString(append(b, passMAC(key, module, id, b)...))
}

// CheckPass reports whether a pass is good now.
func CheckPass(key [sha256.Size]byte, pass, module string, id ID, now time.Time) bool {
	b, err := base64.RawURLEncoding.DecodeString(pass)
	if err != nil || len(b) != 8+tokenSum {
		return false
	}
	end := binary.BigEndian.Uint64(b)
	return hmac.Equal(b[8:], passMAC(key, module, id, b[:8])) && now.Unix() < int64(end)
}

func passMAC(key [sha256.Size]byte, module string, id ID, end []byte) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte(module))
	h.Write([]byte{0})
	h.Write(id[:])
	h.Write(end)
	return h.Sum(nil)[:tokenSum]
}
