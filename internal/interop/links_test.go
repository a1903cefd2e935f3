package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestLinksBetweenLists has files whose names lie in directories far apart: when a
// later name comes, the list of the first is done with and its entries serve
// again. Some names of the destination are missing, some are files of their own.
func TestLinksBetweenLists(t *testing.T) {
	const dirs, apart, files = 60, 20, 50
	name := func(d, i int) string { return fmt.Sprintf("dir%02d/file%02d", d, i) }
	src, err := os.MkdirTemp(lab, "far")
	check(t, err)
	t.Cleanup(func() { removeTree(src) })
	for d := range dirs {
		check(t, os.MkdirAll(filepath.Join(src, "from", fmt.Sprintf("dir%02d", d)), 0o755))
		for i := range files {
			path := filepath.Join(src, "from", name(d, i))
			if d >= apart && i%3 != 0 {
				check(t, os.Link(filepath.Join(src, "from", name(d-apart, i)), path))
				continue
			}
			check(t, os.WriteFile(path, []byte(path), 0o644))
			when := []unix.Timespec{{Sec: int64(d*files + i)}, {Sec: int64(d*files + i)}}
			check(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, when, 0))
		}
	}
	for _, more := range []string{"--inc-recursive", "--no-inc-recursive"} {
		for _, shell := range []bool{false, true} {
			t.Run(fmt.Sprint(more, " shell ", shell), func(t *testing.T) {
				t.Parallel()
				dir, err := os.MkdirTemp(lab, "links")
				check(t, err)
				t.Cleanup(func() { removeTree(dir) })
				to := filepath.Join(dir, "to")
				for d := range dirs {
					check(t, os.MkdirAll(filepath.Join(to, fmt.Sprintf("dir%02d", d)), 0o755))
					for i := range files {
						path, first := filepath.Join(to, name(d, i)), filepath.Join(to, name(d%apart, i))
						switch (d*7 + i) % 11 {
						case 0, 1:
						case 2, 3:
							check(t, os.WriteFile(path, []byte("other"), 0o600))
						default:
							if os.Link(first, path) != nil {
								check(t, os.WriteFile(path, []byte("first"), 0o644))
							}
						}
					}
				}
				argv := []string{prsync, "-aH", more, src + "/from/", "to/"}
				if shell {
					argv = []string{prsync, "-aH", more, "-e", dropHost, "--rsync-path=" + prsync, src + "/from/", "peer:" + to}
				}
				if r := execute(t, dir, argv, nil, nil); r.code != 0 {
					t.Fatalf("exit code %d\n%s", r.code, strings.Join(r.raw, "\n"))
				}
				if diff := cmp.Diff(linkGroups(t, filepath.Join(src, "from")), linkGroups(t, to)); diff != "" {
					t.Errorf("names and contents of each file, by its first name (-: source, +: destination)\n%s", diff)
				}
			})
		}
	}
}

// linkGroups returns the names and the content of each file below a directory, by
// its first name.
func linkGroups(t *testing.T, top string) map[string][]string {
	first, groups := map[uint64]string{}, map[string][]string{}
	check(t, filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		var st unix.Stat_t
		check(t, unix.Lstat(path, &st))
		rel, err := filepath.Rel(top, path)
		if _, ok := first[st.Ino]; !ok {
			first[st.Ino] = rel
			content, err := os.ReadFile(path)
			check(t, err)
			groups[rel] = []string{string(content)}
		}
		groups[first[st.Ino]] = append(groups[first[st.Ino]], rel)
		return err
	}))
	return groups
}
