package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestWrappedServer starts servers as wrappers do: with options in front of
// those that the client asks for (rsync(1) shows "rsync --fake-super" for
// --rsync-path), and with the destination behind a descriptor and confined to a
// directory, as rrsync does.
func TestWrappedServer(t *testing.T) {
	needPeer(t)
	for name, tc := range map[string]struct {
		client []string
		server string // in front of --server
		dest   string
		code   int
	}{
		"fake-super":          {server: " --fake-super", dest: "to/"},
		"several":             {server: " --fake-super --bwlimit=100000 -M--x", dest: "to/"},
		"unknown":             {server: " --no-such-option", dest: "to/", code: 12},
		"pinned":              {dest: "/proc/self/fd/9/"},
		"pinned, confined":    {server: " --confine-root=DIR/to", dest: "/proc/self/fd/9/"},
		"outside":             {server: " --confine-root=DIR/else", dest: "to/"},
		"backup outside":      {client: []string{"-Ib", "--backup-dir=../away"}, server: " --confine-root=DIR/to", dest: "to/", code: 11},
		"backup behind a pin": {client: []string{"-Ib", "--backup-dir=/proc/self/fd/8/x"}, server: " --confine-root=DIR/to", dest: "to/", code: 11},
		"pinned, with owner":  {server: " --fake-super --confine-root=DIR/to", dest: "/proc/self/fd/9/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(p string) (*result, snapshot) {
				dir, err := os.MkdirTemp(lab, "wrapped")
				check(t, err)
				t.Cleanup(func() { removeTree(dir) })
				for _, d := range []string{"from", "to", "else", "away"} {
					check(t, os.Mkdir(filepath.Join(dir, d), 0o755))
				}
				for _, f := range []string{"from/a", "from/b", "to/a"} {
					check(t, os.WriteFile(filepath.Join(dir, f), []byte(f), 0o644))
				}
				shell := filepath.Join(dir, "shell")
				server := strings.ReplaceAll(tc.server, "DIR", dir)
				check(t, os.WriteFile(shell, []byte("#!/bin/sh\nshift 2\nexec 9<to\neval \"exec "+p+server+" $*\"\n"), 0o755))
				start := time.Now()
				argv := append([]string{peer, "-rt", "-e", shell}, tc.client...)
				r := execute(t, dir, append(argv, "from/", "host:"+tc.dest), nil, nil)
				check(t, os.Remove(shell))
				tree := snapshot{}
				for _, d := range []string{"to", "away"} {
					for name, e := range take(t, filepath.Join(dir, d), start) {
						delete(e, "mtime")
						tree[d+"/"+name] = e
					}
				}
				return r, tree
			}
			want, wantTree := run(peer)
			got, gotTree := run(prsync)
			if want.code != tc.code || got.code != tc.code {
				t.Errorf("exit code %d, rsync's %d, want %d", got.code, want.code, tc.code)
			}
			if tc.code != 11 { // which rsync's receiver does not explain
				if diff := cmp.Diff(want.stderr, got.stderr); diff != "" {
					t.Errorf("printed (-: rsync, +: prsync):\n%s", diff)
				}
			}
			for _, d := range wantTree.compare(gotTree) {
				t.Error(d)
			}
		})
	}
}
