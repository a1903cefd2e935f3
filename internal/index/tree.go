package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	gopath "path"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is the module's directory, held open. Nothing in it is reached through
// a symbolic link, so whatever is renamed meanwhile, what is read lies in it.
type tree struct {
	root *os.File
	fd   int
	// without is a directory that is left out: the state directory, should it
	// lie in the tree.
	withoutDev, withoutIno uint64
	hide                   func(path string, dir bool, mode, uid, gid uint32) bool // may be nil
}

func openTree(dir, without string) (*tree, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	t := &tree{root: f, fd: int(f.Fd())}
	var st unix.Stat_t
	if unix.Stat(without, &st) == nil {
		t.withoutDev, t.withoutIno = st.Dev, st.Ino
	}
	return t, nil
}

func (t *tree) close() error { return t.root.Close() }

// open opens a path of the tree for reading without following any link.
func (t *tree) open(name string, flags int) (int, error) {
	flags |= unix.O_NOFOLLOW | unix.O_CLOEXEC
	if flags&unix.O_PATH == 0 {
		flags |= unix.O_NONBLOCK // a FIFO put in the place of a file
	}
	for {
		fd, err := unix.Openat2(t.fd, name, &unix.OpenHow{
			Flags:   uint64(flags),
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
		})
		switch err {
		case unix.EINTR, unix.EAGAIN:
			continue
		case unix.ENOSYS, unix.EPERM:
			// Before Linux 5.6, or kept from us by a sandbox.
			return t.openStepwise(name, flags)
		}
		return fd, err
	}
}

func (t *tree) openStepwise(name string, flags int) (int, error) {
	at := t.fd
	for {
		dir, rest, more := strings.Cut(name, "/")
		if dir == ".." {
			return -1, unix.EXDEV
		}
		f := flags
		if more {
			f = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		}
		fd, err := unix.Openat(at, dir, f, 0)
		if at != t.fd {
			unix.Close(at)
		}
		if err != nil || !more {
			return fd, err
		}
		at, name = fd, rest
	}
}

// stat returns what is at a path.
func (t *tree) stat(name string, st *unix.Stat_t) error {
	fd, err := t.open(name, unix.O_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fstat(fd, st)
}

// hidden asks hide about what is at a path.
func (t *tree) hidden(path string, st *unix.Stat_t) bool {
	return t.hide != nil && t.hide(path, isDir(st), st.Mode, st.Uid, st.Gid)
}

// hiddenAbove tells whether a directory above the path is hidden.
func (t *tree) hiddenAbove(path string) bool {
	if t.hide == nil {
		return false
	}
	for i := range len(path) {
		var st unix.Stat_t
		if path[i] == '/' && (t.stat(path[:i], &st) != nil || t.hidden(path[:i], &st)) {
			return true
		}
	}
	return false
}

// maxDepth bounds the nesting of directories, each of which is held open
// while what is below it is walked.
const maxDepth = 256

// walk calls file for every regular file below dir ("" for all), in byte
// order of the paths, and note for what could not be looked at. The path is
// valid during the call only.
func (t *tree) walk(ctx context.Context, dir string, file func(path []byte, st *Stat) error, note func(path string, err error)) error {
	w := walker{tree: t, ctx: ctx, file: file, note: note, buf: make([]byte, 64<<10)}
	open := dir
	if dir == "" {
		open = "."
	} else {
		w.path = append(append(w.path, dir...), '/')
	}
	fd, err := t.open(open, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		if dir == "" {
			return fmt.Errorf("index: open %s: %w", t.root.Name(), err)
		}
		w.unreadable(err)
		return nil
	}
	return w.dir(fd, 0)
}

type walker struct {
	*tree
	ctx  context.Context
	file func([]byte, *Stat) error
	note func(string, error)
	path []byte // of the directory being walked, with a slash unless empty
	buf  []byte
}

func (w *walker) unreadable(err error) {
	// What vanished since its directory was read never was there.
	if !errors.Is(err, fs.ErrNotExist) {
		w.note(string(w.path), err)
	}
}

type dirent struct {
	name string
	dir  bool
	st   Stat
}

// before orders names so that the paths below them come in byte order: a
// directory counts with its slash.
func (a *dirent) before(b *dirent) bool {
	n := min(len(a.name), len(b.name))
	if a.name[:n] != b.name[:n] {
		return a.name[:n] < b.name[:n]
	}
	return a.at(n) < b.at(n)
}

func (a *dirent) at(i int) int {
	switch {
	case i < len(a.name):
		return int(a.name[i])
	case i == len(a.name) && a.dir:
		return '/'
	}
	return -1
}

// dir walks the open directory and closes it.
func (w *walker) dir(fd, depth int) error {
	defer unix.Close(fd)
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if depth > maxDepth {
		w.note(string(w.path), fmt.Errorf("nested deeper than %d directories", maxDepth))
		return nil
	}
	if w.withoutIno != 0 || w.hide != nil {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			w.unreadable(err)
			return nil
		}
		if w.withoutIno != 0 && st.Ino == w.withoutIno && st.Dev == w.withoutDev {
			return nil
		}
		if n := len(w.path); n > 0 && w.hidden(string(w.path[:n-1]), &st) {
			return nil
		}
	}
	names, err := w.read(fd)
	if err != nil {
		w.unreadable(err)
	}
	sort.Slice(names, func(i, j int) bool { return names[i].before(&names[j]) })
	length := len(w.path)
	for i := range names {
		e := &names[i]
		w.path = append(w.path[:length], e.name...)
		if len(w.path) >= maxPath {
			w.note(string(w.path), unix.ENAMETOOLONG)
			continue
		}
		if !e.dir {
			if err := w.file(w.path, &e.st); err != nil {
				return err
			}
			continue
		}
		w.path = append(w.path, '/')
		sub, err := unix.Openat(fd, e.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			w.unreadable(err)
			continue
		}
		if err := w.dir(sub, depth+1); err != nil {
			return err
		}
	}
	w.path = w.path[:length]
	return nil
}

// read returns the regular files and directories in an open directory.
func (w *walker) read(fd int) ([]dirent, error) {
	var names []dirent
	err := w.list(fd, func(name string, kind byte) {
		if e, ok := w.look(fd, name, kind); ok {
			names = append(names, e)
		}
	})
	return names, err
}

// subdirs returns the directories in an open directory.
func (w *walker) subdirs(fd int) ([]string, error) {
	var names []string
	err := w.list(fd, func(name string, kind byte) {
		if kind == unix.DT_UNKNOWN {
			var st unix.Stat_t
			if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && isDir(&st) {
				kind = unix.DT_DIR
			}
		}
		if kind == unix.DT_DIR {
			names = append(names, name)
		}
	})
	return names, err
}

// list calls f for everything in an open directory.
func (w *walker) list(fd int, f func(name string, kind byte)) error {
	for {
		n, err := unix.Getdents(fd, w.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return err
		}
		// linux_dirent64: inode and offset of 8 bytes, record length of 2,
		// type of 1, name up to a zero byte.
		for b := w.buf[:n]; len(b) > 19; {
			size := int(binary.NativeEndian.Uint16(b[16:]))
			kind, name := b[18], b[19:size]
			b = b[size:]
			for i, c := range name {
				if c == 0 {
					name = name[:i]
					break
				}
			}
			if s := string(name); s != "." && s != ".." {
				f(s, kind)
			}
		}
	}
}

func (w *walker) look(fd int, name string, kind byte) (dirent, bool) {
	switch kind {
	case unix.DT_DIR:
		return dirent{name: name, dir: true}, true
	case unix.DT_REG, unix.DT_UNKNOWN:
	default:
		return dirent{}, false
	}
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if err != unix.ENOENT {
			w.note(string(w.path)+name, err)
		}
		return dirent{}, false
	}
	if isDir(&st) {
		return dirent{name: name, dir: true}, true
	}
	if !isRegular(&st) || w.hidden(string(w.path)+name, &st) {
		return dirent{}, false
	}
	return dirent{name: name, st: statOf(&st)}, true
}

// revisit is walk for some paths only: files, or directories with all below.
// covers tells which paths it has visited.
func (t *tree) revisit(ctx context.Context, paths []string, file func([]byte, *Stat) error, note func(string, error)) (covers func(string) bool, run func() error) {
	scope := make(map[string]bool, len(paths))
	for _, p := range paths {
		scope[gopath.Clean(p)] = true
	}
	covers = func(p string) bool {
		for {
			if scope[p] {
				return true
			}
			i := strings.LastIndexByte(p, '/')
			if i < 0 {
				return scope["."]
			}
			p = p[:i]
		}
	}
	return covers, func() error {
		var found []dirent
		for p := range scope {
			if i := strings.LastIndexByte(p, '/'); i >= 0 && covers(p[:i]) || p != "." && scope["."] {
				continue
			}
			if p == "." {
				return t.walk(ctx, "", file, note)
			}
			var st unix.Stat_t
			if err := t.stat(p, &st); err != nil {
				if !errors.Is(err, fs.ErrNotExist) && err != unix.ELOOP && err != unix.ENOTDIR {
					note(p, err)
				}
			} else if (isDir(&st) || isRegular(&st)) && !t.hiddenAbove(p) && !t.hidden(p, &st) {
				found = append(found, dirent{name: p, dir: isDir(&st), st: statOf(&st)})
			}
		}
		sort.Slice(found, func(i, j int) bool { return found[i].before(&found[j]) })
		for i := range found {
			e := &found[i]
			var err error
			if e.dir {
				err = t.walk(ctx, e.name, file, note)
			} else {
				err = file([]byte(e.name), &e.st)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}
