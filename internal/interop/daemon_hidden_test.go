package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestHiddenDestination compares pushes to what a module hides, named as the
// destination itself, as something below it, or by its kind.
func TestHiddenDestination(t *testing.T) {
	needPeer(t)
	for _, module := range []string{"chroot", "plain"} {
		if module == "chroot" && !root() {
			continue
		}
		for _, dest := range []string{"/secret/", "/secret", "/secret/new/", "/d/../secret/", "/./secret/.", "/x.tmp", "/x.tmp/", "/d/", "/", "/only-files", "/only-files/", "/only-dirs"} {
			for _, source := range []string{"src/", "src/f"} {
				t.Run(module+dest+" "+source, func(t *testing.T) {
					t.Parallel()
					run := func(program string) (said []string, tree snapshot) {
						dir := filepath.Join(lab, fmt.Sprintf("run-%06d", count.Add(1)))
						for _, d := range []string{"m/secret", "m/d", "src"} {
							check(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
						}
						defer removeTree(dir)
						ids := ""
						if root() {
							ids = "uid = 0\ngid = 0\n"
						}
						for name, text := range map[string]string{"src/f": "f\n", "src/x.tmp": "x\n", "conf": ids + "read only = no\npath = " + dir + "/m\nexclude = /secret *.tmp /only-dirs/\nfilter = + /only-files/ - /only-files\n[plain]\nuse chroot = no\n[chroot]\nuse chroot = yes\n"} {
							check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
						}
						r := execute(t, dir, []string{peer, "-r", source, "rsync://h/" + module + dest}, []string{"RSYNC_CONNECT_PROG=" + program + " --daemon --config=" + dir + "/conf"}, nil)
						tree = take(t, filepath.Join(dir, "m"), time.Time{})
						for _, e := range tree {
							delete(e, "mtime")
						}
						return append(append(butRaces(r.stdout), butRaces(r.stderr)...), fmt.Sprint("code ", r.code)), tree
					}
					want, wantTree := run(peer)
					got, gotTree := run(prsync)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("(-: rsync, +: prsync)\n%s", diff)
					}
					for _, diff := range wantTree.compare(gotTree) {
						t.Error(diff)
					}
				})
			}
		}
	}
}
