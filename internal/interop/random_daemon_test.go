package interop

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var (
	daemonRounds = flag.Int("daemon-rounds", 16, "how many `configurations` of chance to try")
	daemonLuck   = flag.Uint64("daemon-luck", 2008, "the first configuration of chance is this `seed`'s, the next the one after")
)

// How a daemon of chance is reached.
const (
	byInetd    = "inetd"    // the connection is standard input
	byShell    = "shell"    // the connection is a remote shell's
	byListener = "listener" // the daemon listens and has left the terminal
	byFront    = "front"    // the daemon listens in the foreground
)

// A daemonCase is a configuration of chance, how the daemon is started and what
// its clients do.
type daemonCase struct {
	name    string
	by      string
	globals []string // pieces of the configuration, each of one or more lines
	modules []*daemonModule
	args    [][]string // of the daemon, each with all of its words
	env     []string   // of the daemon
	actions []*daemonAction
	box     tree // what the modules serve, below box/
	src, to tree // of the clients
	files   map[string]string
}

// A daemonModule is a section of a configuration.
type daemonModule struct {
	header string // as written, with the brackets
	name   string // as clients say it
	lines  []string
}

// newDaemonCase draws a case. The same seed gives the same one.
func newDaemonCase(seed uint64) *daemonCase {
	r := rand.New(rand.NewPCG(seed, 873))
	c := &daemonCase{name: fmt.Sprintf("daemon-%d", seed), files: maps.Clone(daemonFiles)}
	c.by = pickOne(r, byInetd, byInetd, byShell, byListener, byFront)
	c.drawTrees(r)
	c.drawConf(r)
	for range 1 + r.IntN(5) {
		c.actions = append(c.actions, c.drawAction(r))
	}
	return c
}

// drawTrees makes what modules and clients have: names and types of chance,
// with links that stay in a module and links that leave it.
func (c *daemonCase) drawTrees(r *rand.Rand) {
	common := func() tree {
		var t tree
		t.add(
			&node{path: "d", kind: dir}, &node{path: "d/e", kind: dir}, &node{path: "d/e/f", kind: file, data: []byte("f\n")},
			&node{path: "d/x.c", kind: file, data: content(1, 900)}, &node{path: "d/.hid", kind: file, data: []byte("h\n")},
			&node{path: "secret", kind: dir}, &node{path: "secret/s", kind: file, data: []byte("s\n")},
			&node{path: "a.c", kind: file, data: content(2, 3000)}, &node{path: "b.o", kind: file, data: content(3, 70)},
			&node{path: "sp ace", kind: file, data: []byte("sp\n")}, &node{path: "st*r", kind: file, data: []byte("st\n")},
			&node{path: "shut", kind: file, mode: 0o600, data: []byte("shut\n")},
			&node{path: "in", kind: symlink, target: "d/e"}, &node{path: "inf", kind: symlink, target: "d/x.c"},
			&node{path: "out", kind: symlink, target: "../outside"}, &node{path: "outf", kind: symlink, target: "../outside/o"},
			&node{path: "abs", kind: symlink, target: "/d/e"}, &node{path: "up", kind: symlink, target: "../outside/../outside"},
			&node{path: "munged", kind: symlink, target: "/rsyncd-munged/d/e/f"},
		)
		return t
	}
	serve := whole(append(common(), grow(r)...))
	put := func(top string, t tree) {
		c.box.add(&node{path: top, kind: dir})
		for _, n := range t.clone() {
			n.path = top + "/" + n.path
			if n.kind == hard {
				n.target = top + "/" + n.target
			}
			c.box = append(c.box, n)
		}
	}
	put("m", serve)
	put("n", whole(append(common(), serve.clone().age(rand.New(rand.NewPCG(r.Uint64(), 1)))...)))
	c.box.add(
		&node{path: "outside", kind: dir}, &node{path: "outside/o", kind: file, data: []byte("outside\n")},
		&node{path: "link", kind: symlink, target: "m"}, &node{path: "theirs", kind: symlink, target: "m", uid: 54321},
		&node{path: "tmp", kind: dir, mode: 0o1777},
	)
	if !root() {
		c.box.find("theirs").uid = 0
	}
	c.box.tame()
	c.src = whole(append(common(), serve.clone().age(rand.New(rand.NewPCG(r.Uint64(), 2)))...))
	c.src.tame()
	if r.IntN(2) == 0 {
		c.to = whole(append(common(), serve.clone().age(rand.New(rand.NewPCG(r.Uint64(), 3)))...))
		c.to.tame()
	}
}

// String tells a case as it is needed to run it by hand.
func (c *daemonCase) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s by %s, daemon %q, environment %q\n%s", c.name, c.by, slices.Concat(c.args...), c.env, c.conf())
	for _, a := range c.actions {
		fmt.Fprintf(&b, "-> %s\n", a)
	}
	return b.String()
}

// conf is the text of the configuration.
func (c *daemonCase) conf() string {
	all := slices.Clone(c.globals)
	for _, m := range c.modules {
		all = append(append(all, m.header), m.lines...)
	}
	return strings.Join(all, "\n") + "\n"
}

// parts is how many parts of the case can be left out.
func (c *daemonCase) parts() int {
	n := len(c.actions) + len(c.args) + len(c.globals)
	for _, m := range c.modules {
		n += 1 + len(m.lines)
	}
	for _, a := range c.actions {
		n += len(a.options)
	}
	return n
}

// without is the case without its part i.
func (c *daemonCase) without(i int) *daemonCase {
	d := *c
	take := func(n int) bool {
		if i < n {
			return true
		}
		i -= n
		return false
	}
	if take(len(c.actions)) {
		d.actions = slices.Delete(slices.Clone(c.actions), i, i+1)
		return &d
	}
	if take(len(c.args)) {
		d.args = slices.Delete(slices.Clone(c.args), i, i+1)
		return &d
	}
	if take(len(c.globals)) {
		d.globals = slices.Delete(slices.Clone(c.globals), i, i+1)
		return &d
	}
	for k, m := range c.modules {
		if take(1) {
			d.modules = slices.Delete(slices.Clone(c.modules), k, k+1)
			return &d
		}
		if take(len(m.lines)) {
			less := *m
			less.lines = slices.Delete(slices.Clone(m.lines), i, i+1)
			d.modules = slices.Clone(c.modules)
			d.modules[k] = &less
			return &d
		}
	}
	for k, a := range c.actions {
		if take(len(a.options)) {
			less := *a
			less.options = slices.Delete(slices.Clone(a.options), i, i+1)
			d.actions = slices.Clone(c.actions)
			d.actions[k] = &less
			return &d
		}
	}
	return &d
}

// differ runs the case with a pair of programs and with the oracle.
func (c *daemonCase) differ(t *testing.T, p pair) (diff []string, want, got *daemonResult) {
	t.Helper()
	if len(c.actions) == 0 {
		return nil, nil, nil
	}
	if want = c.run(t, p.oracle()); want.hung() {
		return nil, want, want // rsync's own trouble
	}
	if *oracle {
		p = p.oracle()
	}
	got = c.run(t, p)
	return want.compare(got, p), want, got
}

// TestRandomDaemon holds daemons with configurations of chance, and clients of
// them, against the oracle. A case that differs is shown with what it takes for
// that.
func TestRandomDaemon(t *testing.T) {
	needPeer(t)
	for i := range *daemonRounds {
		c := newDaemonCase(*daemonLuck + uint64(i))
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			judgeCase(t, c, daemonPull.pairs(), func(name string, small *daemonCase, diff []string, want, got *daemonResult) {
				if len(diff) > 40 {
					diff = append(diff[:40:40], "…")
				}
				t.Errorf("%s is not as rsync (-: rsync only, +: prsync only)\n\t%s\n%s\nin %s and %s", name, strings.Join(diff, "\n\t"), small, want.dir, got.dir)
			})
		})
	}
}

// hung reports whether an action took too long.
func (r *daemonResult) hung() bool {
	return slices.ContainsFunc(r.steps, (*result).hung) || r.start != nil && r.start.hung()
}

// prepare makes the directory that a case runs in.
func (c *daemonCase) prepare(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(lab, fmt.Sprintf("run-%06d", count.Add(1)))
	check(t, os.Mkdir(dir, 0o755))
	c.box.build(t, filepath.Join(dir, "box"))
	c.src.build(t, filepath.Join(dir, "src"))
	if c.to != nil {
		c.to.build(t, filepath.Join(dir, "to"))
	}
	for name, text := range c.files {
		name = filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(name), 0o755))
		check(t, os.WriteFile(name, []byte(strings.ReplaceAll(text, "RUNDIR", dir)), 0o600))
		switch {
		case strings.Contains(name, "/hook"):
			check(t, os.Chmod(name, 0o755))
		case strings.Contains(name, "loose"):
			check(t, os.Chmod(name, 0o644))
		}
	}
	// rsync opens its log with the rights that the daemon has by then, we before they are given up.
	check(t, os.WriteFile(filepath.Join(dir, "daemon.log"), nil, 0o666))
	check(t, os.Chmod(filepath.Join(dir, "daemon.log"), 0o666))
	check(t, os.WriteFile(filepath.Join(dir, "rsyncd.conf"), []byte(strings.ReplaceAll(c.conf(), "RUNDIR", dir)), 0o644))
	settle(t, dir)
	return dir
}
