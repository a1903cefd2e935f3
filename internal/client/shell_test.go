package client

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/report"
)

// hostileNames are names that a shell, an option parser or a daemon could
// take for something else.
var hostileNames = []string{
	"plain", "a b", " a", "a\nb", "a\tb", "a\rb", `a"b`, "a'b", "a`b`", "$(x)", "$x", "a;b", "a|b", "a&b", "a>b", "<a",
	"{a,b}", "(a)", "#a", "!a", "a\\b", "a\\", "a\\*", "a\\\\*", "*", "?", "[ab]", "a]", "-a", "--server", "-", "~", "~u",
	"~/a", "~u/a", "./~", "a/./b", "~/./b", "é\x01\x7f", "\xff\xfe", ".", "..", "/", "mod mod/x",
}

// shellRecord starts ours and the real rsync's client with this test binary as
// the remote shell, and returns what each told it.
func shellRecord(t *testing.T, args []string) (ours, theirs string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "theirs")
	all := append([]string{"-e", self}, args...)
	runStock(t, []string{recordTo + "=" + file}, all...)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%q: rsync did not start the remote shell: %v", args, err)
	}
	o, operands := parse(t, all...)
	p, err := PlanOperands(o, operands)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	file = filepath.Join(dir, "ours")
	c, err := RemoteShell(context.Background(), o, p.Host, p.RemotePaths(), p.AmSender,
		Env{Environ: append(os.Environ(), recordTo+"="+file)})
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	defer c.Close()
	if status, err := c.Wait(); status != 9 || err != nil {
		t.Fatalf("%q: status %d, %v", args, status, err)
	}
	a, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(a), string(b)
}

// TestRemoteArguments compares the words that a remote shell is given, and the
// arguments that are sent over the connection, with the real rsync's.
func TestRemoteArguments(t *testing.T) {
	needStock(t)
	dest := t.TempDir()
	var pull []string
	for _, name := range hostileNames {
		pull = append(pull, "h:"+name)
	}
	cases := [][]string{{"u@h:a", dest}, {"u@v@h:a", dest}, {"-4", "[::1]:a", dest}, {"--rsync-path=a b;c", "h:", dest}, {"/dev/null", "h:"}, {"/dev/null", "h:-x"}, {"-M--x y", "-M", "-z", "h:a", dest}}
	for _, style := range [][]string{nil, {"-s"}, {"--old-args"}, {"--old-args", "--old-args"}, {"-R"}, {"-r", "--delete", "--trust-sender"}, {"-avz", "--protocol=29"}} {
		cases = append(cases, slices.Concat(style, pull, []string{dest}))
	}
	for _, name := range hostileNames {
		cases = append(cases, []string{"-a", "/dev/null", "h:" + name})
	}
	for _, args := range cases {
		ours, theirs := shellRecord(t, args)
		if d := cmp.Diff(strings.Split(theirs, "\x00"), strings.Split(ours, "\x00")); d != "" {
			t.Errorf("%q: (-rsync +ours)\n%s", args, d)
		}
	}
}

// TestShellCommand compares how the remote-shell command is split, by the trace
// of --debug=cmd.
func TestShellCommand(t *testing.T) {
	script := tempFile(t, "#!/bin/sh\nexit 3\n", 0o755)
	dir := filepath.Dir(script)
	if err := os.Symlink(script, filepath.Join(dir, "ssh")); err != nil {
		t.Fatal(err)
	}
	ssh := filepath.Join(dir, "ssh")
	for _, args := range [][]string{
		{"-e", script + ` -o "a  b"  'c "d' x"y z"w`, "h:a", "d"},
		{"-e", " " + script + ` 'it''s' "a""b" '' end `, "h:a", "d"},
		{"-e", script + ` a\ b`, "h:a", "d"},
		{"-e", script + ` -l me`, "u@h:a", "d"},
		{"-4", "-e", ssh, "u@h:a", "d"},
		{"-6", "-e", ssh + " -x", "u@h:a", "d"},
		{"-4", "-e", script, "u@h:a", "d"},
		{"-e", script + ` -l me`, "u@h::a", "d"},
		{"-e", script + ` -l -x`, "u@h::a", "d"},
		{"-6", "-e", ssh, "rsync://u@h:99/a", "d"},
		{"-s", "-e", script, "u@h:a b", "d"},
		{"-e", script + ` "a b`, "h:a", "d"},
		{"-e", script + ` "a' b`, "h:a", "d"},
		{"-e", script + ` 'a''`, "h:a", "d"},
		{"-e", "/nonexistent/rsh", "h:a", "d"},
	} {
		args = append([]string{"--debug=cmd"}, args...)
		stdout, stderr, _ := runStock(t, nil, args...)
		o, operands := parse(t, args...)
		p, err := PlanOperands(o, operands)
		if err != nil {
			t.Fatal(err)
		}
		var trace strings.Builder
		env := Env{Trace: func(_ report.Code, line string) { trace.WriteString(line + "\n") }}
		var c *Conn
		if p.Kind == KindDaemon {
			_, _, err = Daemon(context.Background(), o, p.Spec, p.RemotePaths(), p.AmSender, env, nil)
		} else if c, err = RemoteShell(context.Background(), o, p.Host, p.RemotePaths(), p.AmSender, env); err == nil {
			c.Close()
		}
		if trace.String() != stdout {
			t.Errorf("%q\nours  %s\nrsync %s", args, &trace, stdout)
		}
		if err != nil && p.Kind != KindDaemon && err.Error() != message(stderr) {
			t.Errorf("%q\nours  %v\nrsync %s", args, err, stderr)
		}
	}
}

func TestRemoteShellStatus(t *testing.T) {
	for _, tc := range []struct {
		script string
		want   int
	}{
		{"exit 0", 0}, {"exit 127", 127}, {"exit 255", 255}, {"nosuchcommand 2>/dev/null", 127}, {"kill -9 $$", 16}, {"kill -TERM $$", 16},
	} {
		o, _ := parse(t, "-e", tempFile(t, "#!/bin/sh\n"+tc.script+"\n", 0o755), "h:a", "d")
		c, err := RemoteShell(context.Background(), o, "h", []string{"a"}, false, Env{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Wait(); got != tc.want || err != nil {
			t.Errorf("%s: %d %v, want %d", tc.script, got, err, tc.want)
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s: %v", tc.script, err)
		}
	}
}

// TestRemoteShellRoom: a side that is busy does not stop the other one at once.
func TestRemoteShellRoom(t *testing.T) {
	o, _ := parse(t, "-e", tempFile(t, "#!/bin/sh\nkill -STOP $$\n", 0o755), "h:a", "d")
	c, err := RemoteShell(context.Background(), o, "h", []string{"a"}, false, Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	out := c.Out.(*os.File)
	if err := out.SetWriteDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := out.Write(make([]byte, pipeSize)); err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestRemoteShellThatIsNone(t *testing.T) {
	o, _ := parse(t, "-e", "/nonexistent/rsh", "h:a", "d")
	_, err := RemoteShell(context.Background(), o, "h", []string{"a"}, false, Env{})
	wantError(t, err, exitcode.IPC, "rsync: [Receiver] Failed to exec /nonexistent/rsh: No such file or directory (2)")
	o, _ = parse(t, "-e", "nosuchcommand-anywhere", "a", "h:d")
	_, err = RemoteShell(context.Background(), o, "h", []string{"a"}, true, Env{})
	wantError(t, err, exitcode.IPC, "rsync: [sender] Failed to exec nosuchcommand-anywhere: No such file or directory (2)")
	o, _ = parse(t, "-e", "", "a", "h:d")
	_, err = RemoteShell(context.Background(), o, "no-such-host", []string{"a"}, true, Env{})
	wantError(t, err, exitcode.IPC, "rsync: [sender] Failed to exec no-such-host: No such file or directory (2)")
}

// TestStubbornShell: a shell that neither reads nor ends is ended by Close, and
// by its context.
func TestStubbornShell(t *testing.T) {
	script := tempFile(t, "#!/bin/sh\necho up\nexec sleep 1000\n", 0o755)
	o, _ := parse(t, "-e", script, "h:a", "d")
	for _, byContext := range []bool{false, true} {
		ctx, cancel := context.WithCancel(context.Background())
		c, err := RemoteShell(ctx, o, "h", []string{"a"}, false, Env{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c.In, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		if byContext {
			cancel()
		} else {
			c.Close()
		}
		if status, _ := c.Wait(); status != int(exitcode.Terminated) {
			t.Errorf("status %d", status)
		}
		c.Close()
		cancel()
	}
}

// TestShellPipes: the program's ends block, ours have deadlines.
func TestShellPipes(t *testing.T) {
	if _, err := os.Stat("/proc/self/fdinfo/0"); err != nil {
		t.Skipf("needs /proc: %v", err)
	}
	script := tempFile(t, "#!/bin/sh\ngrep flags /proc/self/fdinfo/0 /proc/self/fdinfo/1\necho end\nread x\n", 0o755)
	o, _ := parse(t, "-e", script, "h:a", "d")
	c, err := RemoteShell(context.Background(), o, "h", []string{"a"}, false, Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := c.In.(*os.File)
	lines := bufio.NewScanner(in)
	for lines.Scan() && lines.Text() != "end" {
		flags, err := strconv.ParseInt(strings.Fields(lines.Text())[1], 8, 64)
		if err != nil || flags&syscall.O_NONBLOCK != 0 {
			t.Errorf("does not block: %s %v", lines.Text(), err)
		}
	}
	if err := in.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Errorf("read: %v", err)
	}
}

// TestSecludedServer: a real server takes the arguments off the connection.
func TestSecludedServer(t *testing.T) {
	needStock(t)
	script := tempFile(t, "#!/bin/sh\nshift\nexec \"$@\"\n", 0o755)
	for _, style := range []string{"-s", "--no-s"} {
		o, _ := parse(t, "-e", script, "--rsync-path="+stock, style, "h:a b", "d")
		c, err := RemoteShell(context.Background(), o, "h", []string{"a b"}, false, Env{})
		if err != nil {
			t.Fatal(err)
		}
		var version [4]byte
		if _, err := io.ReadFull(c.In, version[:]); err != nil || version[0] != 32 {
			t.Errorf("%s: version %v, %v", style, version, err)
		}
		c.Close()
	}
}

func TestConvertedArguments(t *testing.T) {
	o, _ := parse(t, "-s", "h:a", "d")
	var b strings.Builder
	err := sendSecluded(&b, o, []string{"é", "", "x"}, &Env{Convert: func(s string) string { return strings.ReplaceAll(s, "é", "\xe9") }})
	if want := "rsync\x00\xe9\x00.\x00x\x00\x00"; err != nil || b.String() != want {
		t.Errorf("%q %v, want %q", b.String(), err, want)
	}
}

// TestArgumentsNobodyReads sends more arguments than a pipe holds to a remote
// shell that reads none: what it says is for the caller to read.
func TestArgumentsNobodyReads(t *testing.T) {
	script := tempFile(t, "#!/bin/sh\nexec <&-\necho no such account\nexit 3\n", 0o755)
	o, _ := parse(t, "-s", "-e", script, "h:a", "d")
	paths := make([]string, 100)
	for i := range paths {
		paths[i] = strings.Repeat("p", 3000)
	}
	c, err := RemoteShell(context.Background(), o, "h", paths, false, Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	said, err := io.ReadAll(c.In)
	if string(said) != "no such account\n" || err != nil {
		t.Errorf("read %q, %v", said, err)
	}
	if status, err := c.Wait(); status != 3 || err != nil {
		t.Errorf("ended with %d, %v", status, err)
	}
}
