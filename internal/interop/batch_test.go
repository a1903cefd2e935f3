package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestBatch lets each program read what the other recorded with --write-batch:
// a batch written here has to update a tree there as rsync's own does.
func TestBatch(t *testing.T) {
	needPeer(t)
	commonSource(t)
	for _, tt := range []struct {
		name, write, read string
		protocol          int
	}{
		{"plain", "-aHi --delete --write-batch=b", "-aHi --delete --read-batch=b", 32},
		{"only", "-aHi --delete --only-write-batch=b", "-aHi --delete --read-batch=b", 32},
		{"delta", "-aHi --no-W --write-batch=b", "-aHi --read-batch=b", 31},
		{"old", "-aHi --no-W --write-batch=b", "-aHi --read-batch=b", 29},
		{"compressed", "-aHiz --no-W --write-batch=b", "-aHiz --read-batch=b", 32},
		{"no-recursion-ahead", "-aHi --no-i-r --write-batch=b", "-aHi --no-i-r --read-batch=b", 32},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := &scenario{name: tt.name, args: tt.write}
			r := &scenario{name: tt.name, args: tt.read, from: []string{}}
			want := batch(t, w, r, peer, peer, tt.protocol)
			for name, p := range map[string]pair{"written": {prsync, peer}, "read": {peer, prsync}, "both": {prsync, prsync}} {
				t.Run(name, func(t *testing.T) {
					r.judge(t, want, batch(t, w, r, p.client, p.server, tt.protocol))
				})
			}
		})
	}
}

// TestOnlyBatchLeavesTree holds --only-write-batch to its promise: the
// destination stays as it is, with extended attributes too, whose values come
// after the rest.
func TestOnlyBatchLeavesTree(t *testing.T) {
	if !takesAttributes() {
		t.Skip("needs a file system with extended attributes")
	}
	commonSource(t)
	s := &scenario{name: "only", args: "-aXH --delete --only-write-batch=b"}
	for _, w := range []way{local, push, pull} {
		t.Run(string(w), func(t *testing.T) {
			dir := s.killDir(t)
			before := take(t, filepath.Join(dir, "to"), time.Time{})
			argv, env := s.command(t, w, pair{prsync, prsync}, 0, dir)
			if r := execute(t, dir, argv, env, nil); r.code != 0 {
				t.Fatalf("code %d: %q", r.code, r.stderr)
			}
			for _, d := range before.compare(take(t, filepath.Join(dir, "to"), time.Time{})) {
				t.Error(d)
			}
		})
	}
}

// batch writes a batch with one program and reads it with another, over a tree
// like the one it was written for.
func batch(t *testing.T, write, read *scenario, writer, reader string, protocol int) *result {
	t.Helper()
	dir := filepath.Join(lab, fmt.Sprintf("run-%06d", count.Add(1)))
	check(t, os.Mkdir(dir, 0o755))
	if *keep == "" {
		defer removeTree(dir)
	}
	older().build(t, filepath.Join(dir, "to"))
	argv, env := write.command(t, local, pair{writer, writer}, protocol, dir)
	wrote := execute(t, dir, argv, env, nil)
	removeTree(filepath.Join(dir, "to"))
	older().build(t, filepath.Join(dir, "to"))
	argv, env = read.command(t, local, pair{reader, reader}, 0, dir)
	start := time.Now()
	r := execute(t, dir, argv, env, nil)
	r.command = wrote.command + "\n\t" + r.command
	r.code += wrote.code << 8
	r.stdout = append(wrote.stdout, r.stdout...)
	r.stderr = append(wrote.stderr, r.stderr...)
	r.tree = take(t, filepath.Join(dir, "to"), start)
	return r
}
