package interop

import (
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A snapshot is what can be told of every entry below a directory, as aspects
// of the entry by name.
type snapshot map[string]map[string]string

// take looks at everything below top. Times after since are the run's own, and
// told as "now".
func take(tb testing.TB, top string, since time.Time) snapshot {
	tb.Helper()
	s := snapshot{}
	groups := map[uint64][]string{}
	err := filepath.WalkDir(top, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		e, ino, err := look(name, since)
		if err != nil {
			return err
		}
		s[rel] = e
		if ino != 0 {
			groups[ino] = append(groups[ino], rel)
		}
		return nil
	})
	check(tb, err)
	for _, g := range groups {
		slices.Sort(g)
		for _, name := range g {
			s[name]["links"] = fmt.Sprintf("%q", g)
		}
	}
	return s
}

// tellsAccess matches the options of a run after which times of access are
// determined.
var tellsAccess = regexp.MustCompile(`(?:^| )(?:-\w*U|--open-noatime)`)

// noteAccess adds when each file was last read, which looking at it has not
// changed.
func (s snapshot) noteAccess(tb testing.TB, top string, since time.Time) {
	tb.Helper()
	for name, e := range s {
		var st unix.Stat_t
		check(tb, unix.Lstat(filepath.Join(top, name), &st))
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			e["atime"] = when(st.Atim, since)
		}
	}
}

// look returns the aspects of one entry, and its inode number when it has
// several names.
func look(name string, since time.Time) (map[string]string, uint64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return nil, 0, &os.PathError{Op: "lstat", Path: name, Err: err}
	}
	e := map[string]string{
		"mode":  fmt.Sprintf("%06o", st.Mode),
		"owner": fmt.Sprintf("%d:%d", st.Uid, st.Gid),
		"mtime": when(st.Mtim, since),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e["size"] = fmt.Sprint(st.Size)
		e["blocks"] = fmt.Sprint(st.Blocks / 2)
		sum, err := digest(name)
		if err != nil {
			return nil, 0, err
		}
		e["content"] = sum
	case unix.S_IFLNK:
		target, err := os.Readlink(name)
		if err != nil {
			return nil, 0, err
		}
		e["target"] = fmt.Sprintf("%q", target)
	case unix.S_IFCHR, unix.S_IFBLK:
		e["device"] = fmt.Sprintf("%d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := xattrs(name, e); err != nil {
			return nil, 0, err
		}
	}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return e, st.Ino, nil
	}
	return e, 0, nil
}

func when(t unix.Timespec, since time.Time) string {
	at := time.Unix(t.Sec, t.Nsec)
	if !since.IsZero() && at.After(since.Add(-2*time.Second)) && at.Before(time.Now().Add(2*time.Second)) {
		return "now"
	}
	return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec)
}

// seed makes sums of content comparable within one run of the tests.
var seed = maphash.MakeSeed()

func digest(name string) (string, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NOATIME|unix.O_CLOEXEC, 0)
	if err != nil {
		if fd, err = unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return "unreadable", nil
		}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	var h maphash.Hash
	h.SetSeed(seed)
	if _, err := io.Copy(&h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%016x", h.Sum64()), nil
}

// xattrs notes the extended attributes, access control lists among them.
func xattrs(name string, e map[string]string) error {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(name, buf)
	if err != nil {
		return nil // none to be had here
	}
	for k := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if k == "" || k == "security.selinux" {
			continue
		}
		v := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(name, k, v)
		if err != nil {
			return &os.PathError{Op: "getxattr " + k, Path: name, Err: err}
		}
		text := fmt.Sprintf("%q", v[:n])
		if n > 60 || strings.HasPrefix(k, "system.") {
			text = fmt.Sprintf("%x", v[:n])
		}
		if len(text) > 200 {
			text = fmt.Sprintf("%d bytes, sum %x", n, maphash.Bytes(seed, v[:n]))
		}
		e[fmt.Sprintf("%q", k)] = text
	}
	return nil
}

// slack is how many KiB of allocated space may differ: file systems allocate
// in extents of their own choice.
const slack = 64

// compare returns a line for everything in which got is not as want.
func (want snapshot) compare(got snapshot) []string {
	var diff []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		w, g := want[name], got[name]
		if g == nil {
			diff = append(diff, fmt.Sprintf("missing %q (%s)", name, w["mode"]))
			continue
		}
		for _, k := range slices.Sorted(maps.Keys(union(w, g))) {
			if w[k] == g[k] || k == "blocks" && near(w[k], g[k]) {
				continue
			}
			diff = append(diff, fmt.Sprintf("%q: %s is %s, want %s", name, k, orNone(g[k]), orNone(w[k])))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if want[name] == nil {
			diff = append(diff, fmt.Sprintf("unexpected %q (%s)", name, got[name]["mode"]))
		}
	}
	return diff
}

func union(a, b map[string]string) map[string]string {
	u := maps.Clone(a)
	maps.Copy(u, b)
	return u
}

func near(a, b string) bool {
	var x, y int
	fmt.Sscan(a, &x)
	fmt.Sscan(b, &y)
	return max(x-y, y-x) <= slack
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
