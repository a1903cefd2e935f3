package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// loggedBytes are the counts of bytes in a log file's line of totals.
var loggedBytes = regexp.MustCompile(`^sent \S+ bytes  received \S+ bytes`)

// TestFailedRunsLog compares what a --log-file holds behind runs that end
// before, or instead of, a transfer: a mirror's nightly run has nothing else to
// tell by. The exit code and what was printed are compared too.
func TestFailedRunsLog(t *testing.T) {
	needPeer(t)
	for _, args := range []string{
		"-a --port=1 localhost::x to/", "-a FAILING h:x to/", "-a nowhere to/", "-a --files-from=/none . to", "-aq --filter=bad from to", "-aq nowhere to",
		"rsync://h/", "-q rsync://h/", "--stderr=all rsync://h/", "-a rsync://h/none to/", "-a rsync://h/closed/ to/", "--list-only rsync://h/m/",
		"--bad from to", "--max-delete=-1x from to", "--chmod=zz from to", "--bwlimit=x from to", "--stop-at=1999-01-01 from to", "--checksum-choice=foo from to",
		"a:b c:d", "from h::y z", "a:b x:y z", "--contimeout=1 from to", "--password-file=/none h::m to", "--exclude-from=/none from to",
		"--write-batch=/none/b from to", "--read-batch=/none to", "-a --temp-dir=/none from/ to/", "-av --temp-dir=/none from/ to/", "-a from/ /none/x/y",
		"-a from/ from/a", "-a from/a from/b from/a", "-a --daemon", "-a -M--nonsense from/ to/", "--debug=CMD2 FAILING from h:y",
		"--debug=foo from to", "-r --delete --max-delete=0 from/ to/", "-n rsync://h/m/ to/", "-a --copy-as=nobody-there h::m to/",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			run := func(p string) string {
				dir, err := os.MkdirTemp(lab, "log")
				check(t, err)
				t.Cleanup(func() { removeTree(dir) })
				for _, d := range []string{"from", "to", "m"} {
					check(t, os.Mkdir(filepath.Join(dir, d), 0o755))
				}
				for name, text := range map[string]string{
					"from/a": "a", "from/b": "b", "to/c": "c", "motd": "welcome\n", "none": "",
					// The stream ends behind the shell, whose status is there by then.
					"failing": "#!/bin/sh\nexec 3<&0\ncat <&3 >/dev/null 2>&1 &\nsleep .2 &\nexit 255\n",
					"conf": "motd file = " + dir + "/motd\nlog file = /dev/null\n[m]\ncomment = a module\npath = " + dir + "/m\nuse chroot = no\n" +
						"[closed]\npath = " + dir + "/m\nhosts deny = *\n",
				} {
					check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
				}
				check(t, os.Chtimes(filepath.Join(dir, "m"), time.Time{}, time.Unix(1e9, 0)))
				argv := append([]string{p, "--log-file=run.log"}, strings.Fields(strings.ReplaceAll(args, "FAILING", "--rsh="+dir+"/failing"))...)
				var env []string
				if !strings.Contains(args, "localhost") {
					env = append(env, "RSYNC_CONNECT_PROG="+p+" --daemon --config="+dir+"/conf")
				}
				r := execute(t, dir, argv, env, nil)
				log, err := os.ReadFile(filepath.Join(dir, "run.log"))
				if err != nil {
					log = []byte(err.Error())
				}
				out := []string{fmt.Sprint("exit code ", r.code)}
				out = append(append(out, r.stdout...), r.raw...)
				for l := range strings.Lines(string(log)) {
					if _, text, ok := strings.Cut(l, "] "); ok {
						l = "log: " + loggedBytes.ReplaceAllString(text, "sent N bytes  received N bytes")
					}
					out = append(out, strings.TrimSuffix(l, "\n"))
				}
				// The other of rsync's processes adds its own end, if it lives yet.
				text := strings.Join(out, "\n")
				if i := strings.Index(text, "log: rsync error: received SIGUSR1"); i >= 0 {
					text = text[:strings.LastIndexByte(text[:i-1], '\n')]
				}
				return strings.ReplaceAll(text, dir, "DIR")
			}
			if diff := cmp.Diff(run(peer), run(prsync)); diff != "" {
				t.Errorf("(-: rsync, +: prsync)\n%s", diff)
			}
		})
	}
}
