package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// rateOf is the rate and the time of a line of progress.
var rateOf = regexp.MustCompile(`[\d.]+[kMG]?B/s +\d+:\d\d:\d\d`)

// TestInstantProgress asks a client, before its first file, where it is: the
// remote shell sends it SIGVTALRM.
func TestInstantProgress(t *testing.T) {
	needPeer(t)
	for _, args := range []string{"-a", "-av", "-ai", "-aq", "-ah", "-a --no-inc-recursive", "-a --out-format=%n", "-av --info=progress2,name0"} {
		for _, operands := range []string{"h:from/ to/", "from/ h:to/"} {
			t.Run(args+" "+operands, func(t *testing.T) {
				t.Parallel()
				run := func(p string) string {
					dir, err := os.MkdirTemp(lab, "instant")
					check(t, err)
					t.Cleanup(func() { removeTree(dir) })
					for _, d := range []string{"from/a", "from/b", "to"} {
						check(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
					}
					for i, f := range []string{"from/1", "from/2", "from/a/3", "from/b/4"} {
						check(t, os.WriteFile(filepath.Join(dir, f), make([]byte, 1000*(i+1)), 0o644))
					}
					for _, f := range []string{"from/a", "from/b", "from"} {
						check(t, os.Chtimes(filepath.Join(dir, f), time.Time{}, time.Unix(1e9, 0)))
					}
					shell := "#!/bin/sh\nkill -VTALRM $PPID\nsleep .1\ncd " + dir + "\nshift 2\neval \"exec " + p + " $*\"\n"
					check(t, os.WriteFile(filepath.Join(dir, "shell"), []byte(shell), 0o755))
					r := execute(t, dir, append([]string{p, "-e", dir + "/shell"}, strings.Fields(args+" "+operands)...), nil, nil)
					out := []string{fmt.Sprint("exit code ", r.code)}
					for _, l := range append(append([]string(nil), r.stdout...), r.raw...) {
						if strings.Contains(args, "progress2") {
							// Each line draws over the other; how often is chance.
							l = l[strings.LastIndexByte(l, '\r')+1:]
							if slices.Contains(out, rateOf.ReplaceAllString(l, "RATE TIME")) {
								continue
							}
						}
						if !strings.Contains(l, "bytes/sec") && !strings.Contains(l, "speedup") {
							out = append(out, rateOf.ReplaceAllString(l, "RATE TIME"))
						}
					}
					return strings.Join(out, "\n")
				}
				if diff := cmp.Diff(run(peer), run(prsync)); diff != "" {
					t.Errorf("(-: rsync, +: prsync)\n%s", diff)
				}
			})
		}
	}
}
