package meta

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/prsync/prsync/internal/fsroot"
)

const nobody = 65534

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needRsync(t *testing.T) {
	t.Helper()
	out, err := exec.Command("rsync", "--version").Output()
	if err != nil {
		t.Skip("needs rsync, to compare with")
	}
	if !strings.Contains(string(out), "version 3.5") {
		t.Skip("needs rsync 3.5, to compare with")
	}
}

func needTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s, to compare with", name)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to set owners")
	}
}

// asNobody runs body as an ordinary user. A test started by root runs itself
// again as uid 65534 for it; asNobody then returns in the parent without body.
func asNobody(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		body(t)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=^"+regexp.QuoteMeta(t.Name())+"$")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("as uid %d: %v\n%s", nobody, err, out)
	}
}

func open(t *testing.T, path string) *fsroot.Root {
	t.Helper()
	r, err := fsroot.Open(path, fsroot.Policy{})
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func pin(t *testing.T, r *fsroot.Root, name string) *fsroot.Pin {
	t.Helper()
	p, err := r.Pin(name)
	must(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

func chmod(t *testing.T, r *fsroot.Root, name string, mode uint32) {
	t.Helper()
	must(t, pin(t, r, name).Chmod(mode))
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func create(t *testing.T, path string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte("x"), 0644))
}
