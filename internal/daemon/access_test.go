package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// fakeDNS answers from tables; "" stands for a failure.
type fakeDNS struct{ names, addrs map[string]string }

func (d fakeDNS) LookupAddr(_ context.Context, a string) ([]string, error) {
	return answer(d.names[a])
}
func (d fakeDNS) LookupHost(_ context.Context, h string) ([]string, error) {
	return answer(d.addrs[h])
}

func answer(s string) ([]string, error) {
	if s == "" {
		return nil, errors.New("no such host")
	}
	return strings.Fields(s), nil
}

func quietLog(t testing.TB) *Log {
	l := openLog(logTarget{file: t.TempDir() + "/log"}, time.Now, false)
	t.Cleanup(func() { l.Close() })
	return l
}

func testAccess(t testing.TB) *access {
	return &access{ctx: context.Background(), forward: true, log: quietLog(t), resolver: fakeDNS{
		names: map[string]string{"10.1.2.3": "Client.Example.org.", "10.9.9.9": "spoof.example.org."},
		addrs: map[string]string{"Client.Example.org": "10.1.2.3", "client.example.org": "10.1.2.3", "spoof.example.org": "10.8.8.8",
			"two.example": "10.0.0.1 10.1.2.3", "six.example": "2001:db8::1"},
	}}
}

func TestAccess(t *testing.T) {
	for _, tc := range []struct {
		allow, deny, addr, host string
		want                    bool
	}{
		{"", "", "10.1.2.3", "UNKNOWN", true},
		{"10.1.2.3", "", "10.1.2.3", "UNKNOWN", true},
		{"10.1.2.4", "", "10.1.2.3", "UNKNOWN", false},
		{"10.1.2.4, 10.1.2.3", "", "10.1.2.3", "UNKNOWN", true},
		{"10.1.2.4\t10.1.2.3", "", "10.1.2.3", "UNKNOWN", true},
		{"10.0.0.0/8", "", "10.1.2.3", "UNKNOWN", true},
		{"10.1.2.0/25", "", "10.1.2.129", "UNKNOWN", false},
		{"10.1.2.3/0", "", "192.168.1.1", "UNKNOWN", true},
		{"10.0.0.3/255.0.0.255", "", "10.1.2.3", "UNKNOWN", true},
		{"10.0.0.4/255.0.0.255", "", "10.1.2.3", "UNKNOWN", false},
		{"10.0.0.0/33", "", "10.0.0.0", "UNKNOWN", false},
		{"10.0.0.0/", "", "10.0.0.0", "UNKNOWN", false},
		{"10.1", "", "10.0.0.1", "UNKNOWN", true},
		{"127.1", "", "127.0.0.1", "UNKNOWN", true},
		{"1.2.3.4.5", "", "1.2.3.4", "UNKNOWN", false},
		{"2001:db8::/32", "", "2001:db8::1", "UNKNOWN", true},
		{"2001:db8::/ffff:ffff::", "", "2001:db8:1::1", "UNKNOWN", true},
		{"2001:db8::/129", "", "2001:db8::", "UNKNOWN", false},
		{"::ffff:10.1.2.3", "", "10.1.2.3", "UNKNOWN", false},
		{"fe80::1%eth0", "", "fe80::1%eth0", "UNKNOWN", true},
		{"fe80::1%eth1", "", "fe80::1%eth0", "UNKNOWN", false},
		{"fe80::/10", "", "fe80::1%eth0", "UNKNOWN", true},
		{"*.example.org", "", "10.1.2.3", "Client.Example.ORG", true},
		{"*.EXAMPLE.org", "", "10.1.2.3", "client.example.org", true},
		{"*.example.com", "", "10.1.2.3", "client.example.org", false},
		{"client.example.org", "", "10.1.2.3", "UNDETERMINED", true},
		{"two.example", "", "10.1.2.3", "UNKNOWN", true},
		{"six.example", "", "2001:db8::1", "UNKNOWN", true},
		{"nowhere.example", "", "10.1.2.3", "UNKNOWN", false},
		{"", "nowhere.example", "10.1.2.3", "UNKNOWN", false},
		{"", "two.example", "10.1.2.9", "UNKNOWN", true},
		{"", "10.1.2.3", "10.1.2.3", "UNKNOWN", false},
		{"10.1.2.3", "*", "10.1.2.3", "UNKNOWN", true},
		{"10.1.2.4", "*", "10.1.2.3", "UNKNOWN", false},
		{"10.1.2.4", "10.5.0.0/16", "10.1.2.3", "UNKNOWN", true},
		{"@trusted", "", "10.1.2.3", "UNKNOWN", false},
		{"", "@evil", "10.1.2.3", "UNKNOWN", false},
		{"bücher.example", "", "10.1.2.3", "xn--bcher-kva.example", true},
		{"\uff0a.example", "", "10.1.2.3", "x.example", false},
		{",", "", "10.1.2.3", "UNKNOWN", false},
	} {
		host := tc.host
		if got := testAccess(t).allowed(tc.allow, tc.deny, tc.addr, &host); got != tc.want {
			t.Errorf("allow %q deny %q: %s (%s) allowed %v, want %v", tc.allow, tc.deny, tc.addr, tc.host, got, tc.want)
		}
		if tc.allow == "client.example.org" && host != tc.allow {
			t.Errorf("the host is now %q", host)
		}
	}
	a := testAccess(t)
	a.forward = false
	host := "UNKNOWN"
	if !a.allowed("", "nowhere.example", "10.1.2.3", &host) || a.allowed("two.example", "", "10.1.2.3", &host) {
		t.Error("names were looked up with forward lookup off")
	}
	for addr, want := range map[string]string{"10.1.2.3": "Client.Example.org", "10.9.9.9": "UNKNOWN", "10.7.7.7": "UNKNOWN", "0.0.0.0": "UNKNOWN"} {
		if got := a.reverse(addr); got != want {
			t.Errorf("the name of %s is %q, want %q", addr, got, want)
		}
	}
}

func v2(command, family byte, body string) string {
	return proxyV2Signature + string([]byte{command, family, byte(len(body) >> 8), byte(len(body))}) + body
}

func TestProxyHeader(t *testing.T) {
	ports := "\x9c\x40\x03\x69"
	six := string(netip.MustParseAddr("fd00::9").AsSlice())
	for _, tc := range []struct{ header, want string }{
		{"PROXY TCP4 10.1.2.3 127.0.0.1 40000 873\r\n", "10.1.2.3"},
		{"PROXY TCP6 fd00::1 ::1 40000 873\r\n", "fd00::1"},
		{"PROXY UNKNOWN\r\n", "none"},
		{"PROXY UNKNOWN ff 1 2 3\r\n", "none"},
		{"PROXY TCP4 10.1.2.3 127.0.0.1 40000 873\n", "bad"},
		{"PROXY TCP4 10.1.2.3 127.0.0.1 40000\r\n", "bad"},
		{"PROXY TCP4 10.1.2.3 127.0.0.1 0 873\r\n", "bad"},
		{"PROXY TCP4 10.1.2.3 127.0.0.1 40000 0\r\n", "bad"},
		{"PROXY TCP4 10.1.2.3 127.0.0.1 4x 873\r\n", "bad"},
		{"PROXY TCP4 10.1.2.300 127.0.0.1 40000 873\r\n", "bad"},
		{"PROXY TCP4 10.1.2.3 localhost 40000 873\r\n", "bad"},
		{"PROXY TCP6 fe80::1%eth0 ::1 40000 873\r\n", "bad"},
		{"PROXY UDP4 10.1.2.3 127.0.0.1 40000 873\r\n", "bad"},
		{"PROXYTCP4 10.1.2.3 127.0.0.1 40000 873\r\n", "bad"},
		{"PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n", "bad"},
		{"PROXY TCP4\r\n", "bad"},
		{"@RSYNCD: 30.0\n", "bad"},
		{"PROXY", "bad"},
		{v2(0x21, 0x11, "\x0a\x01\x02\x03\x7f\x00\x00\x01"+ports), "10.1.2.3"},
		{v2(0x21, 0x21, six+six+ports), "fd00::9"},
		{v2(0x21, 0x21, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x01\x02\x03"+six+ports), "10.1.2.3"},
		{v2(0x20, 0x00, ""), "none"},
		{v2(0x21, 0x31, strings.Repeat("u", 216)), "none"},
		{v2(0x21, 0x11, "\x0a\x01\x02\x03"), "bad"},
		{v2(0x21, 0x21, "\x0a\x01\x02\x03\x7f\x00\x00\x01"+ports), "bad"},
		{v2(0x11, 0x11, "\x0a\x01\x02\x03\x7f\x00\x00\x01"+ports), "bad"},
		{v2(0x22, 0x11, "\x0a\x01\x02\x03\x7f\x00\x00\x01"+ports), "bad"},
		{v2(0x21, 0x31, strings.Repeat("u", 217)), "bad"},
		{v2(0x21, 0x11, "\x0a\x01\x02\x03\x7f\x00\x00\x01"+ports)[:20], "bad"},
	} {
		r := strings.NewReader(tc.header + "REST")
		if tc.want == "bad" {
			r = strings.NewReader(tc.header)
		}
		addr, err := readProxyHeader(r)
		got := addr.String()
		switch rest, _ := io.ReadAll(r); {
		case err != nil:
			got = "bad"
		case !addr.IsValid():
			got = "none"
			fallthrough
		default:
			if string(rest) != "REST" {
				t.Errorf("%q: %q is left", tc.header, rest)
			}
		}
		if got != tc.want {
			t.Errorf("%q: %s, %v; want %s", tc.header, got, err, tc.want)
		}
	}
}

func TestProxyPeers(t *testing.T) {
	h := start(t, "proxy protocol = yes\nproxy protocol hosts = 127.0.0.0/8\n[m]\npath = DIR/m\nhosts allow = 10.0.0.0/8\n")
	probe := func(h *host, header string) string {
		c := h.dial(t)
		c.send("%s%sm\n", header, hello)
		got := ""
		if l := c.line(); l+"\n" == hello {
			got = c.line()
		}
		return got
	}
	for header, want := range map[string]string{
		"PROXY TCP4 10.1.2.3 127.0.0.1 40000 873\r\n": "@RSYNCD: OK",
		"PROXY TCP4 11.1.2.3 127.0.0.1 40000 873\r\n": "@ERROR: access denied to m from UNDETERMINED (11.1.2.3)",
		"PROXY UNKNOWN\r\n":                           "@ERROR: access denied to m from UNDETERMINED (127.0.0.1)",
		"":                                            "",
	} {
		if got := probe(h, header); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
	var errs bytes.Buffer
	h = start(t, "proxy protocol = yes\n[m]\npath = DIR/m\n", func(c *Config) { c.Stderr = &errs })
	if got := probe(h, "PROXY TCP4 10.1.2.3 127.0.0.1 40000 873\r\n"); got != "" {
		t.Errorf("an untrusted proxy got %q", got)
	}
	// A client meets the end of the connection, whatever it has said by then.
	c := h.dial(t)
	c.send(hello)
	if _, err := io.ReadAll(c.r); err != nil {
		t.Error(err)
	}
	h.wantLog(t, `proxy protocol rejected from untrusted peer UNDETERMINED \(127\.0\.0\.1\)`)
	if !strings.Contains(errs.String(), `"proxy protocol hosts" is unset`) {
		t.Errorf("no warning: %q", errs.String())
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 10.1.2.3 127.0.0.1 40000 873\r\n"))
	f.Add([]byte(v2(0x21, 0x11, "\x0a\x01\x02\x03\x7f\x00\x00\x01\x01\x01\x01\x01")))
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, err := readProxyHeader(bytes.NewReader(b))
		if err == nil && addr.IsValid() && (addr.Zone() != "" || addr.Is4In6()) {
			t.Errorf("%q gave %v", b, addr)
		}
	})
}

func FuzzAccess(f *testing.F) {
	f.Add("10.0.0.0/8, *.example", "10.1.2.3")
	f.Add("fe80::1%x/64", "fe80::1%x")
	f.Fuzz(func(t *testing.T, list, addr string) {
		a := &access{ctx: context.Background(), forward: true, resolver: fakeDNS{}, log: &Log{path: "", now: time.Now}}
		host := undeterminedHost
		a.allowed(list, list, addr, &host)
	})
}

func TestLogLine(t *testing.T) {
	l := openLog(logTarget{file: t.TempDir() + "/log"}, func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }, true)
	l.Printf("a\tb\x1b[1m\x07 \\#033 \\#x \x9b é\n")
	l.Errorf("%s", strings.Repeat("x", 5000))
	text := readFile(t, l.path)
	want := fmt.Sprintf("2026/11/23 12:00:00 [%d] a\tb\\#033[1m\\#007 \\#134#033 \\#x \\#233 \xc3\xa9\n", l.pid)
	first, second, _ := strings.Cut(text, "\n")
	if first+"\n" != want || len(second) != len("2026/11/23 12:00:00 [] ")+len(fmt.Sprint(l.pid))+2047+1 {
		t.Errorf("%q, want %q; second line has %d bytes", first, want, len(second))
	}
}
