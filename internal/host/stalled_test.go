package host

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestStalledCustomer has a customer that takes nothing of a large file keep
// nobody else out for good.
func TestStalledCustomer(t *testing.T) {
	s := newSite(t)
	text := strings.Repeat("0123456789abcdef", 4<<20)
	s.write("tree/file", text)
	s.write("edge1.d/file", text)
	short := func(o *Options) { o.Timing.Stalled = time.Second }
	hub := s.central("customer limit = 1\n"+pub+"path = "+s.path("tree"), short)
	edge := s.volunteer(1, hub.Bound.URL, "customer limit = 1\n", short)
	s.redirected(hub, "/pub/file", edge)
	for name, r := range map[string]*running{"central host": hub, "volunteer": edge} {
		addr := r.Bound.HTTP.String()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.(*net.TCPConn).SetReadBuffer(4096)
		fmt.Fprintf(c, "GET /pub/file?origin HTTP/1.1\r\nHost: %s\r\n\r\n", addr)
		busy := func() bool {
			req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/pub/file?origin", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Range", "bytes=0-9")
			a, err := s.do(req, s.web)
			return err != nil || a.code != http.StatusPartialContent
		}
		s.wait(name+": the only place is taken", 10*time.Second, busy)
		s.wait(name+": the place is free again", 10*time.Second, func() bool { return !busy() })
	}
}
