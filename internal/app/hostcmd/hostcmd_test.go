package hostcmd_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/app/apptest"
)

func TestMain(m *testing.M) { apptest.Main(m) }

// machine is a directory with prsync's programs and what they run on.
type machine struct {
	t   *testing.T
	dir string
}

func newMachine(t *testing.T, programs ...string) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "prs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	apptest.Install(t, dir, programs...)
	return &machine{t, dir}
}

func (m *machine) path(p string) string { return filepath.Join(m.dir, p) }

func (m *machine) write(p, text string) {
	m.t.Helper()
	os.MkdirAll(filepath.Dir(m.path(p)), 0o755)
	if err := os.WriteFile(m.path(p), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chmod(m.path(p), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// run runs prsync to its end.
func (m *machine) run(args ...string) (out, errs string, code int) {
	m.t.Helper()
	cmd := exec.Command(m.path("prsync"), args...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		m.t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

type service struct {
	*exec.Cmd
	mu  sync.Mutex
	log bytes.Buffer
}

func (s *service) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

func (s *service) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// start runs a service until the test ends.
func (m *machine) start(change func(*exec.Cmd), args ...string) *service {
	m.t.Helper()
	s := &service{Cmd: exec.Command(m.path("prsync"), args...)}
	s.Stderr = s
	if change != nil {
		change(s.Cmd)
	}
	if err := s.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if s.ProcessState == nil {
			s.Process.Signal(syscall.SIGTERM)
			s.Wait()
		}
		if m.t.Failed() {
			m.t.Logf("%s:\n%s", args, s.text())
		}
	})
	return s
}

func (m *machine) wait(what string, ok func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: not within time", what)
		}
	}
}

func get(url string) (code int, body string) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(b)
}

// ports returns addresses where nothing listens now.
func ports(t *testing.T, n int) (list []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		list = append(list, port)
	}
	return list
}

func (m *machine) central(p []string) {
	m.write("secrets", "edge1:s1\n")
	if err := os.Chmod(m.path("secrets"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.write("central.conf", "address = 127.0.0.1\nport = "+p[0]+"\nhttp listen = 127.0.0.1:"+p[1]+"\nstate dir = "+m.path("central")+
		"\nvolunteer secrets file = "+m.path("secrets")+"\nlog file = "+m.path("rsyncd.log")+"\nuse chroot = no\n"+
		"[pub]\nredirect min size = 1\npath = "+m.path("tree")+"\n")
}

// TestServices runs a host, a volunteer and transfers as an operator does,
// and kills the host.
func TestServices(t *testing.T) {
	m := newMachine(t, apptest.All...)
	p := ports(t, 3)
	m.write("tree/a/file", strings.Repeat("content ", 20000))
	m.central(p)
	config := "--config=" + m.path("central.conf")
	url := "http://127.0.0.1:" + p[1]
	if _, errs, code := m.run("publish", config, "pub"); code != 10 || !strings.Contains(errs, `no "prsync serve" runs`) {
		t.Errorf("publish without a host: %d %s", code, errs)
	}
	hub := m.start(nil, "serve", config)
	m.wait("/metrics", func() bool { code, _ := get(url + "/metrics"); return code == 200 })
	out, errs, code := m.run("publish", config, "pub")
	if code != 0 || !regexp.MustCompile(`^pub: generation 1 (published|unchanged), 1 files, 156 KiB; .*\n$`).MatchString(out) {
		t.Errorf("publish: %d %q %s", code, out, errs)
	}
	if _, errs, code := m.run("publish", config, "none"); code != 1 || !strings.Contains(errs, "published are: pub") {
		t.Errorf("publish of no module: %d %s", code, errs)
	}

	// The rsync side, by prsync and by rsync.
	m.write("edge.conf", "http listen = 127.0.0.1:"+p[2]+"\ncentral url = "+url+"\nvolunteer name = edge1\nvolunteer secret = s1\nstate dir = "+
		m.path("edge")+"\n[pub]\npath = "+m.path("mirror")+"\n")
	if err := os.Mkdir(m.path("mirror"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.start(nil, "volunteer", "--config", m.path("edge.conf"))
	ready := func() bool {
		out, _, _ := m.run("status", "--json", url)
		var s struct {
			Volunteers []struct{ Name, State string }
		}
		return json.Unmarshal([]byte(out), &s) == nil && len(s.Volunteers) == 1 && s.Volunteers[0].State == "ready"
	}
	m.wait("the volunteer", ready)
	source := "rsync://127.0.0.1:" + p[0] + "/pub/"
	if _, errs, code := m.run("-a", source, m.path("mirror")+"/"); code != 0 {
		t.Fatalf("prsync: %d %s", code, errs)
	}
	if rsync, err := exec.LookPath("rsync"); err == nil {
		if out, err := exec.Command(rsync, "-a", source, m.path("other")+"/").CombinedOutput(); err != nil {
			t.Fatalf("rsync: %v %s", err, out)
		}
		if out, err := exec.Command("diff", "-r", m.path("tree"), m.path("other")).CombinedOutput(); err != nil {
			t.Errorf("rsync got something else: %s", out)
		}
	}
	holder := func() bool { out, _, _ := m.run("status", url, "pub/a/file"); return strings.Contains(out, "edge1") }
	m.wait("the redirect", func() bool { return holder() && location(url+"/pub/a/file") != "" })
	if out, errs, code := m.run("status", config); code != 0 || !strings.Contains(out, "edge1") || !strings.Contains(out, "pub") {
		t.Errorf("status by configuration: %d %q %s", code, out, errs)
	}

	// Killed while customers ask; the volunteer's customers notice nothing,
	// and a new host routes as before.
	direct := location(url + "/pub/a/file")
	hub.Process.Kill()
	hub.Wait()
	if code, _ := get(direct); code != 200 {
		t.Errorf("the volunteer answers %d while the host is dead", code)
	}
	if _, errs, code := m.run("status", url); code != 10 || !strings.Contains(errs, "does not answer") {
		t.Errorf("status of a dead host: %d %s", code, errs)
	}
	m.write("tree/a/more", "more")
	killed := time.Now()
	hub = m.start(nil, "serve", config)
	m.wait("routing", func() bool { return location(url+"/pub/a/file") != "" })
	t.Logf("routing again after %v", time.Since(killed))
	m.wait("what came meanwhile", func() bool { code, body := get(url + "/pub/a/more"); return code == 200 && body == "more" })
	if code, body := get(url + "/pub/a/file"); code != 200 || len(body) != 160000 {
		t.Errorf("%d, %d bytes", code, len(body))
	}

	// SIGHUP loads, SIGTERM ends without an error.
	conf, _ := os.ReadFile(m.path("central.conf"))
	m.write("central.conf", string(conf)+"[new]\nredirect min size = 1\npath = "+m.path("tree/a")+"\n")
	hub.Process.Signal(syscall.SIGHUP)
	m.wait("the new module", func() bool { code, _ := get(url + "/new/more"); return code == 200 })
	hub.Process.Signal(syscall.SIGTERM)
	if err := hub.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// location is where a path is redirected to, "" for nowhere.
func location(url string) string {
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Get(url)
	if err != nil {
		return ""
	}
	resp.Body.Close()
	return resp.Header.Get("Location")
}

// TestSocketActivation hands the sockets over as systemd does, and reads what
// the service tells it.
func TestSocketActivation(t *testing.T) {
	m := newMachine(t, apptest.All...)
	m.write("tree/file", "content")
	m.central([]string{"1", "1"})
	var files []*os.File
	var urls []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		files, urls = append(files, f), append(urls, l.Addr().String())
	}
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	expect := func(want string) {
		t.Helper()
		b := make([]byte, 100)
		told.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := told.Read(b); err != nil || string(b[:n]) != want {
			t.Errorf("the service manager was told %q, %v; want %q", b[:n], err, want)
		}
	}
	// The shell sets LISTEN_PID to its own number and becomes prsync.
	hub := m.start(func(c *exec.Cmd) {
		c.Args = []string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, m.path("prsync"), "serve", "--config", m.path("central.conf")}
		c.Path = "/bin/sh"
		c.ExtraFiles = files
		c.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=rsync:http", "NOTIFY_SOCKET="+m.path("notify"))
	}, "serve")
	expect("READY=1")
	m.wait("http", func() bool {
		code, body := get("http://" + urls[1] + "/pub/file")
		return code == 200 && body == "content"
	})
	if out, errs, code := m.run("rsync://" + urls[0] + "/"); code != 0 || !strings.Contains(out, "pub") {
		t.Errorf("rsync: %d %q %s", code, out, errs)
	}
	hub.Process.Signal(syscall.SIGHUP)
	expect("RELOADING=1")
	expect("READY=1")
	hub.Process.Signal(syscall.SIGTERM)
	expect("STOPPING=1")
	if err := hub.Wait(); err != nil {
		t.Error(err)
	}
}

// TestSystemdSocketActivate starts a host by systemd's own tool, at the first
// customer.
func TestSystemdSocketActivate(t *testing.T) {
	tool, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Skip("needs systemd-socket-activate (apt-get install systemd)")
	}
	m := newMachine(t, apptest.All...)
	m.write("tree/file", "content")
	m.central([]string{"1", "1"})
	p := ports(t, 2)
	m.start(func(c *exec.Cmd) {
		c.Path = tool
		c.Args = append([]string{tool, "-l", "127.0.0.1:" + p[0], "-l", "127.0.0.1:" + p[1], "--fdname=rsync:http"}, c.Args...)
	}, "serve", "--config", m.path("central.conf"))
	m.wait("http", func() bool {
		code, body := get("http://127.0.0.1:" + p[1] + "/pub/file")
		return code == 200 && body == "content"
	})
	if out, errs, code := m.run("rsync://127.0.0.1:" + p[0] + "/pub/"); code != 0 || !strings.Contains(out, "file") {
		t.Errorf("rsync: %d %q %s", code, out, errs)
	}
}

// TestCompletedCommands: what a shell completes behind a command is what its
// help shows.
func TestCompletedCommands(t *testing.T) {
	m := newMachine(t, apptest.All...)
	script, _, _ := m.run("completion", "bash")
	for _, name := range []string{"serve", "volunteer", "status", "publish"} {
		_, line, _ := strings.Cut(script, "        "+name+") ")
		line, _, _ = strings.Cut(line, "\n")
		help, _, _ := m.run(name, "--help")
		_, flags, _ := strings.Cut(help, "OPTIONS:")
		for _, word := range strings.FieldsFunc(flags, func(r rune) bool { return strings.ContainsRune(" ,\n", r) }) {
			if len(word) > 2 && strings.HasPrefix(word, "--") && !strings.Contains(line, word) {
				t.Errorf("%s %s is not completed: %q", name, word, line)
			}
		}
	}
}

func TestMistakes(t *testing.T) {
	m := newMachine(t, apptest.All...)
	m.write("bad.conf", "nonsense parameter = 1\n")
	m.write("lonely.conf", "[pub]\npath = /tmp\n")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	m.write("taken.conf", "http listen = "+taken.Addr().String()+"\nstate dir = "+m.path("taken")+"\n")
	m.write("file", "text")
	m.write("nowhere.conf", "state dir = "+m.path("file")+"/below\n")
	m.write("quiet.conf", "state dir = "+m.path("quiet")+"\n")
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"serve", "--config", m.path("none.conf")}, "none.conf", 1},
		{[]string{"serve", "--config", m.path("bad.conf")}, "bad.conf:1", 1},
		{[]string{"serve", "more"}, "takes no argument", 1},
		{[]string{"serve", "--confg", "x"}, "serve --help", 1},
		{[]string{"volunteer", "--config", m.path("lonely.conf")}, `needs "central url"`, 1},
		{[]string{"publish", "a", "b"}, "one module", 1},
		{[]string{"status", "ftp://x"}, "is not an http or https URL", 1},
		{[]string{"status", "http://127.0.0.1:1"}, "does not answer", 10},
		{[]string{"serve", "--config", m.path("taken.conf")}, "choose another port", 10},
		{[]string{"serve", "--config", m.path("nowhere.conf")}, `set "state dir"`, 11},
		{[]string{"publish", "--config", m.path("quiet.conf"), "pub"}, "start it", 10},
		{[]string{"completion"}, "name of a shell", 1},
		{[]string{"completion", "csh"}, "csh", 1},
	} {
		if out, errs, code := m.run(c.args...); code != c.code || !strings.Contains(errs, c.want) || out != "" {
			t.Errorf("prsync %q: %d, %q, %q; want %q", c.args, code, out, errs, c.want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, _, code := m.run("completion", shell); code != 0 || !strings.Contains(out, "volunteer") {
			t.Errorf("completion %s: %d, %.100q", shell, code, out)
		}
	}
	for _, command := range []string{"serve", "volunteer", "status", "publish"} {
		if out, errs, code := m.run(command, "--help"); code != 0 || !strings.Contains(out, "prsync "+command) {
			t.Errorf("%s --help: %d, %q, %q", command, code, out, errs)
		}
	}
	alone := newMachine(t, "prsync")
	if _, errs, code := alone.run("serve"); code == 0 || !strings.Contains(errs, "prsync-host") || !strings.Contains(errs, "install it beside prsync") {
		t.Errorf("without prsync-host: %d, %q", code, errs)
	}
	// A source of that name is no command.
	alone.write("serve", "text")
	if _, errs, code := alone.run(alone.path("serve"), alone.path("copy")); code != 0 {
		t.Errorf("copy of a file: %d, %q", code, errs)
	}
}
