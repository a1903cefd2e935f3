package session

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/prsync/prsync/internal/exitcode"
)

// TestSwarmRandomTrees compares what comes of random trees, whose files are
// versions of a few contents under a few names, with a swarm that fails at
// random and without one.
func TestSwarmRandomTrees(t *testing.T) {
	work := quickDir(t)
	round := 0
	names := []string{"a", "b", "c", "d/a", "d/b", "d/e/f", "g/h", "g/.i"}
	rapid.Check(t, func(rt *rapid.T) {
		round++
		if round > 150 {
			return // each takes milliseconds, and shrinking comes on top
		}
		version := func(label string) []byte {
			b := noise(uint64(rapid.IntRange(0, 3).Draw(rt, label)), 20000+1000*rapid.IntRange(0, 2).Draw(rt, label+" size"))
			switch rapid.IntRange(0, 3).Draw(rt, label+" edit") {
			case 0:
				b = bytes.Clone(b)
				copy(b[7000:], "changed in place")
			case 1:
				b = append(append(bytes.Clone(b[:5000]), "inserted"...), b[5000:]...)
			}
			return b
		}
		tree := func(label string) map[string][]byte {
			files := map[string][]byte{}
			for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, len(names), rapid.ID[string]).Draw(rt, label) {
				files[n] = version(label + " " + n)
			}
			return files
		}
		dir := filepath.Join(work, fmt.Sprint(round))
		defer os.RemoveAll(dir)
		src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
		os.MkdirAll(src, 0o755)
		os.MkdirAll(dst, 0o755)
		write(t, src, tree("source"))
		write(t, dst, tree("destination"))
		at := time.Unix(1600000000, 0)
		filepath.Walk(src, func(p string, fi os.FileInfo, err error) error {
			if err == nil && fi.IsDir() {
				os.Chtimes(p, at, at)
			}
			return nil
		})
		copyTree(t, dst, dst+".plain")
		args := []string{"-a", "--swarm-min-size=1", "--out-format=%i %n"}
		for _, a := range []string{"--delete", "--delete-delay", "--fuzzy", "-I", "--backup", "--delay-updates", "--no-inc-recursive", "-H", "--partial-dir=.p"} {
			if rapid.Bool().Draw(rt, a) {
				args = append(args, a)
			}
		}
		want := pull(t, nil, src, dst+".plain", args...)
		h := newHub(t, src)
		odds := rapid.IntRange(1, 4).Draw(rt, "failing one in")
		h.fail = func(n int) error {
			if odds < 4 && n%odds == 0 {
				return errors.New("no peers")
			}
			return nil
		}
		part := rapid.IntRange(0, 4).Draw(rt, "quarters that came")
		h.valid = func(size int) int { return size * part / 4 }
		h.dieAfter = rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(rt, "dies after")
		h.lives = rapid.IntRange(1, 2).Draw(rt, "lives")
		h.direct = rapid.SampledFrom([]int{0, 1, 3, 1000}).Draw(rt, "straight to the sender")
		h.lookup = rapid.Bool().Draw(rt, "looked up")
		got := pull(t, h, src, dst, args...)
		if a, b := exitcode.Of(want.err, 99), exitcode.Of(got.err, 99); a != b {
			rt.Fatalf("%v: exit code %d, without swarm %d: %v\n%s", args, b, a, got.err, got.out)
		}
		if d := cmp.Diff(snapshot(t, dst+".plain"), snapshot(t, dst)); d != "" {
			rt.Fatalf("%v: tree differs (-plain +swarm):\n%s\n%s", args, d, got.out)
		}
		if d := cmp.Diff(lines(want.out), lines(got.out)); d != "" && !strings.Contains(strings.Join(args, " "), "-H") {
			rt.Fatalf("%v: output differs (-plain +swarm):\n%s", args, d)
		}
	})
}
