package daemon

import (
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// peerAddr returns the address of the other end of a connection; an IPv4
// address that came in through IPv6 is IPv4. A connection without addresses
// (a unix socket or a pipe) has 0.0.0.0.
func peerAddr(f *os.File) string {
	const none = "0.0.0.0"
	raw, err := f.SyscallConn()
	if err != nil {
		return none
	}
	addr := none
	raw.Control(func(fd uintptr) {
		sa, err := unix.Getpeername(int(fd))
		if err != nil {
			return
		}
		switch sa := sa.(type) {
		case *unix.SockaddrInet4:
			addr = netip.AddrFrom4(sa.Addr).String()
		case *unix.SockaddrInet6:
			a := netip.AddrFrom16(sa.Addr).Unmap()
			if sa.ZoneId != 0 && a.Is6() {
				a = a.WithZone(zoneName(int(sa.ZoneId)))
			}
			addr = a.String()
		}
	})
	return addr
}

// shellAddr returns the client's address as a remote shell tells it, 0.0.0.0
// when it tells none: the other end of standard input is the shell, which need
// not be where the client is. What it tells may be no address: then that is all
// there is, and "" says so.
func shellAddr(look func(string) (string, bool)) string {
	for _, name := range []string{"REMOTE_HOST", "SSH_CONNECTION", "SSH_CLIENT", "SSH2_CLIENT"} {
		if v, ok := look(name); ok {
			v, _, _ = strings.Cut(v, " ")
			if a, err := netip.ParseAddr(v); err == nil {
				return a.String()
			}
			return ""
		}
	}
	return "0.0.0.0"
}

// reverse returns the client's name: the one that its address points to and
// that points back, else unknownHost (rsync 3.5.0 clientname.c:client_name).
func (a *access) reverse(addr string) string {
	if addr == "0.0.0.0" {
		return unknownHost
	}
	names, err := a.resolver.LookupAddr(a.ctx, addr)
	if err != nil || len(names) == 0 {
		a.log.Printf("name lookup failed for %s: %s", addr, lookupText(err))
		return unknownHost
	}
	name := strings.TrimSuffix(names[0], ".")
	back, err := a.resolver.LookupHost(a.ctx, name)
	if err != nil {
		a.log.Printf("forward name lookup for %s failed: %s", name, lookupText(err))
		return unknownHost
	}
	for _, b := range back {
		if sameAddr(b, addr) {
			return name
		}
	}
	a.log.Printf("%s is not a known address for %q: spoofed address?", addr, name)
	return unknownHost
}

func lookupText(err error) string {
	if err == nil {
		return "no name"
	}
	return err.Error()
}
