package daemon

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/rsyncproto"
)

func TestStockClientAuth(t *testing.T) {
	h := newHost(t, "secrets file = DIR/secrets\n[m]\npath = DIR/m\nauth users = joe:rw, ann:ro bad:deny\n"+
		"[floor]\npath = DIR/m\nauth users = joe\nauth digest = sha256\n[typo]\npath = DIR/m\nauth users = joe\nauth digest = sha3\n"+
		"[none]\npath = DIR/m\nauth users = joe\nsecrets file = DIR/nothing\n[open]\npath = DIR/m\nauth users = joe\nsecrets file = DIR/open\n[lax]\npath=DIR/m\nauth users = joe\nsecrets file = DIR/open\nstrict modes = no\n")
	secrets := "#bad:x\njoe:pass word\nann:a\nbad:b\nother:c\n"
	os.Chmod(h.write(t, "secrets", secrets), 0o640)
	h.write(t, "open", secrets)
	run(t, h)
	for _, tc := range []struct{ url, password, reason string }{
		{"joe@HOST/m/", "pass word", ""},
		{"joe@HOST/m/", "wrong", "m from .* for joe: password mismatch"},
		{"ann@HOST/m/", "a", ""},
		{"bad@HOST/m/", "b", "m from .* for bad: denied by rule"},
		{"other@HOST/m/", "c", "m from .* for other: no matching rule"},
		{"joe@HOST/floor/", "pass word", ""},
		{"joe@HOST/typo/", "pass word", `typo from .*: the configured 'auth digest = sha3' is not a supported digest on this build`},
		{"joe@HOST/none/", "pass word", "none from .* for joe: no secrets file"},
		{"joe@HOST/open/", "pass word", "open from .* for joe: ignoring secrets file"},
		{"joe@HOST/lax/", "pass word", ""},
	} {
		url := strings.Replace(tc.url, "HOST", fmt.Sprintf("127.0.0.1:%d", h.port), 1)
		_, errs, _ := h.rsync(t, []string{"RSYNC_PASSWORD=" + tc.password}, "rsync://"+url)
		refused := strings.Contains(errs, "@ERROR: auth failed on module ")
		if refused != (tc.reason != "") {
			t.Errorf("%s with %q: %q", tc.url, tc.password, errs)
		}
		if tc.reason != "" {
			h.wantLog(t, "auth failed on module "+tc.reason)
		}
	}
	h.wantLog(t, `rsync on m/ from joe@UNDETERMINED \(127\.0\.0\.1\)`)
	h.wantLog(t, `secrets file must not be other-accessible \(see strict modes option\)`)
}

func TestAuthOnTheWire(t *testing.T) {
	h := newHost(t, "[m]\npath = DIR/m\nauth users = joe:rw\nsecrets file = DIR/secrets\n[floor]\npath = DIR/m\nauth users = joe\nsecrets file = DIR/secrets\nauth digest = sha256\n")
	os.Chmod(h.write(t, "secrets", "joe:pw\n"), 0o600)
	run(t, h)
	for _, greeting := range []string{"@RSYNCD: 32.0 sha512 md5\n", "@RSYNCD: 31.0 md4\n", "@RSYNCD: 31.0\n", "@RSYNCD: 29\n"} {
		c := h.dial(t)
		c.line()
		c.send("%sm\n", greeting)
		challenge, ok := strings.CutPrefix(c.line(), "@RSYNCD: AUTHREQD ")
		if !ok {
			t.Fatalf("%q: no challenge", greeting)
		}
		g, _ := rsyncproto.ParseGreeting(strings.TrimSpace(greeting))
		d, _ := rsyncproto.AgreeAuthDigest(g.Protocol, g.Digests)
		c.send("joe %s\n", d.Response("pw", challenge))
		if l := c.line(); l != "@RSYNCD: OK" {
			t.Errorf("%q: %q", greeting, l)
		}
		if g.Protocol == 32 {
			c.send("--server\x00.\x00m/\x00\x00")
			if s := c.answer(); s.ReadOnly || s.User != "joe" || s.Env["RSYNC_USER_NAME"] != "joe" {
				t.Errorf("%+v", s)
			}
		}
	}
	for _, tc := range []struct{ module, greeting, send, want string }{
		{"m", hello, "joe\n", "@ERROR: auth failed on module m\n"},
		{"m", hello, "joe x\n", "@ERROR: auth failed on module m\n"},
		{"m", hello, "#joe x\n", "@ERROR: auth failed on module m\n"},
		{"m", hello, " x\n", "@ERROR: auth failed on module m\n"},
		{"m", "@RSYNCD: 32.0 sha3\n", "", "@ERROR: your client does not support one of our daemon-auth checksums: sha512 sha256 sha1 md5 md4\n"},
		{"floor", "@RSYNCD: 32.0 sha1 md5\n", "", "@ERROR: auth failed on module floor\n"},
		{"floor", "@RSYNCD: 31.0\n", "", "@ERROR: auth failed on module floor\n"},
	} {
		c := h.dial(t)
		c.line()
		c.send("%s%s\n", tc.greeting, tc.module)
		if tc.send != "" {
			c.line()
			c.send("%s", tc.send)
		}
		if got := c.rest(); got != tc.want {
			t.Errorf("%+v: %q", tc, got)
		}
	}
	h.wantLog(t, `auth failed on module m from UNDETERMINED \(127\.0\.0\.1\): invalid challenge response`)
	h.wantLog(t, `auth failed on module floor from .*: negotiated auth digest sha1 is weaker than the required 'auth digest = sha256'`)
}

// fakeUsers knows joe and ann.
type fakeUsers struct{}

func (fakeUsers) UID(name string) (int, bool) {
	id, ok := map[string]int{"joe": 7, "ann": 8, "nobody": 99}[name]
	return id, ok
}
func (fakeUsers) GID(name string) (int, bool) {
	id, ok := map[string]int{"staff": 70, "Some Group": 80, "nogroup": 98}[name]
	return id, ok
}
func (fakeUsers) GIDs(uid int) ([]int, error) {
	return map[int][]int{7: {70, 80}, 8: {71}}[uid], nil
}
func (fakeUsers) Group(gid int) (string, bool) {
	g, ok := map[int]string{70: "staff", 80: "Some Group"}[gid]
	return g, ok
}

func TestAuthRules(t *testing.T) {
	for _, tc := range []struct {
		rules, user string
		want        string
	}{
		{"joe", "joe", "module"}, {"joe", "ann", "none"}, {"j*", "joe", "module"}, {"ann,joe:RW", "joe", "rw"},
		{"joe:deny joe", "joe", "deny"}, {"joe:ro", "joe", "ro"}, {"joe:rx", "joe", "module"}, {"joe:Deny", "joe", "deny"},
		{"@staff:ro", "joe", "ro staff"}, {"@st*:rw", "joe", "rw staff"}, {"@staff", "ann", "none"}, {"@staff", "stranger", "none"},
		{", @Some Group:ro, ann", "joe", "ro Some Group"}, {"@Some Group:ro", "joe", "none"}, {" ,  , joe ,", "joe", "module"},
		{"Group:ro, x", "Group", "ro"}, {",@Some Group:ro", "Group", "none"},
	} {
		rule, ok := findAuthRule(tc.rules, tc.user, fakeUsers{})
		got := map[authAccess]string{accessModule: "module", accessDeny: "deny", accessReadOnly: "ro", accessReadWrite: "rw"}[rule.access]
		if rule.group != "" {
			got += " " + rule.group
		}
		if !ok {
			got = "none"
		}
		if got != tc.want {
			t.Errorf("%q for %s: %s, want %s", tc.rules, tc.user, got, tc.want)
		}
	}
}

func TestFindSecret(t *testing.T) {
	file := "#c:x\njoe:one\r\njoe:two\n@staff:three\nann\n:empty\n"
	for _, tc := range []struct{ user, group, secret, want string }{
		{"joe", "", "one", ""}, {"joe", "", "two", "password mismatch"}, {"joe", "staff", "three", ""},
		{"joe", "", "three", "password mismatch"}, {"ann", "", "", "secret not found"}, {"ann", "staff", "three", ""},
		{"jo", "", "one", "secret not found"}, {"@staff", "", "three", "secret not found"},
	} {
		got := findSecret(strings.NewReader(file), tc.user, tc.group, func(s string) bool { return s == tc.secret })
		if got != tc.want {
			t.Errorf("%+v: %q", tc, got)
		}
	}
}

func FuzzAuthRule(f *testing.F) {
	f.Add("@staff:ro, joe:deny", "joe")
	f.Add(", a b:rw", "a b")
	f.Fuzz(func(t *testing.T, rules, user string) { findAuthRule(rules, user, fakeUsers{}) })
}
