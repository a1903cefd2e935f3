package interop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestSignalledDaemon compares how a daemon that listens ends, and one of its
// processes whose client has said nothing yet.
func TestSignalledDaemon(t *testing.T) {
	needPeer(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1} {
		t.Run(fmt.Sprint(sig), func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(signalledDaemon(t, peer, sig), signalledDaemon(t, prsync, sig)); diff != "" {
				t.Errorf("(-: rsync, +: prsync)\n%s", diff)
			}
		})
	}
}

func signalledDaemon(t *testing.T, program string, sig syscall.Signal) []string {
	t.Helper()
	c := &daemonCase{name: t.Name(), by: byFront, globals: []string{"log file = RUNDIR/daemon.log"}}
	dir := c.prepare(t)
	defer removeTree(dir)
	s := &served{c: c, server: program, dir: dir}
	if r := s.listen(t); s.pid == 0 {
		t.Fatalf("%s does not listen: %q", program, r.stderr)
	}
	defer unix.Close(s.held)
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(*patience)))
	in := bufio.NewReader(conn)
	_, err = in.ReadString('\n')
	check(t, err)
	for _, pid := range group(s.pid) {
		if pid != s.pid {
			check(t, syscall.Kill(pid, sig))
		}
	}
	if _, err := io.Copy(io.Discard, in); os.IsTimeout(err) {
		t.Errorf("a process of %s goes on after %v", program, sig)
	}
	s.settle(t)
	check(t, syscall.Kill(s.pid, sig))
	<-s.ended // its error is the code
	text, err := os.ReadFile(filepath.Join(dir, "daemon.log"))
	check(t, err)
	out := s.lines(text)
	if _, err := os.Stat(filepath.Join(dir, "daemon.pid")); err == nil {
		out = append(out, "the pid file is left")
	}
	return append(out, "code "+strings.TrimSpace(fmt.Sprint(s.front.ProcessState.ExitCode())))
}
