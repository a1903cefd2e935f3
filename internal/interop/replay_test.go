package interop

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const transcripts = "testdata/transcripts"

// small is the source of the transcripts. Nothing of it needs privileges, or
// differs from one machine to the next.
func small() tree {
	var t tree
	t.add(
		&node{path: "a", kind: dir}, &node{path: "a/b", kind: dir, mode: 0o711}, &node{path: "none", kind: dir},
		&node{path: "nil", kind: file}, &node{path: "one", kind: file, data: []byte("1")},
		&node{path: "delta", kind: file, data: content(1, 6000)},
		&node{path: "a/new", kind: file, data: content(2, 1500), mode: 0o600},
		&node{path: "a/b/zeros", kind: file, data: make([]byte, 3000)},
		&node{path: "a/sp ace\nline", kind: file, data: []byte("hostile\n")},
		&node{path: "a/same", kind: file, data: content(3, 700)},
		&node{path: "link", kind: symlink, target: "a/new"},
		&node{path: "pipe", kind: fifo},
		&node{path: "early", kind: file, data: []byte("1969\n"), sec: -7},
		&node{path: "hard1", kind: file, data: content(4, 900)},
		&node{path: "a/hard2", kind: hard, target: "hard1"},
	)
	return t
}

// smallOlder is the destination of the transcripts.
func smallOlder() tree {
	t := small().clone()
	t.drop("a/new", "a/hard2", "pipe", "none")
	d := t.find("delta")
	d.data, d.sec = slices.Concat(d.data[:2500], []byte("inserted"), d.data[2600:]), d.sec-5
	t.find("one").kind = dir
	t.find("one").mode = 0o755
	t.add(&node{path: "extra", kind: file, data: []byte("x\n")}, &node{path: "a/gone", kind: dir}, &node{path: "a/gone/f", kind: file})
	return t
}

// seeded is the option that fixes the seed of checksums; 2.6.0 has none.
const seeded = "--checksum-seed=1"

// The options of the transcripts, and the versions recorded with each rsync.
var (
	recordedOptions = []string{"-rlptDH", "--delete", "-B700", seeded}
	recordedWith    = map[string][]int{
		"3.5.0": {27, 28, 29, 30, 31, 32}, "3.4.1": {32}, "3.2.7": {31}, "3.1.3": {30, 31}, "3.0.0": {30}, "2.6.0": {27},
	}
	daemonsWith = map[string][]int{"3.5.0": {29, 32}, "3.4.1": {32}, "3.2.7": {31}, "3.1.3": {31}}
)

// TestRecord records the transcripts, with -update. PRSYNC_OLD names a
// directory of older rsyncs, each named rsync_VERSION.
func TestRecord(t *testing.T) {
	if !*update {
		t.Skip("records transcripts with -update only")
	}
	needPeer(t)
	check(t, os.MkdirAll(transcripts, 0o755))
	for _, version := range slices.Sorted(maps.Keys(recordedWith)) {
		plays := map[string]pair{"both": {peer, peer}}
		if version != "3.5.0" {
			old := filepath.Join(os.Getenv("PRSYNC_OLD"), "rsync_"+version)
			if _, err := os.Stat(old); err != nil {
				t.Logf("kept as they are: transcripts of %s: %v", version, err)
				continue
			}
			plays = map[string]pair{"client": {old, peer}, "server": {peer, old}}
		}
		for _, protocol := range recordedWith[version] {
			for end, p := range plays {
				for _, pull := range []bool{true, false} {
					tr := &transcript{Rsync: version, Plays: end, Protocol: protocol, Pull: pull, Client: recordedOptions}
					if slices.Contains(daemonsWith[version], protocol) {
						d := *tr
						d.Daemon = true
						d.record(t, p)
					}
					if version == "2.6.0" {
						if end == "client" {
							continue // the server cannot be told its seed
						}
						tr.Client = slices.DeleteFunc(slices.Clone(tr.Client), func(o string) bool { return o == seeded })
					}
					tr.record(t, p)
				}
			}
		}
	}
}

func (tr *transcript) record(t *testing.T, p pair) {
	dir := smallDir(t)
	raw := filepath.Join(dir, "raw")
	tr.Dirs = dirSizes(t, filepath.Join(dir, "src"))
	r := execute(t, dir, tr.clientCommand(t, p.client, p.server), []string{shellRole + "=record", shellFile + "=" + raw}, nil)
	if r.code != 0 {
		t.Fatalf("%s, protocol %d: exit %d\n%s\n%s", tr.Rsync, tr.Protocol, r.code, r.command, strings.Join(r.stderr, "\n"))
	}
	b, err := os.ReadFile(raw)
	check(t, err)
	head, rest, _ := bytes.Cut(b, []byte("\n"))
	n, err := strconv.Atoi(string(head))
	check(t, err)
	tr.Server = strings.Split(strings.TrimSuffix(string(rest[:n]), "\x00"), "\x00")[1:]
	tr.chunks, err = parseChunks(rest[n:])
	check(t, err)
	direction := "push"
	if tr.Pull {
		direction = "pull"
	}
	if tr.Daemon {
		direction = "daemon-" + direction
	}
	check(t, tr.save(filepath.Join(transcripts, fmt.Sprintf("%s-%s-%s-%d", direction, tr.Plays, tr.Rsync, tr.Protocol))))
}

// clientCommand is the client's command line, over this binary as the shell,
// which runs the server, if any.
func (t *transcript) clientCommand(tb testing.TB, bin, server string) []string {
	tb.Helper()
	self, err := os.Executable()
	check(tb, err)
	argv := append([]string{bin}, t.Client...)
	argv = append(argv, fmt.Sprintf("--protocol=%d", t.Protocol), "-e", self)
	there := "peer:"
	if t.Daemon {
		there = "peer::m/"
		server += " --config=" + replayConf
	}
	argv = append(argv, "--rsync-path="+server)
	if t.Pull {
		return append(argv, there+"src/", "to/")
	}
	return append(argv, "src/", there+"to/")
}

// replayConf is the configuration of daemons in a transcript's directory.
const replayConf = "rsyncd.conf"

// smallDir builds the trees of the transcripts where temporary files are, rather
// than in memory: the sizes of directories are part of what a sender says, and
// most disks agree on them.
func smallDir(t *testing.T) string {
	where := ""
	if *keep != "" {
		where = lab
	}
	dir, err := os.MkdirTemp(where, "replay")
	check(t, err)
	if *keep == "" {
		t.Cleanup(func() { removeTree(dir) })
	}
	small().build(t, filepath.Join(dir, "src"))
	smallOlder().build(t, filepath.Join(dir, "to"))
	ids := ""
	if root() {
		ids = "uid = 0\ngid = 0\n"
	}
	conf := ids + "use chroot = no\nread only = no\nmunge symlinks = no\nlog file = /dev/null\n[m]\npath = " + dir + "\n"
	check(t, os.WriteFile(filepath.Join(dir, replayConf), []byte(conf), 0o600))
	return dir
}

// needSizes skips what a sender would say otherwise than it was recorded.
func (t *transcript) needSizes(tt *testing.T, dir string) {
	tt.Helper()
	if !maps.Equal(t.Dirs, dirSizes(tt, filepath.Join(dir, "src"))) {
		tt.Skip("needs a file system where directories have the recorded sizes (4096)")
	}
}

func dirSizes(t *testing.T, top string) map[string]int64 {
	sizes := map[string]int64{}
	check(t, filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, name)
		sizes[rel] = info.Size()
		return err
	}))
	return sizes
}

// TestReplay plays what rsyncs of several ages said to prsync, as client and
// as server. What prsync makes of it, and says itself, is what they did.
func TestReplay(t *testing.T) {
	files, err := filepath.Glob(transcripts + "/*")
	check(t, err)
	if len(files) == 0 {
		t.Fatalf("no transcripts in %s; record them with -update", transcripts)
	}
	for _, name := range files {
		tr, err := loadTranscript(name)
		check(t, err)
		if tr.Plays != "client" {
			t.Run(filepath.Base(name)+"/client", func(t *testing.T) { tr.againstClient(t, name) })
		}
		if tr.Plays != "server" {
			t.Run(filepath.Base(name)+"/server", func(t *testing.T) { tr.againstServer(t) })
		}
	}
}

// againstClient lets prsync be the client of a recorded server.
func (t *transcript) againstClient(tt *testing.T, name string) {
	dir := smallDir(tt)
	if !t.Pull {
		t.needSizes(tt, dir)
	}
	name, err := filepath.Abs(name)
	check(tt, err)
	heard := filepath.Join(dir, "heard")
	r := execute(tt, dir, t.clientCommand(tt, prsync, "rsync"), []string{shellRole + "=play", shellFile + "=" + name, shellHeard + "=" + heard}, nil)
	if r.code != 0 {
		tt.Errorf("exit code %d\n%s", r.code, strings.Join(r.stderr, "\n"))
	}
	said, err := os.ReadFile(heard)
	if err != nil {
		tt.Fatalf("it did not start the remote shell: %v", err)
	}
	t.judge(tt, dir, client, said, t.Pull)
}

// againstServer lets prsync be the server of a recorded client.
func (t *transcript) againstServer(tt *testing.T) {
	dir := smallDir(tt)
	if t.Pull {
		t.needSizes(tt, dir)
	}
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	cmd := exec.CommandContext(ctx, prsync, t.Server...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "LC_ALL=C", "TZ=UTC"}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	stdin, err := cmd.StdinPipe()
	check(tt, err)
	stdout, err := cmd.StdoutPipe()
	check(tt, err)
	check(tt, cmd.Start())
	said, perr := t.play(client, stdout, stdin)
	if perr != nil {
		cmd.Process.Kill()
	}
	if err := cmd.Wait(); err != nil || perr != nil {
		tt.Errorf("%v, %v: %s", err, perr, errs.Bytes())
	}
	t.judge(tt, dir, server, said, !t.Pull)
}

// judge looks at what prsync wrote and at what it said, speaking for who.
func (t *transcript) judge(tt *testing.T, dir string, who byte, said []byte, receiver bool) {
	tt.Helper()
	want := take(tt, filepath.Join(dir, "src"), time.Time{})
	got := take(tt, filepath.Join(dir, "to"), time.Time{})
	if receiver {
		for _, e := range want {
			e["mtime"] = t.carried(e["mtime"])
		}
		for _, e := range got { // what was up to date keeps the fraction it had
			e["mtime"] = t.carried(e["mtime"])
		}
		if diff := want.compare(got); diff != nil {
			tt.Errorf("the tree is not the recorded one:\n\t%s", strings.Join(diff, "\n\t"))
		}
	}
	p := t.payloadOf(who)
	p.feed(t.said(who))
	recorded := p.data
	if !receiver {
		// The end holds counts of bytes and times.
		const end = 64
		if t.Protocol < 30 {
			return // device and inode numbers are part of the list
		}
		recorded, said = cut(recorded, end), cut(said, end)
		n := min(len(recorded), len(said))
		recorded, said = recorded[:n], said[:n]
	}
	if i := firstDifference(recorded, said); i >= 0 {
		tt.Errorf("it says something else from byte %d of %d on (of %d): %x, recorded %x", i, len(said), len(recorded), around(said, i), around(recorded, i))
	}
}

// carried is what comes over of a time.
func (t *transcript) carried(mtime string) string {
	whole, _, _ := strings.Cut(mtime, ".")
	switch sec, err := strconv.ParseInt(whole, 10, 64); {
	case t.Protocol >= 31 || err != nil:
		return mtime
	case t.Protocol < 30:
		return fmt.Sprintf("%d.000000000", uint32(sec))
	default:
		return whole + ".000000000"
	}
}

func cut(b []byte, end int) []byte { return b[:max(0, len(b)-end)] }

func around(b []byte, i int) []byte { return b[min(i, len(b)):min(i+24, len(b))] }

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	return -1
}
