// Package progtest builds prsync's programs for tests that run them as they
// are installed.
package progtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

const module = "github.com/prsync/prsync"

// Build puts programs, named as their folders below cmd, into a directory.
func Build(dir string, programs ...string) error {
	if err := DependOnSources(); err != nil {
		return err
	}
	args := []string{"build", "-o", dir + "/"}
	for _, p := range programs {
		args = append(args, module+"/cmd/"+p)
	}
	build := exec.Command("go", args...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// DependOnSources makes the result of the running test depend on every source
// of the module. The go command repeats a result that it has kept while the
// test binary and the files and folders that the test opened are the same: it
// does not see what a go command started by the test has read, nor what a
// TestMain opens before it runs the tests.
func DependOnSources() error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	for _, top := range []string{"cmd", "internal", "scripts"} {
		// Opening a folder is enough: its files count with size and time.
		err := filepath.WalkDir(filepath.Join(root, top), func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			return err
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "go.work"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	return nil
}

// moduleRoot finds the folder of go.mod above the current one, which is a
// test's package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		} else if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above the working directory: %w", err)
		}
		dir = filepath.Dir(dir)
	}
}
