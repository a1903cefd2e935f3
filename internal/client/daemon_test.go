package client

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/exitcode"
)

// stockDaemon writes a configuration and returns the value of
// RSYNC_CONNECT_PROG that runs the real daemon on it.
func stockDaemon(t *testing.T) (prog string) {
	t.Helper()
	needStock(t)
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	secrets := write("secrets", "ann:se cret\n", 0o600)
	motd := write("motd", "welcome\nto the daemon\n", 0o644)
	module := filepath.Join(dir, "files")
	if err := os.Mkdir(module, 0o755); err != nil {
		t.Fatal(err)
	}
	write("files/a b", "text", 0o644)
	early := filepath.Join(dir, "early")
	conf := write("conf", fmt.Sprintf(`log file = %s/log
motd file = %s
use chroot = no
reverse lookup = no
uid = %d
gid = %d
[open]
	comment = for all
	path = %[5]s
[closed]
	path = %[5]s
	auth users = ann
	secrets file = %[6]s
[early]
	path = %[5]s
	early exec = cat >%[7]s
[full]
	path = %[5]s
	max connections = -1
`, dir, motd, os.Getuid(), os.Getgid(), module, secrets, early), 0o644)
	t.Setenv("PRSYNC_TEST_EARLY", early)
	return stock + " --daemon --config=" + conf
}

// call goes through RSYNC_CONNECT_PROG.
func call(t *testing.T, prog string, env Env, args ...string) (c *Conn, listed bool, said []string, err error) {
	t.Helper()
	o, operands := parse(t, args...)
	p, err := PlanOperands(o, operands)
	if err != nil {
		t.Fatal(err)
	}
	others := env
	env.Lookup = func(name string) (string, bool) {
		if name == "RSYNC_CONNECT_PROG" {
			return prog, true
		}
		return others.lookup(name)
	}
	env.OpenFile = openFile
	c, listed, err = Daemon(context.Background(), o, p.Spec, p.RemotePaths(), p.AmSender, env,
		func(line string) { said = append(said, line) })
	if c != nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, listed, said, err
}

func TestModuleList(t *testing.T) {
	prog := stockDaemon(t)
	for _, args := range [][]string{{"h::"}, {"rsync://h/"}, {"rsync://u@h:99"}, {"/dev/null", "h::"}} {
		c, listed, said, err := call(t, prog, Env{}, args...)
		if err != nil || !listed || c != nil {
			t.Fatalf("%q: %v %v %v", args, c, listed, err)
		}
		stdout, _, _ := runStock(t, []string{"RSYNC_CONNECT_PROG=" + prog}, args...)
		if got := strings.Join(said, "\n") + "\n"; got != stdout || !strings.Contains(got, "for all") {
			t.Errorf("%q:\n%s\nrsync:\n%s", args, got, stdout)
		}
	}
	if _, listed, said, err := call(t, prog, Env{}, "--no-motd", "h::"); err != nil || !listed || len(said) != 0 {
		t.Errorf("--no-motd: %q %v %v", said, listed, err)
	}
}

// checkReady looks whether the daemon started the protocol proper.
func checkReady(t *testing.T, c *Conn) {
	t.Helper()
	// From protocol 30 on a server behind a greeting sends its flags first,
	// earlier the seed.
	var b [4]byte
	if _, err := io.ReadFull(c.In, b[:]); err != nil {
		t.Fatalf("the daemon did not go on: %v", err)
	}
	if c.Protocol < 30 && binary.LittleEndian.Uint32(b[:]) == 0 {
		t.Errorf("seed %v", b)
	}
	if !c.Daemon || c.Remote != 32 {
		t.Errorf("daemon %v, its protocol %d", c.Daemon, c.Remote)
	}
	if status, err := c.Wait(); status != 0 || err != nil {
		t.Errorf("Wait: %d %v", status, err)
	}
}

func TestModule(t *testing.T) {
	prog := stockDaemon(t)
	dest := t.TempDir()
	for _, args := range [][]string{
		{"h::open/a b", dest}, {"h::open", "::open/a b", "::", dest}, {"-s", "h::open/a b", dest}, {"--old-args", "h::open/a", dest},
		{"--protocol=29", "h::open/a b", dest}, {"--protocol=31", "rsync://h/open", dest}, {"h::open", "::-x", dest},
	} {
		c, listed, said, err := call(t, prog, Env{}, args...)
		if err != nil || listed {
			t.Errorf("%q: %v %v", args, listed, err)
			continue
		}
		if !slices.Equal(said, []string{"welcome", "to the daemon", ""}) {
			t.Errorf("%q: %q", args, said)
		}
		checkReady(t, c)
		c.Close()
	}
}

func TestPassword(t *testing.T) {
	prog := stockDaemon(t)
	good := "--password-file=" + tempFile(t, "\r\nse cret\nmore\n", 0o600)
	const failed = "@ERROR: auth failed on module closed"
	for _, tc := range []struct {
		name string
		args []string
		env  Env
		code exitcode.Code
		text string
	}{
		{"file", []string{good, "ann@h::closed"}, Env{}, 0, ""},
		{"file, old protocol", []string{good, "--protocol=29", "ann@h::closed"}, Env{}, 0, ""},
		{"variable", []string{"ann@h::closed"}, Env{Lookup: variables("RSYNC_PASSWORD", "se cret")}, 0, ""},
		{"stdin", []string{"--password-file=-", "ann@h::closed"}, Env{Stdin: strings.NewReader("se cret\nx")}, 0, ""},
		{"terminal", []string{"ann@h::closed"}, Env{ReadPassword: func(prompt string) (string, error) {
			if prompt != "Password: " {
				t.Errorf("prompt %q", prompt)
			}
			return "se cret", nil
		}}, 0, ""},
		{"user", []string{good, "h::closed"}, Env{Lookup: variables("USER", "ann", "LOGNAME", "bob")}, 0, ""},
		{"log name", []string{good, "h::closed"}, Env{Lookup: variables("LOGNAME", "ann")}, 0, ""},
		{"nobody", []string{good, "h::closed"}, Env{}, exitcode.StartClient, failed},
		{"empty user", []string{good, "h::closed"}, Env{Lookup: variables("USER", "", "LOGNAME", "ann")}, exitcode.StartClient, failed},
		{"empty variable", []string{"ann@h::closed"}, Env{Lookup: variables("RSYNC_PASSWORD", ""), ReadPassword: func(string) (string, error) {
			t.Error("asks for a password that it was given")
			return "", nil
		}}, exitcode.StartClient, failed},
		{"wrong", []string{"ann@h::closed"}, Env{Lookup: variables("RSYNC_PASSWORD", "x")}, exitcode.StartClient, failed},
		{"no terminal", []string{"ann@h::closed"}, Env{ReadPassword: func(string) (string, error) { return "", os.ErrNotExist }}, exitcode.StartClient, failed},
		{"no file", []string{"--password-file=/nonexistent", "ann@h::closed"}, Env{}, exitcode.Syntax,
			"rsync: [Receiver] could not open password file /nonexistent: No such file or directory (2)"},
		{"empty file", []string{"--password-file=/dev/null", "ann@h::closed"}, Env{}, exitcode.Syntax, "ERROR: password file must not be other-accessible"},
		{"open file", []string{"--password-file=" + tempFile(t, "se cret\n", 0o604), "ann@h::closed"}, Env{}, exitcode.Syntax,
			"ERROR: password file must not be other-accessible"},
		{"unknown module", []string{"h::nix"}, Env{}, exitcode.StartClient, "@ERROR: Unknown module 'nix'"},
		{"full", []string{"h::full"}, Env{}, exitcode.StartClient, "@ERROR: max connections (-1) reached -- try again later"},
		{"path", []string{"h::/etc"}, Env{}, exitcode.StartClient, "ERROR: The remote path must start with a module name not a /"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _, _, err := call(t, prog, tc.env, append(tc.args, t.TempDir())...)
			if tc.code == 0 {
				if err != nil {
					t.Fatal(err)
				}
				checkReady(t, c)
				return
			}
			wantError(t, err, tc.code, tc.text)
		})
	}
}

func TestPasswordFileOfAnother(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to give a file away")
	}
	file := tempFile(t, "x\n", 0o600)
	if err := os.Chown(file, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	_, _, _, err := call(t, stockDaemon(t), Env{}, "--password-file="+file, "ann@h::closed", "/tmp")
	wantError(t, err, exitcode.Syntax, "ERROR: password file must be owned by root when running as root")
}

func TestEarlyInput(t *testing.T) {
	prog := stockDaemon(t)
	text := strings.Repeat("early\n\x00", 700)
	c, _, _, err := call(t, prog, Env{}, "--early-input="+tempFile(t, text, 0o644), "h::early", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	checkReady(t, c)
	got, err := os.ReadFile(os.Getenv("PRSYNC_TEST_EARLY"))
	if err != nil || string(got) != text {
		t.Errorf("the hook read %d bytes of %d, %v", len(got), len(text), err)
	}
	long := tempFile(t, strings.Repeat("x", 5121), 0o644)
	_, _, _, err = call(t, prog, Env{}, "--early-input="+long, "h::early", "/tmp")
	wantError(t, err, exitcode.StartClient, long+" is > 5120 bytes.")
	_, _, _, err = call(t, prog, Env{}, "--early-input=/nonexistent", "h::early", "/tmp")
	wantError(t, err, exitcode.StartClient, "rsync: [Receiver] failed to open /nonexistent: No such file or directory (2)")
	if c, _, _, err = call(t, prog, Env{}, "--early-input=/dev/null", "h::early", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	checkReady(t, c)
}

// TestDaemonBehindShell: the remote shell runs a daemon for this connection.
func TestDaemonBehindShell(t *testing.T) {
	conf := strings.SplitN(stockDaemon(t), " ", 2)[1]
	seen := filepath.Join(t.TempDir(), "seen")
	script := tempFile(t, "#!/bin/sh\necho \"$* $RSYNC_PORT\" >>"+seen+"\nexec "+stock+" --server "+conf+" .\n", 0o755)
	for _, args := range [][]string{{"h::open/a b", "d"}, {"--port=77", "u@h::open", "d"}, {"rsync://h:7/open", "d"}, {"h::"}} {
		args = append([]string{"-e", script}, args...)
		c, listed, _, err := call(t, "", Env{}, args...)
		if err != nil || listed != (c == nil) {
			t.Fatalf("%q: %v", args, err)
		}
		if c != nil {
			checkReadyShell(t, c)
		}
	}
	want := "h rsync --server --daemon . 0\n-l u h rsync --server --daemon . 77\nh rsync --server --daemon . 7\nh rsync --server --daemon . 0\n"
	if got, err := os.ReadFile(seen); err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	_, _, _, err := call(t, "", Env{}, "-e", "false", "h::open", "d")
	wantError(t, err, exitcode.StartClient, "rsync: did not see server greeting")
	_, _, _, err = call(t, "", Env{}, "-e", "false", "h::/open", "d")
	wantError(t, err, exitcode.StartClient, "ERROR: The remote path must start with a module name")
}

func checkReadyShell(t *testing.T, c *Conn) {
	t.Helper()
	if _, err := io.ReadFull(c.In, make([]byte, 4)); err != nil || !c.Daemon || c.Remote != 32 {
		t.Errorf("%v; %+v", err, c)
	}
	c.Out.Close()
	_, _ = io.Copy(io.Discard, c.In)
	if status, err := c.Wait(); status == 0 || err != nil {
		t.Errorf("a server that was left alone ended with %d, %v", status, err)
	}
}

func TestDaemonPaths(t *testing.T) {
	for _, tc := range []struct {
		paths, want string
		old         bool
	}{
		{"mod|mod/a mod/b|-mod/|mod||-x mod/y", "mod/|mod/a[ ]mod/b|./-mod/|mod/|.|./-x[ ]mod/y", false},
		{"mod/a mod/b|mod|-x", "mod/a mod/b|mod/|./-x", true},
		{"m/a  m/ m/", "m/a [ ]m/[ ]m/", false},
	} {
		if got := strings.Join(daemonPaths(strings.Split(tc.paths, "|"), tc.old), "|"); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.paths, got, tc.want)
		}
	}
}

// TestArgumentsForDaemon compares what a daemon receives from ours and from the
// real rsync.
func TestArgumentsForDaemon(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "daemon")
	record := func(file, greeting, reader string) string {
		text := fmt.Sprintf("#!/bin/sh\nprintf '%s\\n@RSYNCD: OK\\n'\nexec %s >%s\n", greeting, reader, file)
		if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return "/bin/sh " + script
	}
	var names []string
	for _, name := range hostileNames {
		names = append(names, "::mod/"+name, "::"+name)
	}
	for _, greeting := range []string{"@RSYNCD: 32.0 sha256 md5", "@RSYNCD: 31.0", "@RSYNCD: 29"} {
		for _, style := range []string{"-r", "-rs", "--old-args"} {
			if strings.HasSuffix(greeting, "29") {
				if style == "-rs" {
					continue // rsync prints "(null)" into its arguments
				}
				names = slices.DeleteFunc(names, func(s string) bool { return strings.Contains(s, "\n") })
			}
			args := slices.Concat([]string{style, "--timeout=1", "h::mod"}, names, []string{dir})
			theirs, ours := filepath.Join(dir, "theirs"), filepath.Join(dir, "ours")
			c, _, _, err := call(t, record(ours, greeting, "cat"), Env{}, args...)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Out.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, c.In)
			c.Close()
			got, err := os.ReadFile(ours)
			if err != nil {
				t.Fatal(err)
			}
			// rsync goes on with the transfer: only as much is read as ours sent.
			prog := record(theirs, greeting, fmt.Sprintf("head -c %d", len(got)))
			runStock(t, []string{"RSYNC_CONNECT_PROG=" + prog}, args...)
			want, err := os.ReadFile(theirs)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) < 100 || string(got) != string(want) {
				t.Errorf("%s %s\nours  %q\nrsync %q", greeting, style, got, want)
			}
		}
	}
}

func TestNewlineForOldDaemon(t *testing.T) {
	if _, err := daemonArgs([]string{".", "m/a\nb"}, 29); exitcode.Of(err, 0) != exitcode.Unsupported {
		t.Errorf("%v", err)
	}
	if s, err := daemonArgs([]string{".", "m/a\nb"}, 30); err != nil || s != ".\x00m/a\nb\x00\x00" {
		t.Errorf("%q %v", s, err)
	}
}
