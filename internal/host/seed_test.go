package host

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/host/statedir"
	"github.com/prsync/prsync/internal/index"
	"github.com/prsync/prsync/internal/p2p"
)

// TestVolunteerSeeds has peers fetch from a volunteer while the host's file is
// gone, and a transfer of the volunteer's machine use its engine.
func TestVolunteerSeeds(t *testing.T) {
	s := newSite(t)
	text := strings.Repeat("all work and no play makes jack a dull boy\n", 20000)
	s.write("tree/file", text)
	hub := s.central(pub+"path = "+s.path("tree"), func(o *Options) { o.Timing.Settle = time.Hour })
	withEngine := func(o *Options) { o.Engine = []string{os.Args[0], engineArg} }
	s.write("edge1.d/copy", text)
	e := s.volunteer(1, hub.Bound.URL, "", withEngine)
	s.redirected(hub, "/pub/file", e)
	reg, err := statedir.Read(e.Bound.StateDir, statedir.Volunteer)
	if err != nil || reg.URL != hub.Bound.URL || len(reg.Modules) != 1 {
		t.Fatalf("%+v, %v", reg, err)
	}
	id := content.ID(sha256.Sum256([]byte(text)))
	offer := content.Offer{URL: hub.Bound.URL, Module: "pub", Generation: 1}
	ih := func() content.InfoHash {
		r, err := index.OpenReader(statedir.Index(hub.Bound.StateDir, statedir.Central, "pub"))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		c, err := r.Content(id)
		if err != nil || !c.InPack {
			t.Fatal(c, err)
		}
		return c.Pack
	}()
	scrape := hub.Bound.URL + "/scrape?info_hash=" + escapeBytes(ih[:])
	s.wait("the seed", 10*time.Second, func() bool { return strings.Contains(s.get(scrape).body, "8:completei1e") })

	fetch := func(c *p2p.Client, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.swarmed(c, offer, text)
		if err != nil {
			t.Fatalf("%v\n%s", err, e.log)
		}
		return got
	}
	// The host has the file no more: all of it comes from the volunteer.
	if err := os.Remove(s.path("tree/file")); err != nil {
		t.Fatal(err)
	}
	if got := fetch(p2p.Spawn(context.Background(), []string{os.Args[0], engineArg}, p2p.Config{SpillDir: s.dir})); got != text {
		t.Error("a peer got something else")
	}
	if got := fetch(p2p.Dial(context.Background(), statedir.Engine(e.Bound.StateDir), p2p.Config{})); got != text {
		t.Error("a transfer that uses the volunteer's engine got something else")
	}
	// The engine dies: another one takes its place.
	pid := 0
	for _, w := range strings.Fields(e.log.String()) {
		if p, ok := strings.CutPrefix(w, "pid="); ok {
			pid = atoi(p)
		}
	}
	if pid == 0 {
		t.Fatalf("the log does not name the engine\n%s", e.log)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.wait("a new engine", 10*time.Second, func() bool { return strings.Count(e.log.String(), "msg=\"swarm engine\"") == 2 })
	if a := s.get(hub.Bound.URL + "/pub/file"); a.code != 302 {
		t.Errorf("customers while the engine was started again: %d", a.code)
	}
	s.wait("the seed again", 10*time.Second, func() bool { return !strings.Contains(s.get(scrape).body, "8:completei0e") })
}

// swarmed is what a client gets for the content of that text, by an engine that
// ends with it.
func (s *site) swarmed(c *p2p.Client, offer content.Offer, text string) (string, error) {
	s.t.Helper()
	defer c.Close()
	if err := c.SetOffer(offer); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(s.dir, "got")
	if err != nil {
		return "", err
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	if err := c.Fetch(ctx, content.Want{Tag: 1, ID: sha256.Sum256([]byte(text)), Length: int64(len(text)), File: f}); err != nil {
		return "", err
	}
	for {
		select {
		case ev := <-c.Events():
			if ev.Done {
				got, err := os.ReadFile(f.Name())
				return string(got), errors.Join(ev.Err, err)
			}
		case <-ctx.Done():
			return "", errors.New("not fetched in time")
		}
	}
}

// TestUplinkIsShared has a volunteer send to a peer and to a customer at the
// same time: both draw on one uplink.
func TestUplinkIsShared(t *testing.T) {
	s := newSite(t)
	text := strings.Repeat("the quick brown fox jumps over the lazy dog\n", 3<<20/44)
	s.write("tree/file", text)
	hub := s.central(pub+"path = "+s.path("tree"), func(o *Options) { o.Timing.Settle = time.Hour })
	s.write("edge1.d/copy", text)
	e := s.volunteer(1, hub.Bound.URL, "uplink = 1M\n", func(o *Options) { o.Engine = []string{os.Args[0], engineArg} })
	s.redirected(hub, "/pub/file", e)
	if err := os.Remove(s.path("tree/file")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var customer sync.WaitGroup
	customer.Go(func() {
		if a := s.get("http://" + e.Bound.HTTP.String() + "/pub/copy"); a.code != 200 || a.body != text {
			t.Errorf("the customer got status %d and %d bytes", a.code, len(a.body))
		}
	})
	c, err := p2p.Spawn(context.Background(), []string{os.Args[0], engineArg}, p2p.Config{SpillDir: s.dir, Stall: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.swarmed(c, content.Offer{URL: hub.Bound.URL, Module: "pub", Generation: 1}, text); err != nil || got != text {
		t.Errorf("the peer got %d bytes, %v", len(got), err)
	}
	customer.Wait()
	// 6 MiB at 1 MiB/s, of which a second's worth may go at once, and half of
	// one until the engine's sending is noticed.
	if d := time.Since(began); d < 4*time.Second {
		t.Errorf("6 MiB left within %v by an uplink of 1 MiB/s", d)
	}
}

// TestLearned tells the volunteer what a transfer has just written.
func TestLearned(t *testing.T) {
	s := newSite(t)
	s.write("tree/file", "content")
	hub := s.central(pub+"path = "+s.path("tree"), nil)
	// It would not find out by itself for an hour.
	e := s.volunteer(1, hub.Bound.URL, "", func(o *Options) { o.Timing.Settle = time.Hour })
	s.wait("first scan", 5*time.Second, func() bool { return strings.Contains(s.get(hub.Bound.URL+"/status.json").body, `"edge1"`) })
	reg, err := statedir.Read(e.Bound.StateDir, statedir.Volunteer)
	if err != nil {
		t.Fatal(err)
	}
	m, rel, ok := reg.Find(s.path("edge1.d"))
	if !ok || rel != "" {
		t.Fatalf("%+v", reg)
	}
	s.wait("index", 5*time.Second, func() bool { _, err := index.OpenReader(m.Index); return err == nil })
	s.write("edge1.d/sub/file", "content")
	fi, err := os.Stat(s.path("edge1.d/sub/file"))
	if err != nil {
		t.Fatal(err)
	}
	st, _ := index.StatOf(fi)
	began := time.Now()
	if err := index.Learn(m.Index, []index.Learned{{Path: "sub/file", Stat: st, ID: sha256.Sum256([]byte("content"))}}); err != nil {
		t.Fatal(err)
	}
	s.redirected(hub, "/pub/file", e)
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("routable only %v after the transfer", d)
	}
	if strings.Contains(e.log.String(), "read_bytes=7") {
		t.Error("the file was read again")
	}
	if body, _, err := s.fetch(hub.Bound.URL + "/pub/file"); err != nil || body != "content" {
		t.Errorf("%q, %v", body, err)
	}
}

func atoi(s string) (n int) {
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}

func escapeBytes(b []byte) string {
	const digits = "0123456789abcdef"
	var out []byte
	for _, c := range b {
		out = append(out, '%', digits[c>>4], digits[c&15])
	}
	return string(out)
}
