package meta

import (
	"errors"
	"io"
	"syscall"

	"github.com/prsync/prsync/internal/fsroot"
	"golang.org/x/sys/unix"
)

const (
	setuidBit = unix.S_ISUID
	setgidBit = unix.S_ISGID
	stickyBit = unix.S_ISVTX
)

func isDir(mode uint32) bool  { return mode&unix.S_IFMT == unix.S_IFDIR }
func isLink(mode uint32) bool { return mode&unix.S_IFMT == unix.S_IFLNK }

// IsDevice reports whether the mode is that of a block or character device.
func IsDevice(mode uint32) bool {
	return mode&unix.S_IFMT == unix.S_IFBLK || mode&unix.S_IFMT == unix.S_IFCHR
}

// IsSpecial reports whether the mode is that of a fifo or socket.
func IsSpecial(mode uint32) bool {
	return mode&unix.S_IFMT == unix.S_IFIFO || mode&unix.S_IFMT == unix.S_IFSOCK
}

// DeviceNumbers splits a device number.
func DeviceNumbers(rdev uint64) (major, minor uint32) { return unix.Major(rdev), unix.Minor(rdev) }

// Device makes a device number.
func Device(major, minor uint32) uint64 { return unix.Mkdev(major, minor) }

// MakeNode makes a device, fifo or socket. Under FakeSuper it is an empty file
// of mode 0600, and Apply writes what it stands for (rsync 3.5.0 syscall.c:do_mknod).
func MakeNode(r *fsroot.Root, name string, mode uint32, rdev uint64, priv Privilege) error {
	if priv == FakeSuper {
		return writeStandIn(r, name, "")
	}
	return r.Mknod(name, mode&(unix.S_IFMT|PermBits), rdev)
}

// MakeSymlink makes a symlink. Under FakeSuper it is a file of mode 0600 that
// holds the target: Linux keeps no user attributes on symlinks
// (rsync 3.5.0 syscall.c:do_symlink).
func MakeSymlink(r *fsroot.Root, target, name string, priv Privilege) error {
	if priv == FakeSuper {
		return writeStandIn(r, name, target)
	}
	return r.Symlink(target, name)
}

func writeStandIn(r *fsroot.Root, name, content string) error {
	f, err := r.OpenFile(name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NONBLOCK, 0600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, content)
	return errors.Join(err, f.Close())
}

// maxSymlinkTarget bounds what is read of a stand-in: PATH_MAX.
const maxSymlinkTarget = unix.PathMax

// ReadSymlink returns the target of a symlink, or of the file that stands in for
// one under FakeSuper.
func ReadSymlink(r *fsroot.Root, name string, priv Privilege) (string, error) {
	if priv != FakeSuper {
		return r.Readlink(name)
	}
	f, err := r.Open(name)
	if errors.Is(err, syscall.ELOOP) {
		return r.Readlink(name)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSymlinkTarget))
	return string(b), err
}

// Crtimes reports whether creation times can be set. Linux has no call for it:
// --crtimes is refused as in an rsync built here.
const Crtimes = false
