package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestListAndMotd(t *testing.T) {
	h := start(t, "motd file = DIR/motd\n[one]\ncomment = the first\npath = DIR/m\n[hidden]\nlist = no\n[a-rather-long-name]\ncomment = x\n")
	h.write(t, "motd", "welcome\nall\n")
	want := "welcome\nall\n\none            \tthe first\na-rather-long-name\tx\n"
	for _, url := range []string{"URL", "URL/"} {
		out, errs, code := h.rsync(t, nil, url)
		if out != want || errs != "" || code != 0 {
			t.Errorf("rsync %s: %q, %q, code %d", url, out, errs, code)
		}
	}
	c := h.dial(t)
	if l := c.line(); l+"\n" != hello {
		t.Errorf("greeting %q", l)
	}
	c.send("@RSYNCD: 31.0\n#list\n")
	if got := c.rest(); got != want+"@RSYNCD: EXIT\n" {
		t.Errorf("#list: %q", got)
	}
	h.wantLog(t, `connect from UNDETERMINED \(127\.0\.0\.1\)`)
	h.wantLog(t, `module-list request from UNDETERMINED \(127\.0\.0\.1\)`)
	h.wantLog(t, `rsyncd version test starting, listening on port \d+`)
}

func TestErrorsOfTheExchange(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\n[nopath]\n[gone]\npath = DIR/gone\n[off]\npath = DIR/m\nmax connections = -1\nlock file = DIR/lock\n"+
		"[denied]\nhosts deny = *\n[secret]\nlist = no\nhosts deny = 127.0.0.1\n[baduid]\npath=DIR/m\nuid = nosuchuser\n")
	for _, tc := range []struct{ send, want string }{
		{hello + "nope\n", "@ERROR: Unknown module 'nope'\n"},
		{hello + "#nope\n", "@ERROR: Unknown command '#nope'\n"},
		{hello + "M\n", "@ERROR: Unknown module 'M'\n"},
		{"@RSYNCD: 32.0\nm\n", "@ERROR: your client omitted the digest name list: @RSYNCD: 32.0\n"},
		{"@RSYNCD: 31\nm\n", "@ERROR: your client omitted the subprotocol value: @RSYNCD: 31\n"},
		{"hello\n", "@ERROR: protocol startup error\n"},
		{hello + "#early_input=0\n", "@ERROR: invalid early_input length\n"},
		{hello + "#early_input=5121\n", "@ERROR: invalid early_input length\n"},
		{hello + "#early_input=x\n", "@ERROR: invalid early_input length\n"},
		{hello + "off\n", "@ERROR: max connections (-1) reached -- try again later\n"},
		{hello + "denied\n", "@ERROR: access denied to denied from UNDETERMINED (127.0.0.1)\n"},
		{hello + "secret\n", "@ERROR: Unknown module 'secret'\n"},
		{hello + "nopath\n", "@ERROR: no path setting.\n"},
		{hello + "baduid\n", "@ERROR: invalid uid nosuchuser\n"},
		{strings.Repeat("x", 2000), ""},
		{"\x00\n", ""},
		{"", ""},
	} {
		c := h.dial(t)
		c.line()
		c.send("%s", tc.send)
		if tc.want == "" {
			c.Conn.(interface{ CloseWrite() error }).CloseWrite()
		}
		if got := c.rest(); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.send, got, tc.want)
		}
	}
	c := h.dial(t)
	c.line()
	c.send("%sgone\n", hello)
	if got := c.rest(); got != "@ERROR: chroot failed\n" && got != "@ERROR: chdir failed\n" {
		t.Errorf("module without a directory: %q", got)
	}
	h.wantLog(t, `unknown module 'nope' tried from UNDETERMINED \(127\.0\.0\.1\)`)
	h.wantLog(t, `rsync denied on module secret from UNDETERMINED \(127\.0\.0\.1\)`)
}

func TestStockClientErrors(t *testing.T) {
	h := start(t, "[denied]\nhosts deny = *\n[secret]\nlist = no\nhosts deny = *\n")
	for url, want := range map[string]string{
		"URL/nope/":   "@ERROR: Unknown module 'nope'\n",
		"URL/denied/": "@ERROR: access denied to denied from UNDETERMINED (127.0.0.1)\n",
		"URL/secret/": "@ERROR: Unknown module 'secret'\n",
	} {
		_, errs, code := h.rsync(t, nil, url)
		if !strings.HasPrefix(errs, want) || code != 5 {
			t.Errorf("%s: %q, code %d", url, errs, code)
		}
	}
}

func TestSession(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\nuse chroot = no\nexclude = /secret\n")
	s := h.visit(t, "m", "--server", "--sender", "-vlogDtpre.iLsfxCIvu", ".", "m/foo*")
	want := []string{"rsyncd", "--server", "--sender", "-vlogDtpre.iLsfxCIvu", ".", "foo1", "foo2"}
	if strings.Join(s.Args, " ") != strings.Join(want, " ") || !s.Sender || s.Protocol != 32 || !s.ReadOnly {
		t.Errorf("%+v", s)
	}
	if s.Dir != filepath.Join(h.dir, "m") || s.FullPath != s.Dir || s.Cwd != s.Dir || s.Chrooted || !s.Inner || !s.Secure || !s.Munge || s.Numeric {
		t.Errorf("%+v", s)
	}
	if os.Getuid() == 0 && (s.UID == 0 || s.GID == 0) {
		t.Errorf("served as %d:%d", s.UID, s.GID)
	}
	h.wantLog(t, `rsync on m/foo\* from UNDETERMINED \(127\.0\.0\.1\)`)
	h.wantLog(t, `rsync allowed access on module m from UNDETERMINED \(127\.0\.0\.1\)`)
	if s.PID == os.Getpid() {
		t.Error("the connection is no process of its own")
	}

	s = h.visit(t, "m", "--server", "-e.Lsf", `--groupmap=\*:x`, ".", "m/*", "m/../../etc", "m/sub/ m/foo1")
	want = []string{"rsyncd", "--server", "-e.Lsf", "--groupmap=*:x", ".", "foo1", "foo2", "sub", "etc", "sub/", "foo1"}
	if strings.Join(s.Args, " ") != strings.Join(want, " ") || s.Sender {
		t.Errorf("%q", s.Args)
	}
	h.wantLog(t, `rsync to m/\* m/\.\./\.\./etc m/sub/ m/foo1 from .*`)
}

func TestSecludedArguments(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\nuse chroot = no\n")
	c := h.dial(t)
	c.line()
	c.send("%sm\n", hello)
	if l := c.line(); l != "@RSYNCD: OK" {
		t.Fatal(l)
	}
	c.send("--server\x00--sender\x00-s\x00\x00rsync\x00-vlogDtpre.iLsfxCIvu\x00--groupmap=\\*:x\x00.\x00m/foo1 m/foo2\x00\x00")
	s := c.answer()
	want := []string{"rsync", "-vlogDtpre.iLsfxCIvu", `--groupmap=\*:x`, ".", "foo1 m/foo2"}
	if strings.Join(s.Args, "|") != strings.Join(want, "|") {
		t.Errorf("%q", s.Args)
	}
	if s.Env["RSYNC_ARG0"] != "rsyncd" || s.Env["RSYNC_ARG3"] != "-s" || s.Env["RSYNC_ARG4"] != "-vlogDtpre.iLsfxCIvu" {
		t.Errorf("%v", s.Env)
	}
}

// TestOldSecludedArguments has what rsync's clients send below protocol 30: the
// open arguments hold the paths too.
func TestOldSecludedArguments(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\nuse chroot = no\n")
	c := h.dial(t)
	c.line()
	c.send("@RSYNCD: 29\nm\n")
	if l := c.line(); l != "@RSYNCD: OK" {
		t.Fatal(l)
	}
	c.send("--server\n-s\n(null)\n.\nm/to/new/\n\nrsync\x00-v\x00.\x00m/to/new/\x00\x00")
	if s := c.answer(); strings.Join(s.Operands, " ") != ". to/new/" {
		t.Errorf("operands %q", s.Operands)
	}
}

func TestOldProtocolArguments(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\nuse chroot = no\n")
	c := h.dial(t)
	c.line()
	c.send("@RSYNCD: 29\nm\n")
	if l := c.line(); l != "@RSYNCD: OK" {
		t.Fatal(l)
	}
	c.send("--server\n--sender\n.\nm/foo1\n\n")
	if s := c.answer(); s.Protocol != 29 || strings.Join(s.Args, " ") != "rsyncd --server --sender . foo1" {
		t.Errorf("%+v", s)
	}
}

func TestTooManyArguments(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\n")
	c := h.dial(t)
	c.line()
	c.send("%sm\n", hello)
	c.line()
	go c.Write([]byte(strings.Repeat("--x\x00", 17000) + "\x00"))
	if got := c.rest(); got != "" {
		t.Errorf("served: %q", got)
	}
	h.wantLog(t, "too many daemon arguments")
}

func TestRefusedOptionReachesTheEngine(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\nrefuse options = checksum\n")
	if s := h.visit(t, "m", "--server", "-c", ".", "m/"); !strings.Contains(s.Err, "The server is configured to refuse --checksum (-c)") {
		t.Errorf("%+v", s)
	}
}

func TestHandshakeDeadline(t *testing.T) {
	h := start(t, "timeout = 1\n[m]\npath = DIR/m\n[auth]\npath = DIR/m\nauth users = joe\nsecrets file = DIR/none\n")
	for _, part := range []string{"", "@RSYN", hello, hello + "m\n--server\x00", hello + "auth\n", hello + "#early_input=9\nabc"} {
		c := h.dial(t)
		c.send("%s", part)
		begun := time.Now()
		c.rest()
		if d := time.Since(begun); d > 10*time.Second {
			t.Errorf("after %q the daemon waited %v", part, d)
		}
	}
	// The limit is one for the whole part: a byte now and then does not help.
	c := h.dial(t)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	begun := time.Now()
	for range tick.C {
		if _, err := c.Write([]byte("x")); err != nil {
			break
		}
		if time.Since(begun) > 10*time.Second {
			t.Fatal("a client that trickles is kept")
		}
	}
	h.wantLog(t, `\[receiver\] daemon handshake timeout -- exiting`)
}

func TestMaxConnections(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\nmax connections = 2\nlock file = DIR/lock\n")
	hold := func() *client {
		c := h.dial(t)
		c.line()
		c.send("%sm\n", hello)
		return c
	}
	a, b := hold(), hold()
	for _, c := range []*client{a, b} {
		if l := c.line(); l != "@RSYNCD: OK" {
			t.Fatal(l)
		}
	}
	if got := hold().rest(); got != "@ERROR: max connections (2) reached -- try again later\n" {
		t.Errorf("the third got %q", got)
	}
	h.wantLog(t, `max connections \(2\) reached`)
	a.send("--server\x00.\x00m/\x00\x00")
	a.rest()
	// The place is free once the process is gone, a moment after its answer.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		l := hold().line()
		if l == "@RSYNCD: OK" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after one has left: %q", l)
		}
	}
}

// TestHiddenOptionPaths rejects options that name what the module hides, with the
// code of an option that is refused.
func TestHiddenOptionPaths(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\nexclude = /secret *.tmp\n")
	const rejected = "rsync: Your options have been rejected by the server."
	for _, tc := range []struct{ args, want string }{
		{"--server --temp-dir=secret . m/", rejected},
		{"--server --temp-dir=../secret/x . m/", rejected},
		{"--server -b --backup-dir=/secret . m/", rejected},
		{"--server --sender --files-from=x.tmp . m/", rejected},
		{"--server --temp-dir=sub . m/", ""},
		{"--server --sender --temp-dir=secret . m/", ""},
	} {
		if s := h.visit(t, "m", strings.Fields(tc.args)...); s.Err != tc.want {
			t.Errorf("%s: %q, want %q", tc.args, s.Err, tc.want)
		}
	}
}

// TestListForOldClients ends the list of modules of a client before protocol 25
// with the connection alone.
func TestListForOldClients(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\n")
	for version, want := range map[int]string{24: "m              \t\n", 25: "m              \t\n@RSYNCD: EXIT\n"} {
		c := h.dial(t)
		c.line()
		c.send("@RSYNCD: %d\n#list\n", version)
		if got := c.rest(); got != want {
			t.Errorf("protocol %d: %q, want %q", version, got, want)
		}
	}
}

// TestUnknownCharset lets nobody into a module whose character set does not
// exist, and says why in the log.
func TestUnknownCharset(t *testing.T) {
	h := start(t, "[m]\npath = DIR/m\ncharset = no-such-set\n[locale]\npath = DIR/m\ncharset = .\n")
	c := h.dial(t)
	c.line()
	c.send("%sm\n", hello)
	if got := c.rest(); strings.Contains(got, "@") {
		t.Errorf("the client is told %q", got)
	}
	h.wantLog(t, `iconv_open\("UTF-8", "no-such-set"\) failed`)
	h.wantLog(t, `rsync error: requested action not supported \(code 4\) at .* \[Receiver=.*\]`)
	if s := h.visit(t, "locale", "--server", ".", "locale/"); s.Err != "" {
		t.Errorf("the locale's: %q", s.Err)
	}
}
