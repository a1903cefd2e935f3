package wildmatch

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// names are the texts that every pattern below is tried against, so that a
// case says what does not match as well as what does.
var names = []string{
	"a", "A", "b", "ab", "abc", "a.c", "a-c", "a]c", "a^c", "a!c", "a[c", "a\\c", "a*c", "a?c", "-", "]", "[", "\\",
	"foo", "FOO", "fooo", "foobar", "bar", "é", "5", "_", "a b", ":", "[:x",
	"d/a", "d/foo", "d/e/foo", "d/e/f/foo", "d/e/bar", "deep/foo", "d/foo/bar",
}

var cases = []struct {
	pattern string
	want    string // the matching names, separated by "|"
}{
	{"foo", "foo"},
	{"*", "a|A|b|ab|abc|a.c|a-c|a]c|a^c|a!c|a[c|a\\c|a*c|a?c|-|]|[|\\|foo|FOO|fooo|foobar|bar|é|5|_|a b|:|[:x"},
	{"?", "a|A|b|-|]|[|\\|5|_|:"},
	{"??", "ab|é"},
	{"foo*", "foo|fooo|foobar"},
	{"*o", "foo|fooo"},
	{"*oo*", "foo|fooo|foobar"},
	{"f*o*r", "foobar"},
	{"*/foo", "d/foo|deep/foo"},
	{"**/foo", "d/foo|d/e/foo|d/e/f/foo|deep/foo"},
	{"**foo", "foo|d/foo|d/e/foo|d/e/f/foo|deep/foo"},
	{"***foo", "foo|d/foo|d/e/foo|d/e/f/foo|deep/foo"},
	{"d/**", "d/a|d/foo|d/e/foo|d/e/f/foo|d/e/bar|d/foo/bar"},
	{"d/*", "d/a|d/foo"},
	{"d/**/foo", "d/e/foo|d/e/f/foo"},
	{"d/*/foo", "d/e/foo"},
	{"d**foo", "d/foo|d/e/foo|d/e/f/foo|deep/foo"},
	{"d*foo", ""},
	{"**e*/*r", "d/e/bar"},
	{"*e**o", "deep/foo"},
	{"d?foo", ""},
	{"d[/]foo", ""},
	{"d[!x]foo", ""},
	{`d\/foo`, "d/foo"},
	{"[ab]", "a|b"},
	{"[a-c]", "a|b"},
	{"[c-a]", ""},
	{"[!a]", "A|b|-|]|[|\\|5|_|:"},
	{"[^a]", "A|b|-|]|[|\\|5|_|:"},
	{"[]]", "]"},
	{"[]-]", "-|]"},
	{"[!]-]", "a|A|b|[|\\|5|_|:"},
	{"[-a]", "a|-"},
	{"[a-]", "a|-"},
	{"[!-a]", "A|b|]|[|\\|5|_|:"},
	{`[\]]`, "]"},
	{`[\\]`, "\\"},
	{`[\a-\c]`, "a|b"},
	{`[a\-c]`, "a|-"},
	{"[", ""},
	{"[a", ""},
	{"[!", ""},
	{"[]", ""},
	{`[\`, ""},
	{"a[", ""},
	{"a[.-]c", "a.c|a-c"},
	{"a[]]c", "a]c"},
	{`a[\]]c`, "a]c"},
	{"a[[]c", "a[c"},
	{`a[\\]c`, "a\\c"},
	{"a[!^]c", "abc|a.c|a-c|a]c|a!c|a[c|a\\c|a*c|a?c"},
	{"a[x^]c", "a^c"},
	{`a\*c`, "a*c"},
	{`a\?c*`, "a?c"},
	{`a\\c*`, "a\\c"},
	{`*\`, ""},
	{"[[:alpha:]]", "a|A|b"},
	{"[[:upper:]]", "A"},
	{"[[:lower:]]", "a|b"},
	{"[[:digit:]]", "5"},
	{"[[:alnum:]_]", "a|A|b|5|_"},
	{"[[:punct:]]", "-|]|[|\\|_|:"},
	{"[[:xdigit:]]", "a|A|b|5"},
	{"[![:alpha:]]", "-|]|[|\\|5|_|:"},
	{"a[[:space:]]b", "a b"},
	{"a[[:blank:]]b", "a b"},
	{"a[[:print:]]b", "a b"},
	{"a[[:graph:]]b", ""},
	{"[[:cntrl:]]", ""},
	{"[[:nosuch:]]", ""},
	{"[[::]]", ""},
	{"[[:]", "[|:"},
	{"[[:x]", "[|:"},
	{"[[:x]*", "[|:|[:x"},
	{"[[:alpha:]-z]", "a|A|b|-"},
	{"[a-[:digit:]]", ""},
	{"[[:digit]a]", ""},
	{"[[:digit", ""},
	{"é*", "é"},
	{"\xc3?*", "é"},
}

func TestMatch(t *testing.T) {
	for _, c := range cases {
		want := make(map[string]bool)
		for _, n := range strings.Split(c.want, "|") {
			want[n] = n != ""
		}
		for _, n := range names {
			if got := Match(c.pattern, n); got != want[n] {
				t.Errorf("Match(%q, %q) = %v", c.pattern, n, got)
			}
			if got := table(c.pattern, n, false, false); got != want[n] {
				t.Errorf("table(%q, %q) = %v", c.pattern, n, got)
			}
		}
	}
}

// TestMatchAsRsync asks the real rsync for the same answers: a pattern with a
// leading slash is compared with the whole name.
func TestMatchAsRsync(t *testing.T) {
	rsync, err := exec.LookPath("rsync")
	if err != nil {
		t.Skip("needs rsync on the PATH")
	}
	dir := t.TempDir()
	for _, n := range names {
		if n == "d/foo" {
			continue // the directory of d/foo/bar
		}
		file := filepath.Join(dir, n)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all := listed(t, rsync, dir)
	if len(all) != len(names)-1 {
		t.Fatalf("rsync lists %d of %d names", len(all), len(names)-1)
	}
	for _, c := range cases {
		if !strings.ContainsAny(c.pattern, "*?[") {
			continue // a plain string to rsync, without escapes
		}
		// Only names of files are excluded, lest a directory hide them.
		left := listed(t, rsync, dir, "--include=*/", "--exclude=/"+c.pattern)
		for n := range all {
			if want := !left[n]; Match(c.pattern, n) != want {
				t.Errorf("Match(%q, %q) = %v, rsync says %v", c.pattern, n, !want, want)
			}
		}
	}
}

func listed(t *testing.T, rsync, dir string, args ...string) map[string]bool {
	t.Helper()
	args = append([]string{"-r8", "--no-dirs", "--out-format=%n", "-n"}, args...)
	out, err := exec.Command(rsync, append(args, dir+"/", dir+".none/")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, line := range strings.Split(string(out), "\n") {
		if line != "" && !strings.HasSuffix(line, "/") && !strings.HasPrefix(line, "created") {
			got[line] = true
		}
	}
	return got
}

func TestMatchFold(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"FOO", "foo", true},
		{"foo", "FOO", true},
		{"*.EXAMPLE.com", "Host.example.COM", true},
		{"[A-C]x", "bX", true},
		{"[a-c]x", "BX", true},
		{`[\B]`, "b", true},
		{`\B`, "b", true},
		{"[[:upper:]]", "A", false}, // folded before the class is asked
		{"[[:lower:]]", "A", true},
		{"É", "é", false},
	} {
		if got := MatchFold(c.pattern, c.text); got != c.want {
			t.Errorf("MatchFold(%q, %q) = %v", c.pattern, c.text, got)
		}
	}
}

func TestMatchAfterSlash(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"b/**", "a/b/c", true},
		{"b/**", "b/c", true},
		{"b/**", "ab/c", false},
		{"c**", "a/b/c", true},
		{"a**c", "a/b/c", true},
		{"", "a/", true},
		{"x**", "a/b", false},
	} {
		if got := MatchAfterSlash(c.pattern, c.text); got != c.want {
			t.Errorf("MatchAfterSlash(%q, %q) = %v", c.pattern, c.text, got)
		}
		if got := table(c.pattern, c.text, false, true); got != c.want {
			t.Errorf("table(%q, %q) = %v", c.pattern, c.text, got)
		}
	}
}

func TestTail(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
		ok   bool
	}{
		{"a/b/c", 1, "c", true},
		{"a/b/c", 2, "b/c", true},
		{"a/b/c", 3, "a/b/c", true},
		{"a/b/c", 4, "", false},
		{"a/", 1, "", true},
		{"/a", 2, "/a", true},
	} {
		if got, ok := Tail(c.text, c.n); ok != c.ok || ok && got != c.want {
			t.Errorf("Tail(%q, %d) = %q, %v", c.text, c.n, got, ok)
		}
	}
}

// TestHostile bounds the time of patterns that blow up a plain backtracker.
func TestHostile(t *testing.T) {
	start := time.Now()
	long := strings.Repeat("a", 4000)
	for _, p := range []string{
		strings.Repeat("*a", 1000) + "b",
		strings.Repeat("**a", 1000) + "b",
		"**" + strings.Repeat("*a", 1000) + "b",
		"**" + strings.Repeat("[a]", 1000) + "b",
		strings.Repeat("?", 2000) + strings.Repeat("**", 1000) + "b",
		"**" + strings.Repeat("a", 2000) + "?*[!a]",
	} {
		if Match(p, long) || MatchAfterSlash(p, strings.Repeat("a/", 2000)) {
			t.Errorf("%.20q matched", p)
		}
	}
	if spent := time.Since(start); spent > 5*time.Second {
		t.Errorf("took %v", spent)
	}
}

func FuzzMatch(f *testing.F) {
	for _, c := range cases {
		f.Add(c.pattern, names[len(c.pattern)%len(names)])
	}
	f.Add("**a*b**c*", "a/b/abc/xaxb")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		for _, fold := range []bool{false, true} {
			for _, after := range []bool{false, true} {
				if got, want := match(pattern, text, fold, after), table(pattern, text, fold, after); got != want {
					t.Errorf("fold=%v after=%v: %q on %q: %v by backtracking, %v by table", fold, after, pattern, text, got, want)
				}
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for b.Loop() {
		Match("lib/**/test_*.py[co]", "lib/python3/dist-packages/foo/test_module.pyc")
	}
}
