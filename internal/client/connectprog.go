package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/report"
)

// pairTimeout bounds the wait for our own connection on the loopback.
const pairTimeout = 10 * time.Second

// fillHost puts the host, quoted for a shell, in the place of %H in the command
// of RSYNC_CONNECT_PROG; %% is a percent sign.
func fillHost(prog, host string) (string, error) {
	if !strings.Contains(prog, "%") {
		return prog, nil
	}
	if !isShellSafe(host) {
		return "", socketIO("unsafe host characters for RSYNC_CONNECT_PROG")
	}
	return strings.NewReplacer("%%", "%", "%H", "'"+host+"'").Replace(prog), nil
}

// isShellSafe reports whether a host stays one word even where a shell within a
// shell reads it again: nothing active, and no first character that makes it an
// option, a home directory or a job.
func isShellSafe(host string) bool {
	if host == "" || strings.IndexByte("-+~%", host[0]) >= 0 {
		return false
	}
	return !strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._:-%+~", r)
	})
}

// runProgram runs a command on one end of a TCP connection over the loopback:
// daemons look at the address they are called from. (rsync 3.5.0
// socket.c:sock_exec)
func (d *dialer) runProgram(ctx context.Context, command string) (*Conn, error) {
	ours, theirs, err := tcpPair(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, canceled(ctx)
		}
		return nil, failed(exitcode.SocketIO, d.amSender, dialError(err), "socketpair_tcp failed")
	}
	defer theirs.Close()
	if debug(d.o, report.DebugCmd, 1) {
		d.env.trace("Running socket program: \"" + command + "\"")
	}
	end, err := theirs.File()
	if err != nil {
		ours.Close()
		return nil, failed(exitcode.SocketIO, d.amSender, err, "socketpair_tcp failed")
	}
	defer end.Close()
	// Without RSYNC_SHELL it is system(3)'s, which calls it "sh" in its messages.
	shell, name := "/bin/sh", "sh"
	if s := d.env.getenv("RSYNC_SHELL"); s != "" {
		shell, name = s, s
	}
	cmd := exec.Command(shell, "-c", command)
	cmd.Args[0] = name
	cmd.Stdin, cmd.Stdout, cmd.Stderr = end, end, d.env.Stderr
	cmd.Env = environ(cmd, d.env)
	p, err := start(ctx, cmd, true)
	if err != nil {
		ours.Close()
		return nil, failed(exitcode.IPC, d.amSender, startError(err), "Failed to exec "+shell)
	}
	return &Conn{In: ours, Out: ours, Protocol: d.o.Protocol, program: p}, nil
}

// tcpPair returns the two ends of a connection over the loopback, and only of
// our own: a connection that somebody else makes first is refused.
func tcpPair(ctx context.Context) (ours, theirs *net.TCPConn, err error) {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	var n net.Dialer
	ctx, cancel := context.WithTimeout(ctx, pairTimeout)
	defer cancel()
	c, err := n.DialContext(ctx, "tcp4", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	theirs = c.(*net.TCPConn)
	if err = l.SetDeadline(time.Now().Add(pairTimeout)); err == nil {
		ours, err = l.AcceptTCP()
	}
	if err == nil && ours.RemoteAddr().String() != theirs.LocalAddr().String() {
		ours.Close()
		err = errors.New("another process connected to the loopback port")
	}
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}
