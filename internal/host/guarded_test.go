package host

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/host/statedir"
	"github.com/prsync/prsync/internal/p2p"
)

// TestGuardedModuleIsSeeded has a volunteer seed a module with auth users, to
// those who may read it and to nobody else.
func TestGuardedModuleIsSeeded(t *testing.T) {
	s := newSite(t)
	text := strings.Repeat("for your eyes only\n", 40000)
	s.write("tree/file", text)
	s.write("edge1.d/file", text)
	s.write("ann.secrets", "ann:sesame\n")
	if err := os.Chmod(s.path("ann.secrets"), 0o600); err != nil {
		t.Fatal(err)
	}
	guarded := "\n[guarded]\nrescan interval = 0\nswarm = yes\nauth users = ann\nsecrets file = " + s.path("ann.secrets") + "\npath = "
	hub := s.central(pub+"path = "+s.dir+"/none"+guarded+s.path("tree")+"\n", func(o *Options) { o.Timing.Settle = time.Hour })
	s.volunteer(1, hub.Bound.URL, guarded+s.path("edge1.d"), func(o *Options) { o.Engine = []string{os.Args[0], engineArg} })

	// What the daemon gives to a client that ann's password has let in.
	key, err := statedir.MakeTokenKey(hub.Bound.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	as := func(module string) string {
		u, err := url.Parse(hub.Bound.URL)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(content.TokenUser, content.NewToken(key, module, netip.MustParseAddr("127.0.0.1"), time.Now().Add(time.Hour)))
		return u.String()
	}
	var ih content.InfoHash
	s.wait("the first scan", 10*time.Second, func() (found bool) {
		ih, found = s.onlyPack("guarded")
		return found
	})
	scrape := "/scrape?info_hash=" + escapeBytes(ih[:])
	s.wait("the seed", 10*time.Second, func() bool { return strings.Contains(s.get(as("guarded")+scrape).body, "8:completei1e") })
	if got := s.get(hub.Bound.URL + scrape).body; strings.Contains(got, "completei1e") {
		t.Errorf("who has not said who he is is told of the swarm: %q", got)
	}

	fetch := func(u string) (string, error) {
		t.Helper()
		c, err := p2p.Spawn(context.Background(), []string{os.Args[0], engineArg}, p2p.Config{SpillDir: s.dir, Stall: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return s.swarmed(c, content.Offer{URL: u, Module: "guarded", Generation: 1}, text)
	}
	// The host has the file no more: all of it comes from the volunteer.
	if err := os.Remove(s.path("tree/file")); err != nil {
		t.Fatal(err)
	}
	if got, err := fetch(as("guarded")); err != nil || got != text {
		t.Errorf("who may read the module got %d bytes, %v", len(got), err)
	}
	for _, u := range []string{hub.Bound.URL, as("pub")} {
		if got, err := fetch(u); err == nil || strings.Contains(got, "eyes") {
			t.Errorf("who may not read the module got %d bytes, %v", len(got), err)
		}
	}
}

// onlyPack finds the one pack that the host has of a module.
func (s *site) onlyPack(module string) (ih content.InfoHash, found bool) {
	all, _ := os.ReadDir(s.path("hub/central/index/" + module + "/packs"))
	if len(all) != 1 {
		return ih, false
	}
	ih, err := content.ParseInfoHash(all[0].Name()) // one being written has another name
	return ih, err == nil
}

// TestRefusedModuleIsToldOf has the volunteer's operator learn why a module is
// not seeded.
func TestRefusedModuleIsToldOf(t *testing.T) {
	s := newSite(t)
	s.write("edge1.d/file", "content")
	hub := s.central("[other]\nrescan interval = 0\npath = "+s.dir+"/none\n", nil)
	e := s.volunteer(1, hub.Bound.URL, "", func(o *Options) { o.Engine = []string{os.Args[0], engineArg} })
	s.wait("the complaint", 10*time.Second, func() bool {
		return strings.Contains(e.log.String(), `the module is not seeded`) && strings.Contains(e.log.String(), `is not in the swarm here`)
	})
}

// TestPackedAnew has a volunteer seed what it holds in the packs that a host
// has after it lost its index, instead of those of before.
func TestPackedAnew(t *testing.T) {
	s := newSite(t)
	s.write("tree/one", strings.Repeat("one", 1000))
	s.write("edge1.d/one", strings.Repeat("one", 1000))
	hub := s.central(pub+"path = "+s.path("tree"), nil)
	url := hub.Bound.URL
	seeded := func() (hash string) {
		ih, found := s.onlyPack("pub")
		if !found {
			return ""
		}
		if body := s.get(url + "/scrape?info_hash=" + escapeBytes(ih[:])).body; !strings.Contains(body, "completei1e") {
			return ""
		}
		return ih.String()
	}
	s.volunteer(1, url, "", func(o *Options) { o.Engine = []string{os.Args[0], engineArg} })
	var first string
	s.wait("the seed", 10*time.Second, func() bool { first = seeded(); return first != "" })
	hub.stop()
	if err := os.RemoveAll(s.path("hub")); err != nil {
		t.Fatal(err)
	}
	s.write("tree/two", strings.Repeat("two", 1000))
	s.central("http listen = "+hub.Bound.HTTP.String()+"\n"+pub+"path = "+s.path("tree"), nil)
	s.wait("the seed of the new pack", 20*time.Second, func() bool { h := seeded(); return h != "" && h != first })
}

// TestSameContentInGuardedModule has a volunteer hold a public file in a module
// with auth users alone: customers of the public one are sent back to the host,
// which has not asked them for a password either.
func TestSameContentInGuardedModule(t *testing.T) {
	s := newSite(t)
	s.write("tree/file", "a licence")
	s.write("guarded.d/LICENCE", "a licence")
	s.write("ann.secrets", "ann:sesame\n")
	if err := os.Chmod(s.path("ann.secrets"), 0o600); err != nil {
		t.Fatal(err)
	}
	hub := s.central(pub+"path = "+s.path("tree"), nil)
	edge := s.volunteer(1, hub.Bound.URL, "\n[guarded]\nrescan interval = 0\nswarm = yes\nauth users = ann\nsecrets file = "+s.path("ann.secrets")+"\npath = "+s.path("guarded.d")+"\n", nil)
	url := "http://" + edge.Bound.HTTP.String()
	id := "?id=" + fmt.Sprintf("%x", sha256.Sum256([]byte("a licence")))
	s.wait("the first scan", 10*time.Second, func() bool { return s.get(url+"/guarded/LICENCE"+id).code == 401 })
	if a := s.get(url + "/pub/file" + id); a.code != 302 || a.header.Get("Location") != hub.Bound.URL+"/pub/file?origin" {
		t.Errorf("status %d, Location %q", a.code, a.header.Get("Location"))
	}
}

// TestRestrictedModuleAtVolunteer has a volunteer mirror a module that only some
// may read at the central host, without rules of its own: only whom the host
// sends gets its files there, until whoever runs it says otherwise. With rules
// they hold.
func TestRestrictedModuleAtVolunteer(t *testing.T) {
	s := newSite(t)
	s.write("tree/file", "not for everybody")
	s.write("public/file", "for everybody")
	s.write("ann.secrets", "ann:sesame\n")
	if err := os.Chmod(s.path("ann.secrets"), 0o600); err != nil {
		t.Fatal(err)
	}
	guarded := "[guarded]\nrescan interval = 0\nredirect min size = 0\nswarm = yes\nauth users = ann\nsecrets file = " + s.path("ann.secrets") + "\npath = " + s.path("tree") + "\n"
	hub := s.central(guarded+"[near]\nrescan interval = 0\nswarm = yes\nhosts allow = 127.0.0.1\npath = "+s.path("tree")+"\n"+pub+"path = "+s.path("public"), nil)
	s.write("edge1.d/file", "for everybody")
	s.write("held/file", "not for everybody")
	s.write("held/other", "also not for everybody")
	mirror := "\nrescan interval = 0\npath = " + s.path("held") + "\n"
	edge := s.volunteer(1, hub.Bound.URL, "[guarded]\nswarm = yes"+mirror+"[near]"+mirror, nil)
	url := "http://" + edge.Bound.HTTP.String()
	s.wait("the public module", 10*time.Second, func() bool { return s.get(url+"/pub/file").code == 200 })
	id := "?id=" + fmt.Sprintf("%x", sha256.Sum256([]byte("not for everybody")))
	for _, path := range []string{"/guarded/file", "/guarded/file" + id, "/near/file", "/near/file" + id, "/pub/other" + id} {
		want := hub.Bound.URL + strings.TrimSuffix(path, id) + "?origin"
		if a := s.get(url + path); a.code != 302 || a.header.Get("Location") != want {
			t.Errorf("%s: status %d, Location %q, body %q", path, a.code, a.header.Get("Location"), a.body)
		}
	}
	s.wait("a word to the operator", 10*time.Second, func() bool {
		return strings.Contains(edge.log.String(), "only customers whom the central host sends get files of this module") && strings.Contains(edge.log.String(), "module=guarded")
	})
	// Who has a password is sent with a pass, for this content alone.
	ask := func(method, path string) answer {
		t.Helper()
		req, err := http.NewRequest(method, hub.Bound.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("ann", "sesame")
		a, err := s.do(req, s.web)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	var to string
	s.wait("a redirect", 10*time.Second, func() bool {
		a := ask(http.MethodGet, "/guarded/file")
		to = a.header.Get("Location")
		return a.code == 302
	})
	if a := s.get(to); a.code != 200 || a.body != "not for everybody" {
		t.Errorf("%s: status %d, body %q", to, a.code, a.body)
	}
	for _, path := range []string{"/guarded/file?mirrorlist", "/guarded/file.meta4"} {
		if a := ask(http.MethodGet, path); a.code != 200 || !strings.Contains(a.body, "pass=") {
			t.Errorf("%s: status %d, body %q", path, a.code, a.body)
		}
	}
	other := fmt.Sprintf("%x", sha256.Sum256([]byte("also not for everybody")))
	_, pass, _ := strings.Cut(to, "&")
	for _, u := range []string{url + "/guarded/other?id=" + other + "&" + pass, url + "/near/file" + id + "&" + pass, url + "/guarded/file?" + pass} {
		if a := s.get(u); a.code != 302 || a.header.Get("Location") == to {
			t.Errorf("%s: status %d, body %q", u, a.code, a.body)
		}
	}
	edge.stop()
	edge = s.volunteer(1, hub.Bound.URL, "[guarded]\nswarm = yes\nredirect = yes"+mirror+"[near]\nswarm = yes\nhosts allow = 127.0.0.2"+mirror, nil)
	url = "http://" + edge.Bound.HTTP.String()
	s.wait("a module that is opened", 10*time.Second, func() bool { return s.get(url+"/guarded/file").code == 200 })
	if a := s.get(url + "/near/file"); a.code != 403 {
		t.Errorf("with rules of its own: status %d", a.code)
	}
}
