package content

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"time"
)

// A token lets a client that proved to the rsync daemon who it is ask for the
// same module over HTTP. It is the password of user TokenUser in the offer's
// URL, and good for one module, one client address, and a time:
//
//	8 bytes    when it ends, seconds since 1970, big-endian
//	16 bytes   HMAC-SHA256 of module, 0, address, 0, those 8 bytes
//
// in base64 for URLs. It travels as openly as the connection that brought it.
const (
	TokenUser = "prsync-token"
	// TokenTime is how long one lasts: longer than a transfer.
	TokenTime = 24 * time.Hour
	// TokenKeyLen is the length of the host's key in bytes.
	TokenKeyLen = 32

	tokenSum = 16
)

// NewToken makes a token that ends at a time.
func NewToken(key []byte, module string, client netip.Addr, end time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(end.Unix()))
	return base64.RawURLEncoding.EncodeToString(append(b, tokenMAC(key, module, client, b)...))
}

// CheckToken reports whether a token is good now.
func CheckToken(key []byte, token, module string, client netip.Addr, now time.Time) bool {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 8+tokenSum || len(key) != TokenKeyLen {
		return false
	}
	end := binary.BigEndian.Uint64(b)
	return hmac.Equal(b[8:], tokenMAC(key, module, client, b[:8])) && now.Unix() < int64(end)
}

func tokenMAC(key []byte, module string, client netip.Addr, end []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(module))
	h.Write([]byte{0})
	h.Write([]byte(client.Unmap().WithZone("").String()))
	h.Write([]byte{0})
	h.Write(end)
	return h.Sum(nil)[:tokenSum]
}
