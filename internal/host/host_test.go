package host

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func TestRedirectOnlyToHoldersOfExactlyThis(t *testing.T) {
	s := newSite(t)
	s.write("tree/a/file", "new content")
	s.write("tree/other", "another")
	s.write("edge1.d/a/file", "old content")
	s.write("edge2.d/renamed", "new content")
	hub := s.central(pub+"path = "+s.path("tree"), nil)
	e1 := s.volunteer(1, hub.Bound.URL, "", nil)
	e2 := s.volunteer(2, hub.Bound.URL, "", nil)
	s.redirected(hub, "/pub/a/file", e2)
	for range 20 {
		if loc := s.get(hub.Bound.URL + "/pub/a/file").header.Get("Location"); strings.Contains(loc, e1.Bound.HTTP.String()) {
			t.Fatalf("redirected to a volunteer with other content: %s", loc)
		}
	}
	if body, from, err := s.fetch(hub.Bound.URL + "/pub/a/file"); err != nil || body != "new content" || from != e2.Bound.HTTP.String() {
		t.Fatalf("fetched %q from %s: %v", body, from, err)
	}
	if a := s.get(e1.Bound.URL + "/pub/%2e%2e/etc/passwd"); a.code != http.StatusBadRequest || strings.Count(e1.log.String(), "request refused") != 1 {
		t.Errorf("a path trick at a volunteer: %d, log:\n%s", a.code, e1.log)
	}
	// What nobody holds comes from the host.
	if body, from, err := s.fetch(hub.Bound.URL + "/pub/other"); err != nil || body != "another" || from != hub.Bound.HTTP.String() {
		t.Fatalf("fetched %q from %s: %v", body, from, err)
	}
	// edge1 catches up: routable soon; edge2 loses it: not any more.
	began := time.Now()
	s.write("edge1.d/a/file", "new content")
	s.wait("new holdings", 3*time.Second, func() bool {
		return strings.Contains(s.get(hub.Bound.URL+"/pub/a/file").header.Get("Location"), e1.Bound.HTTP.String())
	})
	t.Logf("routable %v after it was there", time.Since(began))
	if err := os.Remove(s.path("edge2.d/renamed")); err != nil {
		t.Fatal(err)
	}
	// Until the host knows, a customer who is sent there is sent back.
	for range 20 {
		if body, _, err := s.fetch(hub.Bound.URL + "/pub/a/file"); err != nil || body != "new content" {
			t.Fatalf("fetched %q: %v", body, err)
		}
	}
	s.redirected(hub, "/pub/a/file", e1)
	s.wait("edge2 out", 5*time.Second, func() bool { return !strings.Contains(s.holders(hub, "pub/a/file"), "edge2") })
	// A goodbye takes the customers away at once.
	e1.stop()
	if a := s.get(hub.Bound.URL + "/pub/a/file"); a.code != http.StatusOK {
		t.Errorf("after the goodbye: %d %s", a.code, a.header.Get("Location"))
	}
}

// TestRepublishUnderCustomers fetches while the repository, mirrors and
// generations change all the time: each answer is one whole version.
func TestRepublishUnderCustomers(t *testing.T) {
	s := newSite(t)
	const size = 300 << 10
	text := func(version int) string { return strings.Repeat(fmt.Sprintf("%08d", version), size/8) }
	put := func(root string, version int) {
		s.write(root+"/big", text(version))
		s.write(root+"/dists/Packages", text(version)[:50<<10])
		s.write(fmt.Sprintf("%s/v%d", root, version), text(version))
	}
	put("tree", 0)
	hub := s.central("[pub]\nredirect min size = 1K\nrescan interval = 0\npath = "+s.path("tree"), nil)
	edges := []*running{s.volunteer(1, hub.Bound.URL, "", nil), s.volunteer(2, hub.Bound.URL, "", nil)}
	put("edge1.d", 0)
	s.redirected(hub, "/pub/big", edges[0])

	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	fetched, redirects, latest := 0, 0, 0
	for c := range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				v := latest
				mu.Unlock()
				path := []string{"/pub/big", "/pub/dists/Packages", fmt.Sprintf("/pub/v%d", v), "/pub/big"}[c]
				body, from, err := s.fetch(hub.Bound.URL + path)
				if err == nil && strings.Trim(body, body[:8]) != "" && body != strings.Repeat(body[:8], len(body)/8) {
					err = fmt.Errorf("%s is a mixture of versions", path)
				}
				if err != nil {
					t.Errorf("customer %d: %v", c, err)
					return
				}
				mu.Lock()
				fetched++
				if from != hub.Bound.HTTP.String() {
					redirects++
				}
				mu.Unlock()
			}
		})
	}
	for v := 1; v <= 8 && !t.Failed(); v++ {
		put("tree", v)
		if _, err := Publish(ctx, hub.Bound.StateDir, "pub"); err != nil {
			t.Error(err)
		}
		mu.Lock()
		latest = v
		mu.Unlock()
		put(fmt.Sprintf("edge%d.d", v%2+1), v)
		time.Sleep(120 * time.Millisecond)
	}
	stop()
	wg.Wait()
	t.Logf("%d fetched, %d of them from volunteers", fetched, redirects)
	if redirects == 0 || redirects == fetched {
		t.Errorf("of %d answers %d came from volunteers; both kinds were to be tested", fetched, redirects)
	}
}

// TestSmallFilesStayForAGracePeriod: a customer with the names of the
// generation before finds what only the host serves.
func TestSmallFilesStayForAGracePeriod(t *testing.T) {
	s := newSite(t)
	s.write("tree/dists/Packages-1", strings.Repeat("a", 9000))
	s.write("tree/small", "tiny")
	s.write("tree/large", strings.Repeat("b", 9000))
	hub := s.central("[pub]\nredirect min size = 1K\nrescan interval = 0\npath = "+s.path("tree"), nil)
	if _, err := Publish(t.Context(), hub.Bound.StateDir, "pub"); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"dists/Packages-1", "small", "large"} {
		if err := os.Remove(s.path("tree/" + f)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Publish(t.Context(), hub.Bound.StateDir, "pub"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"dists/Packages-1": 200, "small": 200, "large": 404, "never": 404} {
		if a := s.get(hub.Bound.URL + "/pub/" + path); a.code != want || want == 200 && a.header.Get("ETag") == "" {
			t.Errorf("%s: %d, want %d", path, a.code, want)
		}
	}
	if a := s.get(hub.Bound.URL + "/pub/"); strings.Contains(a.body, ">small<") {
		t.Error("the listing has what left the tree")
	}
}

func TestVolunteerDies(t *testing.T) {
	s := newSite(t)
	s.write("tree/file", "content")
	s.write("edge1.d/file", "content")
	hub := s.central(pub+"path = "+s.path("tree"), nil)
	e := s.volunteer(1, hub.Bound.URL, "", func(o *Options) { o.noGoodbye = true })
	s.redirected(hub, "/pub/file", e)
	for _, url := range []string{hub.Bound.URL, e.Bound.URL} {
		problems, err := promlint.New(strings.NewReader(s.get(url + "/metrics").body)).Lint() // as "promtool check metrics"
		if err != nil || len(problems) > 0 {
			t.Errorf("metrics of %s: %v, %v", url, problems, err)
		}
	}
	e.stop()
	died := time.Now()
	s.redirected(hub, "/pub/file", nil)
	if d := time.Since(died); d > 2*time.Second+500*time.Millisecond {
		t.Errorf("customers were redirected for %v, more than two intervals", d)
	} else {
		t.Logf("no redirects after %v", d)
	}
}

func TestReload(t *testing.T) {
	s := newSite(t)
	s.write("tree/file", "one")
	s.write("tree2/file", "two")
	big := strings.Repeat("0123456789abcdef", 1<<20)
	s.write("tree/big", big)
	hub := s.central(pub+"path = "+s.path("tree"), nil)
	s.wait("first scan", 5*time.Second, func() bool { return s.get(hub.Bound.URL+"/pub/file").body == "one" })
	// A transfer that goes on over the reload.
	resp, err := s.web.Get(hub.Bound.URL + "/pub/big")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	start := make([]byte, 100)
	if _, err := io.ReadFull(resp.Body, start); err != nil {
		t.Fatal(err)
	}
	conf, err := os.ReadFile(s.path("hub.conf"))
	if err != nil {
		t.Fatal(err)
	}
	reload := func(text string) {
		s.write("hub.conf", text)
		hub.reload <- os.Interrupt
	}
	reload(string(conf) + "\n[second]\nredirect min size = 1\npath = " + s.path("tree2"))
	s.wait("second module", 5*time.Second, func() bool { return s.get(hub.Bound.URL+"/second/file").body == "two" })
	reload(string(conf) + "\nhosts allow = 192.0.2.1\nswarm = yes\n")
	s.wait("access", 5*time.Second, func() bool { return s.get(hub.Bound.URL+"/pub/file").code == http.StatusForbidden })
	s.wait("the module that was removed", 5*time.Second, func() bool { return s.get(hub.Bound.URL+"/second/file").code == http.StatusNotFound })
	// Another index is opened under the customers' hands.
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	reload(string(conf))
	s.wait("access", 5*time.Second, func() bool { return s.get(hub.Bound.URL+"/pub/file").code == http.StatusOK })
	wg.Go(func() {
		for ctx.Err() == nil {
			if body, _, err := s.fetch(hub.Bound.URL + "/pub/file"); err != nil || body != "one" {
				t.Errorf("while a module is opened again: %q, %v", body, err)
				return
			}
		}
	})
	for i := range 3 {
		reload(string(conf) + fmt.Sprintf("\nexclude = *.o%d\n", i))
	}
	stop()
	wg.Wait()
	reload(string(conf) + "\nhosts allow = 192.0.2.1\nswarm = yes\n")
	s.wait("access", 5*time.Second, func() bool { return s.get(hub.Bound.URL+"/pub/file").code == http.StatusForbidden })
	if code := s.get(hub.Bound.URL + "/second/file").code; code != http.StatusNotFound {
		t.Errorf("the module that was removed answers %d", code)
	}
	reload(string(conf) + "\nno such parameter = 1\n")
	s.wait("the complaint", 5*time.Second, func() bool { return strings.Contains(hub.log.String(), "no such parameter") })
	if code := s.get(hub.Bound.URL + "/pub/file").code; code != http.StatusForbidden {
		t.Errorf("a configuration with a mistake was taken over: %d", code)
	}
	reload(strings.Replace(string(conf), "127.0.0.1:0", ":1", 1))
	s.wait("the warning", 5*time.Second, func() bool { return strings.Contains(hub.log.String(), "http listen") })
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(start)+string(rest) != big {
		t.Errorf("the transfer over the reloads: %d bytes, %v", len(start)+len(rest), err)
	}
}

func TestPublish(t *testing.T) {
	s := newSite(t)
	s.write("tree/file", "one")
	ctx := context.Background()
	if _, err := Publish(ctx, s.path("hub"), "pub"); err == nil || !strings.Contains(err.Error(), "no \"prsync serve\" runs") {
		t.Errorf("without a host: %v", err)
	}
	hub := s.central(pub+"path = "+s.path("tree")+"\n[closed]\nhosts allow = 192.0.2.1\npath = "+s.path("tree"), func(o *Options) { o.Timing.Settle = time.Hour })
	p, err := Publish(ctx, hub.Bound.StateDir, "pub")
	if err != nil || p.Generation != 1 || p.Files != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	for i := range 5 {
		text := fmt.Sprint("version ", i)
		s.write("tree/file", text)
		p, err := Publish(ctx, hub.Bound.StateDir, "pub")
		if err != nil || !p.Changed || p.Generation != int64(2+i) || p.Added != 1 || p.Dropped != 1 {
			t.Fatalf("%+v, %v", p, err)
		}
		if got := s.get(hub.Bound.URL + "/pub/file").body; got != text {
			t.Fatalf("after publish the host serves %q, want %q", got, text)
		}
	}
	for module, want := range map[string]string{"nope": "published are: pub", "closed": "swarm = yes"} {
		if _, err := Publish(ctx, hub.Bound.StateDir, module); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("publish %s: %v", module, err)
		}
	}
	// A second host with the same state is refused, and does no harm.
	if _, err := s.tryStart("hub", anyPort+pub+"path = "+s.path("tree"), Serve, nil); err == nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("a second host on the same state: %v", err)
	}
	if code := s.get(hub.Bound.URL + "/metrics").code; code != http.StatusOK {
		t.Errorf("/metrics: %d", code)
	}
}

// TestRestart ends the host and starts it again: it routes by what it knew.
func TestRestart(t *testing.T) {
	s := newSite(t)
	s.write("tree/file", "content")
	s.write("edge1.d/file", "content")
	conf := pub + "path = " + s.path("tree")
	hub := s.central(conf, nil)
	addr := hub.Bound.HTTP.String()
	e := s.volunteer(1, hub.Bound.URL, "", nil)
	s.redirected(hub, "/pub/file", e)
	hub.stop()
	s.write("tree/file", "changed while the host was down")
	hub = s.central("http listen = "+addr+"\n"+conf, nil)
	if body, _, err := s.fetch(hub.Bound.URL + "/pub/file"); err != nil || body != "changed while the host was down" {
		t.Errorf("after the restart: %q, %v", body, err)
	}
	s.write("edge1.d/file", "changed while the host was down")
	s.redirected(hub, "/pub/file", e)
	// A damaged index is built anew.
	hub.stop()
	if err := os.WriteFile(s.path("hub/central/index/pub/CURRENT"), []byte("7777\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	hub = s.central("http listen = "+addr+"\n"+conf, nil)
	s.redirected(hub, "/pub/file", e)
}
