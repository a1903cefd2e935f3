package host

import (
	"net/netip"
	"testing"
)

// Wrong passwords count for all addresses of an IPv6 network together, for each
// IPv4 address alone.
func TestTooMany(t *testing.T) {
	g := &gatekeeper{}
	for i := range maxFailed {
		g.tooMany(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}), true)
		g.tooMany(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), true)
	}
	for addr, want := range map[string]bool{"2001:db8::77": true, "2001:db8:0:1::77": false, "192.0.2.1": false} {
		if got := g.tooMany(netip.MustParseAddr(addr), false); got != want {
			t.Errorf("%s: no more tries: %v", addr, got)
		}
	}
}
