package conf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// files writes a tree of configuration files and returns its directory. DIR
// in a text stands for that directory.
func files(t *testing.T, tree map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range tree {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, text string) *File {
	t.Helper()
	f, err := Load(filepath.Join(files(t, map[string]string{"c": text}), "c"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDefaults(t *testing.T) {
	f := load(t, "[m]\npath=/x\n")
	m := f.Module("m")
	if m == nil {
		t.Fatal("no module m")
	}
	want := Module{
		Name: "m", Path: "/x", StrictModes: true, ForwardLookup: true, ReverseLookup: true,
		ReadOnly: true, List: true, MaxVerbosity: 1, LockFile: "/var/run/rsyncd.lock",
		LogFormat: "%o %h [%a] %m (%u) %f %l", SyslogTag: "rsyncd", SyslogFacility: 3 << 3,
		RedirectMinSize: 128 << 10, RescanInterval: 10 * time.Minute, DontCompress: m.DontCompress,
	}
	if d := cmp.Diff(want, *m); d != "" {
		t.Error(d)
	}
	if !strings.HasPrefix(m.DontCompress, "*.3g2 *.3gp *.7z ") || !strings.HasSuffix(m.DontCompress, " *.zip *.zst") {
		t.Errorf("dont compress = %q", m.DontCompress)
	}
	if f.Global.ListenBacklog != 5 || f.Global.Port != 0 || f.Global.TrackerStore != "memory" {
		t.Errorf("globals = %+v", f.Global)
	}
}

// syntax are the cases of TestSyntax and TestStockAgrees: the comment is that
// of module m.
var syntax = []struct {
	name, text string
	comment    string
}{
	{"plain", "[m]\ncomment=a b", "a b"},
	{"spaces around", "  [ m ]  trailing words\n\t comment \t=\t a  b \t\n", "a  b"},
	{"second equals sign", "[m]\ncomment = a = b\n", "a = b"},
	{"hash inside", "[m]\ncomment = a # b\n", "a # b"},
	{"quotes stay", "[m]\ncomment = \"a b\"\n", `"a b"`},
	{"comments", "# x\n; y\n[m]\n  # z\ncomment = a\n", "a"},
	{"case and spaces in names", "[m]\nC O M M E N T = a\n", "a"},
	{"carriage returns", "[m]\r\ncomment = a\r\n", "a"},
	{"continued", "[m]\ncomment = a \\\n  b\n", "a   b"},
	{"continued with blanks after", "[m]\ncomment = a\\  \nb\n", "ab"},
	{"continued first", "[m]\ncomment = \\\n  b\n", "  b"},
	{"continued name", "[m]\ncom\\\nment = b\n", "b"},
	{"continued section", "[\\\nm\\\n]\ncomment = b\n", "b"},
	{"continued to the end", "[m]\ncomment = a \\\n", "a "},
	{"comment is not continued", "[m]\n# x \\\ncomment = a\n", "a"},
	{"backslash line", "[m]\n\\\ncomment = a\n", "a"},
	{"no newline at the end", "[m]\ncomment = a", "a"},
	{"reopened", "[m]\ncomment = a\n[other]\n[ M ]\ncomment = b\n", "b"},
	{"global again", "comment = a\n[x]\n[global]\ncomment = b\n[m]\n", "b"},
	{"late default", "[m]\n[global]\ncomment = b\n", "b"},
	{"late default does not win", "comment = a\n[m]\n[global]\ncomment = b\n", "a"},
	{"empty is a value", "[m]\ncomment =\n[global]\ncomment = b\n", ""},
	{"renamed", "[x]\nname = m\ncomment = a\n[m]\ncomment = b\n", "b"},
	{"directive is not continued over names", "[m]\ncomment = a\nno equals sign\n", "a"},
	{"nul ends the file", "[m]\ncomment = a\n\x00junk", "a"},
}

func TestSyntax(t *testing.T) {
	for _, tc := range syntax {
		t.Run(tc.name, func(t *testing.T) {
			f := load(t, tc.text)
			m := f.Module("m")
			if m == nil {
				t.Fatalf("no module m in %v", f.Modules)
			}
			if m.Comment != tc.comment {
				t.Errorf("comment = %q, want %q", m.Comment, tc.comment)
			}
		})
	}
}

func TestValues(t *testing.T) {
	f := load(t, `
port = 8873 and more
proxy protocol = 1
use chroot = no
syslog facility = LOCAL5
uplink = 50Mbit/s
public url = http://x.example:8080/
[a]
path = /srv/a///
use chroot = -1
munge symlinks = Unset
read only = FALSE
timeout = -5
syslog facility = 16
swarm = yes
redirect min size = 1.5M
rescan interval = 1d
[b]
path = /
list = maybe
port = 5
redirect min size = 10KB
rescan interval = 90
`)
	a, b := f.Module("a"), f.Module("b")
	got := []any{f.Global.Port, f.Global.ProxyProtocol, f.Global.Uplink, f.Global.PublicURL,
		a.Path, a.UseChroot, a.MungeSymlinks, a.ReadOnly, a.Timeout, a.SyslogFacility, a.Swarm, a.RedirectMinSize, a.RescanInterval,
		b.Path, b.UseChroot, b.List, b.SyslogFacility, b.RedirectMinSize, b.RescanInterval}
	want := []any{8873, true, int64(6250000), "http://x.example:8080",
		"/srv/a", Unset, Unset, false, -5, 16, Yes, int64(3 << 19), 24 * time.Hour,
		"/", No, true, 21 << 3, int64(10000), 90 * time.Second}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for i, want := range []string{":2: port: badly formed number", `:20: list: badly formed boolean "maybe"`, `:21: ignoring global parameter "port"`} {
		if i >= len(f.Warnings) || !strings.Contains(f.Warnings[i], want) {
			t.Errorf("warning %d of %q lacks %q", i, f.Warnings, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"[m]\n\nhost allow = 1.2.3.4\n", `c:3: unknown parameter "host allow": did you mean "hosts allow"?`},
		{"[m]\nblorp = 1\n", `c:2: unknown parameter "blorp"`},
		{"[m\npath = x\n", "c:1: badly formed section"},
		{"[]\n", "c:1: empty section name"},
		{"[a/b]\n", `c:1: invalid module name "a/b"`},
		{"= x\n", "c:1: a parameter name is missing"},
		{"&frob x\n", `c:1: unknown directive "&frob"`},
		{"&include /nonexistent/x\n", "c:1: unable to stat config file"},
		{"x = 1\n", `c:1: unknown parameter "x"`},
		{"# 1\n&include DIR/c\n", "does it include itself?"},
		{"http listen = 8080\n", `c:1: http listen: "8080" is no address: say HOST:PORT`},
		{"swarm = perhaps\n", "c:1: swarm: badly formed boolean"},
		{"customer limit = many\n", "c:1: customer limit: badly formed number"},
		{"uplink = fast\n", "c:1: uplink: \"fast\" is no rate"},
		{"public url = ftp://x\n", "is no web address"},
		{"http proxies = 10.0.0.0/8 proxy\n", "neither an address nor a network"},
		{"tracker store = mysql://x\n", "is no tracker store"},
		{"rescan interval = soon\n", "is no interval"},
		{"&include DIR/bad\n", "bad:2: unknown parameter"},
	} {
		dir := files(t, map[string]string{"c": tc.text, "bad": "\nx = y\n"})
		_, err := Load(filepath.Join(dir, "c"), Options{})
		var located *Error
		if !errors.As(err, &located) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: error %v, want %q", tc.text, err, tc.want)
		}
	}
	_, err := Load("/nonexistent/conf", Options{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestIncludeAndMerge(t *testing.T) {
	dir := files(t, map[string]string{
		"c": `
log file = /dev/null
comment = base
&merge DIR/d
&include = DIR/d
max connections = 9
[last]
path = /last
&merge DIR/part
`,
		"d/b.conf":  "max connections = 2\n[b]\n",
		"d/a.conf":  "comment = own\n[a]\n",
		"d/.c.conf": "[hidden]\n",
		"d/x.inc":   "timeout = 7\n",
		"d/c.txt":   "nonsense = 1\n",
		"part":      "read only = no\n",
	})
	f, err := Load(filepath.Join(dir, "c"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Name, Comment string
		Max, Timeout  int
		ReadOnly      bool
	}
	var got []row
	for _, m := range f.Modules {
		got = append(got, row{m.Name, m.Comment, m.MaxConnections, m.Timeout, m.ReadOnly})
	}
	want := []row{
		{"hidden", "base", 0, 7, true},
		{"a", "own", 0, 7, true},
		{"b", "base", 2, 7, true},
		{"last", "base", 9, 7, false},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	sameAsStock(t, f)
}

func TestAfterIncludeComesTheGlobalSection(t *testing.T) {
	dir := files(t, map[string]string{"c": "[m]\n&include DIR/i\nport = 7\n", "i": "[n]\n"})
	f, err := Load(filepath.Join(dir, "c"), Options{})
	if err != nil || f.Global.Port != 7 {
		t.Errorf("port %v, error %v", f, err)
	}
}

func TestDparams(t *testing.T) {
	dir := files(t, map[string]string{
		"c": "port = 1\nlog file = /a\n&include DIR/i\n[m]\n[n]\nlog file = /n\n",
		"i": "timeout = 3\n[i]\n",
	})
	f, err := Load(filepath.Join(dir, "c"), Options{Dparams: []string{"port= 2", "LogFile=/b", "timeout=5"}})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{f.Global.Port, f.Defaults.LogFile}
	for _, m := range f.Modules {
		got = append(got, m.LogFile, m.Timeout)
	}
	if d := cmp.Diff([]any{2, "/b", "/b", 5, "/b", 5, "/n", 5}, got); d != "" {
		t.Error(d)
	}
	if _, err := Load(filepath.Join(dir, "c"), Options{Dparams: []string{"prot=2"}}); err == nil {
		t.Error("an unknown --dparam was accepted")
	}
	f, err = Load("/dev/null", Options{Dparams: []string{"port=3"}})
	if err != nil || f.Global.Port != 3 {
		t.Errorf("without modules: %+v, %v", f, err)
	}
}

func TestOpenIsTheOnlyWayToAFile(t *testing.T) {
	f, err := Load("elsewhere", Options{Open: func(p string) (io.ReadCloser, error) {
		if p != "elsewhere" {
			t.Errorf("opened %q", p)
		}
		return io.NopCloser(strings.NewReader("[m]\n")), nil
	}})
	if err != nil || f.Module("m") == nil {
		t.Errorf("%v, %v", f, err)
	}
}

func env(vars map[string]string) LookupFunc {
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
}

func TestExpand(t *testing.T) {
	look := env(map[string]string{"HOME": "/root", "E": "", "P": "%HOME%"})
	for in, want := range map[string]string{
		"plain": "plain", "%HOME%/x": "/root/x", "a%E%b": "ab", "%NONE%": "%NONE%",
		"%": "%", "%%": "%%", "%%HOME%": "%/root", "%home%": "%home%", "%HOME": "%HOME",
		"%P%": "%HOME%", "%o %h": "%o %h", "%A%HOME%": "%A/root",
	} {
		if got, err := Expand(in, look); got != want || err != nil {
			t.Errorf("Expand(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	if _, err := Expand("%L%", env(map[string]string{"L": strings.Repeat("x", 3000)})); err == nil {
		t.Error("a value of 3000 bytes fit")
	}
}

func TestModuleExpand(t *testing.T) {
	m := load(t, "uid = %RSYNC_USER_NAME%\n[m]\npath = /home/%RSYNC_USER_NAME%\npre-xfer exec = x %RSYNC_USER_NAME%\n").Module("m")
	got, err := m.Expand(env(map[string]string{"RSYNC_USER_NAME": "o'b"}))
	if err != nil {
		t.Fatal(err)
	}
	if got.Path != "/home/o'b" || got.UID != "o'b" || got.PreXferExec != "x %RSYNC_USER_NAME%" || m.Path != "/home/%RSYNC_USER_NAME%" {
		t.Errorf("%+v", got)
	}
}

func TestExpandShell(t *testing.T) {
	look := env(map[string]string{"RSYNC_U": "joe", "OTHER": "a;b"})
	for in, want := range map[string]string{
		"x %RSYNC_U%": "x 'joe'", "x '%RSYNC_U%'": "x 'joe'", `x "%RSYNC_U%"`: `x "'joe'"`,
		`x \'%RSYNC_U%`: `x \''joe'`, `x "it's" '%RSYNC_U%'`: `x "it's" 'joe'`, "%OTHER%": "a;b",
	} {
		if got, err := ExpandShell(in, look); got != want || err != nil {
			t.Errorf("ExpandShell(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, c := range "'\"`$\\;&|<>()*?[]# !~{}\n\t\x7f\x01" {
		for _, in := range []string{"%RSYNC_U%", "'%RSYNC_U%'", `"%RSYNC_U%"`} {
			got, err := ExpandShell(in, env(map[string]string{"RSYNC_U": "a" + string(c) + "b"}))
			var bad *MetacharError
			if !errors.As(err, &bad) || got != "" || err.Error() != "refusing to run shell hook: %RSYNC_U% holds a shell metacharacter" {
				t.Errorf("%q in %q: %q, %v", c, in, got, err)
			}
		}
	}
}

func TestPublicByDefault(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "auth users = joe": false, "hosts allow = 10.0.0.0/8": false, "hosts deny = *": false,
		"write only = yes": false, "max connections = -1": false, "auth users =  ": true,
	} {
		m := load(t, "[m]\n"+text+"\n").Module("m")
		if m.PublicByDefault() != want || m.SwarmEnabled() != want || m.RedirectEnabled() != want {
			t.Errorf("%q: public %v, want %v", text, m.PublicByDefault(), want)
		}
	}
	for text, redirect := range map[string]bool{
		"auth users = joe\nswarm = yes\nredirect = no": false, "redirect = no": false,
		"auth users = joe\nswarm = yes": true, "auth users = joe\nswarm = yes\nredirect = yes": true,
	} {
		m := load(t, "[m]\n"+text+"\n").Module("m")
		if !m.SwarmEnabled() || m.RedirectEnabled() != redirect {
			t.Errorf("%q: swarm %v, redirect %v", text, m.SwarmEnabled(), m.RedirectEnabled())
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, s := range []string{"[m]\npath = /x\n", "a = \\\n", "[\\\n", "&merge /\n", "[global]\n", "= \\ \\\n\\", "uplink = 1e999\n", "syslog facility = -1\n[m]\nname=\n[]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "&") {
			t.Skip("reads the file system")
		}
		c, err := Load("c", Options{Open: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }})
		var located *Error
		if err != nil && !errors.As(err, &located) {
			t.Errorf("error without a place: %v", err)
		}
		if err == nil && c.Defaults == nil {
			t.Error("no defaults")
		}
	})
}

// TestStockAgrees lists the modules of each case with stock rsync.
func TestStockAgrees(t *testing.T) {
	for _, tc := range syntax {
		t.Run(tc.name, func(t *testing.T) {
			sameAsStock(t, load(t, "log file = /dev/null\n"+tc.text))
		})
	}
}

// sameAsStock compares names and comments with the list of a stock daemon.
func sameAsStock(t *testing.T, f *File) {
	t.Helper()
	rsync, err := exec.LookPath("rsync")
	if err != nil {
		t.Skip("needs rsync")
	}
	want := ""
	for _, m := range f.Modules {
		want += fmt.Sprintf("%-15s\t%s\n", m.Name, m.Comment)
	}
	cmd := exec.Command(rsync, "--server", "--daemon", "--config="+f.Path, ".")
	cmd.Stdin = strings.NewReader("@RSYNCD: 31.0\n#list\n")
	out, _ := cmd.Output()
	_, got, _ := strings.Cut(string(out), "\n")
	if got, ok := strings.CutSuffix(got, "@RSYNCD: EXIT\n"); !ok || got != want {
		t.Errorf("stock lists %q, we %q", got, want)
	}
}

// TestSectionNamesAreExpanded has a client ask for a module by what the
// environment made of its name.
func TestSectionNamesAreExpanded(t *testing.T) {
	dir := files(t, map[string]string{"c": "[%WHICH%-x]\npath = /a\n[%UNSET%]\npath = /b\n"})
	f, err := Load(filepath.Join(dir, "c"), Options{Lookup: func(name string) (string, bool) { return "m", name == "WHICH" }})
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"m-x": "/a", "%UNSET%": "/b"} {
		if m := f.Module(name); m == nil || m.Path != path {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if f.Module("%WHICH%-x") != nil {
		t.Error("the name as written is a module too")
	}
}
