package fsroot

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A system call that may wait for long has to tell the scheduler, which then
// finds another thread for the other goroutines. For a look at what the kernel
// holds in memory that is a tenth of the cost, and more where the scheduler
// wakes threads for nothing. So the calls that a run makes for every entry, on
// a file system that at worst waits for a disk, are made without (raw.go).
// Network and user space file systems, which may never answer, are not.

// isLocal reports whether a directory is on a file system that waits for
// nothing but a disk of this machine.
func isLocal(fd int) bool {
	var st unix.Statfs_t
	if retry(func() error { return unix.Fstatfs(fd, &st) }) != nil {
		return false
	}
	switch int64(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.F2FS_SUPER_MAGIC:
		return true
	}
	return false
}

// leafName is a name as the kernel takes it: no name in a directory, nor one of
// an attribute, is longer.
type leafName [256]byte

// set reports whether the name is short enough to be one.
func (b *leafName) set(leaf string) bool { return copy(b[:len(b)-1], leaf) == len(leaf) }

// check is set for a name that may be any string; tooLong is the kernel's word for
// one that is.
func (b *leafName) check(name string, tooLong syscall.Errno) error {
	switch {
	case strings.IndexByte(name, 0) >= 0:
		return syscall.EINVAL
	case !b.set(name):
		return tooLong
	}
	return nil
}

// lstat looks at an entry of the directory, or at the directory itself if leaf
// is "".
func (d *dir) lstat(leaf string) (Stat, error) {
	if !d.local || leaf == "" {
		return lstatAt(d.fd, leaf)
	}
	for {
		var u unix.Stat_t
		switch err := rawLstat(d.fd, leaf, &u); err {
		case nil:
			var st Stat
			st.set(&u)
			return st, nil
		case syscall.EINTR:
		default:
			return Stat{}, err
		}
	}
}

// open opens an entry of the directory, without following it, for reading.
func (d *dir) open(leaf string, flags int) (int, error) {
	if !d.local {
		return openat(d.fd, leaf, flags, 0)
	}
	for {
		fd, err := rawOpen(d.fd, leaf, flags|unix.O_CLOEXEC|unix.O_NOCTTY)
		if err != syscall.EINTR {
			return fd, err
		}
	}
}
