package daemon

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"github.com/prsync/prsync/internal/filter/wildmatch"
)

// Names of clients whose name is not known.
const (
	unknownHost      = "UNKNOWN"      // the lookup failed
	undeterminedHost = "UNDETERMINED" // reverse lookup is off
)

// access decides by `hosts allow` and `hosts deny` (rsync 3.5.0 access.c).
type access struct {
	ctx      context.Context
	resolver Resolver
	// forward lets plain host names in the lists be looked up.
	forward bool
	log     *Log
}

// allowed reports whether the client may use a module. host is replaced by the
// name in the list when that is how an undetermined client was recognised.
func (a *access) allowed(allow, deny, addr string, host *string) bool {
	if strings.TrimSpace(allow) == "" {
		allow = ""
	}
	if allow != "" {
		if a.match(allow, addr, host, false) {
			return true
		}
		if deny == "" {
			return false
		}
	}
	return deny == "" || !a.match(deny, addr, host, true)
}

// match reports whether any entry of the list matches the client.
func (a *access) match(list, addr string, host *string, deny bool) bool {
	for _, entry := range strings.FieldsFunc(lower(list), func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		if a.matchName(entry, addr, host, deny) || a.matchAddress(entry, addr) {
			return true
		}
	}
	return false
}

// lower folds ASCII letters only.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// matchName compares an entry with the client's name, and the addresses of a
// plain host name with the client's address. What cannot be decided counts as
// a match in a deny list.
func (a *access) matchName(entry, addr string, host *string, deny bool) bool {
	if *host == "" {
		return false
	}
	if strings.HasPrefix(entry, "@") && len(entry) > 1 {
		a.log.Errorf("netgroups are not supported: %q in hosts %s matches %s", entry,
			map[bool]string{true: "deny", false: "allow"}[deny], map[bool]string{true: "every client", false: "no client"}[deny])
		return deny
	}
	entry = asciiName(entry)
	if wildmatch.MatchFold(entry, *host) {
		return true
	}
	if !a.forward || strings.Trim(entry, ".0123456789") == "" || strings.ContainsAny(entry, ":/*?[") {
		return false
	}
	found, err := a.resolver.LookupHost(a.ctx, entry)
	if err != nil || len(found) == 0 {
		return deny
	}
	for _, f := range found {
		if sameAddr(f, addr) {
			if *host == undeterminedHost {
				*host = entry
			}
			return true
		}
	}
	return false
}

func sameAddr(a, b string) bool {
	x, err1 := netip.ParseAddr(a)
	y, err2 := netip.ParseAddr(b)
	return err1 == nil && err2 == nil && x.Unmap() == y.Unmap()
}

// lookupProfile maps host names as resolvers do, without the deviations of
// IDNA 2003.
var lookupProfile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))

// asciiName puts the non-ASCII labels of a host pattern into the form that DNS
// names come in. Nothing but letters, digits and hyphens may come out of such
// a label, lest a mapping turn it into a wildcard; the name stays as it is then.
func asciiName(name string) string {
	labels := strings.Split(name, ".")
	for i, label := range labels {
		if isASCII(label) {
			continue
		}
		folded, err := lookupProfile.ToASCII(label)
		if err != nil || folded == "" || strings.Trim(folded, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return name
		}
		labels[i] = folded
	}
	return strings.Join(labels, ".")
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// matchAddress compares an entry of the form ADDR, ADDR/BITS or ADDR/MASK.
func (a *access) matchAddress(entry, addr string) bool {
	base, mask, masked := strings.Cut(entry, "/")
	if strings.Trim(base, ".0123456789") != "" && !strings.Contains(base, ":") {
		return false
	}
	client, err := netip.ParseAddr(addr)
	if err != nil {
		return false
	}
	client = client.Unmap()
	want, ok := parseAddr(base)
	if !ok {
		a.log.Errorf("error matching address %s: Name or service not known", entry)
		return false
	}
	if want.Is4() != client.Is4() || want.Zone() != "" && want.Zone() != client.Zone() {
		return false
	}
	bits := client.BitLen()
	if masked {
		if m, err := netip.ParseAddr(mask); err == nil && m.Is4() == client.Is4() {
			return maskedEqual(want.AsSlice(), client.AsSlice(), m.AsSlice())
		}
		if bits, err = strconv.Atoi(mask); err != nil || bits < 0 || bits > client.BitLen() {
			a.log.Errorf("malformed mask in %s", entry)
			return false
		}
	}
	p, err := client.WithZone("").Prefix(bits)
	return err == nil && p.Contains(want.WithZone(""))
}

func maskedEqual(a, b, mask []byte) bool {
	for i := range mask {
		if (a[i]^b[i])&mask[i] != 0 {
			return false
		}
	}
	return true
}

// parseAddr reads an address; IPv4 may be short, its last number then filling
// the rest, as inet_aton(3) has it.
func parseAddr(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a, true
	}
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var v uint64
	for i, p := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		n, err := strconv.ParseUint(p, 0, bits)
		if err != nil {
			return netip.Addr{}, false
		}
		v = v<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}

// proxyTrusted reports whether a peer may send a PROXY header.
func (a *access) proxyTrusted(list, addr string) bool {
	host := undeterminedHost
	trusted := *a
	trusted.forward = false
	return list != "" && trusted.match(list, addr, &host, false)
}
