package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSignalledServer ends a server by a signal in the middle of a file, and
// holds what is left then, and the client's code, against rsync's.
//
// Some codes are left out. Whether a client still hears the last words of a
// daemon that receives is a matter of who is faster (rsync's mostly does not),
// and our daemon that sends has none. In a pull, rsync's client looks at the
// server's status at once, and mostly finds that it has ended; ours waits for it.
func TestSignalledServer(t *testing.T) {
	needPeer(t)
	for _, w := range []way{push, pull, daemonPush, daemonPull} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			for _, args := range []string{"-rt", "-rt --partial", "-rt --partial-dir=.part", "-rt --inplace", "-rt --delay-updates"} {
				t.Run(fmt.Sprintf("%s/%v/%s", w, sig, args), func(t *testing.T) {
					t.Parallel()
					s := &scenario{name: "signalled", args: args + " --bwlimit=400"}
					wantCode, want := s.signalled(t, w, pair{peer, peer}, sig)
					for name, p := range w.pairs() {
						code, got := s.signalled(t, w, p, sig)
						if w == pull && p.client == prsync {
							wantCode = 20
						}
						if (w == push || w == pull && p.client == prsync) && code != wantCode {
							t.Errorf("%s: code %d, want %d", name, code, wantCode)
						}
						if code == 0 {
							t.Errorf("%s: the server went on", name)
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
