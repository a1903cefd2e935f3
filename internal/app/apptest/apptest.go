// Package apptest makes a test binary each of prsync's programs, so that tests
// run them as real processes without building them first.
package apptest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/prsync/prsync/internal/app"
	"github.com/prsync/prsync/internal/app/hostcmd"
	"github.com/prsync/prsync/internal/p2p/engine"
)

// All are the names of the programs.
var All = []string{"prsync", hostcmd.Program, "prsync-engine"}

// Main is a TestMain: the test binary is the program whose name its file has,
// and runs the tests under any other.
func Main(m *testing.M) {
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

// Install puts the test binary into a directory under each of the names: as a
// file of its own, since the programs look for each other beside the one that
// runs.
func Install(tb testing.TB, dir string, programs ...string) {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range programs {
		if os.Link(self, filepath.Join(dir, p)) == nil {
			continue
		}
		// Another file system.
		b, err := os.ReadFile(self)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, p), b, 0o755)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}
