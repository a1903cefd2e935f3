//go:build amd64 || arm64 || riscv64

package fsroot

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls that do not tell the scheduler: see local.go. A name has no NUL,
// which Root.at sees to.

func rawLstat(dirfd int, leaf string, st *unix.Stat_t) error {
	var name leafName
	if !name.set(leaf) {
		return syscall.ENAMETOOLONG
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_NEWFSTATAT, uintptr(dirfd), uintptr(unsafe.Pointer(&name)),
		uintptr(unsafe.Pointer(st)), unix.AT_SYMLINK_NOFOLLOW, 0, 0)
	return rawError(errno)
}

// rawOpen opens for reading what is there.
func rawOpen(dirfd int, leaf string, flags int) (int, error) {
	var name leafName
	if !name.set(leaf) {
		return -1, syscall.ENAMETOOLONG
	}
	fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(dirfd), uintptr(unsafe.Pointer(&name)), uintptr(flags), 0, 0, 0)
	return int(fd), rawError(errno)
}

func rawPread(fd int, p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), uintptr(off), 0, 0)
	return int(n), rawError(errno)
}

func rawClose(fd int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	return rawError(errno)
}

func rawError(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
