package fsroot

import (
	"os"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pin holds one inode, so that metadata is read from and written to that very
// inode whatever happens to its name. It needs no permission on the entry.
type Pin struct {
	fd    int
	path  bool // fd is O_PATH
	owned bool
	name  string
	file  *os.File // kept alive while the pin is in use
}

// Pin holds the entry of that name; a symlink is held itself.
func (r *Root) Pin(name string) (*Pin, error) {
	d, leaf, err := r.at(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	defer d.release()
	var fd int
	if leaf == "" {
		fd, err = dupFd(d.fd)
	} else {
		fd, err = openat(d.fd, leaf, unix.O_PATH|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &Pin{fd: fd, path: true, owned: true, name: r.Full(name)}, nil
}

// PinFollow holds what name points to, resolved as Stat does: the directory
// behind a symlink that -K keeps.
func (r *Root) PinFollow(name string) (*Pin, error) {
	d, leaf, err := r.at(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	defer d.release()
	if leaf == "" {
		return r.Pin(name)
	}
	fd, err := r.resolveLeaf(d, leaf, name, unix.O_PATH)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &Pin{fd: fd, path: true, owned: true, name: r.Full(name)}, nil
}

// PinFile makes a Pin of an open file, which it does not close.
func PinFile(f *os.File) *Pin {
	return &Pin{fd: int(f.Fd()), name: f.Name(), file: f}
}

// Close lets the inode go.
func (p *Pin) Close() error {
	if p.owned {
		p.owned = false
		return unix.Close(p.fd)
	}
	return nil
}

// Name returns the path of the entry, for messages.
func (p *Pin) Name() string { return p.name }

// Fd returns the descriptor, which may be O_PATH.
func (p *Pin) Fd() int { return p.fd }

// Stat describes the inode.
func (p *Pin) Stat() (Stat, error) {
	st, err := lstatAt(p.fd, "")
	return st, pathError("stat", p.name, err)
}

// Chmod sets the permission bits (07777). A symlink has none: EOPNOTSUPP.
func (p *Pin) Chmod(mode uint32) error {
	mode &= 07777
	return pathError("chmod", p.name, retry(func() error {
		if !p.path {
			return unix.Fchmod(p.fd, mode)
		}
		err := fchmodat2(p.fd, mode)
		if err != syscall.ENOSYS && err != syscall.EPERM && err != syscall.EINVAL {
			return err
		}
		return p.viaProc(procFd(), err, func(proc int, n string) error {
			if p.isSymlink() {
				return syscall.EOPNOTSUPP
			}
			return unix.Fchmodat(proc, n, mode, 0)
		}, func(fd int) error { return unix.Fchmod(fd, mode) })
	}))
}

// Chown sets owner and group; -1 leaves one as it is.
func (p *Pin) Chown(uid, gid int) error {
	return pathError("chown", p.name, retry(func() error {
		if !p.path {
			return unix.Fchown(p.fd, uid, gid)
		}
		return unix.Fchownat(p.fd, "", uid, gid, unix.AT_EMPTY_PATH)
	}))
}

// OmitTime in the Nsec of a time given to Utimes leaves that time as it is.
const OmitTime = unix.UTIME_OMIT

// Utimes sets access and modification time, of a symlink too.
func (p *Pin) Utimes(atime, mtime Timespec) error {
	ts := [2]unix.Timespec{
		{Sec: atime.Sec, Nsec: int64(atime.Nsec)},
		{Sec: mtime.Sec, Nsec: int64(mtime.Nsec)},
	}
	return pathError("utimensat", p.name, retry(func() error {
		if !p.path {
			return utimensat(p.fd, nil, &ts, 0)
		}
		err := utimensat(p.fd, &emptyPath[0], &ts, unix.AT_EMPTY_PATH)
		if err != syscall.EINVAL && err != syscall.ENOSYS {
			return err
		}
		// Before Linux 5.8. A number is always a name without NULs.
		return p.viaProc(procFd(), err, func(proc int, n string) error {
			return unix.UtimesNanoAt(proc, n, ts[:], 0)
		}, func(fd int) error { return utimensat(fd, nil, &ts, 0) })
	}))
}

var emptyPath [1]byte

// utimensat is the bare system call: a nil path means the file behind fd.
func utimensat(fd int, path *byte, ts *[2]unix.Timespec, flags int) error {
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), uintptr(unsafe.Pointer(path)),
		uintptr(unsafe.Pointer(ts)), uintptr(flags), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

func fchmodat2(fd int, mode uint32) error {
	_, _, e := unix.Syscall6(unix.SYS_FCHMODAT2, uintptr(fd), uintptr(unsafe.Pointer(&emptyPath[0])),
		uintptr(mode), unix.AT_EMPTY_PATH, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

func (p *Pin) isSymlink() bool { return p.path && isLink(p.fd) }

// viaProc works on an O_PATH descriptor on kernels that lack the direct call:
// through /proc/self/fd, else, of a directory, on a second descriptor of the same
// inode. failed is the error if neither way is open.
func (p *Pin) viaProc(proc int, failed error, byName func(proc int, n string) error, byFd func(fd int) error) error {
	if proc >= 0 {
		return byName(proc, strconv.Itoa(p.fd))
	}
	st, err := lstatAt(p.fd, "")
	if err != nil || !st.IsDir() {
		return failed
	}
	fd, err := openat(p.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return failed
	}
	defer unix.Close(fd)
	return byFd(fd)
}

// procFd returns a held descriptor of /proc/self/fd, or -1 without /proc. It is
// opened once, early, because a daemon may chroot later.
var procFd = sync.OnceValue(func() int {
	fd, err := openat(unix.AT_FDCWD, "/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1
	}
	var sfs unix.Statfs_t
	if err := unix.Fstatfs(fd, &sfs); err != nil || sfs.Type != unix.PROC_SUPER_MAGIC {
		unix.Close(fd)
		return -1
	}
	return fd
})
