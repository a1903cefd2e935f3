package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
)

// dialer opens the socket to a daemon.
type dialer struct {
	o        *options.Options
	env      *Env
	amSender bool
}

// open goes through RSYNC_CONNECT_PROG, RSYNC_PROXY or straight to the host
// (rsync 3.5.0 socket.c:open_socket_out_wrapped and open_socket_out).
func (d *dialer) open(ctx context.Context, host string, port int) (*Conn, error) {
	prog := d.env.getenv("RSYNC_CONNECT_PROG")
	if prog != "" {
		var err error
		if prog, err = fillHost(prog, host); err != nil {
			return nil, err
		}
	}
	if debug(d.o, report.DebugConnect, 1) {
		d.env.trace(connectTrace(host, port, prog != ""))
	}
	if prog != "" {
		return d.runProgram(ctx, prog)
	}
	target := endpoint{host: host, port: strconv.Itoa(port)}
	via := (*proxy)(nil)
	if spec := d.env.getenv("RSYNC_PROXY"); spec != "" {
		var err error
		if via, err = parseProxy(spec, host, port); err != nil {
			return nil, err
		}
		target = via.endpoint
		if debug(d.o, report.DebugConnect, 1) {
			d.env.trace(fmt.Sprintf("connection via http proxy %s port %s", target.host, target.port))
		}
	}
	c, err := d.dial(ctx, target, via)
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok && d.env.Acking != nil {
		c = &ackingConn{tcp, d.env.Acking(tcp)}
	}
	return &Conn{In: c, Out: c, Protocol: d.o.Protocol}, nil
}

// ackingConn reads a connection by another reader.
type ackingConn struct {
	net.Conn
	reader io.Reader
}

func (c *ackingConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

type endpoint struct{ host, port string }

func socketIO(format string, args ...any) error {
	return exitcode.New(exitcode.SocketIO, format, args...)
}

// dial tries all addresses of an endpoint in turn.
func (d *dialer) dial(ctx context.Context, to endpoint, via *proxy) (net.Conn, error) {
	unresolved := func(err error) error {
		if ctx.Err() != nil {
			return canceled(ctx)
		}
		return socketIO("rsync: getaddrinfo: %s %s: %s", to.host, to.port, resolverText(err))
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", to.port)
	if err != nil {
		return nil, unresolved(errService)
	}
	addrs, err := d.lookup(ctx, to.host)
	if err != nil {
		return nil, unresolved(err)
	}
	var lines []string
	for _, addr := range addrs {
		c, err := d.connect(ctx, netip.AddrPortFrom(addr, uint16(port)))
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil, canceled(ctx)
		case d.o.ContTimeout > 0 && isDialTimeout(err):
			return nil, exitcode.Silent(exitcode.ConTimeout)
		case errors.As(err, new(bindError)):
			lines = append(lines, err.Error())
			continue
		case err != nil:
			line := failed(exitcode.SocketIO, d.amSender, dialError(err), fmt.Sprintf("failed to connect to %s (%s)", to.host, addr))
			lines = append(lines, line.Error())
			continue
		}
		if via != nil {
			if err := d.throughProxy(ctx, c, via); err != nil {
				c.Close()
				if ctx.Err() != nil {
					return nil, canceled(ctx)
				}
				lines = append(lines, err.Error())
				continue
			}
		}
		if debug(d.o, report.DebugConnect, 2) {
			d.env.trace(fmt.Sprintf("Connected to %s (%s)", to.host, addr))
		}
		return c, nil
	}
	return nil, socketIO("%s", strings.Join(lines, "\n"))
}

// bindError is the whole line about an --address that cannot be used.
type bindError string

func (e bindError) Error() string { return string(e) }

// connect connects within --contimeout, from --address, with --sockopts.
func (d *dialer) connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	n := net.Dialer{
		KeepAlive: -1, // asked for with --sockopts
		ControlContext: func(_ context.Context, _, _ string, c syscall.RawConn) error {
			if d.o.Sockopts != "" && d.env.SetSockopts != nil {
				for _, problem := range d.env.SetSockopts(c, d.o.Sockopts) {
					d.env.warn(problem.Error())
				}
			}
			return nil
		},
	}
	if d.o.Address != "" {
		from, err := d.lookup(ctx, d.o.Address)
		if err != nil {
			return nil, bindError(fmt.Sprintf("rsync: getaddrinfo %s: %s", d.o.Address, resolverText(err)))
		}
		for _, a := range from {
			if a.Is4() == to.Addr().Is4() {
				n.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
				break
			}
		}
		if n.LocalAddr == nil {
			return nil, bindError(fmt.Sprintf("rsync: cannot connect to %s from %s: the address family differs", to.Addr(), d.o.Address))
		}
	}
	n.Timeout = time.Duration(d.o.ContTimeout) * time.Second
	c, err := n.DialContext(ctx, "tcp", to.String())
	if at, ok := ctx.Deadline(); err != nil && ok && !time.Now().Before(at) {
		<-ctx.Done() // the dialer's timer may be the first to fire
	}
	return c, err
}

// lookup returns the addresses of a host of the wanted family, in the order of
// the resolver.
func (d *dialer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	network := "ip"
	switch d.o.Family {
	case options.IPv4:
		network = "ip4"
	case options.IPv6:
		network = "ip6"
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
	if err == nil && len(addrs) == 0 {
		err = errors.New("no address of the wanted family")
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, err
}

var errService = errors.New("Servname not supported for ai_socktype")

// resolverText words a failed look-up as the C library does.
func resolverText(err error) string {
	var dns *net.DNSError
	var addr *net.AddrError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "Name or service not known"
	case errors.As(err, &dns) && (dns.IsTemporary || dns.IsTimeout):
		return "Temporary failure in name resolution"
	case errors.As(err, &addr):
		return "Address family for hostname not supported"
	}
	return err.Error()
}

// isDialTimeout tells our own timer from the kernel's, which is a plain error.
func isDialTimeout(err error) bool {
	var ours net.Error
	var kernel syscall.Errno
	return errors.As(err, &ours) && ours.Timeout() && !errors.As(err, &kernel)
}

// dialError leaves only the reason.
func dialError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
