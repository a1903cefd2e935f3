package filter

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/prsync/prsync/internal/exitcode"
)

// files is a tree of rule files by absolute path, with /cwd to work in.
type files map[string]string

func (f files) open(name string) (io.ReadCloser, error) {
	text, ok := f[join("/cwd", name)]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

// under opens per-directory files below a root.
func (f files) under(root string) func(dir, name string) (io.ReadCloser, error) {
	return func(dir, name string) (io.ReadCloser, error) {
		if !strings.HasPrefix(dir, "/") {
			dir = path.Join(root, dir)
		}
		return f.open(path.Join(dir, name))
	}
}

// talk collects warnings and debug messages.
type talk struct{ lines []string }

func (t *talk) say(format string, args ...any) {
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
}

func (t *talk) String() string { return strings.Join(t.lines, "\n") }

func listOf(t *testing.T, cfg Config, rules ...string) *List {
	t.Helper()
	cfg.Dir = "/cwd"
	l := New(cfg)
	for _, r := range rules {
		if err := l.AddArg(Filter, r); err != nil {
			t.Fatalf("%q: %v", r, err)
		}
	}
	return l
}

// verdicts checks names marked "-" (excluded), "+" (included) or "=" (no
// rule); a trailing slash makes a directory.
func verdicts(t *testing.T, what string, check func(string, bool) Verdict, marked ...string) {
	t.Helper()
	for _, m := range marked {
		name := strings.TrimSuffix(m[1:], "/")
		got := check(name, strings.HasSuffix(m, "/"))
		if want := map[byte]Verdict{'-': Exclude, '+': Include, '=': None}[m[0]]; got != want {
			t.Errorf("%s: %q gets %+d", what, m, got)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		rules []string
		names []string
	}{
		{[]string{"- foo"}, []string{"-foo", "-foo/", "-a/foo", "=foobar", "=a", "=foo/x"}},
		{[]string{"- foo/"}, []string{"=foo", "-foo/", "-a/foo/"}},
		{[]string{"- /foo"}, []string{"-foo", "-foo/", "=a/foo"}},
		{[]string{"- a/b"}, []string{"-a/b", "-x/a/b", "=b", "=xa/b", "=a/b/c"}},
		{[]string{"- *.o"}, []string{"-x.o", "-a/x.o", "=x.c"}},
		{[]string{"- a/*/c"}, []string{"-a/b/c", "-x/a/b/c", "=a/c", "=a/b/b/c"}},
		{[]string{"- /a/**/c"}, []string{"-a/b/c", "-a/b/b/c", "=a/c", "=x/a/b/c"}},
		{[]string{"- a/**"}, []string{"-a/b", "-x/a/b/c", "=a/", "=xa/b"}},
		{[]string{"- **/c"}, []string{"-c", "-a/c", "-a/b/c", "=xc"}},
		{[]string{"- a/***"}, []string{"-a/", "-a/b/c", "=a", "-x/a/", "-x/a/b"}},
		{[]string{"- /a/***"}, []string{"-a/", "-a/b/c", "=a", "=x/a/"}},
		{[]string{`- a\b`}, []string{`-a\b`, "=ab"}},
		{[]string{`- a\b*`}, []string{`=a\bx`, "-abx"}},
		{[]string{"+ x", "- *"}, []string{"+x", "-y", "+a/x"}},
		{[]string{"+ */", "+ *.c", "- *"}, []string{"+a/", "+a/b.c", "-a/b.h"}},
		{[]string{"-! */"}, []string{"-a", "=a/"}},
		{[]string{"-! *.c"}, []string{"=a.c", "-a.h", "-d/"}},
		{[]string{"-/ /cwd/a"}, []string{"-a", "=b/a"}},
		{[]string{"-/ wd/a"}, []string{"=a"}},
		{[]string{"-/ cwd/a"}, []string{"-a", "=x/a"}},
		{[]string{"-/ **/a"}, []string{"-a", "-b/a"}},
		{[]string{"-x user.*"}, []string{"=user.a"}},
		{[]string{"- a", "!"}, []string{"=a"}},
		{[]string{"- a", "clear", "- b"}, []string{"=a", "-b"}},
		{[]string{"exclude a", "include b", "hide c", "show d", "protect e", "risk f"},
			[]string{"-a", "+b", "-c", "+d", "-e", "+f"}},
		{[]string{"exclude,! a", "-,! a", "-,_b"}, []string{"=a", "-b"}},
		{[]string{"-_a b"}, []string{"-a b", "=a"}},
		{[]string{"-  a"}, []string{"- a", "=a"}},
		{[]string{"-C"}, []string{"-x.o", "-core", "-core/", "-.git/", "=.git", "-a/CVS/", "-#x", "=x.c"}},
		{[]string{"+ core", "-C"}, []string{"+core", "-x~"}},
		{[]string{". rules"}, []string{"-fromfile", "+sub", "-deep", "=# no", "=; no", "-last"}},
		{[]string{".- plain"}, []string{"-- odd", "-one", "-! not", "=#c"}},
		{[]string{".+w words"}, []string{"+a", "+b", "+#c"}},
		{[]string{"merge,p- plain"}, []string{"-one"}},
		{[]string{".e rules"}, []string{"-rules", "-x/rules"}},
	} {
		f := files{
			"/cwd/rules":     "# no\n; no\n\n- fromfile\r\n+ sub\n. more/deep\n- last",
			"/cwd/more/deep": "- deep\n",
			"/cwd/plain":     "- odd\none\n! not\n#c\n",
			"/cwd/words":     " a\tb\n#c\n",
		}
		l := listOf(t, Config{Open: f.open}, c.rules...)
		verdicts(t, fmt.Sprintf("%q", c.rules), func(n string, d bool) Verdict { v, _ := l.Check(n, d); return v }, c.names...)
	}
}

func TestOldStyle(t *testing.T) {
	f := files{
		"/cwd/from":  "# c\n; c\n- minus\n+ plus\nplain\n-tight\n",
		"/cwd/clear": "one\n!\ntwo\n",
		"/cwd/nul":   "one\x00#x\x00two\nlines\x00",
	}
	for _, c := range []struct {
		kind  Kind
		text  string
		nulls bool
		names []string
	}{
		{ExcludeRule, "a", false, []string{"-a", "=b"}},
		{ExcludeRule, "+ a", false, []string{"+a"}},
		{ExcludeRule, "- a", false, []string{"-a"}},
		{ExcludeRule, "! a", false, []string{"-! a"}},
		{ExcludeRule, "H a", false, []string{"-H a"}},
		{IncludeRule, "a", false, []string{"+a"}},
		{IncludeRule, "- a", false, []string{"-a"}},
		{ExcludeFrom, "from", false, []string{"-minus", "+plus", "-plain", "--tight", "=# c"}},
		{IncludeFrom, "from", false, []string{"-minus", "+plus", "+plain", "+-tight"}},
		{ExcludeFrom, "clear", false, []string{"=one", "-two"}},
		{ExcludeFrom, "nul", true, []string{"-one", "=#x", "-two\nlines"}},
	} {
		l := New(Config{Open: f.open, EOLNulls: c.nulls})
		if err := l.AddArg(c.kind, c.text); err != nil {
			t.Errorf("%d %q: %v", c.kind, c.text, err)
		}
		verdicts(t, c.text, func(n string, d bool) Verdict { v, _ := l.Check(n, d); return v }, c.names...)
	}
}

func TestErrors(t *testing.T) {
	f := files{
		"/cwd/bad":    "- fine\n\nsecret words\n",
		"/cwd/mod":    "-q secret\n",
		"/cwd/end":    "-\n",
		"/cwd/names":  "- x\n. nosuch-secret\n",
		"/cwd/words":  "- a\n",
		"/cwd/self":   ". self\n",
		"/cwd/clears": "!x\n",
		"/cwd/hop":    ". bad\n",
		"/cwd/sided":  "H x\n",
	}
	dir := t.TempDir()
	for name, text := range f {
		if err := os.WriteFile(filepath.Join(dir, path.Base(name)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rsync, _ := exec.LookPath("rsync")
	for _, c := range []struct {
		kind Kind
		text string
		code exitcode.Code
		want string
	}{
		{Filter, "Zx", 1, "Unknown filter rule: Zx"},
		{Filter, "excludes x", 1, "Unknown filter rule: excludes x"},
		{Filter, "-q x", 1, "invalid modifier 'q' at position 1 in filter rule: -q x"},
		{Filter, "hide,s x", 1, "invalid modifier 's' at position 5 in filter rule: hide,s x"},
		{Filter, "-w x", 1, "invalid modifier 'w' at position 1 in filter rule: -w x"},
		{Filter, ":! x", 1, "invalid modifier '!' at position 1 in filter rule: :! x"},
		{Filter, ":-- x", 1, "invalid modifier '-' at position 2 in filter rule: :-- x"},
		{Filter, "HC", 1, "invalid modifier 'C' at position 1 in filter rule: HC"},
		{Filter, "-", 1, "unexpected end of filter rule: -"},
		{Filter, "- ", 1, "unexpected end of filter rule: - "},
		{Filter, ":", 1, "unexpected end of filter rule: :"},
		{Filter, "! x", 1, "'!' rule has trailing characters: ! x"},
		{Filter, "! ", 1, "'!' rule has trailing characters: ! "},
		{Filter, "clear,x", 1, "'!' rule has trailing characters: clear,x"},
		{Filter, ".s sided", 1, "specified-side merge file contains specified-side filter: <rule from sided line 1>"},
		{Filter, ". bad", 1, "Unknown filter rule: <rule from bad line 3>"},
		{Filter, ". hop", 1, "Unknown filter rule: <rule from a file named at hop line 1>"},
		{Filter, ". mod", 1, "invalid modifier in filter rule: <rule from mod line 1>"},
		{Filter, ". end", 1, "unexpected end of filter rule: <rule from end line 1>"},
		{Filter, ".w words", 1, "unexpected end of filter rule: <rule from words>"},
		{Filter, ". clears", 1, "'!' rule has trailing characters: <rule from clears line 1>"},
		{Filter, ". nosuch", 11, "rsync: [client] failed to open exclude file nosuch: No such file or directory (2)"},
		{Filter, ". names", 11, "failed to open exclude file <rule from names line 2>"},
		{ExcludeFrom, "nosuch", 11, "rsync: [client] failed to open exclude file nosuch: No such file or directory (2)"},
		{IncludeFrom, "nosuch", 11, "rsync: [client] failed to open include file nosuch: No such file or directory (2)"},
		{Filter, ". self", 11, "[client] merge-file include depth limit (32) exceeded at <rule from a file named at"},
	} {
		err := New(Config{Open: f.open, Dir: "/cwd"}).AddArg(c.kind, c.text)
		var e *exitcode.Error
		if !errors.As(err, &e) {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if e.Code != c.code || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: exit %d, %q; want %d, %q", c.text, e.Code, err, c.code, c.want)
		}
		if rsync != "" { // ask the real one as well
			option := []string{"--filter=", "--exclude=", "--include=", "--exclude-from=", "--include-from="}[c.kind]
			cmd := exec.Command(rsync, option+c.text, "-n", ".", "none/")
			cmd.Dir = dir
			out, _ := cmd.CombinedOutput()
			if first, _, _ := strings.Cut(string(out), "\n"); first != err.Error() {
				t.Errorf("%q: %q; rsync: %q", c.text, err, first)
			}
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %q shows what a file says", c.text, err)
		}
	}
}

func TestOverlong(t *testing.T) {
	long := strings.Repeat("x", maxPath)
	f := files{
		"/cwd/line": "- " + strings.Repeat("y", maxLine) + "\n- after\n",
		"/cwd/rule": "- " + long + "\n- after\n",
		"/cwd/name": ". d/" + long[:maxPath-4] + "\n",
	}
	for rule, want := range map[string]string{
		"- " + long: "discarding over-long filter: " + long,
		". line":    "discarding over-long filter: <rule from line line 1>",
		". rule":    "discarding over-long filter: <rule from rule line 1>",
	} {
		var said talk
		l := listOf(t, Config{Open: f.open, Warn: said.say}, rule)
		if said.String() != want {
			t.Errorf("%.20q: %.100q", rule, said.String())
		}
		if v, _ := l.Check("after", false); rule[0] == '.' && v != Exclude {
			t.Errorf("%.20q: what follows is lost", rule)
		}
	}
	// The name fits by itself, but not below its directory.
	var said talk
	l := listOf(t, Config{Warn: said.say}, ": .rules")
	f = files{"/cwd/d/.rules": "- a\n. d/" + long[:maxPath-5] + "\n- b\n"}
	w := l.Walk(Root{Who: "sender", Dir: "/cwd", Open: f.under("/cwd")})
	if err := w.Enter("d"); err != nil {
		t.Fatal(err)
	}
	if want := "merge-file name overflows: <rule from /cwd/d/.rules line 2>"; said.String() != want {
		t.Errorf("%.100q", said.String())
	}
	verdicts(t, "around", w.Check, "-d/a", "-d/b")
}

func TestPerDirectory(t *testing.T) {
	f := files{
		"/top/.rules":           "- above\n- /anchored-above\n",
		"/top/src/.rules":       "- all\n- /here\n+ both\n. inner/merged\n",
		"/top/src/d/.rules":     "- /x\n- deep/y\n- both\n",
		"/top/src/e/.rules":     "!\n- only\n",
		"/top/src/.plain":       "- p\nq\n",
		"/top/src/.cvsignore":   "c1 c2\n#c3",
		"/top/src/e/.cvsignore": "!",
		"/top/src/inner/merged": "- merged\n",
		"/top/src/n/.rules":     ": .nested\n",
		"/top/src/n/.nested":    "- nested\n",
		"/top/src/n/m/.nested":  "- nested2\n",
	}
	enter := func(rule string, dirs ...string) *Walk {
		t.Helper()
		w := listOf(t, Config{Open: f.open}, rule).Walk(Root{Who: "sender", Dir: "/top/src", Open: f.under("/top/src")})
		for _, d := range dirs {
			if err := w.Enter(d); err != nil {
				t.Fatal(err)
			}
		}
		return w
	}
	for _, c := range []struct {
		rule  string
		dirs  []string
		names []string
	}{
		{": .rules", nil, []string{"=all"}},
		{": .rules", []string{"."}, []string{"-all", "-here", "+both", "=above", "-merged"}},
		{": .rules", []string{".", "d"}, []string{"-d/all", "=d/here", "-d/both", "-d/x", "=d/z/x", "-d/deep/y"}},
		{": .rules", []string{".", "d", "d/deep"}, []string{"-d/deep/y", "=d/deep/x", "-d/deep/all"}},
		{": .rules", []string{".", "e"}, []string{"=e/all", "-e/only"}},
		{": .rules", []string{".", "d", "e", "."}, []string{"-all", "=only", "+both"}},
		{": .rules", []string{".", "n"}, []string{"-n/nested", "-n/all"}},
		{": .rules", []string{".", "n", "n/m"}, []string{"-n/m/nested", "-n/m/nested2"}},
		{": .rules", []string{".", "n", "d"}, []string{"=d/nested", "=d/nested2"}},
		{":n .rules", []string{".", "n"}, []string{"=n/all", "-n/nested"}},
		{":e .rules", []string{"."}, []string{"-.rules", "-all"}},
		{":- .plain", []string{"."}, []string{"-- p", "-q", "=p"}},
		{":+n .plain", []string{"."}, []string{"+- p", "+q"}},
		{":C", []string{"."}, []string{"-c1", "-c2", "-#c3"}},
		{":C", []string{".", "e"}, []string{"=e/c1"}},
		{": /.rules", []string{"."}, []string{"-above", "-all", "=anchored-above"}},
		{": /.rules", []string{".", "d"}, []string{"-d/above", "-d/all"}},
		{": ../.rules", []string{"."}, []string{"-above", "-all"}},
		{": ../../.rules", []string{"."}, []string{"-above", "-all"}},
		{": /top/src/.rules", []string{"."}, []string{"=above", "-all"}},
		{": sub/.rules", []string{"."}, []string{"=above", "-all"}},
		{":n /.rules", []string{"."}, []string{"=above", "-all"}},
	} {
		if c.rule == ": .rules" || strings.Contains(c.rule, "/.rules") || c.rule == ":n .rules" || c.rule == ":e .rules" {
			f["/top/src/.rules"] = "- all\n- /here\n+ both\n. ./inner/merged\n"
		}
		w := enter(c.rule, c.dirs...)
		verdicts(t, fmt.Sprintf("%s in %q", c.rule, c.dirs), w.Check, c.names...)
	}

	w := enter(": .rules", ".", "d")
	w.Leave("d")
	verdicts(t, "after Leave", w.Check, "-all", "=x")
	if err := w.Enter("d"); err != nil {
		t.Fatal(err)
	}
	verdicts(t, "entered again", w.Check, "-d/x")
}

// TestSides pins what each end makes of one-sided rules, with and without
// --delete-excluded, in a local transfer.
func TestSides(t *testing.T) {
	f := files{"/cwd/.rules": "- dplain\nH dhide\nP dprotect\n", "/cwd/.s": "- sonly\n", "/cwd/.r": "- ronly\n"}
	rules := []string{"- plain", "H hide", "S show", "P protect", "R risk", "-sr both", "-p perish", ": .rules", ":s .s", ":r .r"}
	for _, c := range []struct {
		excluded         bool
		sender, receiver []string
	}{
		{false,
			[]string{"-plain", "-hide", "+show", "=protect", "=risk", "-both", "-perish", "-dplain", "-dhide", "=dprotect", "-sonly", "=ronly"},
			[]string{"-plain", "=hide", "=show", "-protect", "+risk", "-both", "-perish", "-dplain", "=dhide", "-dprotect", "=sonly", "-ronly"}},
		{true,
			[]string{"-plain", "-hide", "+show", "=protect", "=risk", "-both", "-perish", "-dplain", "-dhide", "=dprotect", "-sonly", "=ronly"},
			[]string{"=plain", "=hide", "=show", "-protect", "+risk", "-both", "=perish", "=dplain", "=dhide", "-dprotect", "=sonly", "-ronly"}},
	} {
		l := listOf(t, Config{Open: f.open, DeleteExcluded: c.excluded}, rules...)
		far := l.Clone()
		s := Session{Sender: true, Local: true, Protocol: 32, Delete: true}
		if err := l.Send(nil, s); err != nil {
			t.Fatal(err)
		}
		s.Sender = false
		if err := far.Recv(nil, s); err != nil {
			t.Fatal(err)
		}
		for who, l := range map[string]*List{"sender": l, "generator": far} {
			w := l.Walk(Root{Who: who, Dir: "/cwd", Open: f.under("/cwd")})
			if err := w.Enter("."); err != nil {
				t.Fatal(err)
			}
			names := c.sender
			if who == "generator" {
				names = c.receiver
			}
			verdicts(t, fmt.Sprintf("%s, --delete-excluded %v", who, c.excluded), w.Check, names...)
			w.Dying = true
			verdicts(t, who+", dying", w.Check, "=perish")
		}
	}
}

func TestCheckSender(t *testing.T) {
	l := listOf(t, Config{}, "- plain", "H hide", "P protect")
	if err := l.Send(nil, Session{Protocol: 32}); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]bool{"plain": true, "a/hide": true, "protect": false, "x": false, ".": false} {
		err := l.CheckSender(name, false)
		if (err != nil) != bad || bad && exitcode.Of(err, 0) != exitcode.Unsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l.HasPerDir() || !listOf(t, Config{}, ": x").HasPerDir() {
		t.Error("HasPerDir is wrong")
	}
}

func TestXattr(t *testing.T) {
	l := listOf(t, Config{}, "-x user.a*", "- user.b")
	if !l.HasXattrRules() || l.CheckXattr("user.abc") != Exclude || l.CheckXattr("user.b") != None {
		t.Error("xattr rules are not told from the others")
	}
	w := l.Walk(Root{Who: "sender"})
	if w.CheckXattr("user.abc") != Exclude || w.Check("user.abc", false) != None {
		t.Error("nor in a walk")
	}
}

func TestCVS(t *testing.T) {
	f := files{"/home/.cvsignore": "mine other\n! ours", "/cwd/.cvsignore": "local\n"}
	l := listOf(t, Config{Open: f.open, HomeCVSIgnore: "/home/.cvsignore", CVSIgnore: "env"}, "+ core")
	if err := l.Send(nil, Session{Sender: true, Local: true, Protocol: 32, CVS: true}); err != nil {
		t.Fatal(err)
	}
	w := l.Walk(Root{Who: "sender", Dir: "/cwd", Open: f.under("/cwd")})
	if err := w.Enter(""); err != nil {
		t.Fatal(err)
	}
	verdicts(t, "-C", w.Check, "+core", "=x.o", "=mine", "-ours", "-env", "-local")
}

// TestWalksMeet runs walks of one list at the same time, under -race.
func TestWalksMeet(t *testing.T) {
	f := files{"/cwd/a/.rules": "-C\n- x\n: .more\n", "/cwd/b/.rules": "-C\n- y\n: .more\n", "/cwd/b/.more": "- z\n"}
	l := listOf(t, Config{Open: f.open}, ": .rules", "- all")
	var group sync.WaitGroup
	for _, who := range []string{"sender", "generator", "sender"} {
		group.Go(func() {
			w := l.Walk(Root{Who: who, Dir: "/cwd", Open: f.under("/cwd")})
			for _, dir := range []string{".", "a", "b", "a"} {
				if err := w.Enter(dir); err != nil {
					t.Error(err)
				}
			}
			verdicts(t, who, w.Check, "-a/x", "=a/y", "-a/core", "-a/all")
		})
	}
	group.Wait()
}

// TestSecondTree pins a difference: what rsync 3.5.0 finds above the transfer
// counts in the first source argument only.
func TestSecondTree(t *testing.T) {
	f := files{"/cwd/.rsync-filter": "- x\n"}
	l := listOf(t, Config{Open: f.open}, ": /.rsync-filter")
	w := l.Walk(Root{Who: "sender", Dir: "/cwd", Open: f.under("/cwd")})
	for _, dir := range []string{"one", "two"} {
		if err := w.Enter(dir); err != nil {
			t.Fatal(err)
		}
		verdicts(t, dir, w.Check, "-"+dir+"/x")
		w.Leave(dir)
	}
}

// TestDebug pins the messages that scripts and people know.
func TestDebug(t *testing.T) {
	f := files{"/cwd/.rules": "- sec[r]et \n", "/cwd/more": "- hush\n"}
	var said talk
	l := listOf(t, Config{Open: f.open, Debug: said.say, DebugLevel: 1}, "- shown ", "+ dir/", ": .rules", ". more")
	_ = l.Send(nil, Session{Sender: true, Local: true, Protocol: 32})
	for _, who := range []string{"sender", "generator", "receiver"} {
		w := l.Walk(Root{Who: who, Dir: "/cwd", Open: f.under("/cwd")})
		if err := w.Enter("."); err != nil {
			t.Fatal(err)
		}
		w.Check("dir", true)
		w.Check("hush", false)
		w.Check("secret ", false)
	}
	const rule = "[sender] add_rule(<rule from /cwd/.rules line 1>) [per-dir .rules]"
	want := strings.Join([]string{
		"[client] add_rule(- shown ) -- CAUTION: trailing whitespace!",
		rule,
		"[sender] showing directory dir because of pattern dir/",
		"[sender] hiding file hush because of pattern <rule from a file read earlier>",
		"[sender] hiding file secret  because of pattern <rule from a file read earlier> [per-dir .rules]",
		strings.Replace(rule, "sender", "generator", 1),
		"[generator] risking directory dir because of pattern dir/",
		"[generator] protecting file hush because of pattern <rule from a file read earlier>",
		"[generator] protecting file secret  because of pattern <rule from a file read earlier> [per-dir .rules]",
		strings.Replace(rule, "sender", "receiver", 1),
	}, "\n")
	if said.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", said.String(), want)
	}
}

func TestDaemon(t *testing.T) {
	f := files{"/etc/in": "# c\nkeep/secret\n", "/etc/ex": "*.key\n/only/top\n"}
	l, err := ParseDaemon(Config{Open: f.open}, DaemonRules{
		Filter: "- /private/ +_public/x H unseen P kept", IncludeFrom: "/etc/in", Include: "a.key b.key",
		ExcludeFrom: "/etc/ex", Exclude: "secret /exact deep/name",
	})
	if err != nil {
		t.Fatal(err)
	}
	top := l.Walk(Root{Who: "server", Dir: "/"})
	verdicts(t, "top", top.Check, "-private/", "-private/x", "=private", "+keep/secret", "-secret", "+a.key", "-c.key",
		"-only/top", "=x/only/top", "-exact", "=exact/x", "-deep/name", "-x/deep/name", "+public/x", "=unseen", "-kept")
	stars, err := ParseDaemon(Config{}, DaemonRules{Exclude: "**/x"})
	if err != nil {
		t.Fatal(err)
	}
	verdicts(t, "**/", stars.Walk(Root{Who: "server", Dir: "/"}).Check, "-x", "-a/x", "=ax")
	sub := l.Walk(Root{Who: "server", Dir: "/private/sub"})
	verdicts(t, "below", sub.Check, "-x", "-y/z")
	sub = l.Walk(Root{Who: "server", Dir: "/deep"})
	verdicts(t, "deep", sub.Check, "-name", "=other")
	for name, bad := range map[string]bool{"private/a/b": true, "a/secret/b": true, "a/b": false, "exact/b": true} {
		if top.PathExcluded(name) != bad {
			t.Errorf("PathExcluded(%q) = %v", name, !bad)
		}
	}
	if top.ParentExcluded("a/secret") || !top.ParentExcluded("secret/a") {
		t.Error("ParentExcluded looks at the wrong names")
	}

	if _, err := ParseDaemon(Config{Open: f.open}, DaemonRules{ExcludeFrom: "/nosuch"}); exitcode.Of(err, 0) != exitcode.FileIO {
		t.Errorf("a missing file: %v", err)
	}
	// A file of rules that the module excludes is as good as absent, even
	// for a client that names it; one outside of it cannot be named.
	client := New(Config{Open: files{"/secret": "- x", "/cwd/rules": "- y"}.open, Daemon: l, Sanitize: true, Who: "server"})
	if err := client.AddArg(Filter, "._/secret"); err != nil || !client.Empty() {
		t.Errorf("the client's rules: %v", err)
	}
	if err := client.AddArg(Filter, ". ../../cwd/rules"); err != nil || client.Empty() {
		t.Errorf("inside the module: %v", err)
	}
}

func TestRecvErrors(t *testing.T) {
	for _, c := range []struct {
		wire string
		code exitcode.Code
	}{
		{"\xff\xff\xff\xff", exitcode.Malloc},
		{"\x00\x14\x00\x00", exitcode.Malloc},
		{"\x02\x00\x00\x00Zz", exitcode.Syntax},
		{"\x03\x00\x00\x00- ", 0},
		{"\x03\x00", 0},
		{"", 0},
	} {
		err := New(Config{}).Recv(strings.NewReader(c.wire), Session{Sender: true, Protocol: 31})
		if err == nil || exitcode.Of(err, 0) != c.code {
			t.Errorf("%q: %v", c.wire, err)
		}
	}
}

func TestBatchRules(t *testing.T) {
	l := listOf(t, Config{}, "- a/", "H b", ":n- .c", "-p d")
	got, err := l.BatchRules()
	if want := "- a/|-s b|:n- .c|-p d"; err != nil || strings.Join(got, "|") != want {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := listOf(t, Config{}, "- a\n#E#\nrm -rf /").BatchRules(); exitcode.Of(err, 0) != exitcode.Syntax {
		t.Errorf("a newline: %v", err)
	}
}

func TestPartialDir(t *testing.T) {
	l := New(Config{})
	if err := l.AddPartialDir(".part", Session{Sender: true, Protocol: 31}); err != nil {
		t.Fatal(err)
	}
	w := l.Walk(Root{Who: "sender"})
	verdicts(t, "--partial-dir", w.Check, "-.part/", "-a/.part/", "=.part")
	w.Dying = true
	verdicts(t, "--partial-dir, dying", w.Check, "=.part/")
}

// FuzzRule expects of any rule a verdict or an error with a code, and that a
// rule survives being sent.
func FuzzRule(f *testing.F) {
	for _, s := range []string{"- a", "-!/xsrp **/b*", ":n-we x", "! ", "merge,C", "hide_a", "-C", "P *~", "clear,", "+ a[[:x]***/"} {
		f.Add(s, "a/b", true, byte(32))
	}
	f.Fuzz(func(t *testing.T, text, name string, isDir bool, protocol byte) {
		l := New(Config{})
		if err := l.AddArg(Filter, text); err != nil {
			if exitcode.Of(err, 0) == 0 {
				t.Errorf("%q: no code: %v", text, err)
			}
			return
		}
		v, _ := l.Check(name, isDir)
		var wire strings.Builder
		s := Session{Protocol: 29 + int(protocol%4)}
		if l.Send(&wire, s) != nil {
			return
		}
		s.Sender = true
		far := New(Config{})
		if err := far.Recv(strings.NewReader(wire.String()), s); err != nil {
			t.Fatalf("%q sent as %q: %v", text, wire.String(), err)
		}
		for _, r := range l.rules.rules {
			if r.elide != bothEnds || r.has(perishable) {
				return // not for both, or not known there
			}
		}
		if got, _ := far.Check(name, isDir); got != v {
			t.Errorf("%q on %q: %d here, %d after %q", text, name, v, got, wire.String())
		}
	})
}

// FuzzRecv expects that no input makes the server's side panic or grow.
func FuzzRecv(f *testing.F) {
	f.Add([]byte("\x03\x00\x00\x00- a\x00\x00\x00\x00"), byte(0))
	f.Add([]byte("\x02\x00\x00\x00:C\x02\x00\x00\x00-C\x00\x00\x00\x00"), byte(3))
	f.Fuzz(func(t *testing.T, wire []byte, bits byte) {
		l := New(Config{DeleteExcluded: bits&4 != 0})
		s := Session{Sender: true, Protocol: 28 + int(bits&3), CVS: bits&8 != 0}
		if l.Recv(strings.NewReader(string(wire)), s) == nil {
			w := l.Walk(Root{Who: "sender", Dir: "/x"})
			if err := w.Enter("d"); err == nil {
				w.Check("d/e", true)
			}
		}
	})
}

// FuzzFile expects the same of the contents of a per-directory file.
func FuzzFile(f *testing.F) {
	f.Add("- a\n: .more\n!\n. x\r\n", ": .rules")
	f.Add("a b !\tc", ":C .rules")
	f.Fuzz(func(t *testing.T, text, rule string) {
		l := New(Config{})
		if l.AddArg(Filter, rule) != nil {
			return
		}
		w := l.Walk(Root{Who: "sender", Dir: "/top/src", Open: func(dir, name string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(text)), nil
		}})
		for _, d := range []string{".", "d", "d/e", "f"} {
			if err := w.Enter(d); err != nil {
				if exitcode.Of(err, 0) == 0 {
					t.Errorf("no code: %v", err)
				}
				return
			}
			w.Check(path.Join(d, "a"), false)
		}
	})
}
