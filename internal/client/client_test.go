package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
)

const (
	stock    = "/usr/bin/rsync"
	recordTo = "PRSYNC_TEST_RECORD" // where the test binary, as a remote shell, notes what it is given
)

func TestMain(m *testing.M) {
	if file := os.Getenv(recordTo); file != "" {
		os.Exit(record(file))
	}
	goleak.VerifyTestMain(m)
}

// record plays the remote shell: it notes its arguments, and with
// --secluded-args those that come over the connection, a NUL behind each.
func record(file string) int {
	text := strings.Join(os.Args[1:], "\x00") + "\x00"
	for _, arg := range os.Args {
		if strings.HasPrefix(arg, "-s") {
			in := bufio.NewReader(os.Stdin)
			for {
				s, err := in.ReadString(0)
				if text += s; err != nil || s == "\x00" {
					break
				}
			}
		}
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return 1
	}
	return 9
}

func needStock(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(stock); err != nil {
		t.Skipf("needs the real rsync: %v", err)
	}
}

func parse(t testing.TB, args ...string) (*options.Options, []string) {
	t.Helper()
	o, operands, err := options.Parse(args, options.Env{Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return o, operands
}

// variables is an environment for Env.Lookup.
func variables(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func openFile(name string) (io.ReadCloser, error) { return os.Open(name) }

// runStock returns what the real rsync prints, and its exit code.
func runStock(t *testing.T, extraEnv []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	needStock(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, stock, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C"}, extraEnv...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// message is the part of rsync's standard error in front of its last line, and
// with control characters as they were.
func message(stderr string) string {
	if i := strings.Index(stderr, "rsync error: "); i >= 0 {
		stderr = stderr[:i]
	}
	return strings.TrimSuffix(stderr, "\n")
}

// wantError checks text and code of an error.
func wantError(t *testing.T, err error, code exitcode.Code, text string) {
	t.Helper()
	var e *exitcode.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v; want code %d: %s", err, code, text)
	}
	if e.Code != code || e.Err == nil && text != "" || e.Err != nil && e.Error() != text {
		t.Fatalf("code %d: %v\nwant %d: %s", e.Code, e, code, text)
	}
}

// serve accepts connections and plays the daemon or proxy on each.
func serve(t *testing.T, play func(c net.Conn, in *bufio.Reader)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	all.Add(1)
	go func() {
		defer all.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Add(1)
			go func() {
				defer all.Done()
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				play(c, bufio.NewReader(c))
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func tempFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}
