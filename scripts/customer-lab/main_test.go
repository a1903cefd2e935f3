package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/app"
	"github.com/prsync/prsync/internal/app/hostcmd"
	"github.com/prsync/prsync/internal/p2p/engine"
)

// TestMain makes this test binary each of prsync's programs, by the name of
// the file that is run.
func TestMain(m *testing.M) {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	switch filepath.Base(self) {
	case "prsync":
		os.Exit(app.Main(os.Args, os.Environ()))
	case hostcmd.Program:
		os.Exit(hostcmd.Main(os.Args, os.Environ(), "test", hostcmd.Streams{Out: os.Stdout, Err: os.Stderr}))
	case "prsync-engine":
		if err := engine.RunChild(context.Background(), os.NewFile(3, "socket")); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestCustomers is a short run of the lab, with all customers' programs that
// are installed: some hundred requests while the repository changes.
func TestCustomers(t *testing.T) {
	if testing.Short() {
		t.Skip("runs package managers for half a minute")
	}
	if os.Geteuid() != 0 {
		t.Skip("dpkg and rpm install as root only")
	}
	l := lab{requests: 500, volunteers: 2, packages: 10, interval: time.Second, tools: strings.Join(toolNames(), ","), say: t.Logf, parent: t.TempDir()}
	if missing := l.missing(); len(missing) > 0 {
		t.Skipf("not installed: %s (scripts/test installs them)", strings.Join(missing, ", "))
	}
	l.bin = t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"prsync", hostcmd.Program, "prsync-engine"} {
		b, err := os.ReadFile(self)
		if err == nil {
			err = os.WriteFile(filepath.Join(l.bin, p), b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := l.run(t.Context())
	if r != nil {
		var text strings.Builder
		r.print(&text)
		t.Log(text.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := r.failures(); n > 0 {
		t.Errorf("%d failures", n)
	}
	for _, tool := range toolNames() {
		if r.visits[tool] == 0 {
			t.Errorf("%s has not finished once", tool)
		}
	}
	if r.redirects == 0 || r.requests < l.requests || r.publications.Load() < 2 {
		t.Errorf("%d requests, %d redirects, %d publications", r.requests, r.redirects, r.publications.Load())
	}
}
