package flist

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// stock skips a test where there is no rsync to compare with.
func stock(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("rsync"); err != nil {
		t.Skip("no rsync to compare with")
	}
}

// listed returns the names in the order in which rsync lists them.
func listed(t interface{ Fatalf(string, ...any) }, dir string, args ...string) []string {
	cmd := exec.Command("rsync", append(args, "-8", "--list-only", dir+"/")...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("rsync %v: %v", args, err)
	}
	var names []string
	for _, line := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		names = append(names, line[len("drwxr-xr-x          4,096 2026/11/23 03:41:38 "):])
	}
	return names
}

// randomTree makes a tree whose names sit on both sides of '/' and '.'.
func randomTree(t *rapid.T, dir string) []*File {
	files := []*File{{Base: ".", Mode: unix.S_IFDIR | 0755}}
	name := rapid.StringOfN(rapid.SampledFrom([]rune(" !+-./0aAé~")), 1, 4, 8).Filter(func(s string) bool {
		return s != "." && s != ".." && !strings.Contains(s, "/")
	})
	var fill func(dir, prefix string, depth int)
	fill = func(dir, prefix string, depth int) {
		for _, n := range rapid.SliceOfNDistinct(name, 0, 6, rapid.ID[string]).Draw(t, "names") {
			f := &File{Mode: unix.S_IFREG | 0644}
			f.Dir, f.Base = Split(prefix + n)
			p := filepath.Join(dir, n)
			if depth < 3 && rapid.Bool().Draw(t, "dir") {
				f.Mode = unix.S_IFDIR | 0755
				if err := os.Mkdir(p, 0755); err != nil {
					t.Fatal(err)
				}
				fill(p, prefix+n+"/", depth+1)
			} else if err := os.WriteFile(p, nil, 0644); err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
	}
	fill(dir, "", 0)
	files = rapid.Permutation(files).Draw(t, "order")
	for i, f := range files {
		f.Seq = int32(i)
		f.Depth = DepthOf(f.Name())
	}
	return files
}

func names(files []*File) (names []string) {
	for _, f := range files {
		if f.Active() {
			names = append(names, f.Name())
		}
	}
	return names
}

// The order is that in which rsync lists a tree, in both of its forms, and
// --prune-empty-dirs drops what rsync drops.
func TestOrderAsRsync(t *testing.T) {
	stock(t)
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		if n > 25 {
			return // a run of rsync costs more than rapid's
		}
		dir := filepath.Join(base, fmt.Sprint(n))
		if err := os.Mkdir(dir, 0755); err != nil {
			t.Fatal(err)
		}
		files := randomTree(t, dir)
		for _, protocol := range []int{28, 29, 32} {
			Sort(files, protocol)
			want := listed(t, dir, "-r", "--no-i-r", fmt.Sprintf("--protocol=%d", protocol))
			if got := names(files); !slices.Equal(got, want) {
				t.Fatalf("protocol %d:\n%q\nrsync:\n%q", protocol, got, want)
			}
			for _, f := range files {
				if i := Search(files, f, protocol); i < 0 || files[i] != f {
					t.Fatalf("protocol %d: %s is not found", protocol, f.Name())
				}
			}
		}
		PruneEmpty(files, nil)
		if got, want := names(files), listed(t, dir, "-rm", "--no-i-r"); !slices.Equal(got, want) {
			t.Fatalf("pruned:\n%q\nrsync:\n%q", got, want)
		}
	})
}

// anyFile draws an entry such as a hostile peer can send.
func anyFile(t *rapid.T) *File {
	part := rapid.StringOfN(rapid.SampledFrom([]rune("\x01-.a/")), 0, 3, 6)
	name, ok := CleanName(part.Draw(t, "a") + "/" + part.Draw(t, "b") + rapid.SampledFrom([]string{"", "/."}).Draw(t, "end"))
	if !ok {
		name = "."
	}
	f := &File{Mode: rapid.SampledFrom([]uint32{0, unix.S_IFREG | 0644, unix.S_IFDIR | 0755, unix.S_IFLNK | 0777}).Draw(t, "mode")}
	f.Dir, f.Base = Split(name)
	return f
}

// Compare is an order even over names that no honest peer sends.
func TestCompareIsAnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := anyFile(t), anyFile(t), anyFile(t)
		protocol := rapid.IntRange(27, 32).Draw(t, "protocol")
		sign := func(x, y *File) int {
			switch d := Compare(x, y, protocol); {
			case d < 0:
				return -1
			case d > 0:
				return 1
			}
			return 0
		}
		if sign(a, b) != -sign(b, a) || sign(a, a) != 0 {
			t.Fatalf("%q and %q: %d, %d", a.Name(), b.Name(), sign(a, b), sign(b, a))
		}
		if sign(a, b) <= 0 && sign(b, c) <= 0 && sign(a, c) > 0 {
			t.Fatalf("%q <= %q <= %q, but not the first and last", a.Name(), b.Name(), c.Name())
		}
	})
}

func list(entries ...string) []*File {
	var files []*File
	for i, e := range entries {
		f := &File{Mode: unix.S_IFREG | 0644, Seq: int32(i)}
		if d, ok := strings.CutSuffix(e, "/"); ok {
			f.Mode, e = unix.S_IFDIR|0755, d
		}
		f.Dir, f.Base = Split(e)
		f.Depth = DepthOf(e)
		files = append(files, f)
	}
	return files
}

func TestRemoveDuplicates(t *testing.T) {
	for _, tt := range []struct {
		protocol int
		in, want string
		drops    string
	}{
		{32, "a b a", "a b", "a2"},
		{32, "a a/ b", "b a", "a0"},
		{32, "a/ a b", "b a", "a1"},
		{28, "a a/ b", "a b", "a0"},
		{28, "a/ a b", "a b", "a1"},
		{32, "./ a ./", ". a", ".2"},
		{32, "d/ d/x d/ d/x x", "x d d/x", "d2 d/x3"},
	} {
		files := list(strings.Fields(tt.in)...)
		Sort(files, tt.protocol)
		var drops []string
		RemoveDuplicates(files, tt.protocol, func(f *File) { drops = append(drops, fmt.Sprint(f.Name(), f.Seq)) })
		if got := strings.Join(names(files), " "); got != tt.want || strings.Join(drops, " ") != tt.drops {
			t.Errorf("%d %s: %s (dropped %v), want %s (%s)", tt.protocol, tt.in, got, drops, tt.want, tt.drops)
		}
	}
	// What one of two directories is marked with goes to the one that stays.
	files := list("d/", "d/")
	files[0].Flags, files[1].Flags = ImpliedDir, TopDir|ContentDir
	RemoveDuplicates(files, 32, nil)
	if files[0].Flags != TopDir|ContentDir || files[1].Active() {
		t.Errorf("flags %b", files[0].Flags)
	}
	files = list("d/", "d/", "e/")
	MarkDuplicates(files, 32)
	if files[0].Flags|files[2].Flags != 0 || files[1].Flags != Duplicate {
		t.Error("the second d is not marked")
	}
}

func TestPruneKeeps(t *testing.T) {
	files := list("./", "a/", "a/b/", "c/", "c/d/", "e/", "e/f")
	PruneEmpty(files, func(dir string) bool { return dir == "c/d" })
	if got := strings.Join(names(files), " "); got != ". c c/d e e/f" {
		t.Error(got)
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"": ".", ".": ".", "./": ".", "././.": ".", "a": "a", "a/": "a", "./a//b/./c/": "a/b/c", "/": "/", "//": "/",
		"/.": "/.", "//./.": "/.", "/a/.": "/a", "a/.b": "a/.b", ".a": ".a", "..a/b..": "..a/b..",
	} {
		if got, ok := CleanName(in); got != want || !ok {
			t.Errorf("CleanName(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{"..", "../a", "a/..", "/..", "a/../b", "./.."} {
		if _, ok := CleanName(in); ok {
			t.Errorf("CleanName(%q) lets .. pass", in)
		}
	}
	for _, tt := range []struct {
		in    string
		depth int
		want  string
	}{
		{"/etc/passwd", 0, "etc/passwd"}, {"../../x", 0, "x"}, {"../../x", 1, "../x"}, {"a/../../x", 0, "x"},
		{"a/b/../c", 3, "a/c"}, {"..", 0, "."}, {"..", 1, ".."}, {"../a/../..", 1, "../"}, {"a/.", 0, "a/"}, {"a/b/..", 0, "a/"}, {"", 0, "."}, {"./a/./b", 0, "a/b"},
	} {
		if got := Sanitize(tt.in, tt.depth, false); got != tt.want {
			t.Errorf("Sanitize(%q, %d) = %q, want %q", tt.in, tt.depth, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringOf(rapid.SampledFrom([]rune("a./"))).Draw(t, "path")
		depth := rapid.IntRange(0, 3).Draw(t, "depth")
		level := depth
		for _, p := range strings.Split(Sanitize(in, depth, rapid.Bool().Draw(t, "dots")), "/") {
			switch p {
			case "..":
				level--
			case "", ".":
			default:
				level++
			}
			if level < 0 {
				t.Fatalf("%q climbs above the root", in)
			}
		}
		if s := Sanitize(in, 0, false); s == "" || s[0] == '/' || bytes.Contains([]byte("/"+s+"/"), []byte("/../")) {
			t.Fatalf("%q becomes %q", in, s)
		}
	})
}
