package content

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

func TestToken(t *testing.T) {
	key, other := bytes.Repeat([]byte{1}, TokenKeyLen), bytes.Repeat([]byte{2}, TokenKeyLen)
	client := netip.MustParseAddr("192.0.2.1")
	now := time.Unix(1e9, 0)
	token := NewToken(key, "m", client, now.Add(time.Hour))
	if !CheckToken(key, token, "m", netip.MustParseAddr("::ffff:192.0.2.1"), now) {
		t.Fatal("a good token is refused")
	}
	wrong := []byte(token)
	wrong[3] ^= 1
	for name, good := range map[string]bool{
		"another key":     CheckToken(other, token, "m", client, now),
		"no key":          CheckToken(nil, NewToken(nil, "m", client, now.Add(time.Hour)), "m", client, now),
		"another module":  CheckToken(key, token, "m2", client, now),
		"another address": CheckToken(key, token, "m", netip.MustParseAddr("192.0.2.2"), now),
		"too late":        CheckToken(key, token, "m", client, now.Add(time.Hour)),
		"changed":         CheckToken(key, string(wrong), "m", client, now),
		"cut":             CheckToken(key, token[:len(token)-1], "m", client, now),
		"empty":           CheckToken(key, "", "m", client, now),
	} {
		if good {
			t.Errorf("%s: accepted", name)
		}
	}
}
