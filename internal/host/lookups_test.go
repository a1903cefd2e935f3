package host

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// TestSlowLookups: strangers who send large look-ups and then next to nothing
// do not shut out who sends one as fast as others.
func TestSlowLookups(t *testing.T) {
	s := newSite(t)
	text := "some content"
	s.write("tree/file", text)
	hub := s.central(pub+"path = "+s.path("tree"), nil)
	s.wait("first scan", 5*time.Second, func() bool { return s.get(hub.Bound.URL+"/pub/file").code == 200 })
	var slow []net.Conn
	for range maxLookups {
		c, err := net.Dial("tcp", hub.Bound.HTTP.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: hub\r\nContent-Length: %d\r\n\r\nd5:items", content.PathLookup, content.MaxLookupRequest-1)
		slow = append(slow, c)
	}
	// None of them is turned away while nobody else wants its place.
	for _, c := range slow {
		c.SetReadDeadline(time.Now().Add(lookupPatience / 4))
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == io.EOF {
			t.Errorf("a look-up alone was ended: %d, %v", n, err)
		}
	}
	ids := make([]byte, 0, 20000*32)
	for i := range 20000 {
		id := sha256.Sum256(fmt.Append(nil, i))
		ids = append(ids, id[:]...)
	}
	id := sha256.Sum256([]byte(text))
	copy(ids, id[:])
	req, err := http.NewRequest(http.MethodPost, hub.Bound.URL+content.PathLocate, strings.NewReader(string((&content.LocateRequest{Module: "pub", IDs: ids}).Encode())))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}, Timeout: bodyLimit / 2}
	defer client.CloseIdleConnections()
	a, err := s.do(req, client)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := content.DecodeLocateReply([]byte(a.body), 20000); err != nil || r.Pack[0] != 0 {
		t.Errorf("%d, %v", a.code, err)
	}
	told := 0
	for _, c := range slow {
		c.SetReadDeadline(time.Now().Add(lookupPatience / 4))
		b, _ := io.ReadAll(c)
		if strings.HasPrefix(string(b), "HTTP/1.1 408") && strings.Contains(string(b), "while others wait") {
			told++
		}
	}
	if told == 0 {
		t.Error("nobody was told to come faster")
	}
}

// TestHurry: the one that takes longest goes, if it takes long at all.
func TestHurry(t *testing.T) {
	now := time.Now()
	var gone []string
	p := newLookups()
	add := func(name string, age time.Duration, size, got int64) {
		l := &lookup{began: now.Add(-age), size: size, cut: func() { gone = append(gone, name) }}
		l.got.Store(got)
		p.held[l] = struct{}{}
	}
	const mega = 1 << 20
	add("fast", 4*time.Second, 50*mega, 40*mega)
	add("answered", time.Hour, 50*mega, 50*mega)
	add("new", lookupPatience/2, 50*mega, 0)
	p.hurry(now)
	if gone != nil {
		t.Errorf("%v went", gone)
	}
	add("slow", 4*time.Second, 50*mega, 5*mega)
	add("slower", 4*time.Second, 50*mega, mega)
	add("silent", 4*time.Second, 50*mega, 0)
	for range 5 {
		p.hurry(now)
	}
	if got, want := fmt.Sprint(gone), "[silent slower slow]"; got != want {
		t.Errorf("%s went, want %s", got, want)
	}
	// A place is free again however a look-up ends.
	p = newLookups()
	for range 2 * maxLookups {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", smallLookup+1)))
		done, ok := p.enter(httptest.NewRecorder(), r, 1<<20)
		if !ok {
			t.Fatal("no place")
		}
		done()
	}
}
