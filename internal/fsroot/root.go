package fsroot

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrEscape is returned for a name that is absolute, or climbs with ".." where
// the policy does not resolve names inside the tree.
var ErrEscape = errors.New("name leaves the tree")

// Policy says which symlinks a Root follows.
//
//	FollowDirLinks  Confine  a symlink among the parent directories
//	false           any      is refused (ELOOP)
//	true            true     is followed if it is relative and stays beneath the root,
//	                         or beneath the confining root that OpenAt started from
//	true            false    is followed wherever it leads
//
// A receiver, and every daemon module without "insecure links", sets Confine;
// a local or remote-shell sender with -L or -k, and --insecure-links, do not.
type Policy struct {
	// FollowDirLinks lets names pass through symlinks to directories, and lets
	// them contain ".." components: -K at the receiver, -k, -L and -R at the sender.
	FollowDirLinks bool
	// Confine keeps every resolution, of a symlink leaf too (Stat, OpenFollow),
	// beneath the root, and clamps OpenAt to it.
	Confine bool
	// Owner makes OpenAt below a root that confines follow only symlinks that uid
	// 0 or the effective uid owns, absolute targets included: right for the
	// directories of options (--backup-dir, --temp-dir, …), not for the
	// destination or a source, which any symlink inside the tree may lead to.
	Owner bool
	// InsecureLinks switches the ownership walk of Open and OwnerOpen off.
	InsecureLinks bool
	// ConfineRoot, an absolute directory or "", is --confine-root: an operator's
	// path that comes out elsewhere is refused.
	ConfineRoot string
	// Search lists only directories that can be searched too: rsync's senders
	// open them by way of their ".".
	Search bool
	// NoAtime is --open-noatime: Open leaves the access time of what it reads.
	NoAtime bool
	// CachedDirs bounds the directory descriptors kept open; 0 means 64.
	CachedDirs int
}

const defaultCachedDirs = 64

// Root is a directory tree that names are resolved in.
type Root struct {
	path   string
	policy Policy
	top    *dir

	mu     sync.Mutex
	cache  map[string]*dir
	lru    dir                 // sentinel of the ring, most recently used first
	last   atomic.Pointer[dir] // the most recently used, or nil
	gen    uint64              // counts what forget has dropped
	closed bool
}

// Open opens a directory that the operator named, by the ownership walk. The
// error is a *fs.PathError that names the refused component.
func Open(path string, p Policy) (*Root, error) {
	fd, err := ownerWalk(path, p, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return newRoot(fd, path, p), nil
}

// OpenAt opens a directory below, or for an unconfined base beside, base. Under
// a base that confines, an absolute path counts from base, ".." stops there
// (rsync 3.5.0 util1.c:sanitize_path) and symlinks may not leave it. Otherwise
// a relative path starts at base and the ownership walk decides on symlinks.
func OpenAt(base *Root, path string, p Policy) (*Root, error) {
	d, err := base.hold()
	if err != nil {
		return nil, pathError("open", path, err)
	}
	defer d.release()
	if base.policy.Confine {
		p.Confine = true
		name := clampName(path)
		var fd int
		if p.Owner {
			fd, err = base.ownerWalk(d, name, p, unix.O_PATH|unix.O_DIRECTORY, 0)
		} else {
			fd, err = resolveDir(d.fd, base.bound(), name, Policy{FollowDirLinks: true, Confine: true})
		}
		if err != nil {
			return nil, pathError("open", path, err)
		}
		r := newRoot(fd, joinPath(base.path, name), p)
		if r.top.within = base.top.within; r.top.within == nil {
			r.top.within = base.top
		}
		r.top.within.share()
		return r, nil
	}
	full := path
	if !strings.HasPrefix(path, "/") {
		full = joinPath(base.path, path)
	}
	fd, err := base.ownerWalk(d, path, p, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return newRoot(fd, full, p), nil
}

// FromFd makes a Root of a directory descriptor that the caller hands over, for
// a module root that was opened before privileges were dropped. path is only
// for messages.
func FromFd(fd int, path string, p Policy) (*Root, error) {
	var st unix.Stat_t
	if err := fstatEmpty(fd, &st); err != nil {
		return nil, pathError("open", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, pathError("open", path, syscall.ENOTDIR)
	}
	return newRoot(fd, path, p), nil
}

func newRoot(fd int, path string, p Policy) *Root {
	if p.CachedDirs <= 0 {
		p.CachedDirs = defaultCachedDirs
	}
	procFd() // while /proc is still reachable: a daemon may chroot next
	r := &Root{path: path, policy: p, cache: make(map[string]*dir)}
	r.lru.next, r.lru.prev = &r.lru, &r.lru
	r.top = &dir{fd: fd, root: r, local: isLocal(fd)}
	r.top.share()
	return r
}

// Path returns the path the Root was opened by. It is for messages: no
// operation resolves it again.
func (r *Root) Path() string { return r.path }

// Policy returns the policy the Root was opened with.
func (r *Root) Policy() Policy { return r.policy }

// Fd returns the O_PATH descriptor of the root directory, valid until Close.
func (r *Root) Fd() int { return r.top.fd }

// Close drops the cached descriptors. An operation that is under way keeps its
// own until it ends; later ones fail with fs.ErrClosed.
func (r *Root) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return pathError("close", r.path, fs.ErrClosed)
	}
	r.closed = true
	r.dropAllLocked()
	r.mu.Unlock()
	r.top.release()
	return nil
}

// Full returns the path of name below the root, for messages.
func (r *Root) Full(name string) string { return joinPath(r.path, name) }

func joinPath(base, name string) string {
	switch {
	case name == "" || name == ".":
		return base
	case base == "" || base == ".":
		return name
	case strings.HasSuffix(base, "/"):
		return base + name
	}
	return base + "/" + name
}

// clampName makes a relative name of any path: a leading "/" and "." drop out,
// ".." removes the component before it and stops at the root.
func clampName(path string) string {
	var parts []string
	for c := range strings.SplitSeq(path, "/") {
		switch c {
		case "", ".":
		case "..":
			if len(parts) > 0 {
				parts = parts[:len(parts)-1]
			}
		default:
			parts = append(parts, c)
		}
	}
	return strings.Join(parts, "/")
}

// splitName cuts a name into its directory and its last component, dropping
// empty and "." components. The leaf is "" if the name means a directory
// itself: the root, or a name that ends in "..".
func splitName(name string, dotdot bool) (dirname, leaf string, err error) {
	if name == "" || name == "." {
		return "", "", nil
	}
	if name[0] == '/' {
		return "", "", ErrEscape
	}
	clean, start, slash := true, 0, -1
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			if name[i] == 0 {
				return "", "", syscall.EINVAL
			}
			continue
		}
		switch c := name[start:i]; {
		case c == "" || c == ".":
			clean = false
		case c == "..":
			if !dotdot {
				return "", "", ErrEscape
			}
			clean = clean && i < len(name)
		}
		if i < len(name) {
			slash = i
		}
		start = i + 1
	}
	if clean {
		if slash < 0 {
			return "", name, nil
		}
		return name[:slash], name[slash+1:], nil
	}
	parts := make([]string, 0, 8)
	for c := range strings.SplitSeq(name, "/") {
		if c != "" && c != "." {
			parts = append(parts, c)
		}
	}
	if len(parts) == 0 {
		return "", "", nil
	}
	last := len(parts) - 1
	if parts[last] == ".." {
		return strings.Join(parts, "/"), "", nil
	}
	return strings.Join(parts[:last], "/"), parts[last], nil
}

// at finds the held parent directory of name. The caller releases it.
func (r *Root) at(name string) (*dir, string, error) {
	if d, leaf, ok := r.recent(name); ok {
		return d, leaf, nil
	}
	dirname, leaf, err := splitName(name, r.policy.FollowDirLinks)
	if err != nil {
		return nil, "", err
	}
	d, err := r.openDir(dirname)
	return d, leaf, err
}

// leafAt is at for operations that need a name of their own, not a directory.
func (r *Root) leafAt(name string, ifRoot error) (*dir, string, error) {
	d, leaf, err := r.at(name)
	if err == nil && leaf == "" {
		d.release()
		return nil, "", ifRoot
	}
	return d, leaf, err
}

// create runs op on the parent of name. A cached parent may have been removed
// and made again by someone else since: then the name is resolved once more.
func (r *Root) create(opname, name string, op func(dirfd int, leaf string) error) error {
	for try := 0; ; try++ {
		d, leaf, err := r.leafAt(name, syscall.EEXIST)
		if err != nil {
			return pathError(opname, name, err)
		}
		err = retry(func() error { return op(d.fd, leaf) })
		key := d.key
		d.release()
		if err == syscall.ENOENT && try == 0 && key != "" {
			r.forget(key)
			continue
		}
		return pathError(opname, name, err)
	}
}

// pathError wraps a non-nil error.
func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return err
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// retry repeats f while a signal interrupts it.
func retry(f func() error) error {
	for {
		if err := f(); err != syscall.EINTR {
			return err
		}
	}
}

// newFile makes an *os.File that Close will close.
func newFile(fd int, name string) *os.File { return os.NewFile(uintptr(fd), name) }
