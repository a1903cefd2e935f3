package interop

import (
	"strings"
	"testing"
)

// TestDaemonFound holds what TestRandomDaemon has found: each case differed from
// rsync once.
func TestDaemonFound(t *testing.T) {
	needPeer(t)
	if !root() {
		t.Skip("needs root, as daemons have it")
	}
	says := func(text string) []*daemonAction { return []*daemonAction{{raw: &text}} }
	runs := func(words string) []*daemonAction {
		return []*daemonAction{{operands: strings.Fields(words), env: []string{"RSYNC_PASSWORD="}}}
	}
	for _, tc := range []struct {
		name, by string
		conf     string
		actions  []*daemonAction
	}{
		{"a refusal is told once", byShell, "[m]\npath = RUNDIR/box/m", runs("src/a.c HOST::m/x")},
		{"rules that cannot be read are told of", byShell, "[m]\npath = RUNDIR/box/m\nexclude from = RUNDIR/none", runs("src/a.c HOST::m/x")},
		{"names in messages of a root", byInetd, "use chroot = yes\n[m]\npath = RUNDIR/box/m", runs("-r HOST::m/nowhere HOST::m/no/where to/")},
		{"names in messages of a directory", byInetd, "use chroot = no\n[m]\npath = RUNDIR/box/m", runs("-r HOST::m/nowhere HOST::m/no/where to/")},
		{"lock file", byInetd, "[m]\npath = RUNDIR/box/m\nmax connections = 1\nlock file = RUNDIR/none/lock", runs("HOST::m/")},
		{"groups of a daemon without rights", byInetd, "gid = 0\ndaemon uid = daemon\n[m]\npath = RUNDIR/box/m", runs("HOST::m/")},
		{"no directory", byInetd, "[m]\npath = RUNDIR/none", runs("HOST::m/")},
		{"no directory without a root", byInetd, "use chroot = no\n[m]\npath = RUNDIR/none", runs("HOST::m/")},
		{"a source that cannot be searched", byInetd, "uid = daemon\n[m]\npath = RUNDIR/box/m", runs("HOST::m/locked/ to/")},
		{"no user", byInetd, "[m]\npath = RUNDIR/box/m\nuid = no-such-user", runs("HOST::m/")},
		{"an address that is none", byInetd, "[m]\npath = RUNDIR/box/m\nhosts deny = 300.1.1.1", runs("HOST::m/")},
		{"socket options", byFront, "socket options = BOGUS", runs("HOST::")},
		{"hidden directory for temporary files", byInetd, "read only = no\n[m]\npath = RUNDIR/box/m\nexclude = /secret", runs("--temp-dir=secret src/a.c HOST::m/x")},
		{"nobody behind the shell", byShell, "[m]\npath = RUNDIR/box/m\nhosts allow = 127.0.0.1", says("@RSYNCD: 31.0\nm\n")},
		{"early input of a number with a tail", byInetd, "[m]\npath = RUNDIR/box/m", says("@RSYNCD: 31.0\n#early_input= 3x\nabc#list\n")},
		{"early input that ends early", byInetd, "[m]\npath = RUNDIR/box/m", says("@RSYNCD: 31.0\n#early_input=30\nab")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := &daemonCase{name: t.Name(), by: tc.by, globals: []string{"log file = RUNDIR/daemon.log\n" + tc.conf}, actions: tc.actions}
			c.src.add(&node{path: "a.c", kind: file, data: []byte("a\n")})
			c.box.add(&node{path: "m", kind: dir}, &node{path: "m/f", kind: file, data: []byte("f\n")}, &node{path: "m/secret", kind: dir}, &node{path: "m/locked", kind: dir, mode: 0o600})
			if diff, _, _ := c.differ(t, pair{peer, prsync}); diff != nil {
				t.Errorf("(-: rsync only, +: prsync only)\n\t%s\n%s", strings.Join(diff, "\n\t"), c)
			}
		})
	}
}
