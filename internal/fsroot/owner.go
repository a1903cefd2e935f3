package fsroot

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// UntrustedLinkError says that the ownership walk met a symlink which neither
// uid 0 nor the effective uid owns. It unwraps to ELOOP.
type UntrustedLinkError struct {
	Owner uint32
}

func (e *UntrustedLinkError) Error() string {
	return fmt.Sprintf("symlink owned by uid %d is not followed (--insecure-links would)", e.Owner)
}

// Unwrap returns syscall.ELOOP, the errno that rsync reports.
func (e *UntrustedLinkError) Unwrap() error { return syscall.ELOOP }

// OwnerOpen opens a file that the operator named (log, batch, password, secrets,
// files-from, filter, motd, configuration): symlinks, the last one too, are
// followed only if uid 0 or the effective uid owns them
// (rsync 3.5.0 syscall.c:open_no_attacker_symlinks). flags are those of
// os.OpenFile, perm the permission bits of a created file.
func OwnerOpen(path string, flags int, perm uint32, p Policy) (*os.File, error) {
	fd, err := ownerWalk(path, p, flags, perm)
	if err != nil {
		return nil, err
	}
	return newFile(fd, path), nil
}

// OwnerOpenAt is OwnerOpen with relative paths counted from base. Under a base
// that confines, the path is clamped to it, absolute ones included.
func OwnerOpenAt(base *Root, path string, flags int, perm uint32, p Policy) (*os.File, error) {
	d, err := base.hold()
	if err != nil {
		return nil, pathError("open", path, err)
	}
	defer d.release()
	var fd int
	if base.policy.Confine {
		fd, err = resolve(d.fd, clampName(path), flags, perm, Policy{FollowDirLinks: true, Confine: true}, true)
		err = pathError("open", path, err)
	} else {
		fd, err = ownerWalkFrom(d.fd, path, p, flags, perm)
	}
	if err != nil {
		return nil, err
	}
	return newFile(fd, base.Full(path)), nil
}

func ownerWalk(path string, p Policy, flags int, perm uint32) (int, error) {
	return ownerWalkFrom(unix.AT_FDCWD, path, p, flags, perm)
}

// ownerWalkFrom walks path one component at a time. Each is pinned with
// O_PATH|O_NOFOLLOW before its owner is looked at, and a symlink is read through
// that very descriptor, so nothing can change between the check and the use.
func ownerWalkFrom(dirfd int, path string, p Policy, flags int, perm uint32) (int, error) {
	if path == "" {
		return -1, pathError("open", path, syscall.ENOENT)
	}
	if strings.IndexByte(path, 0) >= 0 {
		return -1, pathError("open", path, syscall.EINVAL)
	}
	if p.InsecureLinks && p.ConfineRoot == "" {
		fd, err := openat(dirfd, path, flags, perm)
		return fd, pathError("open", path, err)
	}
	w := ownerWalker{start: dirfd, cur: -1, euid: uint32(os.Geteuid())}
	defer func() { closeFd(w.cur) }()
	fd, err := w.walk(path, p, flags, perm)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: w.shown, Err: err}
	}
	return fd, nil
}

type ownerWalker struct {
	start int    // borrowed: where a relative path begins
	cur   int    // the directory reached so far, owned; -1 at the start
	shown string // the path walked so far, for messages
	euid  uint32
	links int
}

func (w *ownerWalker) dirfd() int {
	if w.cur >= 0 {
		return w.cur
	}
	return w.start
}

func (w *ownerWalker) enter(fd int) {
	closeFd(w.cur)
	w.cur = fd
}

func (w *ownerWalker) walk(rest string, p Policy, flags int, perm uint32) (int, error) {
	if err := w.anchor(rest); err != nil {
		return -1, err
	}
	if rest[0] != '/' {
		w.shown = ""
	}
	for {
		comp, tail := cutComponent(rest)
		if comp == "" {
			return w.openHere(p, flags)
		}
		last := tail == ""
		if w.shown == "" || strings.HasSuffix(w.shown, "/") {
			w.shown += comp
		} else {
			w.shown += "/" + comp
		}
		if comp == "." || comp == ".." {
			fd, err := openat(w.dirfd(), comp, unix.O_PATH|unix.O_DIRECTORY, 0)
			if err != nil {
				return -1, err
			}
			w.enter(fd)
			rest = tail
			continue
		}
		fd, err := openat(w.dirfd(), comp, unix.O_PATH|unix.O_NOFOLLOW, 0)
		if err == syscall.ENOENT && last && flags&unix.O_CREAT != 0 {
			return w.openLeaf(comp, p, flags, perm)
		}
		if err != nil {
			return -1, err
		}
		var st unix.Stat_t
		if err := fstatEmpty(fd, &st); err != nil {
			unix.Close(fd)
			return -1, err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			rest, err = w.follow(fd, &st, tail)
			magic := err == nil && rest == ""
			unix.Close(fd)
			if err != nil {
				return -1, err
			}
			if magic {
				if !last {
					fd, err := openat(w.dirfd(), comp, unix.O_PATH|unix.O_DIRECTORY, 0)
					if err != nil {
						return -1, err
					}
					w.enter(fd)
					rest = tail
					continue
				}
				return openat(w.dirfd(), comp, flags, perm)
			}
		case unix.S_IFDIR:
			if last && flags&unix.O_PATH == 0 && flags&(unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT) != 0 {
				unix.Close(fd)
				return -1, syscall.EISDIR
			}
			if last && flags&unix.O_PATH == 0 {
				// Not through ".": a directory may be readable and not searchable.
				unix.Close(fd)
				return w.openLeaf(comp, p, flags, perm)
			}
			w.enter(fd)
			rest = tail
		default:
			unix.Close(fd)
			if !last || flags&unix.O_DIRECTORY != 0 {
				return -1, syscall.ENOTDIR
			}
			return w.openLeaf(comp, p, flags, perm)
		}
	}
}

// anchor moves to "/" if path is absolute.
func (w *ownerWalker) anchor(path string) error {
	if !strings.HasPrefix(path, "/") {
		return nil
	}
	fd, err := openat(unix.AT_FDCWD, "/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	w.enter(fd)
	w.shown = "/"
	return nil
}

// follow returns the rest of the walk after the symlink that fd pins, or "" for
// a link of /proc that names no path (/dev/fd/63 of a shell's <(…)).
func (w *ownerWalker) follow(fd int, st *unix.Stat_t, tail string) (string, error) {
	if st.Uid != 0 && st.Uid != w.euid {
		return "", &UntrustedLinkError{Owner: st.Uid}
	}
	if w.links++; w.links > maxSymlinks {
		return "", syscall.ELOOP
	}
	target, err := readlinkat(fd, "")
	if err != nil {
		return "", err
	}
	if target == "" {
		return "", syscall.ENOENT
	}
	var sfs unix.Statfs_t
	if unix.Fstatfs(fd, &sfs) == nil && sfs.Type == unix.PROC_SUPER_MAGIC && strings.Contains(w.shown, "/fd/") {
		return "", nil
	}
	if err := w.anchor(target); err != nil {
		return "", err
	}
	if target[0] != '/' {
		w.shown = w.shown[:strings.LastIndexByte(w.shown, '/')+1]
	}
	return target + "/" + tail, nil
}

// openLeaf opens what is not, or not yet, a symlink.
func (w *ownerWalker) openLeaf(comp string, p Policy, flags int, perm uint32) (int, error) {
	if err := w.confined(w.dirfd(), p); err != nil {
		return -1, err
	}
	return openat(w.dirfd(), comp, flags|unix.O_NOFOLLOW, perm)
}

// openHere ends a walk at the directory reached.
func (w *ownerWalker) openHere(p Policy, flags int) (int, error) {
	if err := w.confined(w.dirfd(), p); err != nil {
		return -1, err
	}
	if flags&unix.O_PATH == 0 {
		return openat(w.dirfd(), ".", flags, 0)
	}
	if w.cur < 0 {
		return openat(w.start, ".", flags, 0)
	}
	fd := w.cur
	w.cur = -1
	return fd, nil
}

// confined checks that the directory is ConfineRoot or beneath it, by climbing
// to it and comparing identities: where a path came out, not how it is spelled.
func (w *ownerWalker) confined(dirfd int, p Policy) error {
	if p.ConfineRoot == "" || p.ConfineRoot == "/" {
		return nil
	}
	var root, st, above unix.Stat_t
	if err := retry(func() error { return unix.Fstatat(unix.AT_FDCWD, p.ConfineRoot, &root, 0) }); err != nil {
		return err
	}
	cur := -1
	defer func() { closeFd(cur) }()
	if err := retry(func() error { return unix.Fstatat(dirfd, "", &st, unix.AT_EMPTY_PATH) }); err != nil {
		return err
	}
	for {
		if st.Dev == root.Dev && st.Ino == root.Ino {
			return nil
		}
		from := dirfd
		if cur >= 0 {
			from = cur
		}
		fd, err := openat(from, "..", unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		closeFd(cur)
		cur = fd
		if err := fstatEmpty(fd, &above); err != nil {
			return err
		}
		if above.Dev == st.Dev && above.Ino == st.Ino {
			return syscall.ELOOP // the root of everything
		}
		st = above
	}
}

// cutComponent returns the first component of path and the rest, both without
// slashes around them. A lone trailing slash leaves an empty rest.
func cutComponent(path string) (comp, rest string) {
	path = strings.TrimLeft(path, "/")
	comp, rest, _ = strings.Cut(path, "/")
	return comp, strings.TrimLeft(rest, "/")
}
