// Package utp stands in for github.com/anacrolix/go-utp, which
// github.com/anacrolix/torrent imports and prsync never uses: its swarm speaks
// BitTorrent over TCP only (ClientConfig.DisableUTP). go.work replaces the
// module with this one, so that the build needs neither cgo nor a module that
// not every proxy serves. Every constructor fails.
package utp

import (
	"context"
	"errors"
	"log/slog"
	"net"
)

// ErrDisabled is returned by every constructor.
var ErrDisabled = errors.New("µTP is not part of this build")

// Default names the implementation in error messages.
const Default = "disabled"

// FirewallCallback tells whether to refuse a connection from the address.
type FirewallCallback func(net.Addr) bool

// Option configures a socket.
type Option func()

// WithLogger is accepted and ignored.
func WithLogger(*slog.Logger) Option { return func() {} }

// Socket is what the library expects of a µTP socket.
type Socket interface {
	net.PacketConn
	Accept() (net.Conn, error)
	Addr() net.Addr
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	SetFirewallCallback(FirewallCallback)
}

// NewSocket fails with ErrDisabled.
func NewSocket(network, addr string, opts ...Option) (Socket, error) {
	return nil, ErrDisabled
}

// NewSocketFromPacketConn fails with ErrDisabled.
func NewSocketFromPacketConn(pc net.PacketConn, opts ...Option) (Socket, error) {
	return nil, ErrDisabled
}
