package daemon

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func script(t *testing.T, h *host, name, body string) {
	t.Helper()
	if err := os.Chmod(h.write(t, name, "#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
}

// wantFile waits for a file to hold a text.
func wantFile(t *testing.T, path, want string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		b, _ := os.ReadFile(path)
		if string(b) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s holds %q, want %q", filepath.Base(path), b, want)
			return
		}
	}
}

func TestExecHooks(t *testing.T) {
	h := start(t, `
[m]
path = DIR/m
early exec = DIR/early
pre-xfer exec = DIR/pre %RSYNC_MODULE_NAME%
post-xfer exec = DIR/post
[pre]
path = DIR/m
pre-xfer exec = printf 'no\r\nway\n'; exit 3
[early]
path = DIR/m
early exec = exit 1
post-xfer exec = echo "$RSYNC_EXIT_STATUS" > DIR/post-early
`)
	script(t, h, "early", `printf '%s|%s|' "$RSYNC_MODULE_NAME" "$RSYNC_REQUEST" > DIR/early.out; cat >> DIR/early.out`)
	script(t, h, "pre", `printf '%s|%s|%s|%s|%s|%s|' "$1" "$RSYNC_REQUEST" "$RSYNC_ARG0" "$RSYNC_ARG1" "$RSYNC_HOST_ADDR" "$(id -u)" > DIR/pre.out; cat >> DIR/pre.out; echo not shown`)
	script(t, h, "post", `echo "$RSYNC_MODULE_NAME|$RSYNC_MODULE_PATH|$RSYNC_EXIT_STATUS|$RSYNC_RAW_STATUS|$RSYNC_USER_NAME" > DIR/post.tmp; mv DIR/post.tmp DIR/post.out`)
	c := h.dial(t)
	c.line()
	c.send("%s#early_input=5\nab\x00cdm\n", hello)
	s := c.request("--server", ".", "m/s\xff")
	if s.Err != "" || s.Module != "m" {
		t.Errorf("%+v", s)
	}
	wantFile(t, filepath.Join(h.dir, "early.out"), "m|(NONE)|ab\x00cd")
	wantFile(t, filepath.Join(h.dir, "post.out"), "m|"+h.dir+"/m|0|0|\n")
	root := "0"
	if os.Getuid() != 0 {
		root = "" // the test of the hook's user needs root
	}
	if got := readFile(t, filepath.Join(h.dir, "pre.out")); !strings.HasPrefix(got, "m|m/s\xff|rsyncd|--server|127.0.0.1|"+root) {
		t.Errorf("pre-xfer exec saw %q", got)
	}
	if s := h.visit(t, "pre", "--server", ".", "pre/"); s.Err != "pre-xfer exec returned failure (768):\nno\nway" {
		t.Errorf("a failed pre-xfer exec: %q", s.Err)
	}
	c = h.dial(t)
	c.line()
	c.send("%searly\n", hello)
	if got := c.rest(); got != "@ERROR: early exec failed\n" {
		t.Errorf("a failed early exec: %q", got)
	}
	wantFile(t, filepath.Join(h.dir, "post-early"), "4\n")
}

func TestPostXferStatus(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\npost-xfer exec = echo \"$RSYNC_EXIT_STATUS $RSYNC_RAW_STATUS\" > DIR/post.out\n",
		func(c *Config) { c.Env = setenv(c.Env, "PRSYNC_TEST_STATUS", "23") })
	h.visit(t, "m", "--server", ".", "m/")
	wantFile(t, filepath.Join(h.dir, "post.out"), "23 5888\n")
}

// TestHooksRunInTheRoot holds where hooks find themselves when the daemon has
// found that it can change its root, while names in the configuration stay
// relative to where it was started.
func TestHooksRunInTheRoot(t *testing.T) {
	needRoot(t)
	h := newHost(t, "[m]\npath = m\nearly exec = pwd > DIR/early.out\npre-xfer exec = pwd > DIR/pre.out\npost-xfer exec = pwd > DIR/post.out\n")
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(dir, filepath.Join(h.dir, "m"))
	if err != nil {
		t.Fatal(err)
	}
	h.write(t, "conf", strings.Replace(readFile(t, filepath.Join(h.dir, "conf")), "path = m", "path = "+rel, 1))
	run(t, h)
	if s := h.visit(t, "m", "--server", ".", "m/"); s.FullPath != filepath.Join(h.dir, "m") {
		t.Errorf("served %q", s.FullPath)
	}
	for _, hook := range []string{"early.out", "pre.out", "post.out"} {
		wantFile(t, filepath.Join(h.dir, hook), "/\n")
	}
}

// TestHooksShareTheirNumber holds the number that all hooks of a connection are
// told, by which what one of them began another can end.
func TestHooksShareTheirNumber(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\nearly exec = echo $RSYNC_PID > DIR/early.out\npre-xfer exec = echo $RSYNC_PID > DIR/pre.out\npost-xfer exec = echo $RSYNC_PID > DIR/post.out\n")
	h.visit(t, "m", "--server", ".", "m/")
	early := readFile(t, filepath.Join(h.dir, "early.out"))
	if pre := readFile(t, filepath.Join(h.dir, "pre.out")); pre != early || len(early) < 2 {
		t.Errorf("the pre-xfer exec is told %q, the early exec %q", pre, early)
	}
	wantFile(t, filepath.Join(h.dir, "post.out"), early)
}

func TestHooksCanBeTurnedOff(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\nearly exec = exit 1\npre-xfer exec = exit 1\n",
		func(c *Config) { c.Env = setenv(c.Env, "RSYNC_NO_XFER_EXEC", "1") })
	if s := h.visit(t, "m", "--server", ".", "m/"); s.Err != "" {
		t.Errorf("%q", s.Err)
	}
}

func TestHookRefusesMetachars(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\npre-xfer exec = touch DIR/%RSYNC_REQUEST%\n",
		func(c *Config) { c.Env = setenv(c.Env, "RSYNC_REQUEST", "x;touch "+os.TempDir()+"/pwned") })
	c := h.dial(t)
	c.line()
	c.send("%sm\n", hello)
	if got := c.rest(); strings.Contains(got, "OK") {
		t.Errorf("served: %q", got)
	}
	h.wantLog(t, "refusing to run shell hook: %RSYNC_REQUEST% holds a shell metacharacter")
}

func TestNameConverterProcess(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\nnumeric ids = no\nname converter = DIR/conv\n")
	script(t, h, "conv", `echo "$RSYNC_REQUEST" > DIR/conv.out
while read -r kind what; do
	echo "$kind $what" >> DIR/conv.out
	case "$kind $what" in
	"usr alice") echo 42;;
	"uid 7") echo lucky;;
	*) echo;;
	esac
done`)
	s := h.visit(t, "m", "--server", ".", "m/")
	for name, want := range map[string]string{"uid of alice": "42 true <nil>", "name of 7": "lucky", "gid of empty": "false <nil>", "gid of newline": "false <nil>"} {
		if s.Env[name] != want {
			t.Errorf("%s: %q, want %q", name, s.Env[name], want)
		}
	}
	wantFile(t, filepath.Join(h.dir, "conv.out"), "m/\nusr alice\nuid 7\ngrp empty\n")
	h.wantLog(t, `invalid name-converter token: a\\#012b`)
}

func TestNameConverterAnswers(t *testing.T) {
	for _, tc := range []struct {
		answer string
		id     int
		ok     bool
	}{{"7\n", 7, true}, {"\n", 0, false}, {"", 0, false}, {"-1\n", 0, false}, {"7x\n", 0, false}, {"4294967296\n", 0, false}, {"4294967295\n", 4294967295, true}, {strings.Repeat("1", 2000) + "\n", 0, false}} {
		n := NewNameConverter(io.Discard, strings.NewReader(tc.answer), t.Logf)
		if id, ok, err := n.UID("joe"); id != tc.id || ok != tc.ok || err != nil {
			t.Errorf("%q: %d %v %v", tc.answer, id, ok, err)
		}
	}
	var asked bytes.Buffer
	n := NewNameConverter(&asked, strings.NewReader("x\n"), t.Logf)
	if _, _, err := n.GID(strings.Repeat("n", 2000)); err == nil || asked.Len() > 0 {
		t.Error("a request of 2000 bytes went out")
	}
}
