package fsroot

import (
	"bytes"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// xattrArgs is struct xattr_args of linux/xattr.h.
type xattrArgs struct {
	value uint64
	size  uint32
	flags uint32
}

// hasXattrat is false before Linux 6.13.
var hasXattrat = sync.OnceValue(func() bool {
	name := []byte("user.x\x00")
	args := xattrArgs{}
	_, _, e := unix.Syscall6(unix.SYS_GETXATTRAT, ^uintptr(0), uintptr(unsafe.Pointer(&emptyPath[0])), 0,
		uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args))
	return e != unix.ENOSYS && e != unix.EPERM
})

// xattrCalls is one call in its three forms.
type xattrCalls struct {
	at     func(proc int, n string) error // /proc/self/fd and a name in it
	byPath func(path string) error
	byFd   func(fd int) error
}

func (p *Pin) xattr(c xattrCalls) error {
	if !p.path {
		return retry(func() error { return c.byFd(p.fd) })
	}
	return p.xattrVia(procFd(), hasXattrat(), c)
}

// xattrVia reaches the attributes behind an O_PATH descriptor, which these calls
// do not take themselves: named through /proc, relative to its held descriptor
// (6.13) or by path, or opened again.
func (p *Pin) xattrVia(proc int, direct bool, c xattrCalls) error {
	if proc < 0 {
		return p.viaProc(proc, syscall.EOPNOTSUPP, nil, c.byFd)
	}
	n := strconv.Itoa(p.fd)
	if direct {
		return retry(func() error { return c.at(proc, n) })
	}
	if path := "/proc/self/fd/" + n; p.isAt(path) {
		return retry(func() error { return c.byPath(path) })
	}
	if p.isSymlink() {
		return syscall.EOPNOTSUPP
	}
	return p.reopened(proc, n, c.byFd)
}

// reopened calls f with a second descriptor of the inode, which takes the right
// to read it: /proc is held, but no longer in sight after a chroot.
func (p *Pin) reopened(proc int, n string, f func(fd int) error) error {
	fd, err := openat(proc, n, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return retry(func() error { return f(fd) })
}

// isAt reports whether path leads to the pinned inode.
func (p *Pin) isAt(path string) bool {
	var a, b unix.Stat_t
	return unix.Stat(path, &a) == nil && fstatEmpty(p.fd, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

// answers are the buffers in which most answers fit: with -A and -X several are
// asked for of every file, and nearly all say that there is nothing.
var answers = sync.Pool{New: func() any { return new([512]byte) }}

// sized calls get with growing buffers until the answer fits.
func sized(get func(buf []byte) (int, error)) ([]byte, error) {
	first := answers.Get().(*[512]byte)
	defer answers.Put(first)
	buf := first[:]
	for {
		n, err := get(buf)
		if err == nil {
			return bytes.Clone(buf[:n]), nil
		}
		if err != syscall.ERANGE {
			return nil, err
		}
		if n, err = get(nil); err != nil {
			return nil, err
		}
		buf = make([]byte, n+64)
	}
}

// Getxattr returns the value of an extended attribute (ENODATA if there is none).
func (p *Pin) Getxattr(name string) ([]byte, error) {
	val, err := sized(func(buf []byte) (n int, err error) {
		err = p.xattr(xattrCalls{func(proc int, link string) (err error) {
			n, err = xattrat(unix.SYS_GETXATTRAT, proc, link, xattrWay{}, name, buf)
			return err
		}, func(path string) (err error) {
			n, err = unix.Getxattr(path, name, buf)
			return err
		}, func(fd int) (err error) {
			n, err = unix.Fgetxattr(fd, name, buf)
			return err
		}})
		return n, err
	})
	if err == nil || err == syscall.ENODATA { // as most say, and nobody reports
		return val, err
	}
	return nil, pathError("getxattr", p.name, err)
}

// Listxattr returns the names of the extended attributes in the kernel's order.
func (p *Pin) Listxattr() ([]string, error) {
	list, err := sized(func(buf []byte) (n int, err error) {
		err = p.xattr(xattrCalls{func(proc int, link string) (err error) {
			n, err = listxattrat(proc, link, xattrWay{}, buf)
			return err
		}, func(path string) (err error) {
			n, err = unix.Listxattr(path, buf)
			return err
		}, func(fd int) (err error) {
			n, err = unix.Flistxattr(fd, buf)
			return err
		}})
		return n, err
	})
	return splitNames(list), pathError("listxattr", p.name, err)
}

// splitNames splits a list of names, each with a zero byte behind it.
func splitNames(list []byte) []string {
	var names []string
	for len(list) > 0 {
		name, rest, _ := bytes.Cut(list, []byte{0})
		names = append(names, string(name))
		list = rest
	}
	return names
}

// Setxattr creates or replaces an extended attribute.
func (p *Pin) Setxattr(name string, value []byte) error {
	err := p.xattr(xattrCalls{func(proc int, link string) error {
		_, err := xattrat(unix.SYS_SETXATTRAT, proc, link, xattrWay{}, name, value)
		return err
	}, func(path string) error {
		return unix.Setxattr(path, name, value, 0)
	}, func(fd int) error {
		return unix.Fsetxattr(fd, name, value, 0)
	}})
	return pathError("setxattr", p.name, err)
}

// Removexattr removes an extended attribute (ENODATA if there is none).
func (p *Pin) Removexattr(name string) error {
	err := p.xattr(xattrCalls{func(proc int, link string) error {
		return removexattrat(proc, link, name)
	}, func(path string) error {
		return unix.Removexattr(path, name)
	}, func(fd int) error {
		return unix.Fremovexattr(fd, name)
	}})
	return pathError("removexattr", p.name, err)
}

// xattrWay is how a call is made: with AT_SYMLINK_NOFOLLOW or without, and
// whether it is one for a local file system, which the scheduler need not know
// of.
type xattrWay struct {
	flags uintptr
	local bool
}

// xattrat is getxattrat or setxattrat.
func xattrat(trap uintptr, dirfd int, path string, how xattrWay, name string, buf []byte) (int, error) {
	var pp, np leafName
	if err := pp.check(path, syscall.ENAMETOOLONG); err != nil {
		return 0, err
	}
	if err := np.check(name, syscall.ERANGE); err != nil {
		return 0, err
	}
	args := xattrArgs{size: uint32(len(buf))}
	// The kernel reads the address out of args, so the buffer must not move.
	var pinner runtime.Pinner
	defer pinner.Unpin()
	if len(buf) > 0 {
		pinner.Pin(&buf[0])
		args.value = uint64(uintptr(unsafe.Pointer(&buf[0])))
	}
	var n uintptr
	var e syscall.Errno
	if how.local {
		n, _, e = unix.RawSyscall6(trap, uintptr(dirfd), uintptr(unsafe.Pointer(&pp)), how.flags,
			uintptr(unsafe.Pointer(&np)), uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args))
	} else {
		n, _, e = unix.Syscall6(trap, uintptr(dirfd), uintptr(unsafe.Pointer(&pp)), how.flags,
			uintptr(unsafe.Pointer(&np)), uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args))
	}
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

func listxattrat(dirfd int, path string, how xattrWay, buf []byte) (int, error) {
	var pp leafName
	if err := pp.check(path, syscall.ENAMETOOLONG); err != nil {
		return 0, err
	}
	var b unsafe.Pointer
	if len(buf) > 0 {
		b = unsafe.Pointer(&buf[0])
	}
	var n uintptr
	var e syscall.Errno
	if how.local {
		n, _, e = unix.RawSyscall6(unix.SYS_LISTXATTRAT, uintptr(dirfd), uintptr(unsafe.Pointer(&pp)), how.flags,
			uintptr(b), uintptr(len(buf)), 0)
	} else {
		n, _, e = unix.Syscall6(unix.SYS_LISTXATTRAT, uintptr(dirfd), uintptr(unsafe.Pointer(&pp)), how.flags,
			uintptr(b), uintptr(len(buf)), 0)
	}
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

func removexattrat(dirfd int, path, name string) error {
	pp, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	np, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	_, _, e := unix.Syscall6(unix.SYS_REMOVEXATTRAT, uintptr(dirfd), uintptr(unsafe.Pointer(pp)), 0,
		uintptr(unsafe.Pointer(np)), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}
