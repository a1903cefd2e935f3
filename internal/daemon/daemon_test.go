package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
)

// The test binary is the daemon's program too: with this variable it runs the
// configuration file that the variable names, in the mode of the next one.
const (
	testConfVar = "PRSYNC_TEST_DAEMON"
	testModeVar = "PRSYNC_TEST_DAEMON_MODE" // listen, detach, shell
)

func TestMain(m *testing.M) {
	file, ok := lookup(os.Environ(), testConfVar)
	if !ok {
		os.Exit(m.Run())
	}
	cfg := testConfig(file)
	mode, _ := lookup(cfg.Env, testModeVar)
	ctx := context.Background()
	if mode == "detach" || mode == "listen" {
		var stop context.CancelFunc
		ctx, stop = notifyTerm(ctx)
		defer stop()
	}
	var err error
	if mode == "shell" {
		err = ServeShell(ctx, cfg)
	} else {
		err = Run(ctx, cfg, mode == "detach")
	}
	var silent *exitcode.Error
	if err != nil && (!errors.As(err, &silent) || silent.Err != nil) {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(int(exitcode.Of(err, 1)))
}

func testConfig(file string) Config {
	env := os.Environ()
	if _, ok := lookup(env, testConfVar); !ok {
		env = setenv(env, testConfVar, file)
	}
	return Config{
		File: file, Env: env, Argv: []string{os.Args[0]}, Version: "test",
		Serve: testServe,
	}
}

// told is what testServe writes to the client about its session.
type told struct {
	Module, Addr, Host, User, Path, Dir, FullPath      string
	Args, Operands                                     []string
	Paths, Err, Cwd                                    string
	Env                                                map[string]string
	UID, GID, Protocol, PID                            int
	Groups                                             []int
	ReadOnly, Sender, Chrooted, Inner, Secure, Numeric bool
	Munge                                              bool
	RootNames                                          []string
}

func testServe(ctx context.Context, s *Session) error {
	out := told{Module: s.Module.Name, Addr: s.Addr, Host: s.Host, User: s.User, Path: s.Module.Path, Dir: s.Dir,
		FullPath: s.FullPath, Args: s.Args, Operands: s.Operands, Paths: s.Paths, UID: os.Getuid(), GID: os.Getgid(), Protocol: s.Protocol,
		ReadOnly: s.ReadOnly, Sender: s.Options.Sender, Chrooted: s.Chrooted, Inner: s.Inner, Secure: s.SecureLinks,
		Numeric: s.NumericIDs, Munge: s.MungeLinks, PID: os.Getpid(), Env: map[string]string{}}
	out.Groups, _ = os.Getgroups()
	out.Cwd, _ = os.Getwd()
	if s.Err != nil {
		out.Err = s.Err.Error()
	}
	for _, e := range s.Env {
		if name, value, _ := strings.Cut(e, "="); strings.HasPrefix(name, "RSYNC_") {
			out.Env[name] = value
		}
	}
	if list, err := s.Root.ReadDir("."); err == nil {
		for _, e := range list {
			out.RootNames = append(out.RootNames, e.Name)
		}
	}
	if s.Names != nil {
		id, ok, err := s.Names.UID("alice")
		name, _ := s.Names.User(7)
		out.Env["uid of alice"] = fmt.Sprint(id, ok, err)
		out.Env["name of 7"] = name
		_, ok, err = s.Names.GID("empty")
		out.Env["gid of empty"] = fmt.Sprint(ok, err)
		_, ok, err = s.Names.GID("a\nb")
		out.Env["gid of newline"] = fmt.Sprint(ok, err)
	}
	if file, ok := s.Lookup("PRSYNC_TEST_OUT"); ok {
		b, _ := json.Marshal(out)
		os.WriteFile(file+".tmp", b, 0o666)
		return os.Rename(file+".tmp", file)
	}
	if err := json.NewEncoder(s.Out).Encode(out); err != nil {
		return err
	}
	if s.Err != nil {
		return exitcode.Silent(exitcode.Unsupported)
	}
	if status, ok := s.Lookup("PRSYNC_TEST_STATUS"); ok {
		n, _ := strconv.Atoi(status)
		return exitcode.Silent(exitcode.Code(n))
	}
	return nil
}

// host is a daemon under test.
type host struct {
	dir  string // scratch; DIR in the configuration
	log  string
	port int
}

// start runs a listener on a free port of 127.0.0.1 with a configuration in
// which DIR is a fresh directory that everyone may enter, with a module tree
// in DIR/m.
func start(t *testing.T, text string, mod ...func(*Config)) *host {
	t.Helper()
	h := newHost(t, text)
	run(t, h, mod...)
	return h
}

// run starts the listener of a host.
func run(t *testing.T, h *host, mod ...func(*Config)) {
	t.Helper()
	cfg := testConfig(filepath.Join(h.dir, "conf"))
	cfg.Address, cfg.Port = "127.0.0.1", h.port
	for _, f := range mod {
		f(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- Listen(ctx, cfg, func([]net.Addr) { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; exitcode.Of(err, 1) != exitcode.Signal {
			t.Errorf("the listener ended with %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatalf("the listener did not start: %v", err)
	}
}

func newHost(t *testing.T, text string) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "prsyncd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h := &host{dir: dir, log: filepath.Join(dir, "log"), port: freePort(t)}
	for _, d := range []string{"m/sub", "m/secret"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"m/foo1": "", "m/foo2": "", "m/sub/foo3": "", "m/secret/x": "",
		"conf": "log file = DIR/log\nreverse lookup = no\n" + text,
	} {
		h.write(t, name, text)
	}
	return h
}

func (h *host) write(t *testing.T, name, text string) string {
	t.Helper()
	p := filepath.Join(h.dir, name)
	if err := os.WriteFile(p, []byte(strings.ReplaceAll(text, "DIR", h.dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// client is a scripted peer.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (h *host) dial(t *testing.T) *client {
	t.Helper()
	c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", h.port))
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { c.Close() })
	return &client{t, c, bufio.NewReader(c)}
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, format, args...); err != nil {
		c.t.Error(err)
	}
}

func (c *client) line() string {
	s, _ := c.r.ReadString('\n')
	return strings.TrimSuffix(s, "\n")
}

func (c *client) rest() string {
	b, _ := io.ReadAll(c.r)
	return string(b)
}

const hello = "@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n"

// visit goes through the exchange to testServe's answer.
func (h *host) visit(t *testing.T, module string, args ...string) told {
	t.Helper()
	c := h.dial(t)
	c.line()
	c.send("%s%s\n", hello, module)
	return c.request(args...)
}

func (c *client) request(args ...string) told {
	c.t.Helper()
	if l := c.line(); l != "@RSYNCD: OK" {
		c.t.Fatalf("got %q in place of OK", l)
	}
	c.send("%s\x00\x00", strings.Join(args, "\x00"))
	return c.answer()
}

func (c *client) answer() told {
	c.t.Helper()
	var a told
	text := c.rest()
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		c.t.Fatalf("no session: %q", text)
	}
	return a
}

// wantLog waits for a line in the log.
func (h *host) wantLog(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\d+\] ` + pattern + `$`)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		text, _ := os.ReadFile(h.log)
		if re.Match(text) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("no line %q in the log:\n%s", pattern, text)
			return
		}
	}
}

// rsync runs the stock client.
func (h *host) rsync(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	path, err := exec.LookPath("rsync")
	if err != nil {
		t.Skip("needs rsync")
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "URL", fmt.Sprintf("rsync://127.0.0.1:%d", h.port))
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func needRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
