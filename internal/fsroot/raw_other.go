//go:build !(amd64 || arm64 || riscv64)

package fsroot

import "golang.org/x/sys/unix"

// Elsewhere the calls go by other names: they are made in the ordinary way.

func rawLstat(dirfd int, leaf string, st *unix.Stat_t) error {
	return unix.Fstatat(dirfd, leaf, st, unix.AT_SYMLINK_NOFOLLOW)
}

func rawOpen(dirfd int, leaf string, flags int) (int, error) {
	return unix.Openat(dirfd, leaf, flags, 0)
}

func rawPread(fd int, p []byte, off int64) (int, error) { return unix.Pread(fd, p, off) }

func rawClose(fd int) error { return unix.Close(fd) }
