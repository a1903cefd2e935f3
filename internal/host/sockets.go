package host

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/prsync/prsync/internal/daemon"
	"github.com/prsync/prsync/internal/daemon/conf"
)

// firstInherited is the first descriptor that a service manager hands over,
// sd_listen_fds(3).
const firstInherited = 3

// maxInherited bounds how many of them are looked at.
const maxInherited = 16

// inherited are the listeners that a service manager handed over, by the
// names of their sockets.
type inherited struct{ http, rsync []net.Listener }

// inheritListeners takes the sockets of LISTEN_FDS: those with "rsync" in their
// name (LISTEN_FDNAMES, set by FileDescriptorName= or the name of the unit)
// are the rsync daemon's, all others take HTTP.
func inheritListeners(getenv func(string) string) (in inherited, err error) {
	if pid, _ := strconv.Atoi(getenv("LISTEN_PID")); pid != os.Getpid() {
		return in, nil
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > maxInherited {
		return in, fmt.Errorf("LISTEN_FDS=%.20q: want a number up to %d", getenv("LISTEN_FDS"), maxInherited)
	}
	names := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	for i := range n {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		fd := firstInherited + i
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), name)
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return in, fmt.Errorf("socket %d (%s) of LISTEN_FDS: %w; want a listening stream socket", fd, name, err)
		}
		if strings.Contains(name, "rsync") && !strings.Contains(name, "http") {
			in.rsync = append(in.rsync, l)
		} else {
			in.http = append(in.http, l)
		}
	}
	return in, nil
}

// override logs that sockets of a service manager take the place of what the
// configuration says, if that is something else: who wrote an address there
// means it, to keep others out for one.
func (in *inherited) override(g *conf.Global, log *slog.Logger) {
	differ := func(where []net.Listener, host, port string) string {
		for _, l := range where {
			h, p, err := net.SplitHostPort(l.Addr().String())
			if err != nil { // a unix socket
				return l.Addr().String()
			}
			want, got := net.ParseIP(host), net.ParseIP(h)
			all := host == "" || want != nil && want.IsUnspecified()
			if port != p || all != got.IsUnspecified() || want != nil && !all && !want.Equal(got) {
				return l.Addr().String()
			}
		}
		return ""
	}
	warn := func(parameter, value, got string) {
		if got != "" {
			log.Warn("a socket of the service manager takes the place of what the configuration says; change the socket's unit, or disable it",
				"parameter", parameter, "value", value, "socket", got)
		}
	}
	if g.HTTPListen != "" {
		if host, port, err := net.SplitHostPort(g.HTTPListen); err == nil {
			warn("http listen", g.HTTPListen, differ(in.http, host, port))
		}
	}
	if g.Address != "" || g.Port != 0 {
		port := g.Port
		if port == 0 {
			port = daemon.DefaultPort
		}
		warn("address and port", strings.TrimSpace(fmt.Sprint(g.Address, " ", port)), differ(in.rsync, g.Address, strconv.Itoa(port)))
	}
}

// notify tells the service manager a state, sd_notify(3); without one it does
// nothing.
func notify(getenv func(string) string, state string) {
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if path[0] == '@' {
		path = "\x00" + path[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	c.Write([]byte(state))
}
