package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSignalledServer ends a server by a signal in the middle of a file, and
// holds what is left then, and the client's code, against rsync's.
//
// Two codes are a matter of who is faster, with rsync at both ends too. rsync's
// client looks at the server's status at once, and mostly finds that it has ended;
// ours waits for it, and is held to the better code. A client that sends to a
// daemon meets a reset (10) where the daemon had something left to read, else a
// closed connection, and reads the daemon's last words (20, from protocol 31 on).
func TestSignalledServer(t *testing.T) {
	needPeer(t)
	for _, w := range []way{push, pull, daemonPush, daemonPull} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			for _, args := range []string{"-rt", "-rt --partial", "-rt --partial-dir=.part", "-rt --inplace", "-rt --delay-updates", "-rt --protocol=29"} {
				t.Run(fmt.Sprintf("%s/%v/%s", w, sig, args), func(t *testing.T) {
					t.Parallel()
					s := &scenario{name: "signalled", args: args + " --bwlimit=400"}
					wantCode, want := s.signalled(t, w, pair{peer, peer}, sig)
					wants := []int{wantCode}
					switch {
					case w == daemonPush && !strings.HasSuffix(args, "=29"):
						wants = []int{10, 20}
					case w == pull || w == push:
						wants = []int{20}
					}
					for name, p := range w.pairs() {
						code, got := s.signalled(t, w, p, sig)
						early := map[way]int{push: 10, pull: 12}[w]
						if !slices.Contains(wants, code) && !(p.client == peer && code == early) {
							t.Errorf("%s: code %d, want one of %d", name, code, wants)
						}
						for _, d := range want.compare(got) {
							t.Errorf("%s: %s", name, d)
						}
					}
				})
			}
		}
	}
}

// signalled runs a transfer of one large file, sends the server a signal when
// a part has been written, and returns the client's code and the destination
// without what chance decides.
func (s *scenario) signalled(t *testing.T, w way, p pair, sig syscall.Signal) (int, snapshot) {
	t.Helper()
	dir := filepath.Join(lab, fmt.Sprintf("run-%06d", count.Add(1)))
	check(t, os.MkdirAll(filepath.Join(dir, "src"), 0o755))
	defer removeTree(dir)
	check(t, os.Mkdir(filepath.Join(dir, "to"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "src", "large"), content(9, 2<<20), 0o644))
	one := *s
	one.own = true
	pid := filepath.Join(dir, "pid")
	check(t, os.WriteFile(filepath.Join(dir, "server"), []byte("#!/bin/sh\necho $$ >"+pid+"\nexec "+p.server+" \"$@\"\n"), 0o755))
	argv, env := one.command(t, w, pair{p.client, filepath.Join(dir, "server")}, 0, dir)
	if w == daemonPush || w == daemonPull {
		env[0] = strings.Replace(env[0], "RSYNC_CONNECT_PROG=", "RSYNC_CONNECT_PROG=exec ", 1)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + dir, "LC_ALL=C", "TZ=UTC"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	check(t, cmd.Start())
	defer time.AfterFunc(*patience, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }).Stop()
	for begun := false; !begun; time.Sleep(10 * time.Millisecond) {
		check(t, filepath.WalkDir(filepath.Join(dir, "to"), func(_ string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil // it may be gone by now
			}
			i, err := d.Info()
			begun = begun || err == nil && i.Size() > 100_000
			return nil
		}))
	}
	text, err := os.ReadFile(pid)
	check(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	check(t, err)
	check(t, syscall.Kill(n, sig))
	cmd.Wait() // its error is the code
	reap(cmd.Process.Pid)
	tree := take(t, filepath.Join(dir, "to"), time.Time{})
	for _, e := range tree {
		for _, k := range []string{"mtime", "size", "blocks", "content"} {
			delete(e, k)
		}
	}
	return cmd.ProcessState.ExitCode(), tree
}
