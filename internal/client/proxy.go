package client

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
)

// Limits of the exchange with a web proxy: bytes of the request and of a line
// of the answer, and lines of the answer.
const (
	maxProxyLine    = 1024
	maxProxyHeaders = 1000
)

// proxy is what RSYNC_PROXY names, [USER:PASS@]HOST:PORT, and what it is asked.
type proxy struct {
	endpoint
	request string
}

// parseProxy prepares the request to connect to host and port. What cannot be
// asked fails before any connection is made.
func parseProxy(spec, host string, port int) (*proxy, error) {
	p := &proxy{}
	auth := ""
	if i := strings.LastIndexByte(spec, '@'); i >= 0 {
		login := spec[:i]
		if !strings.Contains(login, ":") {
			return nil, socketIO("invalid proxy specification: should be USER:PASS@HOST:PORT")
		}
		coded := base64.StdEncoding.EncodeToString([]byte(login))
		if len(login) > 1<<16 || (len(login)*8+5)/6 >= maxProxyLine-3 {
			return nil, socketIO("authentication information is too long")
		}
		auth, spec = "\r\nProxy-Authorization: Basic "+coded, spec[i+1:]
	}
	var ok bool
	if p.host, p.port, ok = strings.Cut(spec, ":"); !ok {
		return nil, socketIO("invalid proxy specification: should be HOST:PORT")
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return nil, socketIO("invalid control character in proxy CONNECT host")
	}
	p.request = fmt.Sprintf("CONNECT %s HTTP/1.0%s\r\n\r\n", net.JoinHostPort(host, strconv.Itoa(port)), auth)
	if len(p.request) >= maxProxyLine {
		return nil, socketIO("proxy CONNECT request too long")
	}
	return p, nil
}

// throughProxy asks for the connection and reads the answer up to its end
// (rsync 3.5.0 socket.c:establish_proxy_connection).
func (d *dialer) throughProxy(ctx context.Context, c net.Conn, p *proxy) error {
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if d.o.Timeout > 0 {
		c.SetDeadline(time.Now().Add(time.Duration(d.o.Timeout) * time.Second))
		defer c.SetDeadline(time.Time{})
	}
	if _, err := io.WriteString(c, p.request); err != nil {
		return failed(exitcode.SocketIO, d.amSender, dialError(err), "failed to write to proxy")
	}
	status, err := d.proxyLine(c, "proxy response line too long")
	if err != nil {
		return err
	}
	status = strings.TrimSuffix(status, "\r")
	code, ok := strings.CutPrefix(status, "HTTP/")
	code = strings.TrimLeft(strings.TrimLeft(code, "0123456789."), " ")
	if !ok || !strings.HasPrefix(code, "2") {
		return socketIO("bad response from proxy -- %s", status)
	}
	for range maxProxyHeaders {
		line, err := d.proxyLine(c, "proxy response header line too long")
		if err != nil {
			return err
		}
		if line == "" || line == "\r" {
			return nil
		}
	}
	return socketIO("proxy response has more than %d header lines", maxProxyHeaders)
}

// proxyLine reads byte by byte, so that nothing of the daemon's is consumed.
func (d *dialer) proxyLine(r io.Reader, tooLong string) (string, error) {
	var line []byte
	var b [1]byte
	for len(line) < maxProxyLine-1 {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return "", failed(exitcode.SocketIO, d.amSender, dialError(err), "failed to read from proxy")
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
	return "", socketIO("%s", tooLong)
}
