package interop

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKilled kills prsync with SIGKILL at random instants of a transfer: all of
// it, or one end only. What lies under a final name then is either as it was or
// as it is to be, never a mixture, and the next run completes the tree.
func TestKilled(t *testing.T) {
	rounds := 4
	if *full {
		rounds = 40
	}
	for _, tt := range []struct {
		name, args string
		ways       []way
	}{
		{"whole", "-aH", []way{local, push}},
		{"delta", "-a --no-W", []way{local, pull, daemonPush}},
		{"delete", "-aH --delete --no-W", []way{local, push}},
		{"delayed", "-a --delay-updates --delete-after", []way{local, push}},
		{"partial-dir", "-a --partial-dir=.part --no-W", []way{local, daemonPull}},
		{"backup", "-ab --no-W --exclude=/type", []way{local, push}},
		{"compressed", "-azc", []way{push}},
		{"sparse", "-aS --preallocate", []way{local}},
	} {
		for _, w := range tt.ways {
			t.Run(tt.name+"/"+string(w), func(t *testing.T) {
				t.Parallel()
				s := &scenario{name: tt.name, args: tt.args + " --force"}
				commonSource(t)
				want, took := s.undisturbed(t, w)
				seed := uint64(time.Now().UnixNano())
				r := rand.New(rand.NewPCG(seed, 0))
				for i := range rounds {
					at := time.Duration(r.Int64N(int64(took)))
					s.killed(t, w, want, at, i%2 == 1, fmt.Sprintf("round %d of seed %d, killed after %v", i, seed, at))
					if t.Failed() {
						return
					}
				}
			})
		}
	}
}

// undisturbed is the tree that a run leaves which nobody kills, and how long
// such a run takes.
func (s *scenario) undisturbed(t *testing.T, w way) (snapshot, time.Duration) {
	t.Helper()
	dir := s.killDir(t)
	argv, env := s.command(t, w, pair{prsync, prsync}, 0, dir)
	start := time.Now()
	r := execute(t, dir, argv, env, nil)
	took := time.Since(start)
	if r.code != 0 {
		t.Fatalf("the run without a kill ended with %d: %q", r.code, r.stderr)
	}
	return take(t, filepath.Join(dir, "to"), start), took
}

// killDir is a directory of a run's own, with the older destination in it.
func (s *scenario) killDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(lab, fmt.Sprintf("run-%06d", count.Add(1)))
	check(t, os.Mkdir(dir, 0o755))
	if *keep == "" {
		t.Cleanup(func() { removeTree(dir) })
	}
	older().build(t, filepath.Join(dir, "to"))
	return dir
}

// leftover matches the names of temporary files.
var leftover = regexp.MustCompile(`(^|/)\.[^/]*\.[A-Za-z0-9]{6}$`)

// killed kills one run and lets another one finish its work.
func (s *scenario) killed(t *testing.T, w way, want snapshot, at time.Duration, clientOnly bool, what string) {
	t.Helper()
	dir := s.killDir(t)
	to := filepath.Join(dir, "to")
	before := take(t, to, time.Time{})
	argv, env := s.command(t, w, pair{prsync, prsync}, 0, dir)
	runAndKill(t, dir, argv, env, at, clientOnly)
	for name, e := range take(t, to, time.Time{}) {
		sum := e["content"]
		if sum == "" || leftover.MatchString(name) || strings.Contains("/"+name, "/.part/") || strings.Contains("/"+name, "/.~tmp~/") {
			continue
		}
		was := before[name]
		if was == nil { // a backup
			was = before[strings.TrimSuffix(name, "~")]
		}
		if sum != was["content"] && sum != want[name]["content"] {
			t.Errorf("%s: %q holds neither what it did nor what it should (%s bytes)", what, name, e["size"])
		}
	}
	start := time.Now()
	r := execute(t, dir, argv, env, nil)
	if r.code != 0 {
		t.Fatalf("%s: the next run ended with %d: %q", what, r.code, r.stderr)
	}
	got := take(t, to, start)
	for name := range got {
		if want[name] == nil && (leftover.MatchString(name) || strings.HasSuffix(name, "/.~tmp~") || strings.HasSuffix(name, "/.part") || strings.Contains(name, "/.part/")) {
			delete(got, name)
		}
	}
	for _, d := range want.compare(got) {
		// What a kill leaves behind changes the times of directories later than
		// they were set.
		if !strings.Contains(d, ": mtime is now") {
			t.Errorf("%s: after the next run %s", what, d)
		}
	}
	if t.Failed() {
		t.Log(r.command)
	}
}

// runAndKill runs a command and kills it, or with clientOnly what it has not
// started itself, after a time. It returns when all of it has ended.
func runAndKill(t *testing.T, dir string, argv, env []string, at time.Duration, clientOnly bool) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + dir, "LC_ALL=C", "TZ=UTC"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer // its end is held by all that the command has started
	cmd.Stdout, cmd.Stderr = &out, &out
	check(t, cmd.Start())
	whom := -cmd.Process.Pid
	if clientOnly {
		whom = cmd.Process.Pid
	}
	kill := time.AfterFunc(at, func() { syscall.Kill(whom, syscall.SIGKILL) })
	defer kill.Stop()
	hung := time.AfterFunc(*patience, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	cmd.Wait() // its error is the signal
	if !hung.Stop() {
		t.Errorf("what was left of %q did not end within %v", argv, *patience)
	}
}
