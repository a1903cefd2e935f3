package interop

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/prsync/prsync/internal/progtest"
)

var (
	keep   = flag.String("keep", "", "leave the trees and commands of the cases in this `directory`")
	full   = flag.Bool("full", false, "the whole matrix, not a part of it")
	oracle = flag.Bool("oracle", false, "hold rsync against itself in place of prsync: what differs then is chance")
	update = flag.Bool("update", false, "record testdata from real rsyncs")
)

// Where the programs are. An older rsync can be named as what is at the other
// end of the matrix; without one it is the version that we follow.
var (
	prsync string
	peer   = "/usr/bin/rsync"
	other  = peer
)

const peerVersion = "version 3.5."

// lab is where trees are built, on the file system of temporary files.
var lab string

// dropHost is a remote shell that reaches this machine only: it drops the host
// and lets a shell parse what is left, as sshd does.
var dropHost string

func TestMain(m *testing.M) {
	if role := os.Getenv(shellRole); role != "" {
		os.Exit(playShell(role))
	}
	flag.Parse()
	beParallel()
	code, err := setUp(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		code = 1
	}
	os.Exit(code)
}

func setUp(m *testing.M) (int, error) {
	var err error
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, err
	}
	if lab = *keep; lab != "" {
		if lab, err = filepath.Abs(lab); err == nil {
			err = os.MkdirAll(lab, 0o755)
		}
	} else if lab, err = os.MkdirTemp(quickDir(), "interop"); err == nil {
		defer removeTree(lab)
	}
	if err != nil {
		return 1, err
	}
	if err := os.Chmod(lab, 0o755); err != nil {
		return 1, err
	}
	dropHost = filepath.Join(lab, "drop-host")
	if err := os.WriteFile(dropHost, []byte("#!/bin/sh\nshift\neval \"exec $*\"\n"), 0o755); err != nil {
		return 1, err
	}
	if p := os.Getenv("PRSYNC_PEER"); p != "" {
		other = p
	}
	if prsync = os.Getenv("PRSYNC_BIN"); prsync == "" {
		prsync = filepath.Join(lab, "prsync")
		if err := progtest.Build(lab, "prsync"); err != nil {
			return 1, err
		}
	}
	if _, err := os.Stat(prsync); err != nil {
		return 1, fmt.Errorf("no program to test: %w", err)
	}
	return m.Run(), nil
}

// beParallel lets more cases run at a time than there are processors, unless
// told how many: much of a case is waiting.
func beParallel() {
	const name = "test.parallel"
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if !given {
		flag.Set(name, strconv.Itoa(3*runtime.GOMAXPROCS(0)))
	}
}

// quickDir is a file system in memory if there is one that has room: the
// matrix makes some hundred thousand files. TMPDIR overrules it.
func quickDir() string {
	const memory, room = "/dev/shm", 1 << 30
	var st unix.Statfs_t
	if os.Getenv("TMPDIR") != "" || unix.Statfs(memory, &st) != nil || st.Bavail*uint64(st.Bsize) < room {
		return ""
	}
	return memory
}

// needPeer skips a test that has nothing to compare with.
func needPeer(t *testing.T) {
	t.Helper()
	said, err := peerSays()
	if err != nil {
		t.Skipf("needs the real rsync: %v", err)
	}
	if !strings.Contains(said, peerVersion) {
		t.Skipf("needs rsync %sx as %s, which says %q", strings.TrimPrefix(peerVersion, "version "), peer, said)
	}
}

var peerSays = sync.OnceValues(func() (string, error) { return versionOf(peer) })

func versionOf(program string) (string, error) {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	first, _, _ := strings.Cut(string(out), "\n")
	return first, err
}

// spoken returns the protocol versions that the other end can speak.
var spoken = sync.OnceValue(func() []int {
	said, err := versionOf(other)
	_, tail, found := strings.Cut(said, "protocol version ")
	newest, nerr := strconv.Atoi(tail)
	if err != nil || !found || nerr != nil {
		return protocols
	}
	return slices.DeleteFunc(slices.Clone(protocols), func(p int) bool { return p > newest })
})

// root reports whether owners and device nodes can be tested.
func root() bool { return os.Geteuid() == 0 }

// removeTree removes what modes of 0 would keep from being removed.
func removeTree(dir string) {
	filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			os.Chmod(name, 0o700)
		}
		return nil
	})
	os.RemoveAll(dir)
}
