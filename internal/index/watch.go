package index

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// WatchConfig tunes Watch.
type WatchConfig struct {
	// Settle is how long the tree must be quiet before a change is indexed; 2
	// seconds if 0. Longest bounds the wait when it never is; 1 minute if 0.
	Settle, Longest time.Duration
	// Interval is the time between complete scans ("rescan interval"), which
	// find what watching missed; 1 hour if 0, none if negative.
	Interval time.Duration
}

func (c *WatchConfig) setDefaults() {
	if c.Settle <= 0 {
		c.Settle = 2 * time.Second
	}
	if c.Longest <= 0 {
		c.Longest = time.Minute
	}
	if c.Interval == 0 {
		c.Interval = time.Hour
	}
}

// Watch scans the tree and then keeps the index current until ctx ends, whose
// error it returns: changes that inotify(7) reports are indexed once the tree
// is quiet, everything is looked at again every Interval. Each scan's result is
// reported, those without a change too; a failed scan is reported and tried
// again at the next change or interval.
//
// Where the system's limit of watches does not suffice, report gets an error
// that wraps ErrWatchLimit, and the intervals alone remain.
func (x *Index) Watch(ctx context.Context, publish bool, report func(*Generation, error)) error {
	w, err := x.newWatcher()
	if err != nil {
		report(nil, err)
	}
	events := make(chan change)
	if w != nil {
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.run(ctx, events)
		}()
		defer func() { <-done }()
		defer w.close()
	}
	cfg := x.cfg.Watch
	scan := func(paths []string) {
		// No paths are all of them, to update as here.
		g, err := x.update(ctx, publish, paths)
		if err == nil || ctx.Err() == nil {
			report(g, err)
		}
	}
	scan(nil)
	var tick <-chan time.Time
	if cfg.Interval > 0 {
		t := time.NewTicker(cfg.Interval)
		defer t.Stop()
		tick = t.C
	}
	dirty := dirtySet{}
	quiet := time.NewTimer(0)
	<-quiet.C
	var first time.Time // of the changes that wait
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
			dirty = dirtySet{}
			quiet.Stop()
			scan(nil)
		case ev := <-events:
			if ev.err != nil {
				report(nil, ev.err)
			}
			if dirty.empty() {
				first = x.cfg.Now()
			}
			dirty.add(ev)
			quiet.Reset(min(cfg.Settle, max(0, cfg.Longest-x.cfg.Now().Sub(first))))
		case <-quiet.C:
			if !dirty.empty() {
				paths := dirty.paths()
				dirty = dirtySet{}
				scan(paths)
			}
		}
	}
}

// dirtySet are the paths to look at again.
type dirtySet struct {
	all  bool
	some map[string]bool
}

// maxDirty is how many paths are remembered before all are looked at.
const maxDirty = 10000

func (d *dirtySet) empty() bool { return !d.all && len(d.some) == 0 }

func (d *dirtySet) add(c change) {
	if c.path == "" || len(d.some) >= maxDirty {
		d.all, d.some = true, nil
	}
	if d.all {
		return
	}
	if d.some == nil {
		d.some = map[string]bool{}
	}
	d.some[c.path] = true
}

// paths returns nil for all.
func (d *dirtySet) paths() []string {
	if d.all {
		return nil
	}
	paths := make([]string, 0, len(d.some))
	for p := range d.some {
		paths = append(paths, p)
	}
	return paths
}

// ErrWatchLimit says that not every directory can be watched.
var ErrWatchLimit = errors.New("cannot watch every directory, changes are found by rescanning only; raise fs.inotify.max_user_watches")

// change is a path at or below which something happened; "" stands for
// anything anywhere.
type change struct {
	path string
	err  error
}

// watcher follows a tree with inotify. Its goroutine owns everything in it.
type watcher struct {
	tree *tree
	f    *os.File
	dirs map[int32]string // watched directories, "" the root
	ids  map[string]int32
	full bool // ErrWatchLimit was reported
}

const watched = unix.IN_CLOSE_WRITE | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CREATE | unix.IN_DELETE |
	unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW

// newWatcher watches the tree as it is now.
func (x *Index) newWatcher() (*watcher, error) {
	t, err := openTree(x.cfg.Root, x.dir)
	if err != nil {
		return nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.close()
		return nil, fmt.Errorf("watch %s: %w: %w", x.cfg.Root, ErrWatchLimit, err)
	}
	w := &watcher{tree: t, f: os.NewFile(uintptr(fd), "inotify"), dirs: map[int32]string{}, ids: map[string]int32{}}
	if err := w.add(""); err != nil {
		w.close()
		return nil, fmt.Errorf("watch %s: %w", x.cfg.Root, err)
	}
	return w, nil
}

// close ends run.
func (w *watcher) close() {
	w.f.Close()
	w.tree.close()
}

// add watches a directory and all below it.
func (w *watcher) add(dir string) error {
	name := dir
	if name == "" {
		name = "."
	}
	fd, err := w.tree.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil // gone again, or not ours to read: no content is there
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Ino == w.tree.withoutIno && st.Dev == w.tree.withoutDev {
		return nil
	}
	// The name in /proc leads to the directory held open, whatever its own
	// name leads to by now.
	conn, err := w.f.SyscallConn()
	if err != nil {
		return err
	}
	var id int
	conn.Control(func(inotify uintptr) {
		id, err = unix.InotifyAddWatch(int(inotify), fmt.Sprintf("/proc/self/fd/%d", fd), watched&^unix.IN_DONT_FOLLOW)
	})
	if err == unix.ENOSPC || err == unix.ENOMEM {
		return ErrWatchLimit
	}
	if err != nil {
		return fmt.Errorf("directory %q: %w", dir, err)
	}
	if old, ok := w.dirs[int32(id)]; ok {
		delete(w.ids, old)
	}
	w.dirs[int32(id)], w.ids[dir] = dir, int32(id)
	walk := walker{tree: w.tree, ctx: context.Background(), note: func(string, error) {}, buf: make([]byte, 32<<10)}
	subs, err := walk.subdirs(fd)
	if err != nil {
		return nil
	}
	for _, s := range subs {
		if err := w.add(join(dir, s)); err != nil {
			return err
		}
	}
	return nil
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// run sends changes until ctx ends or close.
func (w *watcher) run(ctx context.Context, events chan<- change) {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				w.send(ctx, events, change{err: fmt.Errorf("watch: %w", err)})
			}
			return
		}
		// inotify_event: watch, mask, cookie and name length of 4 bytes each,
		// then the name, filled up with zero bytes.
		ne := binary.NativeEndian
		for b := buf[:n]; len(b) >= 16; {
			id, mask, size := int32(ne.Uint32(b)), ne.Uint32(b[4:]), int(ne.Uint32(b[12:]))
			if size > len(b)-16 {
				break
			}
			name, _, _ := bytes.Cut(b[16:16+size], []byte{0})
			b = b[16+size:]
			if !w.event(ctx, events, id, mask, string(name)) {
				return
			}
		}
	}
}

func (w *watcher) event(ctx context.Context, events chan<- change, id int32, mask uint32, name string) bool {
	dir, known := w.dirs[id]
	switch {
	case mask&unix.IN_Q_OVERFLOW != 0:
		err := w.add("")
		return w.send(ctx, events, change{err: err})
	case mask&unix.IN_IGNORED != 0:
		delete(w.dirs, id)
		if w.ids[dir] == id {
			delete(w.ids, dir)
		}
		return true
	case !known:
		return true
	case name == "":
		if mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_ATTRIB) == 0 {
			return true
		}
		return w.send(ctx, events, change{path: dir})
	}
	path := join(dir, name)
	var err error
	if mask&unix.IN_ISDIR != 0 {
		if mask&(unix.IN_MOVED_FROM|unix.IN_MOVED_TO) != 0 {
			w.forget(path)
		}
		if mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 {
			if err = w.add(path); errors.Is(err, ErrWatchLimit) {
				if w.full {
					err = nil
				}
				w.full = true
			}
		}
	}
	return w.send(ctx, events, change{path: path, err: err})
}

// forget stops watching what was below a directory that was renamed, whose
// watches would go on under the old names.
func (w *watcher) forget(dir string) {
	conn, err := w.f.SyscallConn()
	if err != nil {
		return
	}
	for p, id := range w.ids {
		if p == dir || len(p) > len(dir) && p[:len(dir)] == dir && p[len(dir)] == '/' {
			delete(w.ids, p)
			delete(w.dirs, id)
			conn.Control(func(fd uintptr) { unix.InotifyRmWatch(int(fd), uint32(id)) })
		}
	}
}

func (w *watcher) send(ctx context.Context, events chan<- change, c change) bool {
	select {
	case events <- c:
		return true
	case <-ctx.Done():
		return false
	}
}
