package fsroot

import (
	"errors"
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
// that confines, the path is clamped to it, absolute ones included, and a symlink
// that leads out of it is refused, whoever owns it.
func OwnerOpenAt(base *Root, path string, flags int, perm uint32, p Policy) (*os.File, error) {
	d, err := base.hold()
	if err != nil {
		return nil, pathError("open", path, err)
	}
	defer d.release()
	fd, err := base.ownerWalk(d, path, p, flags, perm)
	if err != nil {
		return nil, err
	}
	return newFile(fd, base.Full(path)), nil
}

// OwnerOpenIn is OwnerOpen with a name relative to base, for a file of the tree
// that speaks for its operator (a per-directory filter file): a symlink of
// theirs may lead out of base, but not out of the confining root, if any, that
// base was opened below.
func OwnerOpenIn(base *Root, name string, flags int, perm uint32, p Policy) (*os.File, error) {
	d, err := base.hold()
	if err != nil {
		return nil, pathError("open", name, err)
	}
	defer d.release()
	if strings.HasPrefix(name, "/") {
		return nil, pathError("open", name, ErrEscape)
	}
	fd, err := ownerWalkFrom(d.fd, name, p, base.bound(), flags, perm)
	if err != nil {
		return nil, err
	}
	return newFile(fd, base.Full(name)), nil
}

func (r *Root) ownerWalk(d *dir, path string, p Policy, flags int, perm uint32) (int, error) {
	if !r.policy.Confine {
		return ownerWalkFrom(d.fd, path, p, -1, flags, perm)
	}
	p.InsecureLinks = false
	if path = clampName(path); path == "" {
		path = "."
	}
	return ownerWalkFrom(d.fd, path, p, d.fd, flags, perm)
}

func ownerWalk(path string, p Policy, flags int, perm uint32) (int, error) {
	return ownerWalkFrom(unix.AT_FDCWD, path, p, -1, flags, perm)
}

// ownerWalkFrom walks path one component at a time. Each is pinned with
// O_PATH|O_NOFOLLOW before its owner is looked at, and a symlink is read through
// that very descriptor, so nothing can change between the check and the use.
// The end must lie beneath the directory confine, unless that is -1, and beneath
// p.ConfineRoot.
func ownerWalkFrom(dirfd int, path string, p Policy, confine int, flags int, perm uint32) (int, error) {
	if path == "" {
		return -1, pathError("open", path, syscall.ENOENT)
	}
	if strings.IndexByte(path, 0) >= 0 {
		return -1, pathError("open", path, syscall.EINVAL)
	}
	if p.InsecureLinks && p.ConfineRoot == "" && confine < 0 {
		fd, err := openat(dirfd, path, flags, perm)
		return fd, pathError("open", path, err)
	}
	w := ownerWalker{start: dirfd, cur: -1, confine: confine, euid: uint32(os.Geteuid())}
	defer func() { closeFd(w.cur) }()
	fd, err := w.walk(path, p, flags, perm)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: w.shown, Err: err}
	}
	return fd, nil
}

type ownerWalker struct {
	start   int    // borrowed: where a relative path begins
	cur     int    // the directory reached so far, owned; -1 at the start
	confine int    // borrowed: the directory to stay beneath, or -1
	shown   string // the path walked so far, for messages
	euid    uint32
	links   int
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
	for {
		comp, tail := cutComponent(rest)
		if comp == "" {
			return w.openHere(p, flags)
		}
		last := tail == ""
		w.shown = joinPath(w.shown, comp)
		if comp == "." || comp == ".." {
			if err := w.descend(comp); err != nil {
				return -1, err
			}
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
			unix.Close(fd)
			if err == errNoPath {
				if err := w.confinedPin(comp, p); err != nil {
					return -1, err
				}
				if last {
					return openat(w.dirfd(), comp, flags, perm)
				}
				rest, err = tail, w.descend(comp)
			}
			if err != nil {
				return -1, err
			}
		case unix.S_IFDIR:
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

// descend goes on to "..", or to the directory that a link of /proc stands for.
func (w *ownerWalker) descend(comp string) error {
	fd, err := openat(w.dirfd(), comp, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil {
		w.enter(fd)
	}
	return err
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

// errNoPath says that a link of /proc stands for a descriptor, not for a path:
// /dev/fd/63 of a shell's <(…).
var errNoPath = errors.New("link names no path")

// follow returns the rest of the walk after the symlink that fd pins.
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
		return "", errNoPath
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

// confined checks that a directory is where the walk may end.
func (w *ownerWalker) confined(dirfd int, p Policy) error {
	var top unix.Stat_t
	if w.confine >= 0 {
		if err := fstatEmpty(w.confine, &top); err != nil {
			return err
		}
		if err := beneath(dirfd, &top); err != nil {
			return err
		}
	}
	if p.ConfineRoot == "" || p.ConfineRoot == "/" {
		return nil
	}
	if err := retry(func() error { return unix.Fstatat(unix.AT_FDCWD, p.ConfineRoot, &top, 0) }); err != nil {
		return err
	}
	return beneath(dirfd, &top)
}

// confinedPin checks a link of /proc to an open descriptor. Nothing beneath a
// confined root may lead there; --confine-root goes by the path that the system
// shows for it, since a wrapper hands its checked paths over in this way.
func (w *ownerWalker) confinedPin(comp string, p Policy) error {
	if w.confine >= 0 {
		return syscall.ELOOP
	}
	if p.ConfineRoot == "" || p.ConfineRoot == "/" {
		return nil
	}
	target, err := readlinkat(w.dirfd(), comp)
	if err != nil {
		return err
	}
	root := strings.TrimRight(p.ConfineRoot, "/")
	if target != root && !strings.HasPrefix(target, root+"/") {
		return syscall.ELOOP
	}
	return nil
}

// beneath climbs from a directory to top and says ELOOP if it does not get
// there: identities tell where a path came out, its spelling does not.
func beneath(dirfd int, top *unix.Stat_t) error {
	var st, above unix.Stat_t
	if err := retry(func() error { return unix.Fstatat(dirfd, "", &st, unix.AT_EMPTY_PATH) }); err != nil {
		return err
	}
	cur := -1
	defer func() { closeFd(cur) }()
	for st.Dev != top.Dev || st.Ino != top.Ino {
		from := dirfd
		if cur >= 0 {
			from = cur
		}
		fd, err := openat(from, "..", unix.O_PATH|unix.O_DIRECTORY, 0)
		if err == syscall.EACCES {
			return syscall.ELOOP // beyond what we may search, so beyond top
		}
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
	return nil
}

// cutComponent returns the first component of path and the rest, both without
// slashes around them. A lone trailing slash leaves an empty rest.
func cutComponent(path string) (comp, rest string) {
	path = strings.TrimLeft(path, "/")
	comp, rest, _ = strings.Cut(path, "/")
	return comp, strings.TrimLeft(rest, "/")
}
