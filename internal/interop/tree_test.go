package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A node is one entry of a tree to build.
type node struct {
	path     string
	kind     byte // one of the constants below
	mode     uint32
	uid, gid int
	sec      int64
	nsec     int64
	data     []byte
	hole     int64 // bytes that are not written in front of data, for a sparse file
	target   string
	rdev     uint64
	xattrs   map[string]string
	acl      []ace
	defacl   []ace
}

const (
	file    = 'f'
	dir     = 'd'
	symlink = 'l'
	hard    = 'h' // another name of target
	fifo    = 'p'
	sock    = 's'
	char    = 'c'
	block   = 'b'
)

// A tree is built in its order; directories get their times at the end.
type tree []*node

// add appends nodes that share the ordinary attributes unless they have others.
func (t *tree) add(nodes ...*node) {
	for _, n := range nodes {
		if n.mode == 0 {
			n.mode = 0o644
			if n.kind == dir {
				n.mode = 0o755
			}
		}
		if n.mode == none {
			n.mode = 0
		}
		if n.sec == 0 && n.nsec == 0 {
			n.sec, n.nsec = 1_600_000_000+int64(len(*t))*7, 123_456_789
		}
		*t = append(*t, n)
	}
}

// none is the mode 0000.
const none = ^uint32(0)

func (t tree) find(path string) *node {
	for _, n := range t {
		if n.path == path {
			return n
		}
	}
	panic("interop: the tree has no " + path)
}

// clone copies the nodes, so that a variant can be made.
func (t tree) clone() tree {
	c := make(tree, len(t))
	for i, n := range t {
		m := *n
		c[i] = &m
	}
	return c
}

// drop removes entries, everything below them and other names of them.
func (t *tree) drop(paths ...string) {
	var left tree
next:
	for _, n := range *t {
		for _, p := range paths {
			if n.path == p || strings.HasPrefix(n.path, p+"/") || n.kind == hard && strings.HasPrefix(n.target, p+"/") {
				continue next
			}
		}
		left = append(left, n)
	}
	*t = left
}

// build makes the tree below top, which it creates.
func (t tree) build(tb testing.TB, top string) {
	tb.Helper()
	check(tb, os.MkdirAll(top, 0o755))
	dirs := tree{}
	for _, n := range t {
		check(tb, n.create(top))
		if n.kind == dir {
			dirs = append(dirs, n)
		} else if n.kind != hard {
			check(tb, n.dress(top))
		}
	}
	sort.SliceStable(dirs, func(i, j int) bool { return len(dirs[i].path) > len(dirs[j].path) })
	for _, n := range dirs {
		check(tb, n.dress(top))
	}
	when := []unix.Timespec{{Sec: 1_500_000_000}, {Sec: 1_500_000_000}}
	check(tb, unix.UtimesNanoAt(unix.AT_FDCWD, top, when, 0))
}

func (n *node) create(top string) error {
	name := filepath.Join(top, n.path)
	switch n.kind {
	case file:
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(n.data, n.hole); err != nil {
			return err
		}
		return f.Close()
	case dir:
		return os.Mkdir(name, 0o700)
	case symlink:
		return os.Symlink(n.target, name)
	case hard:
		return os.Link(filepath.Join(top, n.target), name)
	case fifo:
		return unix.Mknod(name, unix.S_IFIFO|0o600, 0)
	case sock:
		return unix.Mknod(name, unix.S_IFSOCK|0o600, 0)
	case char:
		return unix.Mknod(name, unix.S_IFCHR|0o600, int(n.rdev))
	case block:
		return unix.Mknod(name, unix.S_IFBLK|0o600, int(n.rdev))
	}
	return fmt.Errorf("%s: kind %c", n.path, n.kind)
}

// dress gives an entry its owner, mode, attributes and times.
func (n *node) dress(top string) error {
	name := filepath.Join(top, n.path)
	if root() {
		if err := os.Lchown(name, n.uid, n.gid); err != nil {
			return err
		}
	}
	if n.kind != symlink {
		for k, v := range n.xattrs {
			if err := unix.Lsetxattr(name, k, []byte(v), 0); err != nil {
				return &os.PathError{Op: "setxattr " + k, Path: name, Err: err}
			}
		}
		if err := unix.Chmod(name, n.mode); err != nil {
			return &os.PathError{Op: "chmod", Path: name, Err: err}
		}
		if n.acl != nil {
			if err := unix.Lsetxattr(name, "system.posix_acl_access", aclBytes(n.acl), 0); err != nil {
				return &os.PathError{Op: "setxattr acl", Path: name, Err: err}
			}
		}
		if n.defacl != nil {
			if err := unix.Lsetxattr(name, "system.posix_acl_default", aclBytes(n.defacl), 0); err != nil {
				return &os.PathError{Op: "setxattr default acl", Path: name, Err: err}
			}
		}
	}
	when := []unix.Timespec{{Sec: 1_550_000_000, Nsec: 5}, {Sec: n.sec, Nsec: n.nsec}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, when, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimes", Path: name, Err: err}
	}
	return nil
}

// An ace is one entry of a POSIX access control list.
type ace struct {
	tag  uint16 // acl(5): 1 owner, 2 user, 4 group, 8 named group, 16 mask, 32 other
	perm uint16
	id   uint32
}

// aclBytes is the form of an access control list in its extended attribute
// (linux/posix_acl_xattr.h).
func aclBytes(list []ace) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range list {
		if e.tag != 2 && e.tag != 8 {
			e.id = ^uint32(0)
		}
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// takesAttributes reports whether the file system of the lab has extended
// attributes and access control lists.
var takesAttributes = sync.OnceValue(func() bool {
	f, err := os.CreateTemp(lab, "attr")
	if err != nil {
		return false
	}
	defer os.Remove(f.Name())
	f.Close()
	list := []ace{{1, 6, 0}, {2, 6, 7}, {4, 4, 0}, {16, 6, 0}, {32, 0, 0}}
	return unix.Lsetxattr(f.Name(), "user.a", []byte("b"), 0) == nil &&
		unix.Lsetxattr(f.Name(), "system.posix_acl_access", aclBytes(list), 0) == nil
})

// content is size bytes that are the same for the same seed: lines of words,
// with runs that do not compress.
func content(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 77))
	var b bytes.Buffer
	for b.Len() < size {
		if r.IntN(4) == 0 {
			for range r.IntN(200) {
				b.WriteByte(byte(r.Uint32()))
			}
			continue
		}
		for range r.IntN(30) {
			fmt.Fprintf(&b, "%x ", r.Uint32()&0xfff)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()[:size]
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		var p *os.PathError
		if errors.As(err, &p) {
			tb.Fatalf("%v (%q)", err, p.Path)
		}
		tb.Fatal(err)
	}
}
