package index

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// Stat is what decides whether a file has to be read again. Times are
// nanoseconds since 1970.
type Stat struct {
	Size  int64
	Mtime int64
	Ctime int64
	Inode uint64
}

// StatOf returns the Stat of a regular file; ok is false for anything else.
func StatOf(fi fs.FileInfo) (st Stat, ok bool) {
	sys, isStat := fi.Sys().(*syscall.Stat_t)
	if !isStat || !fi.Mode().IsRegular() {
		return Stat{}, false
	}
	return Stat{
		Size: sys.Size, Mtime: sys.Mtim.Nano(), Ctime: sys.Ctim.Nano(), Inode: sys.Ino,
	}, true
}

func statOf(s *unix.Stat_t) Stat {
	return Stat{Size: s.Size, Mtime: s.Mtim.Nano(), Ctime: s.Ctim.Nano(), Inode: s.Ino}
}

func isRegular(s *unix.Stat_t) bool { return s.Mode&unix.S_IFMT == unix.S_IFREG }
func isDir(s *unix.Stat_t) bool     { return s.Mode&unix.S_IFMT == unix.S_IFDIR }
