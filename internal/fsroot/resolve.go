package fsroot

import (
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// maxSymlinks bounds the symlinks followed in one resolution, as in Linux.
	maxSymlinks = 40
	// maxKernelPath is the longest path handed to the kernel in one call;
	// PATH_MAX counts the final NUL.
	maxKernelPath = unix.PathMax - 1
	// maxRaces bounds how often openat2 may answer EAGAIN: a rename or mount ran
	// at the same time, and it could not prove that ".." stayed beneath.
	maxRaces = 64

	dirFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
)

// hasOpenat2 is false before Linux 5.6 and where a sandbox filters the call.
var hasOpenat2 = sync.OnceValue(func() bool {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
})

// resolveDir opens the directory of that name beneath rootfd as O_PATH.
func resolveDir(rootfd, within int, name string, p Policy) (int, error) {
	if name == "" || name == "." {
		return dupFd(rootfd)
	}
	return resolve(rootfd, within, name, unix.O_PATH|unix.O_DIRECTORY, 0, p, true)
}

// resolve opens name beneath rootfd. followLeaf follows a symlink in the last
// component too, within p; without FollowDirLinks nothing is followed. A
// refused symlink and an escape are both ELOOP, as in rsync. A ".." of a symlink
// may climb above rootfd as long as it stays beneath the directory within, which
// is rootfd itself where no other is given (-1).
func resolve(rootfd, within int, name string, flags int, perm uint32, p Policy, followLeaf bool) (int, error) {
	if p.FollowDirLinks && !p.Confine {
		return resolveAnywhere(rootfd, name, flags, perm, followLeaf)
	}
	byWalk := func() (int, error) {
		return walk(rootfd, within, name, flags, perm, p.FollowDirLinks, followLeaf)
	}
	if !hasOpenat2() {
		return byWalk()
	}
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flags&unix.O_PATH == 0 { // openat2 refuses what O_PATH would ignore
		how.Flags |= unix.O_NOCTTY
	}
	if flags&unix.O_CREAT != 0 {
		how.Mode = uint64(perm)
	}
	if !followLeaf {
		how.Flags |= unix.O_NOFOLLOW
	}
	if !p.FollowDirLinks {
		how.Flags |= unix.O_NOFOLLOW
		how.Resolve |= unix.RESOLVE_NO_SYMLINKS
	}
	if len(name) > maxKernelPath {
		return byWalk()
	}
	for try := 0; ; {
		fd, err := unix.Openat2(rootfd, name, &how)
		switch err {
		case nil:
			return fd, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			// O_NONBLOCK opens may fail with it for their own reasons.
			if try++; try > maxRaces {
				return byWalk()
			}
		case syscall.EXDEV:
			if within >= 0 {
				return byWalk()
			}
			return -1, syscall.ELOOP
		default:
			return -1, err
		}
	}
}

// resolveAnywhere opens name as the kernel does by itself: the caller trusts
// the tree, or asked to follow every link in it.
func resolveAnywhere(rootfd int, name string, flags int, perm uint32, followLeaf bool) (int, error) {
	if !followLeaf {
		flags |= unix.O_NOFOLLOW
	}
	owned := -1
	for len(name) > maxKernelPath {
		cut := strings.LastIndexByte(name[:maxKernelPath], '/')
		if cut <= 0 {
			break
		}
		fd, err := openat(rootfd, name[:cut], unix.O_PATH|unix.O_DIRECTORY, 0)
		closeFd(owned)
		if err != nil {
			return -1, err
		}
		rootfd, owned = fd, fd
		name = strings.TrimLeft(name[cut:], "/")
	}
	fd, err := openat(rootfd, name, flags, perm)
	closeFd(owned)
	return fd, err
}

// walk resolves name one component at a time with O_NOFOLLOW, reading relative
// symlinks itself where follow allows it. The descriptors of all directories on
// the way are kept on a stack, so that ".." returns to the very directory that
// was left, whatever has been renamed since. It climbs above rootfd only where
// that stays beneath within.
func walk(rootfd, within int, name string, flags int, perm uint32, follow, followLeaf bool) (int, error) {
	w := walker{stack: []int{rootfd}, rest: name, follow: follow, within: within, above: -1}
	defer w.close()
	links := 0
	for {
		comp, last := w.next()
		if comp == "" {
			if flags&unix.O_PATH != 0 && flags&unix.O_CREAT == 0 {
				return dupFd(w.cur())
			}
			return openat(w.cur(), ".", flags, perm)
		}
		if comp == ".." {
			if err := w.pop(); err != nil {
				return -1, err
			}
			continue
		}
		var fd int
		var err error
		if last {
			fd, err = openat(w.cur(), comp, flags|unix.O_NOFOLLOW, perm)
			if err == nil && follow && followLeaf && flags&unix.O_PATH != 0 && isLink(fd) {
				unix.Close(fd)
				err = syscall.ELOOP
			}
			if err == nil {
				return fd, nil
			}
		} else if fd, err = openat(w.cur(), comp, dirFlags, 0); err == nil {
			w.push(fd)
			continue
		}
		// O_NOFOLLOW says ELOOP, with O_DIRECTORY ENOTDIR, for a symlink.
		if err != syscall.ELOOP && err != syscall.ENOTDIR {
			return -1, err
		}
		target, lerr := readlinkat(w.cur(), comp)
		if lerr != nil {
			return -1, err
		}
		if links++; !follow || last && !followLeaf || links > maxSymlinks || target == "" || target[0] == '/' {
			return -1, syscall.ELOOP
		}
		w.rest = target + "/" + w.rest
	}
}

type walker struct {
	stack  []int // stack[0] is borrowed
	rest   string
	follow bool
	within int // borrowed: what to stay beneath, -1 for stack[0]
	above  int // the directory above the first one that stack[0] is now, or -1
}

func (w *walker) cur() int { return w.stack[len(w.stack)-1] }

// next cuts the next component off, and says whether it is the last one.
func (w *walker) next() (comp string, last bool) {
	for w.rest != "" {
		comp, w.rest, _ = strings.Cut(w.rest, "/")
		if comp != "" && comp != "." {
			return comp, strings.Trim(w.rest, "/.") == "" && !strings.Contains(w.rest, "..")
		}
	}
	return "", true
}

func (w *walker) push(fd int) {
	// Only a walk that may meet ".." needs the directories above.
	if !w.follow && len(w.stack) == 2 {
		unix.Close(w.stack[1])
		w.stack = w.stack[:1]
	}
	w.stack = append(w.stack, fd)
}

func (w *walker) pop() error {
	if !w.follow {
		return syscall.ELOOP
	}
	if len(w.stack) == 1 {
		return w.climb()
	}
	unix.Close(w.cur())
	w.stack = w.stack[:len(w.stack)-1]
	return nil
}

// climb goes to the directory above the first one.
func (w *walker) climb() error {
	if w.within < 0 {
		return syscall.ELOOP
	}
	var top unix.Stat_t
	if err := fstatEmpty(w.within, &top); err != nil {
		return err
	}
	fd, err := openat(w.cur(), "..", dirFlags, 0)
	if err != nil {
		return err
	}
	if err := beneath(fd, &top); err != nil {
		unix.Close(fd)
		return err
	}
	closeFd(w.above)
	w.above, w.stack[0] = fd, fd
	return nil
}

func (w *walker) close() {
	closeFd(w.above)
	for _, fd := range w.stack[1:] {
		unix.Close(fd)
	}
}

func isLink(fd int) bool {
	var st unix.Stat_t
	return fstatEmpty(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

func openat(dirfd int, name string, flags int, perm uint32) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_CLOEXEC|unix.O_NOCTTY, perm)
		if err != syscall.EINTR {
			return fd, err
		}
	}
}

func dupFd(fd int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
}

func closeFd(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}

// readlinkat returns the whole target, whatever its length.
func readlinkat(dirfd int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(dirfd, name, buf)
		if err == syscall.EINTR {
			size /= 2
			continue
		}
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

func fstatEmpty(fd int, st *unix.Stat_t) error {
	return retry(func() error { return unix.Fstat(fd, st) })
}
