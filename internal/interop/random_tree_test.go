package interop

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// randomTrees returns a source and an older destination: some directories of
// the common trees as they are, entries that change in one respect or several,
// and a part with names, types and modes of chance.
func randomTrees(r *rand.Rand) (src, dest tree) {
	dirs := map[string]bool{}
	for _, n := range source() {
		if top, _, _ := strings.Cut(n.path, "/"); r.IntN(4) == 0 {
			dirs[top] = true
		}
	}
	few := func(all tree) tree {
		var t tree
		for _, n := range all.clone() {
			if top, _, _ := strings.Cut(n.path, "/"); dirs[top] && len(n.data) < 1<<20 && n.hole == 0 {
				t = append(t, n)
			}
		}
		return whole(t)
	}
	src, dest = few(source()), few(older())
	grown := grow(r)
	src = append(src, grown...)
	dest = whole(append(dest, grown.clone().age(r)...))
	return src, dest
}

// whole leaves out names of files that are not in the tree, and entries whose
// directory is not.
func whole(t tree) tree {
	have := map[string]byte{".": dir}
	var left tree
	for _, n := range t {
		if have[path.Dir(n.path)] != dir || n.kind == hard && (have[n.target] == 0 || have[n.target] == dir) || have[n.path] != 0 {
			continue
		}
		have[n.path] = n.kind
		left = append(left, n)
	}
	return left
}

// grow makes a tree of chance.
func grow(r *rand.Rand) tree {
	var t tree
	dirs := []string{"."}
	for range 4 + r.IntN(24) {
		in := dirs[r.IntN(len(dirs))]
		n := &node{path: path.Join(in, randomName(r)), kind: randomKind(r), mode: randomMode(r)}
		if r.IntN(3) == 0 {
			n.sec, n.nsec = randomTime(r)
		}
		if root() && r.IntN(3) == 0 {
			n.uid, n.gid = pickOne(r, 0, 1, 7, 54321, 65534), pickOne(r, 0, 1, 8, 54322, 65534)
		}
		switch n.kind {
		case dir:
			dirs = append(dirs, n.path)
			if !root() || n.mode == 0 {
				n.mode |= 0o700
			}
		case file:
			n.data = content(r.Uint64N(50), pickOne(r, 0, 1, 10, 699, 700, 701, 5_000, 40_000, 70_000))
			if !root() {
				n.mode |= 0o400
			}
		case symlink:
			n.target = randomTarget(r, t)
		case hard:
			if n.target = anyOf(r, t, file, symlink, fifo); n.target == "" {
				continue
			}
		case char, block:
			n.rdev = unix.Mkdev(uint32(1+r.IntN(6)*100), uint32(r.IntN(300)))
			if n.kind == char && r.IntN(2) == 0 {
				n.rdev = unix.Mkdev(1, 3)
			}
		}
		if takesAttributes() && r.IntN(5) == 0 && (n.kind == file || n.kind == dir) {
			n.xattrs = map[string]string{"user." + pickOne(r, "a", "b", "c"): string(content(r.Uint64N(9), r.IntN(80)))}
			if r.IntN(2) == 0 {
				n.acl = randomList(r)
			}
			if n.kind == dir && r.IntN(3) == 0 {
				n.defacl = randomList(r)
			}
		}
		t.add(n)
	}
	return whole(t)
}

func randomKind(r *rand.Rand) byte {
	all := []byte{file, file, file, file, file, file, dir, dir, dir, symlink, symlink, hard, hard, fifo, sock}
	if root() {
		all = append(all, char, block)
	}
	return all[r.IntN(len(all))]
}

// randomName is a short name, so that names collide and sort in every way, or
// one that somebody takes amiss.
func randomName(r *rand.Rand) string {
	if r.IntN(4) == 0 {
		return hostile[r.IntN(len(hostile))]
	}
	const letters = "aabbc.-_~xA0 "
	for {
		b := make([]byte, 1+r.IntN(4))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		if n := string(b); n != "." && n != ".." {
			return n + pickOne(r, "", "", "", ".c", ".o", ".gz", "~", ".tmp")
		}
	}
}

func randomMode(r *rand.Rand) uint32 {
	return pickOne(r, 0, 0, 0, 0o600, 0o444, 0o755, 0o4755, 0o2775, 0o1777, 0o640, 0o711, r.Uint32N(0o10000))
}

func randomTime(r *rand.Rand) (sec, nsec int64) {
	return pickOne[int64](r, -1, 0, 1<<31-1, 1<<31, 1<<32, 1_600_000_000, 1_600_000_001), pickOne[int64](r, 0, 1, 500_000_000, 999_999_999)
}

// randomTarget draws what a symbolic link says. Directories are out: of two links to
// "." a run with -L would make a million.
func randomTarget(r *rand.Rand, t tree) string {
	if f := anyOf(r, t, file, fifo); f != "" && r.IntN(2) == 0 {
		return strings.Repeat("../", r.IntN(3)) + f
	}
	return pickOne(r, "nowhere", "/nonexistent/absolute", "../../beside", "../../beside/file", "a/../b", "x\ny", "/rsyncd-munged/a", strings.Repeat("t", 300))
}

func randomList(r *rand.Rand) []ace {
	perm := func() uint16 { return uint16(r.IntN(8)) }
	l := []ace{{1, perm() | 4, 0}}
	if r.IntN(2) == 0 {
		l = append(l, ace{2, perm(), 7})
	}
	l = append(l, ace{4, perm(), 0})
	if r.IntN(2) == 0 {
		l = append(l, ace{8, perm(), 9})
	}
	if len(l) > 2 {
		l = append(l, ace{16, perm(), 0})
	}
	return append(l, ace{32, perm(), 0})
}

// anyOf returns the path of an entry of one of the kinds; "" if there is none.
func anyOf(r *rand.Rand, t tree, kinds ...byte) string {
	var all []string
	for _, n := range t {
		if slices.Contains(kinds, n.kind) {
			all = append(all, n.path)
		}
	}
	if all == nil {
		return ""
	}
	return all[r.IntN(len(all))]
}

// age changes a tree as time does.
func (t tree) age(r *rand.Rand) tree {
	for i := 0; i < len(t); i++ {
		n := t[i]
		switch r.IntN(14) {
		case 0:
			t = slices.Delete(t, i, i+1) // what is below goes with it (see whole)
			i--
		case 1:
			if n.kind == file {
				n.data = content(r.Uint64N(50), len(n.data)) // the quick check cannot see it
			}
		case 2:
			if n.kind == file {
				n.data = slices.Concat(n.data, []byte("longer"))
				n.sec += int64(r.IntN(3) - 1)
			}
		case 3:
			if n.kind == file {
				n.data = n.data[:len(n.data)/2]
				n.sec -= int64(r.IntN(3))
			}
		case 4:
			n.mode = n.mode&0o700 | randomMode(r)
		case 5:
			n.sec, n.nsec = randomTime(r)
		case 6:
			n.nsec = 5
		case 7: // another type
			if was := n.kind; was != hard {
				*n = node{path: n.path, kind: randomKind(r), mode: 0o755, sec: n.sec, nsec: n.nsec}
				if n.kind == symlink {
					n.target = randomTarget(r, t)
				}
				if n.kind == hard {
					n.kind, n.data = file, []byte("another")
				}
			}
		case 8:
			if root() {
				n.uid, n.gid = 9, 9
			}
		case 9:
			n.xattrs, n.acl, n.defacl = nil, nil, nil
		case 10:
			if n.kind == symlink {
				n.target = randomTarget(r, t)
			}
			if n.kind == hard {
				n.kind, n.target, n.data = file, "", []byte("apart")
			}
		case 11: // an extra one
			extra := &node{path: path.Join(path.Dir(n.path), randomName(r)), kind: pickOne[byte](r, file, file, dir, symlink), target: "x"}
			t = append(t, extra)
			extra.mode, extra.sec = 0o755, 1_500_000_000+int64(i)
			if extra.kind == dir {
				t = append(t, &node{path: path.Join(extra.path, fmt.Sprintf("in%d", i)), kind: file, mode: 0o644, sec: 1_500_000_000, data: []byte("in\n")})
			}
		}
	}
	return t
}

func pickOne[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }
