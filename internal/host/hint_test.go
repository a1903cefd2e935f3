package host

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// TestHint meets the mistakes that an operator makes with addresses, and looks
// for what he is told.
func TestHint(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	rsync, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer rsync.Close()
	go func() {
		for {
			c, err := rsync.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "@RSYNCD: 32.0 md5\n")
			c.Close()
		}
	}()
	ask := func(url string, c *tls.Config) error {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
		resp, err := client.Get(url)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	trusted := secure.Client().Transport.(*http.Transport).TLSClientConfig
	_, inUse := net.Listen("tcp", rsync.Addr().String())
	_, foreign := net.Listen("tcp", "192.0.2.1:0")
	for _, c := range []struct {
		err  error
		want string
	}{
		{inUse, "choose another port"},
		{foreign, "does not have that address"},
		{fmt.Errorf("write: %w", syscall.ENOSPC), "make room"},
		{ask(secure.URL, nil), "SSL_CERT_FILE"},
		{ask(strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), trusted), "name that the certificate is for"},
		{ask(strings.Replace(plain.URL, "http:", "https:", 1), nil), "begin with http://"},
		{ask("http://"+rsync.Addr().String(), nil), "no web server"},
		// What ask gets from such a server depends on who is faster.
		{fmt.Errorf("readLoopPeekFailLocked: %w", error(nil)), "no web server"},
		{ask("https://"+rsync.Addr().String(), nil), "no web server"},
	} {
		if c.err == nil {
			t.Errorf("the mistake that is to be told with %q is none", c.want)
		} else if got := Hint(c.err).Error(); !strings.Contains(got, c.want) {
			t.Errorf("%s; want %q", got, c.want)
		}
	}
}
