package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/p2p/engine"
	"go.uber.org/goleak"
)

// engineArg makes this test binary the engine's program.
const engineArg = "be-the-engine"

func TestMain(m *testing.M) {
	if os.Args[len(os.Args)-1] == engineArg {
		if err := engine.RunChild(context.Background(), os.NewFile(3, "socket")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// site is a directory with everything that hosts of a test have. Its path is
// short, for sockets.
type site struct {
	t   *testing.T
	dir string
	web *http.Client
	dl  []func()
}

func newSite(t *testing.T) *site {
	t.Helper()
	before := goleak.IgnoreCurrent()
	dir, err := os.MkdirTemp("", "prs")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir, web: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(func() {
		for i := len(s.dl) - 1; i >= 0; i-- {
			s.dl[i]()
		}
		s.web.CloseIdleConnections()
		os.RemoveAll(dir)
		if !t.Failed() {
			goleak.VerifyNone(t, before)
		}
	})
	return s
}

func (s *site) path(p string) string { return filepath.Join(s.dir, p) }

// write puts a file in its place at once, as rsync does.
func (s *site) write(p, text string) {
	s.t.Helper()
	p = s.path(p)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		s.t.Fatal(err)
	}
	tmp := filepath.Join(filepath.Dir(p), ".tmp."+filepath.Base(p))
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(tmp, p); err != nil {
		s.t.Fatal(err)
	}
}

// running is a service.
type running struct {
	s      *site
	name   string
	Bound  Bound
	reload chan os.Signal
	log    *syncBuffer
	cancel context.CancelFunc
	done   chan error
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs a service and waits until it is ready.
func (s *site) start(name, conf string, service func(context.Context, Options) error, change func(*Options)) *running {
	s.t.Helper()
	r, err := s.tryStart(name, conf, service, change)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, r.log)
	}
	return r
}

func (s *site) tryStart(name, conf string, service func(context.Context, Options) error, change func(*Options)) (*running, error) {
	s.t.Helper()
	file := s.path(name + ".conf")
	conf = "log file = " + s.path(name+".rsyncd.log") + "\nuse chroot = no\nstate dir = " + s.path(name) + "\n" + conf
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		s.t.Fatal(err)
	}
	r := &running{s: s, name: name, reload: make(chan os.Signal), log: &syncBuffer{}, done: make(chan error, 1)}
	ready := make(chan Bound, 1)
	o := Options{
		Config: file, Version: "test", Log: slog.New(slog.NewTextHandler(r.log, nil)), Reload: r.reload,
		Ready:  func(b Bound) { ready <- b },
		Timing: Timing{Settle: 30 * time.Millisecond, Announce: time.Second, Newer: 5 * time.Second, Grace: 5 * time.Second, Journal: 20 * time.Millisecond, Retry: 50 * time.Millisecond},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	o.rsync = []net.Listener{l}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		err := service(ctx, o)
		l.Close()
		r.done <- err
	}()
	s.dl = append(s.dl, func() { r.stop() })
	select {
	case r.Bound = <-ready:
		return r, nil
	case err := <-r.done:
		r.done <- err
		return r, err
	case <-time.After(10 * time.Second):
		return r, fmt.Errorf("not ready")
	}
}

// stop ends the service; more than once is fine.
func (r *running) stop() {
	r.s.t.Helper()
	if r.done == nil {
		return
	}
	r.cancel()
	select {
	case err := <-r.done:
		if err != nil && r.Bound.HTTP != nil {
			r.s.t.Errorf("%s ended with %v", r.name, err)
		}
	case <-time.After(15 * time.Second):
		r.s.t.Errorf("%s does not end\n%s", r.name, r.log)
	}
	r.done = nil
	if r.s.t.Failed() {
		r.s.t.Logf("%s:\n%s", r.name, r.log)
	}
}

const anyPort = "http listen = 127.0.0.1:0\n"

// pub is a module with files of any size redirected.
const pub = "[pub]\nredirect min size = 1\nrescan interval = 0\n"

func (s *site) central(conf string, change func(*Options)) *running {
	s.t.Helper()
	secrets := s.path("secrets")
	if err := os.WriteFile(secrets, []byte("edge1:s1\nedge2:s2\nedge3:s3\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if !strings.Contains(conf, "http listen") {
		conf = anyPort + conf
	}
	return s.start("hub", "volunteer secrets file = "+secrets+"\n"+conf, Serve, change)
}

// volunteer starts edgeN, which mirrors below edgeN.d.
func (s *site) volunteer(n int, hub string, conf string, change func(*Options)) *running {
	s.t.Helper()
	name := fmt.Sprintf("edge%d", n)
	os.MkdirAll(s.path(name+".d"), 0o755)
	if !strings.Contains(conf, "http listen") {
		conf = anyPort + conf
	}
	return s.start(name, fmt.Sprintf("central url = %s\nvolunteer name = %s\nvolunteer secret = s%d\n", hub, name, n)+conf+
		"\n[pub]\nrescan interval = 0\npath = "+s.path(name+".d")+"\n", Volunteer, change)
}

// wait polls until the condition holds.
func (s *site) wait(what string, limit time.Duration, ok func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: not within %v", what, limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// answer is what an HTTP request got, without following redirects.
type answer struct {
	code   int
	header http.Header
	body   string
}

func (s *site) do(req *http.Request, client *http.Client) (answer, error) {
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b)}, err
}

func (s *site) get(url string) answer {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := s.do(req, s.web)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// fetch follows redirects as customers' tools do, and checks the body against
// the digest that came with it.
func (s *site) fetch(url string) (body, from string, err error) {
	resp, err := s.web.Get(url)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	from = resp.Request.URL.Host
	if err != nil {
		return "", from, err
	}
	if resp.StatusCode != http.StatusOK {
		return "", from, fmt.Errorf("%s: %s %s", url, resp.Status, b)
	}
	if old := resp.Header.Get("Digest"); old != "SHA-256="+digest(string(b)) {
		return "", "", fmt.Errorf("%s: Digest is %s", url, old)
	}
	if want := resp.Header.Get("Repr-Digest"); want != "sha-256=:"+digest(string(b))+":" {
		return "", from, fmt.Errorf("%s: body of %d bytes has not the digest %s", resp.Request.URL, len(b), want)
	}
	return string(b), from, nil
}

func digest(s string) string {
	h := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(h[:])
}

// redirected waits until the path is redirected to the volunteer, or with nil
// to nobody.
func (s *site) redirected(hub *running, path string, to *running) {
	s.t.Helper()
	s.wait("redirect of "+path, 10*time.Second, func() bool {
		a := s.get(hub.Bound.URL + path)
		loc := a.header.Get("Location")
		if to == nil {
			return a.code == http.StatusOK
		}
		return a.code == http.StatusFound && strings.HasPrefix(loc, "http://"+to.Bound.HTTP.String()+"/")
	})
}

// holders is who holds a file, by the status page's data.
func (s *site) holders(hub *running, file string) string {
	var st struct {
		Search struct {
			Holders []string `json:"holders"`
		} `json:"search"`
	}
	if err := json.Unmarshal([]byte(s.get(hub.Bound.URL+"/status.json?q="+file).body), &st); err != nil {
		s.t.Fatal(err)
	}
	return strings.Join(st.Search.Holders, " ")
}
