package fsroot

import (
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Open opens a file for reading. A symlink is refused, a fifo or device that
// took its place does not block.
func (r *Root) Open(name string) (*os.File, error) {
	return r.sparingAtime(func(flags int) (*os.File, error) { return r.OpenFile(name, flags, 0) })
}

// sparingAtime opens for reading, with O_NOATIME if the policy says so and, as
// only the owner of a file may ask for it, it is granted.
func (r *Root) sparingAtime(open func(flags int) (*os.File, error)) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_NONBLOCK
	if r.policy.NoAtime {
		f, err := open(flags | unix.O_NOATIME)
		if err == nil || !isErrno(err, syscall.EPERM) {
			return f, err
		}
	}
	return open(flags)
}

// OpenFile opens a file with open(2) flags; O_NOFOLLOW and O_CLOEXEC are added.
// perm are the permission bits of a created file, before the umask.
func (r *Root) OpenFile(name string, flags int, perm uint32) (*os.File, error) {
	for try := 0; ; try++ {
		d, leaf, err := r.at(name)
		if err != nil {
			return nil, pathError("open", name, err)
		}
		if leaf == "" {
			leaf = "."
		}
		fd, err := openat(d.fd, leaf, flags|unix.O_NOFOLLOW, perm)
		key := d.key
		d.release()
		if err == syscall.ENOENT && flags&unix.O_CREAT != 0 && try == 0 && key != "" {
			r.forget(key)
			continue
		}
		if err != nil {
			return nil, pathError("open", name, err)
		}
		return newFile(fd, r.Full(name)), nil
	}
}

// OpenFollow is Open following a symlink within the policy, as Stat does: what
// -L and --copy-unsafe-links read.
func (r *Root) OpenFollow(name string) (*os.File, error) {
	d, leaf, err := r.at(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	defer d.release()
	return r.sparingAtime(func(flags int) (*os.File, error) {
		fd, err := r.resolveLeaf(d, leaf, name, flags)
		if err != nil {
			return nil, pathError("open", name, err)
		}
		return newFile(fd, r.Full(name)), nil
	})
}

// Mkdir makes a directory; perm is cut by the umask.
func (r *Root) Mkdir(name string, perm uint32) error {
	return r.create("mkdir", name, func(dirfd int, leaf string) error {
		return unix.Mkdirat(dirfd, leaf, perm)
	})
}

// MkdirAll makes a directory and what is missing above it (--mkpath,
// rsync 3.5.0 util1.c:make_path), and returns how many it made.
func (r *Root) MkdirAll(name string, perm uint32) (made int, err error) {
	dirname, leaf, err := splitName(name, r.policy.FollowDirLinks)
	if err != nil {
		return 0, pathError("mkdir", name, err)
	}
	if leaf == "" {
		return 0, nil
	}
	err = r.Mkdir(name, perm)
	if isErrno(err, syscall.ENOENT) && dirname != "" {
		if made, err = r.MkdirAll(dirname, perm); err != nil {
			return made, err
		}
		err = r.Mkdir(name, perm)
	}
	if err == nil {
		return made + 1, nil
	}
	if isErrno(err, syscall.EEXIST) {
		// Resolved as a directory, so that a symlink counts only where it is followed.
		d, derr := r.openDir(joinPath(dirname, leaf))
		if derr == nil {
			d.release()
			return made, nil
		}
		if derr == syscall.ELOOP || derr == syscall.ENOTDIR {
			err = pathError("mkdir", name, derr)
		}
	}
	return made, err
}

// Mknod makes a device, fifo, socket or empty file: mode holds the S_IFMT bits
// and permissions, cut by the umask, rdev is the kernel's device number.
func (r *Root) Mknod(name string, mode uint32, rdev uint64) error {
	return r.create("mknod", name, func(dirfd int, leaf string) error {
		return unix.Mknodat(dirfd, leaf, mode, int(rdev))
	})
}

// Mkfifo makes a fifo.
func (r *Root) Mkfifo(name string, perm uint32) error {
	return r.Mknod(name, unix.S_IFIFO|perm&07777, 0)
}

// MkSocket makes a socket that nobody listens on.
func (r *Root) MkSocket(name string, perm uint32) error {
	return r.Mknod(name, unix.S_IFSOCK|perm&07777, 0)
}

// Symlink makes name a symlink with that target, which is not looked at.
func (r *Root) Symlink(target, name string) error {
	return r.create("symlink", name, func(dirfd int, leaf string) error {
		return unix.Symlinkat(target, dirfd, leaf)
	})
}

// Readlink returns the target of a symlink.
func (r *Root) Readlink(name string) (string, error) {
	d, leaf, err := r.leafAt(name, syscall.EINVAL)
	if err != nil {
		return "", pathError("readlink", name, err)
	}
	defer d.release()
	target, err := readlinkat(d.fd, leaf)
	return target, pathError("readlink", name, err)
}

// Unlink removes anything but a directory.
func (r *Root) Unlink(name string) error { return r.remove("unlink", name, 0) }

// Rmdir removes an empty directory.
func (r *Root) Rmdir(name string) error { return r.remove("rmdir", name, unix.AT_REMOVEDIR) }

func (r *Root) remove(op, name string, flags int) error {
	d, leaf, err := r.leafAt(name, syscall.EINVAL)
	if err != nil {
		return pathError(op, name, err)
	}
	err = retry(func() error { return unix.Unlinkat(d.fd, leaf, flags) })
	d.release()
	if err == nil {
		r.forget(name)
	}
	return pathError(op, name, err)
}

// Rename moves a below from to b below to, replacing it. Moving across file
// systems fails with EXDEV.
func Rename(from *Root, a string, to *Root, b string) error {
	return rename(from, a, to, b, 0)
}

// RenameNoReplace is Rename that fails with EEXIST instead of replacing.
func RenameNoReplace(from *Root, a string, to *Root, b string) error {
	return rename(from, a, to, b, unix.RENAME_NOREPLACE)
}

func rename(from *Root, a string, to *Root, b string, flags uint) error {
	err := pair("rename", from, a, to, b, func(afd int, aleaf string, bfd int, bleaf string) error {
		if flags == 0 {
			return unix.Renameat(afd, aleaf, bfd, bleaf)
		}
		return unix.Renameat2(afd, aleaf, bfd, bleaf, flags)
	})
	if err == nil {
		from.forget(a)
		to.forget(b)
	}
	return err
}

// Link makes b below to another name of a below from. followSym links what a
// symlink points to, resolved as Stat does; else the symlink itself is linked.
func Link(from *Root, a string, to *Root, b string, followSym bool) error {
	return pair("link", from, a, to, b, func(afd int, aleaf string, bfd int, bleaf string) error {
		if !followSym {
			return unix.Linkat(afd, aleaf, bfd, bleaf, 0)
		}
		fd, err := from.resolveLeaf(&dir{fd: afd}, aleaf, a, unix.O_PATH)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if proc := procFd(); proc >= 0 {
			return unix.Linkat(proc, strconv.Itoa(fd), bfd, bleaf, unix.AT_SYMLINK_FOLLOW)
		}
		return unix.Linkat(fd, "", bfd, bleaf, unix.AT_EMPTY_PATH)
	})
}

// pair runs op on the parents of both names.
func pair(opname string, from *Root, a string, to *Root, b string, op func(int, string, int, string) error) error {
	fail := func(err error) error {
		if err == nil {
			return nil
		}
		return &os.LinkError{Op: opname, Old: a, New: b, Err: err}
	}
	for try := 0; ; try++ {
		da, aleaf, err := from.leafAt(a, syscall.EBUSY)
		if err != nil {
			return fail(err)
		}
		db, bleaf, err := to.leafAt(b, syscall.EBUSY)
		if err != nil {
			da.release()
			return fail(err)
		}
		err = retry(func() error { return op(da.fd, aleaf, db.fd, bleaf) })
		akey, bkey := da.key, db.key
		da.release()
		db.release()
		if err == syscall.ENOENT && try == 0 && (akey != "" || bkey != "") {
			if akey != "" {
				from.forget(akey)
			}
			if bkey != "" {
				to.forget(bkey)
			}
			continue
		}
		return fail(err)
	}
}

// Rename is the function Rename with r on the left.
func (r *Root) Rename(a string, to *Root, b string) error { return Rename(r, a, to, b) }

// Link is the function Link with r on the left.
func (r *Root) Link(a string, to *Root, b string, followSym bool) error {
	return Link(r, a, to, b, followSym)
}

func isErrno(err error, want syscall.Errno) bool {
	switch e := err.(type) {
	case *fs.PathError:
		return e.Err == want
	case *os.LinkError:
		return e.Err == want
	}
	return err == want
}
