package fsroot

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Timespec is a time since the epoch. Nsec is 0 to 999999999 also when Sec is
// negative.
type Timespec struct {
	Sec  int64
	Nsec uint32
}

// Stat is what one stat call says of an entry.
type Stat struct {
	Mode         uint32 // st_mode: type and permission bits
	UID, GID     uint32
	Size         int64
	Blocks       int64 // of 512 bytes
	Nlink        uint64
	Dev, Ino     uint64
	Rdev         uint64
	Mtime        Timespec
	Atime, Ctime Timespec
}

// Type returns the S_IFMT bits.
func (s *Stat) Type() uint32 { return s.Mode & unix.S_IFMT }

// Perm returns the permission bits with set-id and sticky bits, 07777.
func (s *Stat) Perm() uint32 { return s.Mode & 07777 }

// IsDir reports whether the entry is a directory.
func (s *Stat) IsDir() bool { return s.Type() == unix.S_IFDIR }

// IsRegular reports whether the entry is a regular file.
func (s *Stat) IsRegular() bool { return s.Type() == unix.S_IFREG }

// IsSymlink reports whether the entry is a symbolic link.
func (s *Stat) IsSymlink() bool { return s.Type() == unix.S_IFLNK }

// IsDevice reports whether the entry is a block or character device.
func (s *Stat) IsDevice() bool { return s.Type() == unix.S_IFBLK || s.Type() == unix.S_IFCHR }

// IsSpecial reports whether the entry is a fifo or a socket.
func (s *Stat) IsSpecial() bool { return s.Type() == unix.S_IFIFO || s.Type() == unix.S_IFSOCK }

// SameFile reports whether both are the same inode.
func (s *Stat) SameFile(o *Stat) bool { return s.Dev == o.Dev && s.Ino == o.Ino }

func (s *Stat) set(u *unix.Stat_t) {
	*s = Stat{
		Mode: u.Mode, UID: u.Uid, GID: u.Gid, Size: u.Size, Blocks: u.Blocks,
		Nlink: uint64(u.Nlink), Dev: u.Dev, Ino: u.Ino, Rdev: u.Rdev,
		Mtime: timespec(u.Mtim), Atime: timespec(u.Atim), Ctime: timespec(u.Ctim),
	}
}

func timespec(t unix.Timespec) Timespec { return Timespec{Sec: int64(t.Sec), Nsec: uint32(t.Nsec)} }

// Lstat describes name itself, not what a symlink points to.
func (r *Root) Lstat(name string) (Stat, error) {
	d, leaf, err := r.at(name)
	if err != nil {
		return Stat{}, pathError("lstat", name, err)
	}
	st, err := d.lstat(leaf)
	d.release()
	return st, pathError("lstat", name, err)
}

func lstatAt(dirfd int, leaf string) (st Stat, err error) {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if leaf == "" {
		flags |= unix.AT_EMPTY_PATH // not always: the kernel looks at the name twice then
	}
	var u unix.Stat_t
	for {
		if err = unix.Fstatat(dirfd, leaf, &u, flags); err != syscall.EINTR {
			break
		}
	}
	if err == nil {
		st.set(&u)
	}
	return st, err
}

// Stat describes what name points to, following a symlink beneath the root if
// the policy confines, else wherever it leads.
func (r *Root) Stat(name string) (Stat, error) {
	d, leaf, err := r.at(name)
	if err != nil {
		return Stat{}, pathError("stat", name, err)
	}
	defer d.release()
	st, err := d.lstat(leaf)
	if err != nil || !st.IsSymlink() {
		return st, pathError("stat", name, err)
	}
	fd, err := r.resolveLeaf(d, leaf, name, unix.O_PATH)
	if err != nil {
		return Stat{}, pathError("stat", name, err)
	}
	defer unix.Close(fd)
	st, err = lstatAt(fd, "")
	return st, pathError("stat", name, err)
}

// StatAnywhere is Stat that follows the symlink name wherever it leads; the
// directories above it are resolved as ever. What it tells of an entry outside
// the root is all that anybody learns of it: opening it is still refused.
func (r *Root) StatAnywhere(name string) (Stat, error) {
	d, leaf, err := r.at(name)
	if err != nil {
		return Stat{}, pathError("stat", name, err)
	}
	defer d.release()
	if leaf == "" {
		st, err := lstatAt(d.fd, leaf)
		return st, pathError("stat", name, err)
	}
	var u unix.Stat_t
	if err := retry(func() error { return unix.Fstatat(d.fd, leaf, &u, 0) }); err != nil {
		return Stat{}, pathError("stat", name, err)
	}
	var st Stat
	st.set(&u)
	return st, nil
}

// resolveLeaf opens name following a symlink in its last component.
func (r *Root) resolveLeaf(d *dir, leaf, name string, flags int) (int, error) {
	if !r.policy.Confine {
		if leaf == "" {
			leaf = "."
		}
		return openat(d.fd, leaf, flags, 0)
	}
	top, err := r.hold()
	if err != nil {
		return -1, err
	}
	defer top.release()
	p := r.policy
	if !p.FollowDirLinks {
		// The parents are pinned in d already; only the link may still lead
		// through other links, and those must stay in the tree as well.
		p.FollowDirLinks = true
	}
	return resolve(top.fd, r.bound(), name, flags, 0, p, true)
}

// Fstat describes an open file.
func Fstat(f *os.File) (Stat, error) {
	st, err := lstatAt(int(f.Fd()), "")
	return st, pathError("fstat", f.Name(), err)
}
