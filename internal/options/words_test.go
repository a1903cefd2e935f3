package options

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"
)

// poptFile is the ~/.popt of the alias tests, in which one line lacks its
// newline and does not count.
const poptFile = `# comment
rsync alias --mirror -aH --delete
rsync alias --quoted --suffix="a b" --backup-dir='c\d' -M--x\ y
rsync alias -Q -vz
rsync alias --slow --bwlimit
rsync alias --deep --mirror -x
rsync alias -v -vv
rsync alias --long -r \
  -t
other alias --foreign -x
rsync alias --loop --pool
rsync alias --pool --loop -c
rsync alias --twice --timeout=1
rsync alias --twice --timeout=2
rsync alias --server -x
rsync alias --fill --suffix=!#:+ -t
rsyn* alias --globbed -u
rsync alias --empty
rsync badkind --bad -a
rsync alias plainname -a
  rsync	alias	--tabbed	-k
rsync alias --desc --POPTdesc=text -u --POPTargs=x
rsync alias --broken "-a
rsync alias --last -x`

func aliasCommands() [][]string {
	var out [][]string
	for _, c := range []string{
		"--mirror", "-mirror", "--mirror=x", "--quoted", "-Q", "-aQt", "-Qt", "-tQ", "--slow 100", "--slow=100", "--deep", "-v", "-av", "--long", "--foreign", "--loop", "--twice",
		"--fill", "--globbed", "--empty", "--bad", "--plainname", "--tabbed", "--desc", "--broken", "--last", "--suffix=!#:+", "--mirror --foo", "-Q?", "--slow", "-- --mirror",
		"POSIXLY_CORRECT=1 -a", "POSIXLY_CORRECT=1 --mirror", "--timeout=!#:+",
	} {
		out = append(out, append(strings.Fields(c), "src", "host:dst"))
	}
	return append(out,
		[]string{"src", "-a", "host:dst", "-z"}, []string{"POSIXLY_CORRECT=1", "-a", "src", "host:dst", "-z"}, []string{"POSIX_ME_HARDER=1", "src", "-a", "host:dst"},
		[]string{"-", "-a", "host:dst"}, []string{"src", "--", "host:-x"}, []string{"--fill", "host:x", "src", "host:dst"})
}

// TestAliases compares ~/.popt and the order of words with the real rsync.
func TestAliases(t *testing.T) {
	if *update {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ".popt"), []byte(poptFile), 0o600); err != nil {
			t.Fatal(err)
		}
		writeRecordsAt(t, dir, "aliases.txt", aliasCommands())
	}
	for _, r := range readRecords(t, "aliases.txt") {
		name := quoteWords(append(slices.Clone(r.env), r.args...))
		if strings.HasPrefix(r.errs, "Unexpected remote arg") || strings.Contains(r.errs, "remote") {
			continue // an error in the operands, which are not looked at here
		}
		env := testEnv(r.env...)
		env.Home = "/home/u"
		env.ReadFile = fstest.MapFS{"home/u/.popt": {Data: []byte(poptFile)}}.ReadFile
		read := env.ReadFile
		env.ReadFile = func(name string) ([]byte, error) { return read(strings.TrimPrefix(name, "/")) }
		o, operands, err := Parse(r.args, env)
		if err != nil {
			if code, text := ourError(err); r.sent != nil || code != r.code || text != r.errs {
				t.Errorf("%s\n got %d %s\nwant %s", name, code, text, r)
			}
			continue
		}
		_, pull := ParseHostspec(operands[0])
		last, _ := ParseHostspec(operands[len(operands)-1])
		got := append(o.ServerArgs(!pull, 32, ""), ".", o.FileArg(last.Path, !pull))
		if !slices.Equal(got, r.sent) {
			t.Errorf("%s\n got %s\nwant %s", name, quoteWords(got), r)
		}
	}
}

func TestServerHasNoAliases(t *testing.T) {
	env := testEnv()
	env.ReadFile = func(string) ([]byte, error) { return []byte("rsync alias -v -vvv\nrsync alias --server -x\n"), nil }
	o, _, err := Parse([]string{"--server", "-ve.iLs", ".", "x"}, env)
	if err != nil {
		t.Fatal(err)
	}
	if !o.Server || o.Verbose != 1 || o.CapabilityString != ".iLs" || o.OneFileSystem != 0 {
		t.Errorf("got server %v, verbose %d, capabilities %q", o.Server, o.Verbose, o.CapabilityString)
	}
}

func TestExecLine(t *testing.T) {
	env := testEnv()
	env.ReadFile = func(string) ([]byte, error) { return []byte("rsync exec --run wrapper -1\n"), nil }
	o, _, err := Parse([]string{"-a", "--run", "--timeout=5", "src", "dst"}, env)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"wrapper", "-1", "--archive", "--timeout", "5", "src", "dst"}
	if o.Action != ActionExec || !slices.Equal(o.ExecArgv, want) {
		t.Errorf("action %d, %q, want %q", o.Action, o.ExecArgv, want)
	}
}

// An alias that doubles at every level must end, and so must a mark that has
// nothing to be filled in with.
func TestAliasesAreBounded(t *testing.T) {
	env := testEnv()
	env.ReadFile = func(string) ([]byte, error) {
		long := strings.Repeat(" --b", 2000)
		return []byte("rsync alias --a" + long + "\nrsync alias --b" + strings.ReplaceAll(long, "--b", "--c") + "\n"), nil
	}
	_, _, err := Parse([]string{"--a", "--a", "x", "y"}, env)
	if err == nil {
		t.Error("no error")
	}
	many := slices.Repeat([]string{"--suffix=!#:+"}, 17000)
	start := time.Now()
	if o, _, err := Parse(append(many, "--", "-x"), testEnv()); err != nil || o.Suffix != "!#:+" {
		t.Error(err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("17000 marks took %v", d)
	}
	if _, _, err := Parse([]string{"--suffix=!#:+", "-a"}, testEnv()); err != nil && !strings.Contains(err.Error(), "usage") {
		t.Error(err)
	}
}

func TestStopAt(t *testing.T) {
	at := func(y int, mo time.Month, d, h, mi int) time.Time { return time.Date(y, mo, d, h, mi, 0, 0, time.UTC) }
	now := at(2026, 3, 14, 15, 9)
	for _, tc := range []struct {
		arg  string
		want time.Time // zero: refused
	}{
		{"2026-12-31T23:59", at(2026, 12, 31, 23, 59)}, {"2026/12/31t23:59", at(2026, 12, 31, 23, 59)},
		{"26-12-31", at(2026, 12, 31, 0, 0)}, {"25-1-1", at(2125, 1, 1, 0, 0)}, {"2030-02-30", at(2030, 3, 2, 0, 0)},
		{"2026-12-31T", at(2026, 12, 31, 0, 0)},
		{"12-31", at(2026, 12, 31, 0, 0)}, {"3-14", at(2027, 3, 14, 0, 0)}, {"3-14T15:10", at(2026, 3, 14, 15, 10)}, {"2-29", at(2028, 2, 29, 0, 0)},
		{"15", at(2026, 3, 15, 0, 0)}, {"14", at(2026, 4, 14, 0, 0)}, {"31T1:30", at(2026, 3, 31, 1, 30)}, {"1", at(2026, 4, 1, 0, 0)},
		{"23:59", at(2026, 3, 14, 23, 59)}, {"T15:09", at(2026, 3, 15, 15, 9)}, {"0:00", at(2026, 3, 15, 0, 0)},
		{":30", at(2026, 3, 14, 15, 30)}, {":05", at(2026, 3, 14, 16, 5)}, {":09", at(2026, 3, 14, 16, 9)},
		{arg: ""}, {arg: "T"}, {arg: "T12"}, {arg: "12-31T12"}, {arg: "4-31"}, {arg: "13-1"}, {arg: "0"}, {arg: "32"}, {arg: "24:00"}, {arg: "1:60"}, {arg: "x"}, {arg: "1-"}, {arg: "-1"},
		{arg: "1-2-3-4"}, {arg: "12:30:15"}, {arg: ":"}, {arg: "99999999999-1-1"}, {arg: "1T:30"},
	} {
		got, ok := parseTime(tc.arg, now)
		if ok != !tc.want.IsZero() || ok && !got.Equal(tc.want) {
			t.Errorf("%q: got %v, %v; want %v", tc.arg, got, ok, tc.want)
		}
	}
}

func TestStopAfter(t *testing.T) {
	o, _, err := Parse([]string{"--time-limit=90", "a", "b"}, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 3, 14, 16, 39, 26, 0, time.UTC); !o.StopAt.Equal(want) {
		t.Errorf("stops at %v, want %v", o.StopAt, want)
	}
}

func TestHostspec(t *testing.T) {
	for _, tc := range []struct {
		arg  string
		want Hostspec
		ok   bool
	}{
		{"host:path", Hostspec{Host: "host", Path: "path"}, true}, {"u@host:/p", Hostspec{Host: "u@host", Path: "/p"}, true}, {":path", Hostspec{Path: "path"}, true},
		{"host::mod/x", Hostspec{Host: "host", Path: "mod/x", Daemon: true}, true}, {"::mod", Hostspec{Path: "mod", Daemon: true}, true},
		{"[::1]:p", Hostspec{Host: "::1", Path: "p"}, true}, {"u@[fe80::1%eth0]::m", Hostspec{Host: "u@fe80::1%eth0", Path: "m", Daemon: true}, true},
		{"rsync://h/m/p", Hostspec{Host: "h", Path: "m/p", Daemon: true}, true}, {"RSYNC://u@h:8730/m", Hostspec{Host: "u@h", Path: "m", Daemon: true, Port: 8730}, true},
		{"rsync://[::1]:1/", Hostspec{Host: "::1", Daemon: true, Port: 1}, true}, {"rsync://h", Hostspec{Host: "h", Daemon: true}, true},
		{arg: "path"}, {arg: "./a:b"}, {arg: "/a:b"}, {arg: "a/b:c"}, {arg: "[::1]"}, {arg: "[]:x"}, {arg: "[a/b]:x"}, {arg: ""},
	} {
		got, ok := ParseHostspec(tc.arg)
		if ok != tc.ok || got != tc.want {
			t.Errorf("%q: got %+v, %v; want %+v, %v", tc.arg, got, ok, tc.want, tc.ok)
		}
	}
}

// TestQuotingSurvivesAShell checks that a shell which takes one level of
// backslashes away gives back what was quoted.
func TestQuotingSurvivesAShell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching("[ -~\t\n]{0,20}").Draw(t, "s")
		if got := unescape(New().optionArg("", s)); got != s {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

func TestFileArg(t *testing.T) {
	for _, tc := range []struct {
		name   string
		sender bool
		set    func(*Options)
		want   string
	}{
		{"a b", true, nil, "a\\ b"}, {"-x", true, nil, "./-x"}, {"*.c", false, nil, "*.c"}, {"a\\*b", false, nil, "a\\*b"}, {"a\\b", false, nil, "a\\\\b"}, {"a\\", false, nil, "a\\\\"},
		{"~/x", false, nil, "~/x"}, {"~x", false, nil, "\\~x"}, {"~x", true, nil, "~x"}, {"`\n\r", true, nil, "\\`\\\n\\\r"},
		{"~/x", false, func(o *Options) { o.Relative = true }, "\\~/x"}, {"~/./x", false, func(o *Options) { o.Relative = true }, "~/./x"},
		{"~x", false, func(o *Options) { o.TrustSenderArgs = true }, "~x"},
		{"a b", true, func(o *Options) { o.OldArgs = 1 }, "a b"}, {"-a b", true, func(o *Options) { o.SecludedArgs = true }, "./-a b"},
	} {
		o := New()
		if tc.set != nil {
			tc.set(o)
		}
		if got := o.FileArg(tc.name, tc.sender); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.name, got, tc.want)
		}
	}
}
