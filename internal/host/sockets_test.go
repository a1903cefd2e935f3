package host

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/daemon/conf"
)

// at is a listener that has an address and nothing else.
type at struct{ net.Listener }

func (at) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv6unspecified, Port: 8080} }

// TestOverride: who restricts an address in the configuration is told when a
// socket of the service manager is open to more.
func TestOverride(t *testing.T) {
	for listen, told := range map[string]bool{"": false, ":8080": false, "0.0.0.0:8080": false, "[::]:8080": false,
		"127.0.0.1:8080": true, ":8081": true, "localhost:8080": true} {
		var b bytes.Buffer
		in := inherited{http: []net.Listener{at{}}}
		in.override(&conf.Global{HTTPListen: listen}, slog.New(slog.NewTextHandler(&b, nil)))
		if strings.Contains(b.String(), "http listen") != told {
			t.Errorf("http listen = %q: %q", listen, b.String())
		}
	}
	for _, c := range []struct {
		address string
		port    int
		told    bool
	}{{"", 0, false}, {"", 8080, false}, {"0.0.0.0", 8080, false}, {"127.0.0.1", 8080, true}, {"", 873, true}, {"0.0.0.0", 0, true}} {
		var b bytes.Buffer
		in := inherited{rsync: []net.Listener{at{}}}
		in.override(&conf.Global{Address: c.address, Port: c.port}, slog.New(slog.NewTextHandler(&b, nil)))
		if strings.Contains(b.String(), "address and port") != c.told {
			t.Errorf("%+v: %q", c, b.String())
		}
	}
}
