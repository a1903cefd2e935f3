package interop

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// aboutProcesses are parts of debugging lines that no two runs share.
var aboutProcesses = regexp.MustCompile(`pid=\d+|\.[A-Za-z0-9]{6} to |iLsfxCIvuP?`)

// ofProcesses reports whether a line is about what rsync's processes tell each
// other, or is of one that does not end by itself here: our session does not know
// the remote shell's number, our receiving side is one process, and a server's
// last words of debugging are not sent.
func ofProcesses(line string) bool {
	return strings.HasPrefix(line, "client_run waiting on ") || strings.HasPrefix(line, "client_run2 waiting on ") ||
		strings.HasPrefix(line, "[generator] receiving flist for dir ") || strings.HasPrefix(line, "[generator] #") ||
		strings.HasPrefix(line, "[sender] _exit_cleanup(code=0, file=main.c, line=999)")
}

// TestDebugLines compares the lines of --debug categories that people grep for.
// What two of rsync's processes print is mixed by chance, so the order is not.
func TestDebugLines(t *testing.T) {
	needPeer(t)
	for _, category := range []string{"BACKUP", "CHDIR", "CMD2", "DELTASUM2", "EXIT2", "FLIST2", "GENR", "HLINK", "ICONV2", "NSTR3", "RECV", "SEND", "TIME2"} {
		for _, args := range []string{
			"-aH --no-W --delete --backup from/ to/",
			"-a --inplace from to/",
			"-a --delete-delay --delay-updates from/ to/",
			"-a -n --protocol=28 from/a to/",
			"-a -e SHELL --rsync-path=RSYNC from/a from/c host:to/",
			"-aR -e SHELL --rsync-path=RSYNC host:from/sub to/",
			"-aHR --no-W -n from/./sub from/also to/",
			"-aHz -M--debug=WORD --iconv=utf8,latin1 -e SHELL --rsync-path=RSYNC host:from/ to/",
		} {
			if category == "NSTR3" && strings.Contains(args, "--protocol=28") {
				continue // rsync's two sides of a local copy then tell each other what both know
			}
			if category == "EXIT2" && strings.Contains(args, "-M--debug") {
				continue // whether rsync's server still reaches its client with its last words is chance
			}
			t.Run(category+" "+args, func(t *testing.T) {
				t.Parallel()
				run := func(p string) []string {
					dir, err := os.MkdirTemp(lab, "debug")
					check(t, err)
					t.Cleanup(func() { removeTree(dir) })
					for _, d := range []string{"from", "from/sub", "to"} {
						check(t, os.Mkdir(filepath.Join(dir, d), 0o755))
					}
					for _, f := range []string{"from/a", "from/c", "from/sub/b", "to/a", "to/gone"} {
						check(t, os.WriteFile(filepath.Join(dir, f), []byte(f), 0o644))
					}
					check(t, os.WriteFile(filepath.Join(dir, "from/big"), content(5, 5000), 0o644))
					check(t, os.WriteFile(filepath.Join(dir, "to/big"), append([]byte("in front"), content(5, 5000)...), 0o644))
					check(t, os.Link(filepath.Join(dir, "from/a"), filepath.Join(dir, "from/also")))
					check(t, os.Symlink("a", filepath.Join(dir, "from/link")))
					check(t, os.Chtimes(filepath.Join(dir, "to/a"), time.Time{}, time.Unix(1e9, 0)))
					shell := filepath.Join(dir, "shell")
					check(t, os.WriteFile(shell, []byte("#!/bin/sh\ncd "+dir+"\nshift\neval \"exec $*\"\n"), 0o755))
					words := strings.NewReplacer("SHELL", shell, "RSYNC", p, "WORD", category).Replace(args)
					r := execute(t, dir, append([]string{p, "--debug=" + category}, strings.Fields(words)...), nil, nil)
					var out []string
					for _, l := range slices.Concat(r.stdout, r.stderr) {
						if !ofProcesses(l) {
							out = append(out, aboutProcesses.ReplaceAllString(l, "N"))
						}
					}
					slices.Sort(out)
					if category == "FLIST2" || category == "HLINK" {
						out = slices.Compact(out) // two of rsync's processes take in each list
					}
					return out
				}
				if diff := cmp.Diff(run(peer), run(prsync)); diff != "" {
					t.Errorf("(-: rsync, +: prsync)\n%s", diff)
				}
			})
		}
	}
}
