package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
		{"-e", "FAILED", "host:a", "to"}, {"-e", "FAILED", "from/a", "host:a"}, {"-e", "NOBODY", "host:a", "to"},
		{"--read-batch=/nonexistent", "to"}, {"--write-batch=/nonexistent/x", "from/a", "to"},
		{"-rIb", "--backup-dir=/proc/1/none", "from/", "to/"},
		{"-a", "--filter=merge missing", "from/", "to/"}, {"-a", "--filter=unknown", "from/", "to/"}, {"-a", "--filter=-x? a", "from/", "to/"},
		{"-a", "from/", "from/a"}, {"-a", "from/a", "to/a/"}, {"-ab", "--backup-dir=../from/a", "from/", "to/"},
		{"-a", "--temp-dir=/nonexistent", "from/", "to/"}, {"-a", "--temp-dir=../from/a", "from/", "to/"},
		{"-a", "--usermap=1", "from/", "to/"}, {"-a", "--usermap=1:", "from/", "to/"}, {"-a", "--groupmap=1-x:2", "from/", "to/"},
		{"-a", "-M-e", "from/", "to/"}, {"-a", "-M--nonsense", "from/", "to/"}, {"-a", "-M--checksum-choice=x", "from/", "to/"},
		{}, {"-a"}, {"--sender", "a", "b"}, {"--files-from=x", "a", "b", "c"}, {"-a", "--iconv=nonsense", "from/", "host:to/"},
		{"-a", "--usermap=", "from/", "to/"}, {"-a", "--groupmap=", "from/", "to/"}, {"-a", "--temp-dir=", "from/", "to/"}, {"-a", "--password-file=", "from/", "to/"},
		{"-a", "--read-batch=from", "to/"},
		{"-a", "--copy-as=nobody-there", "from/", "to/"}, {"-a", "--password-file=x", "from/", "to/"}, {"-a", "--contimeout=3", "from/", "to/"},
		{"-a", "--checksum-choice=sha9", "from/", "to/"}, {"-a", "--compress-choice=zip", "from/", "to/"},
		{"-ac", "--checksum-choice=none", "from/", "to/"}, {"-ac", "--checksum-choice=md5,none", "-e", "SHELL", "host:from/", "to/"},
		{"-a", "--copy-as=", "from/", "to/"}, {"-a", "--mkpath", "from/a", "from/a/x/y"},
		{"-a", "--protocol=99", "-e", "SHELL", "from/a", "host:to/"}, {"-aA", "--protocol=29", "from/", "to/"},
		{"-a", "--info=nonsense", "from/", "to/"}, {"-a", "--debug=nonsense3", "from/", "to/"}, {"-a", "", "to/"}, {"-a", "from/", ""},
		{"-aR", "from/../from/a", "to/"}, {"-a", "-e", "'unended", "host:a", "to/"}, {"-a", "-e", "SHELL", "host:a", "b", "to/"},
		{"-a", "-e", "SHELL", "host:a", "other:b", "to/"}, {"-a", "--files-from=host:x", "from/", "to/"},
		{"-r", "--iconv=utf8,ascii", "-e", "SHELL", "accents/", "host:to"},                 // the list of a directory without a name
		{"-aR", "--no-implied-dirs", "--protocol=29", "-e", "SHELL", "host:from/a", "to/"}, // the shell is ended before it meets a closed connection
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
					// The stream ends behind the shell, whose status is there by then.
					"FAILED": "exec 3<&0\ncat <&3 >/dev/null 2>&1 &\nsleep .2 &\nexit 255\n",
					"NOBODY": "exec 3<&0\ncat <&3 >/dev/null 2>&1 &\nsleep .2 &\nexit 127\n",
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
					if strings.HasPrefix(l, "rsync error: received SIGUSR1 ") {
						continue
					}
					if strings.Contains(l, " main.c(270) ") { // both of rsync's processes end there
						l, _, _ = strings.Cut(l, " [")
					}
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

// fakeServers are remote shells that play a broken server: what they say, in the
// words of printf(1), before they wait for the end of what they are sent. 37 is the
// version, as 31; then come flags and a seed, then frames.
var fakeServers = []struct {
	name, says string
	options    string
	pull       bool // a push would wait for more
}{
	{name: "old version", says: `\020\0\0\0`},
	{name: "no version", says: `hello world`},
	{name: "unknown message", says: `\037\0\0\0\0\1\2\3\4\5\0\0\143abcde`},
	{name: "unknown first tag", says: `\037\0\0\0\0\1\2\3\4\1\0\0\170x`},
	{name: "its end with a code", says: `\037\0\0\0\0\1\2\3\4\4\0\0\135\27\0\0\0`},
	{name: "an error, its end", says: `\037\0\0\0\0\1\2\3\4\4\0\0\012ABC\n\4\0\0\135\27\0\0\0`},
	{name: "its end, cut short", says: `\037\0\0\0\0\1\2\3\4\3\0\0\135\27\0\0`},
	{name: "data of ones", says: `\037\0\0\0\0\1\2\3\4\20\0\0\7\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377`},
	{name: "counting data", says: `\037\0\0\0\0\1\2\3\4\20\0\0\7\1\2\3\4\5\6\7\0\0\0\0\0\0\0\0\0`},
	{name: "an unknown checksum", says: `\037\0\0\0\200\0\4sha9\1\2\3\4`},
	{name: "a name too long", says: `\035\0\0\0\1\2\3\4\20\0\0\7\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377`, pull: true},
	{name: "nothing", options: "--timeout=1"},
}

// TestBrokenServers compares all that is said of servers that say the wrong thing.
func TestBrokenServers(t *testing.T) {
	needPeer(t)
	for _, f := range fakeServers {
		for _, pulls := range []bool{true, false} {
			if f.pull && !pulls {
				continue
			}
			t.Run(fmt.Sprintf("%s, pull %v", f.name, pulls), func(t *testing.T) {
				t.Parallel()
				run := func(p string) []string {
					dir, err := os.MkdirTemp(lab, "broken")
					check(t, err)
					t.Cleanup(func() { removeTree(dir) })
					check(t, os.Mkdir(filepath.Join(dir, "from"), 0o755))
					check(t, os.WriteFile(filepath.Join(dir, "from/a"), []byte("a"), 0o644))
					script := "#!/bin/sh\nprintf '" + f.says + "'\ncat >/dev/null\n"
					shell := filepath.Join(dir, "shell")
					check(t, os.WriteFile(shell, []byte(script), 0o755))
					argv := append([]string{p, "-a", "-e", shell}, strings.Fields(f.options)...)
					if pulls {
						argv = append(argv, "host:from/", "to/")
					} else {
						argv = append(argv, "from/", "host:to/")
					}
					r := execute(t, dir, argv, nil, nil)
					return append(r.stdout, append(r.raw, fmt.Sprint(r.code))...)
				}
				if diff := cmp.Diff(run(peer), run(prsync)); diff != "" {
					t.Errorf("(-: rsync, +: prsync)\n%s", diff)
				}
			})
		}
	}
}

// sentSoFar is how much a daemon has sent when it fails: what it has written by
// then may still be held back.
var sentSoFar = regexp.MustCompile(`sent \d+ bytes`)

// TestDaemonRules compares what is said, and logged, of filter rules that a
// daemon meets and cannot take, in files of the module, and in its own, and of
// commands that forbid a transfer.
func TestDaemonRules(t *testing.T) {
	needPeer(t)
	for _, args := range []string{
		"-a --filter=:_.more rsync://h/plain/sub/ to/",
		"-a --filter=:_.more rsync://h/plain/ to/",
		"-a --filter=:_.bad rsync://h/plain/sub/ to/",
		"-aF rsync://h/plain/sub/ to/",
		"-a --filter=:_/.more rsync://h/plain/sub/ to/",
		"-a --filter=:_.bad rsync://h/root/sub/ to/",
		"-a --delete --filter=:_.more local/ rsync://h/plain/",
		"-a --delete --filter=:_.own local/ rsync://h/plain/sub/",
		"-a rsync://h/excludes/ to/",
		"-a rsync://h/silent/ to/", "-a rsync://h/talking/ to/", "-a local/ rsync://h/talking/", "-a rsync://h/unknown/ to/",
		"-a --files-from=list rsync://h/talking/ to/",
	} {
		if strings.Contains(args, "/root/") && !root() {
			continue
		}
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			run := func(p string) []string {
				dir, err := os.MkdirTemp(lab, "rules")
				check(t, err)
				t.Cleanup(func() { removeTree(dir) })
				check(t, os.Chmod(dir, 0o755))
				for _, d := range []string{"m", "m/sub", "to", "local"} {
					check(t, os.Mkdir(filepath.Join(dir, d), 0o755))
				}
				for name, text := range map[string]string{
					"m/sub/.more": ". .none\n", "m/sub/.bad": "- fine\n-x? bogus\n", "m/sub/.rsync-filter": "merge .missing\n", "m/f": "f", "local/f": "f",
					"local/.more": "merge .missing\n", "m/sub/.own": "merge .missing\n",
					"conf": "log file = " + dir + "/log\nread only = no\n[plain]\npath = " + dir + "/m\nuse chroot = no\n" +
						"[root]\npath = " + dir + "/m\nuse chroot = yes\n[excludes]\npath = " + dir + "/m\nexclude from = " + dir + "/none\n" +
						"[silent]\npath = " + dir + "/m\nuse chroot = no\npre-xfer exec = exit 3\n" +
						"[talking]\npath = " + dir + "/m\nuse chroot = no\npre-xfer exec = echo not today; echo nor tomorrow; exit 4\n" +
						"[unknown]\npath = " + dir + "/m\nuse chroot = no\npre-xfer exec = no-such-command-at-all\n", "list": "f\n",
				} {
					check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
				}
				argv := append([]string{p}, strings.Fields(args)...)
				for i := range argv {
					argv[i] = strings.ReplaceAll(argv[i], ":_", ": ")
				}
				r := execute(t, dir, argv, []string{"RSYNC_CONNECT_PROG=" + p + " --daemon --config=" + dir + "/conf"}, nil)
				var out []string
				for _, l := range r.raw {
					// A refused client is told why by ours alone; whether what it
					// has sent is still unread when the daemon ends is chance.
					if !strings.HasSuffix(l, "read error: Connection reset by peer (104)") && l != "rsync: didn't get server startup line" && !strings.HasPrefix(l, "@ERROR: cannot read the filter rules") {
						out = append(out, strings.ReplaceAll(l, dir, "DIR"))
					}
				}
				log, err := os.ReadFile(filepath.Join(dir, "log"))
				check(t, err)
				for _, l := range strings.Split(string(log), "\n") {
					if _, l, _ = strings.Cut(l, "] "); strings.Contains(l, "received SIGUSR1") {
						continue // the other of rsync's processes, if it lives yet
					}
					l = sentSoFar.ReplaceAllString(l, "sent N bytes")
					out = append(out, strings.ReplaceAll(l, dir, "DIR"))
				}
				return append(out, fmt.Sprint(r.code))
			}
			if diff := cmp.Diff(run(peer), run(prsync)); diff != "" {
				t.Errorf("(-: rsync, +: prsync)\n%s", diff)
			}
		})
	}
}
