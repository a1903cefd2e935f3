package interop

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRemoveBehindLinks removes sources that are reached through links to
// directories: those that stay in the source, and those that lead out of it,
// behind which rsync 3.5.0 removes nothing. (Nor does it behind links with ".."
// that stay in the source, where we do.) What a file is sent for under one name
// may be removed before it is sent under another: each has one name here.
func TestRemoveBehindLinks(t *testing.T) {
	needPeer(t)
	for _, args := range []string{
		"-a -L --remove-source-files --exclude=/real from/ to/",
		"-a -k --remove-source-files --exclude=/real from/ to/",
		"-a --copy-unsafe-links --remove-source-files --exclude=/real from/ to/",
		"-a -L --remove-source-files from/lin from/lno to/",
		"-a -L --remove-source-files from/lno/ to/",
		"-aR -L --remove-source-files from/./lno/o to/",
		"-a -L --insecure-links --remove-source-files --exclude=/real from/ to/",
		"-a --remove-source-files --exclude=/real from/ to/",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			run := func(p string) (out []string) {
				dir, err := os.MkdirTemp(lab, "removal")
				check(t, err)
				t.Cleanup(func() { removeTree(dir) })
				for _, d := range []string{"from", "from/real", "to", "out"} {
					check(t, os.Mkdir(filepath.Join(dir, d), 0o755))
				}
				for _, f := range []string{"from/real/r", "out/o"} {
					check(t, os.WriteFile(filepath.Join(dir, f), []byte(f), 0o644))
				}
				check(t, os.Symlink("real", filepath.Join(dir, "from/lin")))
				check(t, os.Symlink("../out", filepath.Join(dir, "from/lno")))
				r := execute(t, dir, append([]string{p}, strings.Fields(args)...), nil, nil)
				check(t, filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
					out = append(out, strings.TrimPrefix(name, dir))
					return err
				}))
				for _, l := range r.stderr {
					if !strings.Contains(l, "SIGUSR1") {
						out = append(out, l)
					}
				}
				return append(out, slices.Sorted(slices.Values(r.stdout))...)
			}
			if diff := cmp.Diff(run(peer), run(prsync)); diff != "" {
				t.Errorf("(-: rsync, +: prsync)\n%s", diff)
			}
		})
	}
}

// TestRemoveLinkedSource asks for links to a file that is up to date, which may
// be removed at once: the links were asked for before, and so they are sent before.
// rsync says of them that they have vanished, where it has not flushed the requests.
func TestRemoveLinkedSource(t *testing.T) {
	for _, p := range []string{"30", "32"} {
		for range 5 {
			dir, err := os.MkdirTemp(lab, "linked")
			check(t, err)
			t.Cleanup(func() { removeTree(dir) })
			old := time.Unix(1_400_000_000, 0)
			for _, d := range []string{"from/target", "to/target"} {
				check(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
				name := filepath.Join(dir, d, "file")
				check(t, os.WriteFile(name, []byte("content"), 0o644))
				check(t, os.Chtimes(name, old, old))
			}
			check(t, os.Mkdir(filepath.Join(dir, "from/link"), 0o755))
			check(t, os.Symlink("../target/file", filepath.Join(dir, "from/link/one")))
			check(t, os.Symlink("one", filepath.Join(dir, "from/link/two")))
			r := execute(t, dir, []string{prsync, "-aLi", "--no-inc-recursive", "--remove-source-files", "--protocol=" + p, "from/", "to/"}, nil, nil)
			for _, name := range []string{"one", "two"} {
				if text, err := os.ReadFile(filepath.Join(dir, "to/link", name)); err != nil || string(text) != "content" {
					t.Errorf("protocol %s: %s: %q, %v; code %d\n%s", p, name, text, err, r.code, strings.Join(append(r.stdout, r.stderr...), "\n"))
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "from/target/file")); err == nil || r.code != 0 {
				t.Errorf("protocol %s: the source is there still, code %d", p, r.code)
			}
		}
	}
}
