package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExitLine compares the last line of runs that fail, the place in rsync's
// source and the role included: the common ends of a run.
func TestExitLine(t *testing.T) {
	needPeer(t)
	for _, args := range [][]string{
		{"--no-such-option", "a", "b"},
		{"--stop-at=1999-01-01", "a", "b"},
		{"--files-from=/nonexistent", "a", "b"},
		{"-a", "missing", "to"},
		{"-a", "-e", "SHELL", "missing", "host:to"},
		{"-a", "-e", "SHELL", "host:missing", "to"},
		{"-r", "--delete", "--max-delete=0", "from/", "to/"},
		{"-a", "from/", "/nonexistent/x/y"},
		{"-a", "from/a", "from/b", "from/a"},
		{"a:", "b:"}, {"a", "b:", "c:"},
		{"-e", "", "host:a", "to"}, {"-e", "/nonexistent", "host:a", "to"}, {"-e", "", "user@host:a", "to"},
		{"-e", "SILENT", "host:a", "to"}, {"-e", "SILENT", "from/a", "host:a"}, {"-e", "TALKER", "host:a", "to"},
		{"--read-batch=/nonexistent", "to"}, {"--write-batch=/nonexistent/x", "from/a", "to"},
		{"-rIb", "--backup-dir=/proc/1/none", "from/", "to/"},
		{"-r", "--iconv=utf8,ascii", "-e", "SHELL", "accents/", "host:to"}, // the list of a directory without a name
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			last := func(p string) string {
				dir, err := os.MkdirTemp(lab, "exit")
				check(t, err)
				t.Cleanup(func() { removeTree(dir) })
				for _, d := range []string{"from", "to", "accents", "accents/\u00e9"} {
					check(t, os.Mkdir(filepath.Join(dir, d), 0o755))
				}
				for _, f := range []string{"from/a", "from/b", "to/a", "to/c"} {
					check(t, os.WriteFile(filepath.Join(dir, f), []byte(f), 0o644))
				}
				for name, script := range map[string]string{
					"SHELL":  "cd " + dir + "\nshift 2\neval \"exec " + p + " $*\"\n",
					"SILENT": "exec 3<&0\ncat <&3 >/dev/null 2>&1 &\nexit 3\n", // nothing that is written fails
					"TALKER": "echo what a nice day\ncat >/dev/null\n",
				} {
					check(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755))
				}
				argv := []string{p}
				for _, a := range args {
					if strings.ToUpper(a) == a && len(a) > 2 {
						a = filepath.Join(dir, a)
					}
					argv = append(argv, a)
				}
				r := execute(t, dir, argv, nil, nil)
				// Another process of rsync may end because of the first.
				for _, l := range r.raw {
					if strings.HasPrefix(l, "rsync error: ") || strings.HasPrefix(l, "rsync warning: ") {
						return l
					}
				}
				return "none of " + strings.Join(r.raw, "\n")
			}
			if diff := cmp.Diff(last(peer), last(prsync)); diff != "" {
				t.Errorf("(-: rsync, +: prsync)\n%s", diff)
			}
		})
	}
}

// TestConfinedMerge reads a filter file that names one outside the directory of
// --confine-root, from a source that a link leads to: rsync refuses the file,
// and the names in it stay unknown.
func TestConfinedMerge(t *testing.T) {
	needPeer(t)
	for _, list := range []string{"outside", "inside"} {
		run := func(p string) (*result, []string) {
			dir, err := os.MkdirTemp(lab, "confined")
			check(t, err)
			t.Cleanup(func() { removeTree(dir) })
			for _, d := range []string{"tree", "to"} {
				check(t, os.Mkdir(filepath.Join(dir, d), 0o755))
			}
			for name, text := range map[string]string{
				"secret": "word\n", "tree/inside": "word\n", "tree/word": "", "tree/.rsync-filter": "merge,- " + list + "\n",
			} {
				check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
			}
			check(t, os.Symlink(".", filepath.Join(dir, "tree", "again")))
			check(t, os.Symlink("../secret", filepath.Join(dir, "tree", "outside")))
			r := execute(t, dir, []string{p, "-r", "--confine-root=" + dir + "/tree", "--filter=:s .rsync-filter", "tree/again/", "to/"}, nil, nil)
			names, err := filepath.Glob(filepath.Join(dir, "to", "*"))
			check(t, err)
			for i := range names {
				names[i] = filepath.Base(names[i])
			}
			return r, names
		}
		want, wantNames := run(peer)
		got, gotNames := run(prsync)
		if diff := cmp.Diff(wantNames, gotNames); diff != "" || got.code != want.code {
			t.Errorf("%s: exit code %d, rsync's %d; received (-: rsync, +: prsync)\n%s", list, got.code, want.code, diff)
		}
	}
}
