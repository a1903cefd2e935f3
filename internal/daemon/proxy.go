package daemon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol, versions 1 and 2, as a load balancer sends it before
// the connection's own bytes (rsync 3.5.0 clientname.c:read_proxy_protocol_header).
const (
	proxyV2Signature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV1Max       = 107 // bytes of a version 1 line with its newline
	proxyV2Max       = 216 // bytes of addresses in version 2: two unix paths

	proxyCommandLocal = 0
	proxyCommandProxy = 1
	proxyTCP4         = 0x11
	proxyTCP6         = 0x21
)

var errProxyHeader = errors.New("malformed PROXY protocol header")

// readProxyHeader reads a PROXY header and nothing behind it. The address is
// the client's, or not valid when the header says that the connection is the
// proxy's own or of a kind without such an address.
func readProxyHeader(r io.Reader) (netip.Addr, error) {
	head := make([]byte, len(proxyV2Signature))
	if _, err := io.ReadFull(r, head); err != nil {
		return netip.Addr{}, fmt.Errorf("reading the PROXY protocol header: %w", err)
	}
	if string(head) == proxyV2Signature {
		return readProxyV2(r)
	}
	if !strings.HasPrefix(string(head), "PROXY") {
		return netip.Addr{}, errProxyHeader
	}
	line := head
	var b [1]byte
	for !strings.Contains(string(line), "\n") {
		if len(line) >= proxyV1Max {
			return netip.Addr{}, errProxyHeader
		}
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return netip.Addr{}, fmt.Errorf("reading the PROXY protocol header: %w", err)
		}
		line = append(line, b[0])
	}
	return parseProxyV1(string(line))
}

// parseProxyV1 reads "PROXY TCP4 SOURCE DEST SPORT DPORT\r\n".
func parseProxyV1(line string) (netip.Addr, error) {
	body, ok := strings.CutSuffix(line, "\r\n")
	if !ok || strings.ContainsAny(body, "\r\n") {
		return netip.Addr{}, errProxyHeader
	}
	f := strings.Split(body, " ")
	if len(f) >= 2 && f[0] == "PROXY" && strings.HasPrefix(f[1], "UNKNOWN") {
		return netip.Addr{}, nil
	}
	if len(f) != 6 || f[0] != "PROXY" || f[1] != "TCP4" && f[1] != "TCP6" {
		return netip.Addr{}, errProxyHeader
	}
	source, err1 := netip.ParseAddr(f[2])
	dest, err2 := netip.ParseAddr(f[3])
	if err1 != nil || err2 != nil || source.Zone() != "" || dest.Zone() != "" {
		return netip.Addr{}, errProxyHeader
	}
	for _, port := range f[4:] {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return netip.Addr{}, errProxyHeader
		}
	}
	return source.Unmap(), nil
}

// readProxyV2 reads what follows the signature: version and command, family,
// length, addresses and ports.
func readProxyV2(r io.Reader) (netip.Addr, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return netip.Addr{}, fmt.Errorf("reading the PROXY protocol header: %w", err)
	}
	size := int(binary.BigEndian.Uint16(head[2:]))
	if head[0]>>4 != 2 || size > proxyV2Max {
		return netip.Addr{}, errProxyHeader
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return netip.Addr{}, fmt.Errorf("reading the PROXY protocol header: %w", err)
	}
	switch head[0] & 0x0f {
	case proxyCommandLocal:
		return netip.Addr{}, nil
	case proxyCommandProxy:
	default:
		return netip.Addr{}, errProxyHeader
	}
	switch head[1] {
	case proxyTCP4:
		if size != 2*4+2*2 {
			return netip.Addr{}, errProxyHeader
		}
		return netip.AddrFrom4([4]byte(body)), nil
	case proxyTCP6:
		if size != 2*16+2*2 {
			return netip.Addr{}, errProxyHeader
		}
		return netip.AddrFrom16([16]byte(body)).Unmap(), nil
	}
	return netip.Addr{}, nil
}
