package hostcmd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/app/apptest"
)

// network is a central host with volunteers, all of them processes.
type network struct {
	*machine
	url, rsync string
	edges      []*edge
}

type edge struct {
	*service
	name, url, mirror, state string
}

// volunteer starts volunteer i with an empty mirror.
func (n *network) volunteer(i int, port, central string) *edge {
	name := fmt.Sprintf("edge%d", i)
	e := &edge{name: name, url: "http://127.0.0.1:" + port, mirror: n.path(name + ".d"), state: n.path(name)}
	if err := os.MkdirAll(e.mirror, 0o755); err != nil {
		n.t.Fatal(err)
	}
	n.write(name+".conf", "http listen = 127.0.0.1:"+port+"\ncentral url = "+central+"\nvolunteer name = "+name+"\nvolunteer secret = s"+fmt.Sprint(i)+
		"\nstate dir = "+e.state+"\n[pub]\npath = "+e.mirror+"\n")
	e.service = n.start(nil, "volunteer", "--config", n.path(name+".conf"))
	n.edges = append(n.edges, e)
	return e
}

// sync runs a volunteer's cron job.
func (n *network) sync(e *edge) {
	n.t.Helper()
	cmd := exec.Command(n.path("prsync"), "-a", "--delete", n.rsync, e.mirror+"/")
	cmd.Env = append(os.Environ(), "PRSYNC_STATE_DIR="+e.state)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("sync of %s: %v %s", e.name, err, out)
	}
}

// secrets are those of edge1 to edge9.
func (m *machine) secrets() string {
	var b strings.Builder
	for i := range 9 {
		fmt.Fprintf(&b, "edge%d:s%d\n", i+1, i+1)
	}
	m.write("secrets", b.String())
	if err := os.Chmod(m.path("secrets"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return m.path("secrets")
}

// serve starts a central host with a state of its own.
func (m *machine) serve(name, rsync, http, more string) *service {
	m.t.Helper()
	m.write(name+".conf", "address = 127.0.0.1\nport = "+rsync+"\nhttp listen = 127.0.0.1:"+http+"\nstate dir = "+m.path(name)+
		"\nvolunteer secrets file = "+m.secrets()+"\nlog file = "+m.path(name+".rsyncd.log")+"\nuse chroot = no\n"+more+
		"[pub]\nredirect min size = 1\nrescan interval = 0\npath = "+m.path("tree")+"\n")
	s := m.start(nil, "serve", "--config", m.path(name+".conf"))
	m.wait(name, func() bool { code, _ := get("http://127.0.0.1:" + http + "/metrics"); return code == 200 })
	return s
}

func (m *machine) publish(name string) {
	m.t.Helper()
	if out, errs, code := m.run("publish", "--config", m.path(name+".conf"), "pub"); code != 0 {
		m.t.Fatalf("publish: %d %s %s", code, out, errs)
	}
}

// to reports whether one of n requests for the path is redirected to the edge.
func (n *network) to(path string, e *edge, requests int) bool {
	for range requests {
		if strings.HasPrefix(location(n.url+"/pub/"+path), e.url+"/") {
			return true
		}
	}
	return false
}

// states are the volunteers' states by name, as a host tells them.
func (m *machine) states(url string) map[string]string {
	out, _, _ := m.run("status", "--json", url)
	var s struct {
		Volunteers []struct{ Name, State string }
	}
	json.Unmarshal([]byte(out), &s)
	states := map[string]string{}
	for _, v := range s.Volunteers {
		states[v.Name] = v.State
	}
	return states
}

// customers fetch the path from a host all the time, until stop.
type customers struct {
	fetched, redirected, broken atomic.Int64
	stop                        context.CancelFunc
	wg                          sync.WaitGroup
}

// fetch lets so many customers come. want is the content they must get; a
// customer who meets nobody at the host itself is counted as broken.
func (m *machine) fetch(n int, url string, want string) *customers {
	ctx, stop := context.WithCancel(context.Background())
	c := &customers{stop: stop}
	for range n {
		c.wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for ctx.Err() == nil {
				resp, err := client.Get(url)
				if err != nil {
					var op *net.OpError
					// The last is a host that is killed between the connection and the request.
					if !errors.As(err, &op) && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "server closed idle connection") {
						m.t.Errorf("a customer got %v", err)
					}
					c.broken.Add(1)
					time.Sleep(5 * time.Millisecond)
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case err != nil, resp.StatusCode == http.StatusServiceUnavailable:
					c.broken.Add(1)
				case resp.StatusCode != http.StatusOK || string(body) != want:
					m.t.Errorf("a customer got %s and %d bytes, not the file", resp.Status, len(body))
					return
				default:
					c.fetched.Add(1)
					if resp.Request.URL.Query().Has("id") {
						c.redirected.Add(1)
					}
				}
			}
		})
	}
	m.t.Cleanup(c.end)
	return c
}

func (c *customers) end() {
	c.stop()
	c.wg.Wait()
}

// TestRouting follows contents from a volunteer's verification to the
// redirect, and away from volunteers that lost them.
func TestRouting(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for announces of real processes")
	}
	m := newMachine(t, apptest.All...)
	p := ports(t, 4)
	text := strings.Repeat("content ", 20000)
	m.write("tree/a/file", text)
	n := &network{machine: m, url: "http://127.0.0.1:" + p[1], rsync: "rsync://127.0.0.1:" + p[0] + "/pub/"}
	hub := m.serve("central", p[0], p[1], "")
	m.publish("central")
	e1, e2 := n.volunteer(1, p[2], n.url), n.volunteer(2, p[3], n.url)
	m.wait("the volunteers", func() bool { s := m.states(n.url); return s["edge1"] == "ready" && s["edge2"] == "ready" })
	n.sync(e1)
	began := time.Now()
	m.wait("the first redirect", func() bool { return n.to("a/file", e1, 1) })
	t.Logf("a first copy is routable %v after its sync", time.Since(began))
	n.sync(e2)
	for i := range 3 {
		// Of another size each time: within a second that is what rsync goes by.
		m.write("tree/a/new", text+strings.Repeat("x", i+1))
		m.publish("central")
		if n.to("a/new", e1, 5) || n.to("a/new", e2, 5) {
			t.Fatal("customers are sent to volunteers that do not have the new content")
		}
		n.sync(e1)
		began = time.Now()
		m.wait("the redirect", func() bool { return n.to("a/new", e1, 1) })
		t.Logf("new content is routable %v after its sync", time.Since(began))
		if n.to("a/new", e2, 20) {
			t.Fatal("customers are sent to a volunteer that has not synchronized")
		}
	}

	// One that lost or changed the file gets no customers for it; who is sent
	// there before the host knows is sent back.
	c := m.fetch(2, n.url+"/pub/a/file", text)
	if err := os.Remove(e2.mirror + "/a/file"); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	m.wait("a removed file", func() bool { return !n.to("a/file", e2, 30) })
	t.Logf("no redirect to a removed file after %v", time.Since(began))
	n.sync(e2)
	m.wait("the file again", func() bool { return n.to("a/file", e2, 10) })
	if err := os.WriteFile(e2.mirror+"/a/file", []byte(strings.ToUpper(text)), 0o644); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	m.wait("a changed file", func() bool { return !n.to("a/file", e2, 30) })
	t.Logf("no redirect to a changed file after %v", time.Since(began))

	// A volunteer vanishes.
	n.sync(e2)
	m.wait("the file again", func() bool { return n.to("a/file", e2, 10) })
	c.end()
	e2.Process.Kill()
	e2.Wait()
	began = time.Now()
	redirects := 0
	for quiet := time.Now(); time.Since(quiet) < time.Second; {
		if n.to("a/file", e2, 1) {
			redirects, quiet = redirects+1, time.Now()
		}
		if time.Since(began) > 30*time.Second {
			t.Fatal("customers are still sent to a volunteer that is gone")
		}
	}
	t.Logf("a killed volunteer got its last redirect after %v (an announce interval is 5 s), %d in all", time.Since(began)-time.Second, redirects)

	// The host is killed under load, several times.
	c = m.fetch(4, n.url+"/pub/a/file", text)
	for range 3 {
		for before := c.fetched.Load(); c.fetched.Load() < before+50; {
			time.Sleep(time.Millisecond)
		}
		hub.Process.Signal(syscall.SIGKILL)
		hub.Wait()
		began = time.Now()
		hub = m.start(nil, "serve", "--config", m.path("central.conf"))
		m.wait("routing after kill -9", func() bool { return n.to("a/file", e1, 1) })
		t.Logf("redirects again %v after a start that followed kill -9", time.Since(began))
	}
	c.end()
	t.Logf("%d fetched, %d met nobody", c.fetched.Load(), c.broken.Load())
	if g, want := m.states(n.url)["edge1"], "ready"; g != want {
		t.Errorf("edge1 is %s", g)
	}
}

// balancer is one address for several hosts, as a service address is: a
// connection goes to the first that takes it.
func balancer(t *testing.T, hosts ...string) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer in.Close()
				for _, h := range hosts {
					out, err := net.Dial("tcp", h)
					if err != nil {
						continue
					}
					wg.Go(func() {
						io.Copy(out, in)
						out.(*net.TCPConn).CloseWrite()
					})
					io.Copy(in, out)
					in.(*net.TCPConn).CloseWrite()
					out.Close()
					return
				}
			})
		}
	})
	return l.Addr().String()
}

// TestTwoHosts lets two central hosts share a Redis, and kills one: customers
// of the other notice nothing, and volunteers go on through it.
func TestTwoHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for announces of real processes")
	}
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("needs redis-server (apt-get install redis-server)")
	}
	m := newMachine(t, apptest.All...)
	sock := m.path("redis.sock")
	startRedis := func() *exec.Cmd {
		redis := exec.Command(bin, "--port", "0", "--unixsocket", sock, "--save", "", "--dir", m.dir)
		if err := redis.Start(); err != nil {
			t.Fatal(err)
		}
		m.wait("redis", func() bool {
			c, err := net.Dial("unix", sock)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		return redis
	}
	redis := startRedis()
	t.Cleanup(func() { redis.Process.Signal(syscall.SIGTERM); redis.Wait() })
	p := ports(t, 6)
	text := strings.Repeat("content ", 20000)
	m.write("tree/a/file", text)
	shared := "tracker store = unix://" + sock + "\n"
	a := m.serve("one", p[0], p[1], shared)
	m.serve("two", p[2], p[3], shared)
	m.publish("one")
	m.publish("two")
	central := "http://" + balancer(t, "127.0.0.1:"+p[1], "127.0.0.1:"+p[3])
	n := &network{machine: m, url: "http://127.0.0.1:" + p[3], rsync: "rsync://127.0.0.1:" + p[2] + "/pub/"}
	e1, e2 := n.volunteer(1, p[4], central), n.volunteer(2, p[5], central)
	for _, e := range n.edges {
		n.sync(e)
	}
	m.wait("redirects of both", func() bool { return n.to("a/file", e1, 5) && n.to("a/file", e2, 5) })

	c := m.fetch(3, n.url+"/pub/a/file", text)
	enough := func(what string, more int64) {
		t.Helper()
		before := c.fetched.Load()
		m.wait(what, func() bool { return c.fetched.Load() >= before+more })
	}
	enough("customers", 50)
	a.Process.Signal(syscall.SIGKILL)
	a.Wait()
	enough("customers after the kill", 200)
	// Long enough that only announces through the other host explain it.
	m.write("tree/a/new", text+"new")
	m.publish("two")
	n.sync(e2)
	m.wait("new content through the other host", func() bool { return n.to("a/new", e2, 1) })
	deadline := time.Now().Add(11 * time.Second)
	m.wait("two intervals", func() bool { return time.Now().After(deadline) })
	if s := m.states(n.url); s["edge1"] != "ready" || s["edge2"] != "ready" {
		t.Errorf("two intervals after the kill the volunteers are %v", s)
	}
	c.end()
	t.Logf("%d fetched from the other host, %d of them redirected, %d broken", c.fetched.Load(), c.redirected.Load(), c.broken.Load())
	if c.broken.Load() > 0 || c.redirected.Load() != c.fetched.Load() {
		t.Error("customers of the other host noticed")
	}
	// The first one comes back and routes at once.
	m.serve("one", p[0], p[1], shared)
	m.wait("the first host again", func() bool {
		return strings.Contains(location("http://127.0.0.1:"+p[1]+"/pub/a/new"), "/pub/a/new?id=")
	})

	// Without Redis the host serves its files; with an empty one it learns
	// everything anew from the volunteers.
	c = m.fetch(2, n.url+"/pub/a/file", text)
	redis.Process.Kill()
	redis.Wait()
	enough("customers without Redis", 30)
	redis = startRedis()
	began := time.Now()
	m.wait("redirects of both again", func() bool { return n.to("a/file", e1, 5) && n.to("a/file", e2, 5) })
	t.Logf("redirects again %v after Redis was there, without what it knew", time.Since(began))
	c.end()
	if c.broken.Load() > 0 {
		t.Errorf("%d customers got nothing while Redis was away", c.broken.Load())
	}
}
