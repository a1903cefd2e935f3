package app

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// What goes wrong, with the programs as they are installed. Each case ends in
// a clear outcome, leaves no wrong byte under a final name and no more behind
// than rsync would, and the next run completes.

// through puts a proxy between clients and the host's HTTP side; it has to be
// called before start.
func (s *site) through(f func(w http.ResponseWriter, r *http.Request, host http.Handler)) {
	to, err := url.Parse(s.http)
	if err != nil {
		s.t.Fatal(err)
	}
	host := httputil.NewSingleHostReverseProxy(to)
	host.FlushInterval = -1
	host.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(w, r, host) }))
	s.t.Cleanup(func() { p.CloseClientConnections(); p.Close() })
	s.publicURL(p.URL)
}

// publicURL makes the host offer another address than its own.
func (s *site) publicURL(u string) {
	b, err := os.ReadFile(s.path("conf"))
	if err != nil {
		s.t.Fatal(err)
	}
	b = bytes.Replace(b, []byte("public url = "+s.http), []byte("public url = "+u), 1)
	if err := os.WriteFile(s.path("conf"), b, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// running is a client at work.
type running struct {
	s    *site
	to   string
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan struct{}
}

// slowly is how tests catch a transfer at work.
var slowly = []string{"--swarm-linger=1ms", "--swarm-download-limit=4M", "--swarm-stall=2s"}

// begin starts a client, which runs until the end of the test at most.
func (s *site) begin(to string, args ...string) *running {
	s.t.Helper()
	x := &running{s: s, to: to, done: make(chan struct{})}
	x.cmd = s.command(append(append([]string{"-a", "--delete", "--info=swarm1,stats1"}, args...), s.url, s.path(to)+"/")...)
	x.cmd.Stdout, x.cmd.Stderr = &x.out, &x.out
	if err := x.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		x.cmd.Wait()
		close(x.done)
	}()
	s.t.Cleanup(func() { x.cmd.Process.Kill(); <-x.done })
	return x
}

// engine waits until the client's engine has written something, and returns
// its process.
func (x *running) engine() int {
	x.s.t.Helper()
	for range 600 {
		if m, _ := filepath.Glob(x.s.path(x.to + "/.*.??????")); len(m) > 0 {
			var st syscall.Stat_t
			if syscall.Stat(m[0], &st) == nil && st.Blocks > 0 {
				if pid := child(x.cmd.Process.Pid, "prsync-engine"); pid > 0 {
					return pid
				}
			}
		}
		select {
		case <-x.done:
			x.s.t.Fatalf("it ended before it could be caught:\n%s", x.out.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	x.s.t.Fatal("no engine is at work")
	return 0
}

// child finds a process by its parent and its name, 0 for none.
func child(parent int, name string) int {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range all {
		b, _ := os.ReadFile(f)
		i := bytes.LastIndexByte(b, ')')
		if i < 0 || !bytes.HasSuffix(b[:i], []byte("("+name)) {
			continue
		}
		if f := strings.Fields(string(b[i+1:])); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(string(b[:bytes.IndexByte(b, ' ')]))
			return pid
		}
	}
	return 0
}

// end waits for the client and returns its exit code, -1 for a signal.
func (x *running) end() int {
	x.s.t.Helper()
	select {
	case <-x.done:
	case <-time.After(2 * time.Minute):
		x.s.t.Fatalf("it hangs:\n%s", x.out.String())
	}
	return x.cmd.ProcessState.ExitCode()
}

// litter lists what a transfer may have left behind.
func (s *site) litter(to string) (all []string) {
	filepath.WalkDir(s.path(to), func(p string, d os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), ".") {
			all = append(all, p)
		}
		return nil
	})
	return all
}

// ends waits for the client, which is to end with that exit code.
func (x *running) ends(want int) {
	x.s.t.Helper()
	if code := x.end(); code != want {
		x.s.t.Errorf("exit code %d, not %d\n%s", code, want, x.out.String())
	}
}

// tidy checks that a transfer has left nothing behind.
func (s *site) tidy(to string) {
	s.t.Helper()
	if l := s.litter(to); len(l) > 0 {
		s.t.Errorf("left behind: %q", l)
	}
}

// noWrong checks that whatever has its final name has its right content.
func (s *site) noWrong(to string) {
	s.t.Helper()
	files, _ := filepath.Glob(s.path(to + "/*"))
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), ".") {
			continue // a temporary one, of a transfer that was killed
		}
		got, _ := os.ReadFile(f)
		if want, err := os.ReadFile(filepath.Join(s.path("srv"), filepath.Base(f))); err != nil || !bytes.Equal(got, want) {
			s.t.Errorf("%s has a wrong content of %d bytes", f, len(got))
		}
	}
}

func gone(pid int) bool {
	for range 500 {
		if syscall.Kill(pid, 0) != nil {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

func TestKillClient(t *testing.T) {
	s := newSite(t)
	s.write("a", noise(1, 24*mib))
	s.start()
	x := s.begin("c", slowly...)
	engine := x.engine()
	x.cmd.Process.Kill()
	x.end()
	if !gone(engine) {
		t.Error("the engine outlives its client")
	}
	s.noWrong("c")
	s.pull("c")
	if l := s.litter("c"); len(l) > 0 {
		t.Errorf("left behind after the next run with --delete: %q", l)
	}
}

func TestInterruptClient(t *testing.T) {
	s := newSite(t)
	s.write("a", noise(1, 24*mib))
	s.start()
	x := s.begin("c", slowly...)
	engine := x.engine()
	x.cmd.Process.Signal(syscall.SIGINT)
	x.ends(20)
	if !gone(engine) {
		t.Error("the engine outlives its client")
	}
	s.noWrong("c")
	s.tidy("c")
}

// TestKillEngine kills it, and the one that is started in its place as well.
func TestKillEngine(t *testing.T) {
	s := newSite(t)
	s.write("a", noise(1, 24*mib))
	s.start()
	x := s.begin("c", slowly...)
	first := x.engine()
	syscall.Kill(first, syscall.SIGKILL)
	for range 500 {
		if pid := child(x.cmd.Process.Pid, "prsync-engine"); pid > 0 && pid != first {
			syscall.Kill(pid, syscall.SIGKILL)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	x.ends(0)
	if !strings.Contains(x.out.String(), "1 fell back") {
		t.Errorf("the file did not fall back:\n%s", x.out.String())
	}
	s.same("c")
	s.tidy("c")
}

// TestKillEngineRequire fails instead, and says why.
func TestKillEngineRequire(t *testing.T) {
	s := newSite(t)
	s.write("a", noise(1, 24*mib))
	s.start()
	x := s.begin("c", append(slowly, "--swarm=require")...)
	for first := x.engine(); first > 0; {
		syscall.Kill(first, syscall.SIGKILL)
		next := 0
		for range 300 {
			if next = child(x.cmd.Process.Pid, "prsync-engine"); next > 0 && next != first {
				break
			}
			next = 0
			time.Sleep(10 * time.Millisecond)
		}
		first = next
	}
	if code := x.end(); code != 10 || !strings.Contains(x.out.String(), "(--swarm=require)") {
		t.Errorf("exit code %d, not 10\n%s", code, x.out.String())
	}
	s.noWrong("c")
	s.tidy("c")
	s.pull("c")
}

// TestDiskFull fills a file system of 16 MiB.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a file system takes root")
	}
	s := newSite(t)
	s.write("a", noise(1, 4*mib))
	s.write("z", noise(2, 24*mib))
	s.start()
	dest := s.path("c")
	if err := os.Mkdir(dest, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dest, "tmpfs", 0, "size=16m"); err != nil {
		t.Skip("no file system can be mounted here: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(dest, syscall.MNT_DETACH) })
	for name, args := range map[string][]string{"auto": {"--swarm-linger=1ms"}, "require": {"--swarm=require"}, "off": {"--swarm=off"}} {
		x := s.begin("c", args...)
		want := 11
		if name == "require" {
			want = 10
		}
		if code := x.end(); code != want || !strings.Contains(strings.ToLower(x.out.String()), "no space left") {
			t.Errorf("%s: exit code %d, not %d\n%s", name, code, want, x.out.String())
		}
		s.noWrong("c")
		if l := s.litter("c"); len(l) > 0 {
			t.Errorf("%s: left behind: %q", name, l)
		}
	}
	if err := syscall.Mount("tmpfs", dest, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	s.pull("c")
}

// TestReplacedOnHost exchanges a file while it is fetched: once by another
// file, as rsync does, once in place.
func TestReplacedOnHost(t *testing.T) {
	for name, replace := range map[string]func(s *site, b []byte){
		"renamed over": func(s *site, b []byte) {
			s.write("a.new", b)
			if err := os.Rename(s.path("srv/a.new"), s.path("srv/a")); err != nil {
				s.t.Fatal(err)
			}
		},
		"in place": func(s *site, b []byte) { s.write("a", b) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			was, is := noise(1, 24*mib), noise(2, 20*mib)
			s.write("a", was)
			s.start()
			x := s.begin("c", slowly...)
			x.engine()
			replace(s, is)
			s.publish()
			code := x.end()
			got, err := os.ReadFile(s.path("c/a"))
			had := bytes.Equal(got, was) || bytes.Equal(got, is)
			if name == "in place" { // the sender may have read it in the midst of that
				had = had || eitherAt(got, was, is)
			}
			switch {
			case code != 0 && code != 23 && code != 24:
				t.Errorf("exit code %d\n%s", code, x.out.String())
			case code == 0 && (err != nil || !had):
				t.Errorf("a content of %d bytes that the file never had: %v\n%s", len(got), err, x.out.String())
			case err == nil && !had:
				t.Errorf("exit code %d, and a content of %d bytes that the file never had", code, len(got))
			}
			if l := s.litter("c"); len(l) > 0 {
				t.Errorf("left behind: %q", l)
			}
			s.pull("c")
		})
	}
}

// eitherAt reports whether each byte of b is what one of two versions has there.
func eitherAt(b, was, is []byte) bool {
	for i, c := range b {
		if !(i < len(was) && was[i] == c || i < len(is) && is[i] == c) {
			return false
		}
	}
	return true
}

// TestHostUnreachable offers an address where nobody answers.
func TestHostUnreachable(t *testing.T) {
	s := newSite(t)
	s.write("a", noise(1, 4*mib))
	s.publicURL("http://127.0.0.1:" + port(t))
	s.start()
	x := s.begin("c", "--swarm=require")
	if code := x.end(); code != 10 || !strings.Contains(x.out.String(), "connection refused") {
		t.Errorf("exit code %d, not 10\n%s", code, x.out.String())
	}
	s.tidy("c")
	for _, p := range []pulled{s.auto("c"), s.pull("d")} {
		if p.fell != 1 {
			t.Errorf("nothing fell back: %+v", p)
		}
	}
}

// TestHostSilent takes connections and never answers.
func TestHostSilent(t *testing.T) {
	s := newSite(t)
	s.write("a", noise(1, 4*mib))
	stop := make(chan struct{})
	s.through(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	defer close(stop)
	s.start()
	if p := s.auto("c", "--swarm-stall=1s"); p.fell != 1 {
		t.Errorf("nothing fell back: %+v", p)
	}
}

// TestHostLies sends wrong signatures, then wrong ranges.
func TestHostLies(t *testing.T) {
	s := newSite(t)
	image := noise(1, 12*mib)
	s.write("a", image)
	var signatures, ranges atomic.Bool
	var lies atomic.Int64
	s.through(func(w http.ResponseWriter, r *http.Request, host http.Handler) {
		sig := signatures.Load() && strings.HasPrefix(r.URL.Path, content.PathSignature)
		if !sig && (!ranges.Load() || !strings.HasPrefix(r.URL.Path, content.PathBlob)) {
			host.ServeHTTP(w, r)
			return
		}
		a := httptest.NewRecorder()
		host.ServeHTTP(a, r)
		b := a.Body.Bytes()
		if sig { // of another content: each block claims to be its neighbour
			g, err := content.ParseSignature(b)
			if err != nil {
				t.Error(err)
				return
			}
			n := int(g.StrongLen)
			g.Rolling[2], g.Rolling[3] = g.Rolling[3], g.Rolling[2]
			for i := range n {
				g.Strong[2*n+i], g.Strong[3*n+i] = g.Strong[3*n+i], g.Strong[2*n+i]
			}
			b = g.Encode()
		} else if len(b) > 0 {
			b[len(b)/2] ^= 1
		}
		lies.Add(1)
		for k, v := range a.Header() {
			if k != "Content-Length" {
				w.Header()[k] = v
			}
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.WriteHeader(a.Code)
		io.Copy(w, bytes.NewReader(b))
	})
	s.start()
	s.pull("c")
	copy(image[5*mib:], noise(2, 2*mib))
	s.write("a", image)
	s.publish()
	signatures.Store(true)
	if p := s.pull("c"); lies.Load() == 0 || p.here == 0 {
		t.Errorf("no signature was asked for: %+v", p)
	}
	signatures.Store(false)
	lies.Store(0)
	ranges.Store(true)
	if p := s.pull("d", "--swarm-stall=2s"); lies.Load() == 0 || p.fell != 1 {
		t.Errorf("nothing fell back: %+v", p)
	}
	x := s.begin("e", "--swarm=require", "--swarm-stall=2s")
	x.ends(10)
	if l := s.litter("e"); len(l) > 0 {
		t.Errorf("left behind: %q", l)
	}
}

// TestKillVolunteer kills a volunteer, its engine first, while others fetch
// from it; what remains finds the rest.
func TestKillVolunteer(t *testing.T) {
	s := newSite(t)
	s.write("a", noise(1, 24*mib))
	s.start()
	web := port(t)
	mirror, state := s.path("mirror"), s.path("v")
	conf := fmt.Sprintf("http listen = 127.0.0.1:%s\ncentral url = %s\nvolunteer name = v\nvolunteer secret = s\nstate dir = %s\n[m]\npath = %s\nrescan interval = 0\n", web, s.http, state, mirror)
	if err := os.WriteFile(s.path("v.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(mirror, 0o755); err != nil {
		t.Fatal(err)
	}
	volunteer := func() *exec.Cmd {
		v := s.command("volunteer", "--config", s.path("v.conf"))
		if err := v.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { v.Process.Kill(); v.Wait() })
		for range 300 {
			if r, err := http.Get("http://127.0.0.1:" + web + "/metrics"); err == nil {
				r.Body.Close()
				if child(v.Process.Pid, "prsync-engine") > 0 {
					return v
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatal("the volunteer does not answer")
		return nil
	}
	v := volunteer()
	engine := child(v.Process.Pid, "prsync-engine")
	x := s.begin("c", slowly...)
	x.engine()
	syscall.Kill(engine, syscall.SIGKILL)
	v.Process.Kill()
	v.Wait()
	x.ends(0)
	s.same("c")
	// A transfer of the volunteer's own machine, killed with its engine.
	v = volunteer()
	engine = child(v.Process.Pid, "prsync-engine")
	own := s.command("-a", "--info=swarm1", "--debug=swarm", "--swarm-download-limit=8M", s.url, mirror+"/")
	own.Env = append(os.Environ(), stateDirVariable+"="+state)
	var out bytes.Buffer
	own.Stdout, own.Stderr = &out, &out
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if m, _ := filepath.Glob(mirror + "/.a.*"); len(m) > 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	syscall.Kill(engine, syscall.SIGKILL)
	v.Process.Kill()
	if err := own.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), fmt.Sprintf("swarm: engine %d,", engine)) {
		t.Errorf("with a limit it does not use the volunteer's engine, %d:\n%s", engine, out.String())
	}
	got, _ := os.ReadFile(filepath.Join(mirror, "a"))
	if want, _ := os.ReadFile(s.path("srv/a")); !bytes.Equal(got, want) {
		t.Errorf("wrong content of %d bytes\n%s", len(got), out.String())
	}
}
