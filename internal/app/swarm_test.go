package app

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/progtest"
)

// site is a central host of its own, with the programs as they are installed.
type site struct {
	t     *testing.T
	bin   string
	dir   string
	url   string // of the module, for rsync
	http  string
	env   []string // of all programs
	web   http.Client
	serve *exec.Cmd
	wrote int64 // how many files
}

// built is where programs has put them.
var built string

// programs builds them once.
var programs = sync.OnceValues(func() (string, error) {
	bin, err := os.MkdirTemp("", "programs")
	if err != nil {
		return "", err
	}
	built = bin
	return bin, progtest.Build(bin, "prsync", "prsync-engine", "prsync-host")
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

func port(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func newSite(t *testing.T) *site {
	if testing.Short() {
		t.Skip("builds and runs the programs")
	}
	t.Parallel() // it waits for processes most of the time
	dir, err := os.MkdirTemp("/dev/shm", "site")
	if err != nil {
		dir, err = os.MkdirTemp("", "site")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir, bin: bin}
	os.Mkdir(s.path("srv"), 0o755)
	rsync, web := port(t), port(t)
	s.url, s.http = "rsync://127.0.0.1:"+rsync+"/m/", "http://127.0.0.1:"+web
	conf := fmt.Sprintf("address = 127.0.0.1\nport = %s\nhttp listen = 127.0.0.1:%s\npublic url = %s\nstate dir = %s\nlog file = %s\nuse chroot = no\n[m]\npath = %s\nswarm = yes\n",
		rsync, web, s.http, s.path("state"), s.path("log"), s.path("srv"))
	if os.Geteuid() == 0 {
		conf += "uid = root\ngid = root\n"
	}
	if err := os.WriteFile(s.path("conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) command(args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, "prsync"), args...)
	// What the host knows of this machine's files is not for clients that
	// stand for others.
	c.Env = append(append(os.Environ(), stateDirVariable+"="+s.path("none")), s.env...)
	return c
}

// start runs the host and publishes what there is.
func (s *site) start() {
	s.serve = s.command("serve", "--config", s.path("conf"))
	var said bytes.Buffer
	s.serve.Stderr = &said
	if err := s.serve.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.stop)
	for range 200 {
		if r, err := s.web.Get(s.http + "/metrics"); err == nil {
			r.Body.Close()
			s.publish()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatalf("the host does not answer:\n%s", said.String())
}

func (s *site) stop() {
	if s.serve != nil {
		s.serve.Process.Kill()
		s.serve.Wait()
		s.serve = nil
	}
}

func (s *site) publish() {
	s.t.Helper()
	if out, err := s.command("publish", "--config", s.path("conf"), "m").CombinedOutput(); err != nil {
		s.t.Fatalf("publish: %v\n%s", err, out)
	}
}

// pulled is what one client did.
type pulled struct {
	peers, host, here int64
	fell, left        int
	received          int64 // over the connection
	out               string
}

var (
	swarmLine    = regexp.MustCompile(`swarm: \d+ files, ([\d,]+) bytes from peers, ([\d,]+) from the host, ([\d,]+) found here; (\d+) fell back, (\d+) left to the sender`)
	receivedLine = regexp.MustCompile(`received ([\d,]+) bytes`)
)

// pull synchronizes by the swarm, even where a client alone would do without:
// one that lingers wants to seed.
func (s *site) pull(to string, args ...string) pulled {
	return s.auto(to, append([]string{"--swarm-linger=1ms"}, args...)...)
}

// auto synchronizes as the client sees fit.
func (s *site) auto(to string, args ...string) (p pulled) {
	args = append([]string{"-a", "--delete", "--info=swarm1,stats1"}, append(args, s.url, s.path(to)+"/")...)
	out, err := s.command(args...).CombinedOutput()
	p.out = string(out)
	if err != nil {
		s.t.Errorf("%v: %v\n%s", args, err, out)
		return p
	}
	num := func(x string) int64 {
		n, _ := strconv.ParseInt(strings.ReplaceAll(x, ",", ""), 10, 64)
		return n
	}
	if m := swarmLine.FindStringSubmatch(p.out); m != nil {
		p.peers, p.host, p.here, p.fell, p.left = num(m[1]), num(m[2]), num(m[3]), int(num(m[4])), int(num(m[5]))
	}
	if m := receivedLine.FindStringSubmatch(p.out); m != nil {
		p.received = num(m[1])
	}
	s.same(to)
	return p
}

func (s *site) same(to string) {
	s.t.Helper()
	read := func(dir string) map[string]string {
		tree := map[string]string{}
		filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				b, _ := os.ReadFile(p)
				rel, _ := filepath.Rel(dir, p)
				tree[rel] = string(b)
			}
			return nil
		})
		return tree
	}
	want, got := read(s.path("srv")), read(s.path(to))
	for n, b := range want {
		if got[n] != b {
			s.t.Errorf("%s: %s is wrong: %d bytes in place of %d", to, n, len(got[n]), len(b))
		}
		delete(got, n)
	}
	for n := range got {
		s.t.Errorf("%s: %s is too much", to, n)
	}
}

// write writes a file of the module. Each is a second younger than the one
// before: one of the same size and second counts as the same for rsync.
func (s *site) write(name string, data []byte) {
	p := filepath.Join(s.path("srv"), name)
	os.MkdirAll(filepath.Dir(p), 0o755)
	if err := os.WriteFile(p, data, 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.wrote++
	at := time.Unix(1_700_000_000+s.wrote, 0)
	if err := os.Chtimes(p, at, at); err != nil {
		s.t.Fatal(err)
	}
}

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

const mib = 1 << 20

// TestSwarmEndToEnd publishes a module to three clients, then an update.
func TestSwarmEndToEnd(t *testing.T) {
	s := newSite(t)
	image := noise(1, 24*mib)
	s.write("image", image)
	s.write("old name", noise(2, 8*mib))
	s.write("d/a", noise(3, 2*mib))
	s.write("d/copy of a", noise(3, 2*mib))
	s.write("small", noise(4, 1000))
	s.start()
	first := s.pull("c1")
	if first.fell != 0 || first.host+first.peers != 34*mib || first.here != 2*mib || first.received > 20_000 {
		t.Errorf("first sync: %+v", first)
	}
	for _, c := range []string{"c2", "c3"} {
		if err := os.CopyFS(s.path(c), os.DirFS(s.path("c1"))); err != nil {
			t.Fatal(err)
		}
	}
	// A hundredth of the image in one place, a renamed file, a new one.
	copy(image[10*mib:], noise(5, len(image)/100))
	s.write("image", append(append(bytes.Clone(image[:15*mib]), "inserted"...), image[15*mib:]...))
	if err := os.Rename(s.path("srv/old name"), s.path("srv/d/new name")); err != nil {
		t.Fatal(err)
	}
	s.write("new", noise(6, 16*mib))
	s.publish()
	var wg sync.WaitGroup
	var all [3]pulled
	for i := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			all[i] = s.pull(fmt.Sprintf("c%d", i+1))
		}()
	}
	wg.Wait()
	var host int64
	for i, p := range all {
		host += p.host
		changed := int64(len(image)/100 + 16)
		if p.received+p.peers+p.host-16*mib > changed*13/10+64<<10 || p.here < 8*mib {
			t.Errorf("client %d: %+v", i+1, p)
		}
	}
	t.Logf("the host sent %.2f copies of what is new to 3 clients", float64(host)/(16*mib))
	if again := s.pull("c2"); again.host+again.peers+again.here != 0 {
		t.Errorf("a second sync: %+v", again)
	}
}

// TestSwarmHostGone kills the HTTP side and the tracker with the host; the
// rsync connection, which is a process of its own, ends the transfer.
func TestSwarmHostGone(t *testing.T) {
	s := newSite(t)
	s.write("a", noise(1, 24*mib))
	s.write("b", noise(2, 12*mib))
	s.start()
	done := make(chan pulled)
	go func() { done <- s.pull("c", "--swarm-download-limit=4M", "--swarm-stall=2s") }()
	for range 300 { // until its engine has written something
		time.Sleep(50 * time.Millisecond)
		if m, _ := filepath.Glob(s.path("c/.*")); len(m) > 0 {
			break
		}
	}
	s.stop()
	if p := <-done; p.fell == 0 {
		t.Errorf("nothing fell back: %+v", p)
	}
}

// TestSwarmRequireFails needs a swarm that is not there.
// A repository that files have left is fetched in full all the same, although
// nobody can hand out the pieces that they shared with others any more.
func TestSwarmAfterRemovals(t *testing.T) {
	s := newSite(t)
	for i := range 60 {
		s.write(fmt.Sprint("f", i), noise(byte(i), 60_000))
	}
	s.write("large", noise(99, mib+1000))
	s.start()
	for i := 0; i < 60; i += 9 {
		if err := os.Remove(s.path(fmt.Sprint("srv/f", i))); err != nil {
			t.Fatal(err)
		}
	}
	s.publish()
	if p := s.pull("c", "--swarm-stall=1000"); p.host < mib || p.fell == 0 {
		t.Errorf("%d bytes from the host, %d files fell back\n%s", p.host, p.fell, p.out)
	}
	if p := s.pull("d", "--swarm=require"); p.host < 53*60_000+mib {
		t.Errorf("%d bytes from the host\n%s", p.host, p.out)
	}
}

func TestSwarmRequireFails(t *testing.T) {
	s := newSite(t)
	s.write("a", noise(1, mib))
	s.start()
	alone := s.path("bin")
	if err := os.Mkdir(alone, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(s.bin, "prsync"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(alone, "prsync"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	s.bin = alone
	c := s.command("-a", "--swarm=require", s.url, s.path("c"))
	c.Env = append(c.Env, "PATH=/nonexistent")
	out, _ := c.CombinedOutput()
	if code := c.ProcessState.ExitCode(); code != 10 || !strings.Contains(string(out), "prsync-engine is installed neither") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	c = s.command("-a", "--swarm-linger=1ms", s.url, s.path("c"))
	c.Env = append(c.Env, "PATH=/nonexistent")
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("without --swarm=require: %v\n%s", err, out)
	}
	s.same("c")
}

// TestLocalIndex takes what a service of this machine holds, over a remote
// shell, which finds the module by its path.
func TestLocalIndex(t *testing.T) {
	s := newSite(t)
	s.write("d/a", noise(1, 2*mib))
	s.write("d/b", noise(2, mib))
	s.start()
	shell := s.path("shell")
	if err := os.WriteFile(shell, []byte("#!/bin/sh\nshift\neval \"exec $*\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.url = "host:" + s.path("srv") + "/"
	env := stateDirVariable + "=" + s.path("state")
	remote := s.path("remote")
	if err := os.WriteFile(remote, []byte("#!/bin/sh\n"+env+" exec "+filepath.Join(s.bin, "prsync")+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"-e", shell, "--rsync-path=" + remote}
	if p := s.pull("other", args...); p.host+p.peers != 3*mib {
		t.Errorf("another machine: %+v", p)
	}
	c := s.command(append(args, "-a", "--info=swarm1", s.url, s.path("here"))...)
	c.Env = append(c.Env, env)
	out, err := c.CombinedOutput()
	if p := string(out); err != nil || !strings.Contains(p, "3,145,728 found here") {
		t.Errorf("%v\n%s", err, out)
	}
	s.same("here")
}
