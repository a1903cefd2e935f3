package filter

import (
	"io"
	"path"
	"strings"
)

// Root is one directory tree that names are checked in: the transfer root of
// a sender's argument, or the destination.
type Root struct {
	// Who walks: "sender", "generator" or "receiver". The sender drops rules
	// for the receiving side from per-directory files, the others those for
	// the sending side.
	Who string
	// Dir is the absolute path of the directory that names are relative to
	// (inside the module, for a daemon).
	Dir string
	// Open opens a per-directory rule file. dir is relative to Dir ("" for
	// Dir itself) or, for a directory outside of it, absolute. A file that
	// cannot be opened counts as absent.
	Open func(dir, name string) (io.ReadCloser, error)
}

// Walk checks names in a tree by all rules, those in per-directory files
// included. It belongs to one goroutine; each role of a transfer has its
// own.
type Walk struct {
	// Dying makes perishable rules not count: set it while the contents of a
	// directory that goes away are deleted.
	Dying bool

	list   *List
	root   Root
	top    []slot
	states map[string][]slot
	now    []slot
}

// Walk returns a walk through a tree. No directory is entered yet: names are
// checked by the rules outside of per-directory files.
func (l *List) Walk(root Root) *Walk {
	if root.Dir == "" {
		root.Dir = l.cfg.Dir
	}
	root.Dir = join("/", root.Dir)
	w := &Walk{list: l, root: root}
	if l != nil {
		w.top = l.slots
	}
	return w
}

// Enter makes dir (relative to the root; "" or "." is the root itself) the
// directory whose entries are checked next, and reads its per-directory
// files when it is entered for the first time. It inherits from the nearest
// directory above it that was entered and not left; directories may be
// entered in any order that has parents before children, and again.
//
// rsync 3.5.0 exclude.c:push_local_filters.
func (w *Walk) Enter(dir string) error {
	w.debug("[%s] pushing local filters for %s/", w.root.Who, strings.TrimSuffix(join(w.root.Dir, clean(dir)), "/"))
	if len(w.top) == 0 {
		return nil // no dir-merge rule at all
	}
	dir = clean(dir)
	if have, ok := w.states[dir]; ok {
		w.now = have
		return nil
	}
	slots, err := w.load(dir, w.above(dir))
	if err != nil {
		return err
	}
	if w.states == nil {
		w.states = make(map[string][]slot)
	}
	w.states[dir] = slots
	w.now = slots
	return nil
}

// Leave forgets what Enter read of dir, which will not be entered again, nor
// any directory below it.
//
// rsync 3.5.0 exclude.c:pop_local_filters.
func (w *Walk) Leave(dir string) {
	w.debug("[%s] popping local filters", w.root.Who)
	if len(w.top) == 0 {
		return
	}
	dir = clean(dir)
	delete(w.states, dir)
	w.now = w.above(dir)
}

// debug gives a line of --debug=FILTER2.
func (w *Walk) debug(format string, args ...any) {
	if w.list != nil && w.list.cfg.Debug != nil && w.list.cfg.DebugLevel >= 2 {
		w.list.cfg.Debug(format, args...)
	}
}

// Check gives the verdict on an entry of the directory entered last. The
// name is relative to the root.
func (w *Walk) Check(name string, isDir bool) Verdict { return w.check(name, kindOf(isDir)) }

// CheckXattr is Check for the name of an extended attribute.
func (w *Walk) CheckXattr(name string) Verdict { return w.check(name, attrName) }

func (w *Walk) check(name string, kind nameKind) Verdict {
	if w.list == nil {
		return None
	}
	v, _ := w.list.decide(query{
		name: name, kind: kind, base: w.root.Dir, elided: remoteOnly, dying: w.Dying,
		slots: w.now, who: w.root.Who,
	})
	return v
}

// PathExcluded reports whether the rules exclude path, taken as a directory,
// or any directory on the way to it. A daemon asks this of the names that
// clients give; its rules are about names, so path is not resolved.
//
// rsync 3.5.0 flist.c:path_is_daemon_excluded.
func (w *Walk) PathExcluded(path string) bool {
	return w.ParentExcluded(path) || w.Check(path, true) == Exclude
}

// ParentExcluded is PathExcluded without path itself.
func (w *Walk) ParentExcluded(path string) bool {
	for i := 1; i < len(path); i++ {
		if path[i] == '/' && w.Check(path[:i], true) == Exclude {
			return true
		}
	}
	return false
}

// clean spells a directory below the root the one way; the root is "".
func clean(dir string) string {
	return strings.TrimPrefix(path.Clean("/"+dir), "/")
}

// above returns the state of the nearest directory above dir.
func (w *Walk) above(dir string) []slot {
	for dir != "" {
		if i := strings.LastIndexByte(dir, '/'); i >= 0 {
			dir = dir[:i]
		} else {
			dir = ""
		}
		if s, ok := w.states[dir]; ok {
			return s
		}
	}
	return w.top
}

// load reads the per-directory files of dir.
func (w *Walk) load(dir string, above []slot) ([]slot, error) {
	slots := append([]slot(nil), above...)
	p := &parser{
		list: w.list, who: w.root.Who, open: w.open, slots: &slots,
		dir: join(w.root.Dir, dir), sender: w.root.Who == "sender",
	}
	p.debug(2, "[%s] pushing local filters for %s", p.who, strings.TrimSuffix(p.dir, "/")+"/")
	// A file may add merges, which are then looked for in this directory too.
	for i := 0; i < len(slots); i++ {
		s := slots[i]
		if s.merge == nil {
			continue
		}
		p.debug(2, "[%s] pushing mergelist #%d%s", p.who, i, s.merge.label)
		inherited := s.active
		if s.merge.has(noInherit) {
			inherited = nil
		}
		if !s.ready {
			var err error
			if inherited, err = w.scanAbove(p, i, inherited); err != nil {
				return nil, err
			}
			s = slots[i]
		}
		own := &ruleList{inherited: inherited, label: s.merge.label}
		file := join(p.dir, s.name)
		if len(file) >= maxPath {
			p.warn("cannot add local filter rules in long-named directory: %s", p.src.show(s.merge.rule, file))
		} else if err := p.file(own, file, s.merge.rule, anchorToDir); err != nil {
			return nil, err
		}
		if len(own.rules) == 0 {
			own = own.inherited
		}
		if i < len(slots) && slots[i].merge == s.merge {
			slots[i].active = own
		}
	}
	return slots, nil
}

// scanAbove completes a merge whose file name has a directory: that is where
// the scan for the file begins, if it lies above the directory being
// entered, and it goes down to the parent of the latter.
//
// rsync 3.5.0 exclude.c:setup_merge_file. Unlike there, a second tree of the
// same transfer gets what the scan finds as well, as rsync(1) says.
func (w *Walk) scanAbove(p *parser, i int, inherited *ruleList) (*ruleList, error) {
	m := (*p.slots)[i].merge
	(*p.slots)[i].ready = true
	full, ok := p.mergeName(m.rule, (*p.slots)[i].name)
	if !ok || !strings.HasPrefix(full, "/") {
		return inherited, nil
	}
	start, name := path.Split(full)
	(*p.slots)[i].name = name
	p.debug(2, "[%s] performing parent_dirscan for mergelist #%d%s", p.who, i, m.label)
	entered := p.dir
	p.scanning = true
	defer func() { p.scanning, p.dir = false, entered }()
	here := strings.TrimSuffix(entered, "/") + "/"
	for at := start; len(at) < len(here) && strings.HasPrefix(here, at); {
		p.dir = path.Clean(at)
		list := &ruleList{inherited: inherited, label: m.label}
		if err := p.file(list, at+name, m.rule, anchorToDir); err != nil {
			return nil, err
		}
		if m.has(noInherit) {
			p.drop(list.rules)
		} else if inherited = list; len(list.rules) == 0 {
			inherited = list.inherited
		}
		at = here[:len(at)+strings.IndexByte(here[len(at):], '/')+1]
	}
	p.debug(2, "[%s] completed parent_dirscan for mergelist #%d%s", p.who, i, m.label)
	return inherited, nil
}

// open finds a rule file by its absolute path; without a slash, it is one in
// the root.
func (w *Walk) open(name string) (io.ReadCloser, error) {
	if w.root.Open == nil {
		return w.list.open(name)
	}
	dir, base := path.Split(name)
	if dir == "" {
		return w.root.Open("", base)
	}
	dir = path.Clean(dir)
	switch prefix := strings.TrimSuffix(w.root.Dir, "/") + "/"; {
	case dir == w.root.Dir:
		dir = ""
	case strings.HasPrefix(dir, prefix):
		dir = dir[len(prefix):]
	}
	return w.root.Open(dir, base)
}
