package transfer

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
)

// source is a directory that names of the file list are relative to: what
// rsync calls an entry's pathname.
type source struct {
	dir  string // as given, "" for the working directory
	path string // absolute, for messages and filters
	root *fsroot.Root
	top  bool // root is "/", and names keep their leading slash
	// removal is root without what lies behind links out of it; see removalRoot.
	removal *fsroot.Root

	walk  *filter.Walk // client's rules
	dwalk *filter.Walk // the module's rules
}

// rel is the name below the root.
func (s *source) rel(name string) string {
	if s.top {
		if name = strings.TrimLeft(name, "/"); name == "" {
			return "."
		}
	}
	return name
}

// follows reports whether symbolic links are dereferenced in some way.
func (c *Config) follows() bool { return c.CopyLinks || c.CopyUnsafe || c.CopyDirlinks }

// sourcePolicy is how names below a source are resolved: links that the user
// asked to follow may lead anywhere, except from a daemon; a --relative name
// may pass through a link inside the tree; a link raced in is refused.
func (c *Config) sourcePolicy() fsroot.Policy {
	follow := c.follows() || c.InsecureLinks
	return fsroot.Policy{
		FollowDirLinks: follow || c.Relative,
		Confine:        c.Confine || !follow,
		Search:         c.Confine || !follow,
		NoAtime:        c.OpenNoatime,
	}
}

// openSource returns the index of the source for dir, opening it once.
func (s *Sender) openSource(dir string, top bool) (int32, error) {
	key := dir
	if top {
		key = "/"
	}
	if i, ok := s.byDir[key]; ok {
		return i, nil
	}
	abs := s.c.abs(dir)
	if top {
		abs = "/"
	}
	if s.c.DaemonFilters != nil && dir != "" {
		w := s.c.DaemonFilters.Walk(filter.Root{Who: "sender", Dir: "/"})
		if w.PathExcluded(strings.TrimPrefix(abs, "/")) {
			return 0, &fs.PathError{Op: "chdir", Path: dir, Err: fs.ErrNotExist}
		}
	}
	open := dir
	if top {
		open = "/"
	}
	if open == "" {
		open = "."
	}
	root, err := s.c.OpenDir(open, s.c.sourcePolicy())
	if err != nil {
		return 0, err
	}
	if dir != "" { // rsync goes there
		if err := root.Searchable(); err != nil {
			root.Close()
			return 0, err
		}
	}
	src := &source{dir: dir, path: abs, root: root, top: top}
	if s.c.Filters != nil {
		src.walk = s.c.Filters.Walk(filter.Root{Who: "sender", Dir: abs, Open: s.mergeOpener(src)})
	}
	if s.c.DaemonFilters != nil {
		src.dwalk = s.c.DaemonFilters.Walk(filter.Root{Who: "sender", Dir: abs})
	}
	i := int32(len(s.sources))
	s.sources = append(s.sources, src)
	s.byDir[key] = i
	return i, nil
}

// mergeOpener opens per-directory filter files below a source, or above it.
func (s *Sender) mergeOpener(src *source) func(dir, name string) (io.ReadCloser, error) {
	return func(dir, name string) (io.ReadCloser, error) {
		return openMerge(s.c, src.root, src.path, dir, name)
	}
}

// openMerge opens a filter file in a directory of the tree that root holds and
// treePath names, or, if dir is absolute, in one above it.
func openMerge(c *Config, root *fsroot.Root, treePath, dir, name string) (io.ReadCloser, error) {
	full := join(dir, name)
	if strings.HasPrefix(dir, "/") {
		return c.OpenFilter(full)
	}
	if c.DaemonFilters != nil {
		w := c.DaemonFilters.Walk(filter.Root{Who: "sender", Dir: "/"})
		if w.PathExcluded(strings.TrimPrefix(join(treePath, full), "/")) {
			return nil, fs.ErrNotExist
		}
	}
	f, err := fsroot.OwnerOpenIn(root, full, os.O_RDONLY, 0, fsroot.Policy{InsecureLinks: c.InsecureLinks, ConfineRoot: c.ConfineRoot})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// excluded asks the rules about a name. Without all, only the module's count.
func (s *Sender) excluded(src *source, name string, isDir, all bool) bool {
	n := src.rel(name)
	if src.dwalk != nil && src.dwalk.Check(n, isDir) == filter.Exclude {
		return true
	}
	return all && src.walk != nil && src.walk.Check(n, isDir) == filter.Exclude
}

// linkStat describes a name as the options see it: what a link points to with
// --copy-links, or where dirlinks says so and that is a directory.
// rsync 3.5.0 flist.c:link_stat.
func (s *Sender) linkStat(src *source, name string, dirlinks bool) (fsroot.Stat, error) {
	n := src.rel(name)
	if s.c.CopyLinks {
		return s.statFollowed(src, n)
	}
	st, err := src.root.Lstat(n)
	if err != nil {
		return st, err
	}
	if s.c.Privilege == meta.FakeSuper {
		s.overlayFake(src, n, &st)
	}
	if dirlinks && st.IsSymlink() {
		if st2, err := s.statFollowed(src, n); err == nil && st2.IsDir() {
			return st2, nil
		}
	}
	return st, nil
}

// statFollowed describes what a name points to. A daemon's file list tells of
// what is outside the module too, as rsync's does; opening it fails.
func (s *Sender) statFollowed(src *source, n string) (fsroot.Stat, error) {
	st, err := src.root.Stat(n)
	if errors.Is(err, syscall.ELOOP) && s.c.Confine {
		return src.root.StatAnywhere(n)
	}
	return st, err
}

func (s *Sender) overlayFake(src *source, n string, st *fsroot.Stat) {
	pin, err := src.root.Pin(n)
	if err != nil {
		return
	}
	defer pin.Close()
	meta.OverlayFakeStat(pin, st)
}

// readStat is linkStat with the target of a symbolic link.
// rsync 3.5.0 flist.c:readlink_stat.
func (s *Sender) readStat(src *source, name string) (st fsroot.Stat, link string, err error) {
	st, err = s.linkStat(src, name, s.c.CopyDirlinks)
	if err != nil || !st.IsSymlink() {
		return st, "", err
	}
	n := src.rel(name)
	link, err = meta.ReadSymlink(src.root, n, s.c.Privilege)
	if err != nil {
		return st, "", err
	}
	if s.c.CopyUnsafe && UnsafeLink(link, name) {
		if s.log.Info(report.InfoSymsafe, 1) {
			s.log.Printf(report.Info, "copying unsafe symlink \"%s\" -> \"%s\"\n", name, link)
		}
		st, err = s.statFollowed(src, n)
		return st, "", err
	}
	if s.c.MungeLinks {
		link = strings.TrimPrefix(link, mungePrefix)
	}
	return st, link, nil
}

// mungePrefix makes a symbolic link unusable inside a module
// ("munge symlinks").
const mungePrefix = "/rsyncd-munged/"

// full names an entry for a message.
func (s *Sender) full(src *source, name string) string { return s.c.fullName(src.path, name) }

// statError reports a name that cannot be looked at.
// rsync 3.5.0 flist.c:interpret_stat_error.
func (s *Sender) statError(src *source, name string, isDir bool, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		kind := "file"
		if isDir {
			kind = "directory"
		}
		s.io.Set(ioVanished)
		s.log.Printf(report.Warning, "%s has vanished: %s\n", kind, s.full(src, name))
		return
	}
	s.io.Set(ioGeneral)
	s.log.Syserr(report.ErrorXfer, err, "link_stat %s failed", s.full(src, name))
}
