package interop

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/prsync/prsync/internal/progtest"
)

// A scenario is an option set over the common trees.
type scenario struct {
	name string
	args string   // options, split at blanks; words have no quotes, RUNDIR is the run's directory
	more []string // options that hold blanks; RUNDIR as in args
	from []string // source arguments, below the source tree; "" (its content) when there are none
	to   string   // destination, below the run's directory; "to/" when empty, and noDest for none
	dest func() tree
	// own gives the run a source of its own, because it is changed or its
	// access times matter.
	own bool
	// src is the tree of a source of its own, of the common one when nil.
	src func() tree
	// files are written into the run's directory first, by name.
	files map[string]string
	// prepare does what else the run needs in its directory.
	prepare func(t *testing.T, dir string)
	env     []string
	conf    string // more parameters of the daemon's modules, RUNDIR as in args
	only    []way  // nil is every way
	core    bool   // run for every protocol and way
	needs   need
	since   int // the oldest protocol that can do it; 0 is every one
	// told picks the lines of standard output that are compared.
	told func(lines []string) []string
	// loose leaves the named outputs ("stdout", "stderr") uncompared.
	loose []string
}

const noDest = "-"

type need int

const (
	needRoot  need = 1 << iota
	needAttrs      // access control lists and extended attributes
)

// A way is how the two ends are connected.
type way string

const (
	local      way = "local"
	push       way = "push"
	pull       way = "pull"
	daemonPush way = "daemon-push"
	daemonPull way = "daemon-pull"
)

var ways = []way{local, push, pull, daemonPush, daemonPull}

// A pair is the programs at the two ends.
type pair struct{ client, server string }

// pairs returns what is held against the oracle.
func (w way) pairs() map[string]pair {
	if w == local {
		return map[string]pair{"prsync": {prsync, prsync}}
	}
	return map[string]pair{"prsync-client": {prsync, other}, "prsync-server": {other, prsync}}
}

// oracle is the pair with rsync in place of prsync.
func (p pair) oracle() pair {
	if p.client == prsync {
		p.client = peer
	}
	if p.server == prsync {
		p.server = peer
	}
	return p
}

var count atomic.Int64

// A result is all that is compared of a run.
type result struct {
	dir            string
	command        string // to reproduce it with a shell
	code           int
	stdout, stderr []string
	raw            []string // standard error as it was printed
	totals         []int64  // of bytes, as the client tells them
	logged         []int64  // and as log files do, of either side
	log            []string // of --log-file
	daemon         []string // of the daemon
	tree           snapshot
}

// options are all of a scenario's in one line.
func (s *scenario) options() string { return strings.Join(append([]string{s.args}, s.more...), " ") }

// run runs a scenario once, in a directory of its own beside the source.
func (s *scenario) run(t *testing.T, w way, p pair, protocol int) *result {
	t.Helper()
	dir := filepath.Join(lab, fmt.Sprintf("run-%06d", count.Add(1)))
	check(t, os.Mkdir(dir, 0o755))
	if *keep == "" {
		defer removeTree(dir)
	}
	switch {
	case s.own && s.src != nil:
		s.src().build(t, filepath.Join(dir, "src"))
	case s.own:
		source().build(t, filepath.Join(dir, "src"))
	default:
		commonSource(t)
	}
	dest := s.dest
	if dest == nil {
		dest = older
	}
	if d := dest(); d != nil {
		d.build(t, filepath.Join(dir, "to"))
	}
	for name, text := range s.files {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	if s.prepare != nil {
		s.prepare(t, dir)
	}
	if s.own {
		settle(t, filepath.Join(dir, "src"))
	}
	argv, env := s.command(t, w, p, protocol, dir)
	start := time.Now()
	r := execute(t, dir, argv, append(env, s.env...), nil)
	r.tree = take(t, dir, start)
	if tellsAccess.MatchString(s.options()) {
		r.tree.noteAccess(t, dir, start)
	}
	delete(r.tree, "rsyncd.conf")
	delete(r.tree, "daemon.log")
	delete(r.tree["."], "mtime")
	for name, e := range r.tree {
		if strings.HasSuffix(name, ".log") { // holds dates, and lines that are compared as such
			delete(e, "content")
			delete(e, "size")
			delete(e, "blocks")
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "run.log")); err == nil {
		r.log = lines(string(text), places(dir))
		r.logged = totals(string(text))
	}
	if text, err := os.ReadFile(filepath.Join(dir, "daemon.log")); err == nil {
		r.daemon = lines(string(text), places(dir))
		if r.code != 0 && p.client != prsync {
			r.daemon = slices.DeleteFunc(r.daemon, aboutReset.MatchString)
		}
		r.logged = append(r.logged, totals(string(text))...)
	}
	return r
}

// settle gives what a preparation has just touched a time that is the same in
// every run: a file list is as long as the times in it.
func settle(t *testing.T, top string) {
	t.Helper()
	now, old := time.Now(), time.Unix(1_400_000_000, 0)
	check(t, filepath.WalkDir(top, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err != nil || d.Type()&os.ModeSymlink != 0 || i.ModTime().Before(now.Add(-time.Minute)) || i.ModTime().After(now.Add(time.Minute)) {
			return err
		}
		return os.Chtimes(name, old, old)
	}))
}

// commonSource builds, once, the source that runs share.
func commonSource(t *testing.T) {
	t.Helper()
	building.Do(func() {
		source().build(t, filepath.Join(lab, "S"))
		check(t, os.Mkdir(filepath.Join(lab, "beside"), 0o755))
		check(t, os.WriteFile(filepath.Join(lab, "beside", "file"), []byte("beside\n"), 0o644))
		old := time.Unix(1_400_000_000, 0) // not to be taken for a time of a run's own
		for _, name := range []string{"beside/file", "beside"} {
			check(t, os.Chtimes(filepath.Join(lab, name), old, old))
		}
	})
}

// command returns the argument vector and environment of a run.
func (s *scenario) command(t *testing.T, w way, p pair, protocol int, dir string) (argv, env []string) {
	t.Helper()
	src := "../S/"
	if s.own {
		src = "src/"
	}
	to := s.to
	if to == "" {
		to = "to/"
	}
	argv = append([]string{p.client}, strings.Fields(strings.ReplaceAll(s.args, "RUNDIR", dir))...)
	for _, w := range s.more {
		argv = append(argv, strings.ReplaceAll(w, "RUNDIR", dir))
	}
	if protocol != 0 {
		argv = append(argv, fmt.Sprintf("--protocol=%d", protocol))
	}
	switch w {
	case push:
		to = "peer:" + to
	case pull:
		src = "peer:" + src
	case daemonPush:
		to = "rsync://peer/run/" + to
	case daemonPull:
		if src = "rsync://peer/src/"; s.own {
			src = "rsync://peer/run/src/"
		}
	}
	switch w {
	case push, pull:
		argv = append(argv, "-e", dropHost, "--rsync-path="+p.server)
	case daemonPush, daemonPull:
		conf := filepath.Join(dir, "rsyncd.conf")
		check(t, os.WriteFile(conf, []byte(daemonConf(dir, strings.ReplaceAll(s.conf, "RUNDIR", dir))), 0o644))
		env = append(env, "RSYNC_CONNECT_PROG="+p.server+" --daemon --config="+conf)
	}
	from := s.from
	if from == nil {
		from = []string{""}
	}
	for _, f := range from { // none for a batch
		argv = append(argv, src+f)
	}
	if s.to != noDest {
		argv = append(argv, to)
	}
	return argv, env
}

func daemonConf(dir, more string) string {
	ids := ""
	if root() {
		ids = "uid = 0\ngid = 0\n"
	}
	return ids + `use chroot = no
munge symlinks = no
read only = no
` + more + `
log file = ` + dir + `/daemon.log
[src]
path = ` + lab + `/S
[run]
path = ` + dir + "\n"
}

// patience is how long one run may take before it counts as hung.
var patience = flag.Duration("patience", 40*time.Second, "how `long` a run may take before it counts as hung")

// hung reports whether a run was ended because it took too long.
func (r *result) hung() bool {
	return slices.ContainsFunc(r.stderr, func(l string) bool { return strings.HasPrefix(l, "HUNG: ") })
}

// sources is looked at in a test, since what TestMain opens does not count.
var sources = sync.OnceValue(progtest.DependOnSources)

// execute runs a command in dir and returns what it said. The command and all
// that it started are gone afterwards.
func execute(t *testing.T, dir string, argv, env []string, stdin []byte) *result {
	t.Helper()
	check(t, sources())
	base := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + dir, "LC_ALL=C", "TZ=UTC", "USER=tester"}
	ctx, stop := context.WithTimeout(context.Background(), *patience)
	defer stop()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(base, env...)
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 3 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	r := &result{dir: dir, command: shellLine(dir, argv, env), code: cmd.ProcessState.ExitCode()}
	r.stdout, r.stderr = lines(out.String(), places(dir)), lines(errs.String(), places(dir))
	r.raw = strings.Split(errs.String(), "\n")
	r.totals = totals(out.String())
	reap(cmd.Process.Pid)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		r.stderr = append(r.stderr, fmt.Sprintf("HUNG: killed after %v", *patience))
	case err != nil && !errors.As(err, &exit):
		r.stderr = append(r.stderr, "RUN: "+err.Error())
	}
	return r
}

// reap waits for what else a command has started, a daemon's server above all:
// it writes its last line after the client has ended. The tests adopt it then
// (see TestMain).
func reap(group int) {
	left := time.AfterFunc(*patience, func() { syscall.Kill(-group, syscall.SIGKILL) })
	defer left.Stop()
	for {
		switch _, err := unix.Wait4(-group, nil, 0, nil); err {
		case nil, unix.EINTR:
		default: // nobody is left
			return
		}
	}
}

// places takes the names of a run's own directories and of the programs out of
// what was printed.
func places(dir string) *strings.Replacer {
	return strings.NewReplacer(dir, "RUNDIR", filepath.Base(dir), "RUN", prsync, "RSYNC", peer, "RSYNC", other, "RSYNC", lab, "LAB")
}

// shellLine is a command as a shell takes it.
func shellLine(dir string, argv, env []string) string {
	var b strings.Builder
	b.WriteString("cd " + quote(dir) + " &&")
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		b.WriteString(" " + k + "=" + quote(v))
	}
	for _, a := range argv {
		b.WriteString(" " + quote(a))
	}
	return b.String()
}

func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,+@", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
