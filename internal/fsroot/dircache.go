package fsroot

import (
	"io/fs"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// dir is a held directory descriptor. It is closed when the last holder lets
// go, so that eviction never closes a descriptor in use; the cache itself is
// one holder. The links of the ring are guarded by root.mu.
type dir struct {
	fd         int
	root       *Root
	key        string // its name in the cache, "" for the root directory
	refs       atomic.Int32
	local      bool // on a local file system
	within     *dir // of a root directory: the one to stay beneath, or nil
	prev, next *dir
}

func (d *dir) release() {
	if d.refs.Add(-1) == 0 {
		unix.Close(d.fd)
		if d.within != nil {
			d.within.release()
		}
	}
}

// share adds a holder to those there are.
func (d *dir) share() { d.refs.Add(1) }

// tryShare adds a holder unless the descriptor is closed.
func (d *dir) tryShare() bool {
	for {
		n := d.refs.Load()
		if n == 0 {
			return false
		}
		if d.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// bound returns the descriptor of the directory that symlinks may lead to
// anything beneath of, -1 for the root directory. The caller holds r.top.
func (r *Root) bound() int {
	if r.top.within == nil {
		return -1
	}
	return r.top.within.fd
}

// hold returns the root directory, held.
func (r *Root) hold() (*dir, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fs.ErrClosed
	}
	r.top.share()
	return r.top, nil
}

// recent finds the parent of name, held, if that is the directory used last:
// most names come in runs, and it takes no lock. A directory that is forgotten at
// this moment may still be returned, as if this had come before.
func (r *Root) recent(name string) (d *dir, leaf string, ok bool) {
	d = r.last.Load()
	if d == nil {
		return nil, "", false
	}
	n := len(d.key)
	if n == 0 || len(name) <= n || name[n] != '/' || name[:n] != d.key {
		return nil, "", false
	}
	leaf = name[n+1:]
	if leaf == "" || leaf == "." || leaf == ".." || strings.IndexByte(leaf, '/') >= 0 || strings.IndexByte(leaf, 0) >= 0 {
		return nil, "", false
	}
	return d, leaf, d.tryShare()
}

// openDir returns the directory of that clean name, held for the caller.
func (r *Root) openDir(name string) (*dir, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, fs.ErrClosed
	}
	if name == "" {
		r.top.share()
		r.mu.Unlock()
		return r.top, nil
	}
	d := r.lru.next
	if d.key != name {
		d = r.cache[name]
	}
	if d != nil {
		d.share()
		if r.lru.next != d {
			d.unlink()
			r.pushLocked(d)
		}
		r.last.Store(d)
		r.mu.Unlock()
		return d, nil
	}
	r.top.share() // the root must not close under the resolution
	gen := r.gen
	r.mu.Unlock()
	fd, err := resolveDir(r.top.fd, r.bound(), name, r.policy)
	r.top.release()
	if err != nil {
		return nil, err
	}
	d = &dir{fd: fd, root: r, key: name, local: isLocal(fd)}
	d.share()

	r.mu.Lock()
	defer r.mu.Unlock()
	// A rename or removal of ours may have run since the resolution: then the
	// descriptor serves this one operation only.
	if r.closed || r.gen != gen || r.cache[name] != nil {
		return d, nil
	}
	d.share()
	r.cache[name] = d
	r.pushLocked(d)
	if len(r.cache) > r.policy.CachedDirs {
		r.dropLocked(r.lru.prev)
	}
	return d, nil
}

func (r *Root) pushLocked(d *dir) {
	d.prev, d.next = &r.lru, r.lru.next
	d.prev.next, d.next.prev = d, d
	r.last.Store(d)
}

func (d *dir) unlink() {
	d.prev.next, d.next.prev = d.next, d.prev
	d.prev, d.next = nil, nil
	d.root.last.CompareAndSwap(d, nil)
}

// dropLocked ends the cache's own hold.
func (r *Root) dropLocked(d *dir) {
	d.unlink()
	delete(r.cache, d.key)
	if d.refs.Add(-1) == 0 {
		unix.Close(d.fd)
	}
}

func (r *Root) dropAllLocked() {
	for r.lru.next != &r.lru {
		r.dropLocked(r.lru.next)
	}
}

// forget drops name and what is below it from the cache, since it was renamed,
// removed or replaced. Where names may pass through symlinks, other cached names
// may be aliases of a directory that was dropped: then everything goes.
func (r *Root) forget(name string) {
	dirname, leaf, err := splitName(name, true)
	if err != nil {
		return
	}
	if dirname == "" {
		name = leaf
	} else if len(dirname)+len("/")+len(leaf) != len(name) {
		name = joinPath(dirname, leaf)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gen++
	hit := false
	for d := r.lru.next; d != &r.lru; {
		next := d.next
		if strings.HasPrefix(d.key, name) && (len(d.key) == len(name) || d.key[len(name)] == '/') {
			r.dropLocked(d)
			hit = true
		}
		d = next
	}
	if hit && r.policy.FollowDirLinks {
		r.dropAllLocked()
	}
}
