package filter

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/exitcode"
)

var scenes = flag.Int("scenes", 48, "how many random scenes to compare with rsync")

// TestAsRsync runs the real rsync, dry, over random trees and rules, and
// expects a walk by our rules to send and to delete the same names. Every third
// is a pull from a daemon.
func TestAsRsync(t *testing.T) {
	rsync, err := exec.LookPath("rsync")
	if err != nil {
		t.Skip("needs rsync on the PATH")
	}
	failed := 0
	for seed := range *scenes {
		g := &generator{rand.New(rand.NewPCG(uint64(seed), 1))}
		s := g.scene(t)
		if seed%3 == 0 {
			g.serve(t, s)
		}
		got, ours := s.simulate()
		want, theirs := s.run(t, rsync)
		switch {
		case theirs != exitcode.OK:
			failed++
			if ours == nil {
				t.Errorf("seed %d: rsync exits with %d, we accept\n%s%s", seed, theirs, s.said, s)
			}
		case ours != nil:
			t.Errorf("seed %d: %v, rsync accepts\n%s", seed, ours, s)
		case !maps.Equal(got, want):
			t.Errorf("seed %d: differs (- rsync only, + ours only):\n%s%s", seed, difference(want, got), s)
		}
		if t.Failed() && seed > 4 {
			break
		}
	}
	t.Logf("%d of %d rule sets are in error", failed, *scenes)
	if failed > *scenes/2 {
		t.Error("too many are in error: the test tests little")
	}
}

func difference(want, got map[string]bool) string {
	var lines []string
	for n := range want {
		if !got[n] {
			lines = append(lines, "- "+n+"\n")
		}
	}
	for n := range got {
		if !want[n] {
			lines = append(lines, "+ "+n+"\n")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// scene is one generated case.
type scene struct {
	dir   string // holds src, dst, home, and merge files
	args  []string
	slash bool // "src/" rather than "src"
	del   string
	cvs   bool
	env   string // CVSIGNORE
	files map[string]string
	// With daemon, src is a module that a client pulls from, with these rules.
	daemon *DaemonRules
	said   string // rsync's error
}

func (s *scene) String() string {
	var b strings.Builder
	if s.daemon != nil {
		fmt.Fprintf(&b, "daemon %+q\n", *s.daemon)
	}
	fmt.Fprintf(&b, "args %q, slash %v, %s, cvs %v, CVSIGNORE %q\n", s.args, s.slash, s.del, s.cvs, s.env)
	for _, f := range slices.Sorted(maps.Keys(s.files)) {
		fmt.Fprintf(&b, "%s %q\n", f, s.files[f])
	}
	return b.String()
}

// run returns what rsync would send, and would delete (with a "-").
func (s *scene) run(t *testing.T, rsync string) (map[string]bool, exitcode.Code) {
	t.Helper()
	args := append([]string{"-nrii", "-I", "--out-format=%i|%n", s.del}, s.args...)
	if s.cvs {
		args = append(args, "-C")
	}
	src := "src"
	if s.slash {
		src = "src/"
	}
	env := []string{"HOME=" + s.dir + "/home", "CVSIGNORE=" + s.env, "LC_ALL=C"}
	if d := s.daemon; d != nil {
		conf := fmt.Sprintf("use chroot = no\nlog file = %s/log\n[m]\npath = %s/src\nfilter = %s\ninclude from = %s\n"+
			"include = %s\nexclude from = %s\nexclude = %s\n", s.dir, s.dir, d.Filter, d.IncludeFrom, d.Include, d.ExcludeFrom, d.Exclude)
		if os.Getuid() == 0 {
			conf = "uid = 0\ngid = 0\n" + conf
		}
		if err := os.WriteFile(s.dir+"/conf", []byte(conf), 0o644); err != nil {
			t.Fatal(err)
		}
		env = append(env, "RSYNC_CONNECT_PROG="+rsync+" --config="+s.dir+"/conf --daemon")
		src = "localhost::m/"
	}
	cmd := exec.Command(rsync, append(args, src, "dst/")...)
	cmd.Dir, cmd.Env = s.dir, env
	out, err := cmd.Output()
	if err != nil {
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if e := new(exec.ExitError); errors.As(err, &e) {
			log, _ := os.ReadFile(s.dir + "/log")
			s.said = string(e.Stderr) + string(log)
		}
		return nil, exitcode.Code(cmd.ProcessState.ExitCode())
	}
	names := make(map[string]bool)
	for _, line := range strings.Split(string(out), "\n") {
		item, name, ok := strings.Cut(line, "|")
		switch {
		case !ok || name == "./":
		case strings.HasPrefix(item, "*deleting"):
			names["-"+name] = true
		default:
			names[name] = true
		}
	}
	return names, exitcode.OK
}

// simulate does the same with our rules.
func (s *scene) simulate() (map[string]bool, error) {
	l := New(Config{
		Dir: s.dir, DeleteExcluded: s.del == "--delete-excluded",
		HomeCVSIgnore: s.dir + "/home/.cvsignore", CVSIgnore: s.env,
		Open: func(name string) (io.ReadCloser, error) { return os.Open(join(s.dir, name)) },
	})
	kinds := map[string]Kind{"--filter": Filter, "--exclude": ExcludeRule, "--include": IncludeRule,
		"--exclude-from": ExcludeFrom, "--include-from": IncludeFrom}
	for _, a := range s.args {
		opt, text, _ := strings.Cut(a, "=")
		kind, ok := kinds[opt]
		if !ok {
			kind = PerDirFilter
		}
		if err := l.AddArg(kind, text); err != nil {
			return nil, err
		}
	}
	session := Session{Sender: true, Local: true, Protocol: 32, Delete: true, CVS: s.cvs}
	sim := simulation{scene: s, names: map[string]bool{}}
	if s.daemon != nil {
		return sim.names, sim.pull(l, session)
	}
	far := l.Clone()
	if err := l.Send(nil, session); err != nil {
		return nil, err
	}
	session.Sender = false
	if err := far.Recv(nil, session); err != nil {
		return nil, err
	}
	from, top := s.dir, "src"
	if s.slash {
		from, top = s.dir+"/src", "."
	}
	if err := sim.send(l.Walk(s.root("sender", from)), from, top); err != nil {
		return nil, err
	}
	err := sim.prune(far.Walk(s.root("generator", s.dir+"/dst")), s.dir+"/dst")
	return sim.names, err
}

// pull has the daemon's end be told the client's rules.
func (s *simulation) pull(client *List, session Session) error {
	// The daemon reads nothing outside of the module: no ~/.cvsignore.
	cfg := Config{Who: "server", Dir: "/", Sanitize: true, DeleteExcluded: client.cfg.DeleteExcluded, CVSIgnore: s.env,
		Open: func(name string) (io.ReadCloser, error) { return os.Open(join(s.dir, name)) }}
	var err error
	if cfg.Daemon, err = ParseDaemon(cfg, *s.daemon); err != nil {
		return err
	}
	session.Local, session.Sender = false, false
	var wire bytes.Buffer
	if err := client.Send(&wire, session); err != nil {
		return err
	}
	server := New(cfg)
	session.Sender = true
	if err := server.Recv(&wire, session); err != nil {
		return err
	}
	root := Root{Who: "sender", Dir: "/", Open: func(in, name string) (io.ReadCloser, error) {
		return os.Open(filepath.Join(s.dir, "src", in, name))
	}}
	s.module = cfg.Daemon.Walk(root)
	if err := s.send(server.Walk(root), s.dir+"/src", "."); err != nil {
		return err
	}
	for name := range s.names {
		if !client.HasPerDir() {
			if err := client.CheckSender(strings.TrimSuffix(name, "/"), strings.HasSuffix(name, "/")); err != nil {
				return err
			}
		}
	}
	return s.prune(client.Walk(s.root("generator", s.dir+"/dst")), s.dir+"/dst")
}

func (s *scene) root(who, dir string) Root {
	return Root{Who: who, Dir: dir, Open: func(in, name string) (io.ReadCloser, error) {
		if !filepath.IsAbs(in) {
			in = filepath.Join(dir, in)
		}
		return os.Open(filepath.Join(in, name))
	}}
}

type simulation struct {
	*scene
	names  map[string]bool
	dirs   []string
	module *Walk // by the daemon's rules, if there is one
}

func (s *simulation) send(w *Walk, root, name string) error {
	info, err := os.Lstat(filepath.Join(root, name))
	if err != nil {
		return err
	}
	if name != "." {
		if s.module != nil && s.module.Check(name, info.IsDir()) == Exclude || w.Check(name, info.IsDir()) == Exclude {
			return nil
		}
		s.names[listName(name, info.IsDir())] = true
	}
	if !info.IsDir() {
		return nil
	}
	s.dirs = append(s.dirs, name)
	if err := w.Enter(name); err != nil {
		return err
	}
	entries, _ := os.ReadDir(filepath.Join(root, name))
	for _, e := range entries {
		if err := s.send(w, root, filepath.Join(name, e.Name())); err != nil {
			return err
		}
	}
	w.Leave(name)
	return nil
}

func listName(name string, isDir bool) string {
	if isDir {
		return name + "/"
	}
	return name
}

func (s *simulation) prune(w *Walk, root string) error {
	for _, dir := range s.dirs {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil {
			continue
		}
		if err := w.Enter(dir); err != nil {
			return err
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			if s.names[listName(name, e.IsDir())] || w.Check(name, e.IsDir()) == Exclude {
				continue
			}
			w.Dying = true
			gone, err := s.remove(w, root, name, e.IsDir())
			if err != nil {
				return err
			}
			if gone {
				s.names["-"+listName(name, e.IsDir())] = true
			}
			w.Dying = false
		}
	}
	return nil
}

// remove reports whether everything in name can go. A dry run of rsync says of
// every directory below the first that it goes, even if something stays in it.
func (s *simulation) remove(w *Walk, root, name string, isDir bool) (gone bool, err error) {
	gone = true
	if !isDir {
		return gone, nil
	}
	if err := w.Enter(name); err != nil {
		return false, err
	}
	entries, _ := os.ReadDir(filepath.Join(root, name))
	for _, e := range entries {
		inner := filepath.Join(name, e.Name())
		if w.Check(inner, e.IsDir()) == Exclude {
			gone = false
			continue
		}
		ok, err := s.remove(w, root, inner, e.IsDir())
		if err != nil {
			return false, err
		}
		s.names["-"+listName(inner, e.IsDir())] = true
		gone = gone && ok
	}
	w.Leave(name)
	return gone, nil
}

// generator makes up scenes. Directories and files never share a name.
type generator struct{ *rand.Rand }

func (g *generator) pick(from ...string) string { return from[g.IntN(len(from))] }

func (g *generator) file() string {
	return g.pick("a", "b", "a.o", "b.c", "foo", "tags", "x~", "a b", "core", "-x", "f[1]")
}

func (g *generator) dirname() string { return g.pick("d1", "d2", "dx", "CVS", "lib", "d.old") }

func (g *generator) pattern() string {
	return g.pick(
		g.file(), g.file(), g.dirname(), g.dirname()+"/", "*", "*/", "*.o", "*.[co]", "d*/", "d?", "[!a]*", "[a-c]*",
		"/"+g.file(), "/"+g.dirname(), "/"+g.dirname()+"/", "/"+g.dirname()+"/***", g.dirname()+"/***",
		g.dirname()+"/"+g.file(), g.dirname()+"/*", g.dirname()+"/**", "/"+g.dirname()+"/**/"+g.file(),
		"**/"+g.file(), "**"+g.file(), "**/"+g.dirname()+"/", g.dirname()+"**", g.dirname()+"/*/"+g.file(),
		"**/"+g.dirname()+"/*/", "/*/*", "*/*", "/src/"+g.dirname(), "/src/**/"+g.file(), "/**", "***", `f\[1]*`, `f\[1]`,
		"/src/***", "**/d*/**", "src", "dst", "/dst/"+g.dirname(), "src/"+g.dirname(), g.dirname()+"//",
	)
}

func (g *generator) rule(depth int) string {
	switch k := g.IntN(24); {
	case k == 0:
		return g.pick("!", "clear", "-C", "merge RULES0", ". RULES1", "merge,- RULES1", ".+ RULES0")
	case k <= 3 && depth > 0:
		return g.pick(": .rules", ":n .rules", ":- .plain", ":+ .plain", ":w- .plain", ":C", ":n- .plain", ":e .rules",
			"dir-merge .rules", ": .more", ":s .more", ":r .more", ":sC", "dir-merge,- .plain", ":- /.plain",
			": ../.rules", ": d1/.more", ":p .rules", ":/ .more", ":- ../.plain", "dir-merge_.more")
	}
	return g.pick("- ", "- ", "- ", "+ ", "+ ", "+ ", "-! ", "+! ", "H ", "S ", "P ", "R ", "-p ", "-s ", "-r ", "+s ",
		"+r ", "-,p ", "exclude ", "include ", "hide ", "show ", "protect ", "risk ", "exclude,! ", "Pp ", "-/ ", "+/ ",
		"-_", "hide,p ", "-x ", "-sr ") + g.pattern()
}

func (g *generator) rules(n int) string {
	var b strings.Builder
	for range g.IntN(n + 1) {
		b.WriteString(g.rule(1) + g.pick("\n", "\n", "\r\n", "\n\n", "\n# no rule\n", "\n;\n"))
	}
	return b.String()
}

func (g *generator) plain(n int) string {
	var b strings.Builder
	for range g.IntN(n + 1) {
		b.WriteString(g.pick("", "", "", "- ", "+ ", "!\n") + g.pattern() + g.pick("\n", "\n", " ", "\n#x\n"))
	}
	return b.String()
}

func (g *generator) scene(t *testing.T) *scene {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{dir: dir, files: make(map[string]string), slash: g.IntN(2) == 0, del: g.pick("--delete", "--delete", "--delete-excluded")}
	s.files["RULES0"], s.files["RULES1"], s.files["PLAIN"] = g.rules(3), g.plain(4), g.plain(4)
	if g.IntN(4) == 0 {
		s.cvs = true
		s.env = g.pick("", "foo", "a *.c", "! d1")
		s.files["home/.cvsignore"] = g.pick("", "b\nlib", "!", "d* !")
	}
	into := "dst"
	if !s.slash {
		into = "dst/src"
	}
	for _, root := range []string{"src", into} {
		g.tree(s, root, 3)
	}
	for range 1 + g.IntN(4) {
		switch g.IntN(8) {
		case 0:
			s.args = append(s.args, "--exclude="+g.pattern())
		case 1:
			s.args = append(s.args, "--include="+g.pattern())
		case 2:
			s.args = append(s.args, g.pick("--exclude-from=PLAIN", "--include-from=PLAIN", "-F"))
		default:
			s.args = append(s.args, "--filter="+g.rule(2))
		}
	}
	for name, text := range s.files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// serve makes src a module with rules of its own, and pulls from it.
func (g *generator) serve(t *testing.T, s *scene) {
	t.Helper()
	s.slash = true
	words := func(prefixes ...string) string {
		var list []string
		for range g.IntN(3) {
			list = append(list, g.pick(prefixes...)+strings.ReplaceAll(g.pattern(), " ", "?"))
		}
		return strings.Join(list, " ")
	}
	s.daemon = &DaemonRules{Filter: words("- ", "+ ", "-_", "P ", "H ", "-! "), Include: words("", "- "), Exclude: words("", "+ ")}
	// rsync 3.5.0 looks up such a file by the rules before it, under a name cut
	// at the length of the module's path: there can be none before it here.
	switch g.IntN(3) {
	case 0:
		s.daemon.IncludeFrom, s.daemon.Filter = s.dir+"/DIN", ""
	case 1:
		s.daemon.ExcludeFrom, s.daemon.Filter, s.daemon.Include = s.dir+"/DEX", "", ""
	}
	for _, name := range []string{"DIN", "DEX"} {
		text := g.plain(2)
		s.files[name] = text
		if err := os.WriteFile(s.dir+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (g *generator) tree(s *scene, dir string, depth int) {
	s.files[dir+"/keep"] = ""
	for range g.IntN(6) {
		s.files[dir+"/"+g.file()] = ""
	}
	for _, n := range []string{".rules", ".more", ".rsync-filter"} {
		if g.IntN(4) == 0 {
			s.files[dir+"/"+n] = g.rules(3)
		}
	}
	for _, n := range []string{".plain", ".cvsignore"} {
		if g.IntN(4) == 0 {
			s.files[dir+"/"+n] = g.plain(3)
		}
	}
	if depth > 0 {
		for range g.IntN(4) {
			g.tree(s, dir+"/"+g.dirname(), depth-1)
		}
	}
}
