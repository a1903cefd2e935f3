package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/host/statedir"
	"github.com/prsync/prsync/internal/index"
	"github.com/prsync/prsync/internal/p2p"
)

// Standard BitTorrent clients take part in the swarm of a pack: with the
// host's .torrent they fetch from its web seed and from prsync peers that its
// tracker lists, and prsync peers fetch from them.

// standardClient is a program, and how it is run: it has the torrent's file,
// keeps its data in dir, listens at port and seeds when it is complete.
type standardClient struct {
	name, program string
	argv          func(torrent, dir string, port int) []string
	loopback      bool // it takes peers on loopback
}

var standardClients = []standardClient{
	{"aria2", "aria2c", func(torrent, dir string, port int) []string {
		return []string{
			"--no-conf", "--dir=" + dir, fmt.Sprintf("--listen-port=%d", port), "--seed-ratio=0", "--check-integrity=true",
			"--enable-dht=false", "--bt-enable-lpd=false", "--file-allocation=none", "--summary-interval=0", "--enable-color=false",
			"--bt-tracker-interval=1", torrent,
		}
	}, true},
	{"transmission", "transmission-cli", func(torrent, dir string, port int) []string {
		return []string{"-g", dir + ".config", "-w", dir, "-p", fmt.Sprint(port), "-M", torrent}
	}, false},
}

// packSite is a host with one published pack of two contents.
type packSite struct {
	*site
	hub     *running
	data    [2][]byte
	pack    *content.Pack
	torrent string // a file
}

func newPackSite(t *testing.T, c standardClient) *packSite {
	t.Helper()
	ip := "127.0.0.1"
	if !c.loopback {
		ip = outsideAddress(t)
	}
	p := &packSite{site: newSite(t)}
	rnd := rand.NewChaCha8([32]byte{1})
	for i, name := range []string{"a/large", "b/small"} {
		p.data[i] = make([]byte, []int{3 << 20, 50_000}[i])
		rnd.Read(p.data[i])
		p.write("tree/"+name, string(p.data[i]))
	}
	p.hub = p.central("http listen = "+ip+":0\n"+pub+"path = "+p.path("tree"), nil)
	var body string
	p.wait("the pack", 10*time.Second, func() bool {
		r, err := index.OpenReader(statedir.Index(p.hub.Bound.StateDir, statedir.Central, "pub"))
		if err != nil {
			return false
		}
		defer r.Close()
		c, err := r.Content(sha256.Sum256(p.data[0]))
		if err != nil || !c.InPack {
			return false
		}
		a := p.get(p.hub.Bound.URL + content.PathPack + c.Pack.String() + ".torrent")
		body = a.body
		return a.code == http.StatusOK
	})
	var err error
	if p.pack, err = content.ParseMetainfo([]byte(body)); err != nil {
		t.Fatal(err)
	}
	p.write("pack.torrent", body)
	p.torrent = p.path("pack.torrent")
	return p
}

// outsideAddress is one of this machine's addresses that is not loopback.
func outsideAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("the client ignores peers on loopback, and this machine has no other address")
	return ""
}

// run starts a standard client.
func (p *packSite) run(c standardClient) (dir string) {
	p.t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		p.t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	dir = p.path(c.name)
	if err := os.MkdirAll(dir+".config", 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	// It would try µTP for half a minute, which prsync does not speak.
	p.write(c.name+".config/settings.json", `{"utp-enabled": false, "dht-enabled": false, "lpd-enabled": false, "port-forwarding-enabled": false}`)
	var out syncBuffer
	cmd := exec.Command(c.program, c.argv(p.torrent, dir, port)...)
	cmd.Env = append(os.Environ(), "HOME="+p.dir)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.dl = append(p.dl, func() {
		cmd.Process.Kill()
		cmd.Wait()
		if p.t.Failed() {
			text := out.String()
			p.t.Logf("%s: …%s", c.name, text[max(0, len(text)-2000):])
		}
	})
	return dir
}

// complete reports whether the client holds the whole pack.
func (p *packSite) complete(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, p.pack.Name))
	if err != nil || int64(len(b)) != p.pack.Length {
		return false
	}
	for i, e := range p.pack.Entries {
		if sha256.Sum256(b[e.Offset:e.Offset+e.Length]) != p.pack.Entries[i].ID {
			return false
		}
	}
	return true
}

// seeders is what a scrape counts.
func (p *packSite) seeders(n int) bool {
	return strings.Contains(p.get(p.hub.Bound.URL+"/scrape?info_hash="+escapeBytes(p.pack.InfoHash[:])).body, fmt.Sprintf("8:completei%de", n))
}

func eachStandardClient(t *testing.T, f func(t *testing.T, c standardClient)) {
	for _, c := range standardClients {
		t.Run(c.name, func(t *testing.T) {
			if os.Getenv("PRSYNC_TEST_CLIENTS") == "" {
				t.Skip("takes minutes on a busy machine: set PRSYNC_TEST_CLIENTS=1")
			}
			if _, err := exec.LookPath(c.program); err != nil {
				t.Skipf("%s is not installed", c.program)
			}
			f(t, c)
		})
	}
}

// TestStandardClientFetchesFromHost leaves a standard client alone with the
// host: its torrent, its tracker, its web seed. Then a prsync peer fetches from
// the client while the host's file is gone.
func TestStandardClientFetchesFromHost(t *testing.T) {
	eachStandardClient(t, func(t *testing.T, c standardClient) {
		p := newPackSite(t, c)
		dir := p.run(c)
		p.wait(c.name+" completes the pack", 40*time.Second, func() bool { return p.complete(dir) })
		p.wait("the tracker counts it as a seed", 40*time.Second, func() bool { return p.seeders(1) })
		p.hideTree()
		if got := p.peerFetch(60 * time.Second); !bytes.Equal(got, p.data[0]) {
			t.Error("the prsync peer fetched something else")
		}
	})
}

// TestStandardClientFetchesFromPeer has a standard client fetch from a
// volunteer while the host's file is gone.
func TestStandardClientFetchesFromPeer(t *testing.T) {
	eachStandardClient(t, func(t *testing.T, c standardClient) {
		p := newPackSite(t, c)
		p.write("edge1.d/a/large", string(p.data[0]))
		p.write("edge1.d/b/small", string(p.data[1]))
		p.volunteer(1, p.hub.Bound.URL, "", func(o *Options) { o.Engine = []string{os.Args[0], engineArg} })
		p.wait("the volunteer seeds", 20*time.Second, func() bool { return p.seeders(1) })
		p.hideTree()
		dir := p.run(c)
		p.wait(c.name+" completes the pack", 60*time.Second, func() bool { return p.complete(dir) })
		p.wait("the tracker counts both as seeds", 40*time.Second, func() bool { return p.seeders(2) })
	})
}

// hideTree takes away what the host published.
func (p *packSite) hideTree() {
	p.t.Helper()
	if err := os.Rename(p.path("tree/a/large"), p.path("hidden")); err != nil {
		p.t.Fatal(err)
	}
}

// peerFetch has a prsync engine fetch the large content.
func (p *packSite) peerFetch(limit time.Duration) []byte {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c, err := p2p.Spawn(ctx, []string{os.Args[0], engineArg}, p2p.Config{Stall: limit})
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetOffer(content.Offer{URL: p.hub.Bound.URL, Module: "pub", Generation: 1}); err != nil {
		p.t.Fatal(err)
	}
	f, err := os.CreateTemp(p.dir, "got")
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	id := content.ID(sha256.Sum256(p.data[0]))
	if err := c.Fetch(ctx, content.Want{Tag: 1, ID: id, Length: int64(len(p.data[0])), File: f}); err != nil {
		p.t.Fatal(err)
	}
	var from [3]int64
	for {
		select {
		case ev := <-c.Events():
			for i, n := range ev.Bytes {
				from[i] += n
			}
			if !ev.Done {
				continue
			}
			if ev.Err != nil {
				p.t.Fatalf("%v, after %v bytes by source", ev.Err, from)
			}
			if from[content.FromPeers] == 0 {
				p.t.Errorf("nothing came from the client: %v bytes by source", from)
			}
			b, err := os.ReadFile(f.Name())
			if err != nil {
				p.t.Fatal(err)
			}
			return b
		case <-ctx.Done():
			p.t.Fatalf("not fetched within %v, %v bytes by source", limit, from)
		}
	}
}
