package transfer

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// errNoEntry is what an excluded name looks like.
var errNoEntry error = syscall.ENOENT

// sendName makes the entry of a name, sends it and adds it to the list. nil
// means that it was left out. rsync 3.5.0 flist.c:send_file_name.
func (s *Sender) sendName(l *curList, si int32, name string, st *fsroot.Stat, flags flist.Flags, lv level) *flist.File {
	f := s.makeFile(si, name, st, flags, lv)
	if f == nil {
		return nil
	}
	if f.Mode != 0 && !f.IsSymlink() {
		f.Mode = s.c.Chmod.Apply(f.Mode)
		f.Mode = s.c.DaemonChmod.Apply(f.Mode)
	}
	wireName, link := f.Name(), ""
	if f.IsSymlink() && s.c.Links {
		if link = f.Link(); link == "" {
			s.io.Set(ioGeneral)
			s.log.Printf(report.ErrorXfer, "skipping symlink with 0-length value: %s\n", s.full(s.sources[si], wireName))
			return nil
		}
	}
	if s.c.NameToWire != nil {
		conv, err := s.c.NameToWire(wireName)
		if err != nil {
			s.io.Set(ioGeneral)
			s.log.Printf(report.ErrorXfer, "[%s] cannot convert filename: %s (%s)\n", s.log.Who(), wireName, err)
			return nil
		}
		wireName = conv
		if link != "" && s.c.LinkIconv {
			if link, err = s.c.NameToWire(link); err != nil {
				s.io.Set(ioGeneral)
				s.log.Printf(report.ErrorXfer, "[%s] cannot convert symlink data for: %s (%s)\n", s.log.Who(), s.full(s.sources[si], f.Name()), err)
				return nil
			}
		}
	}
	var ex extras
	if err := s.readExtras(&ex, si, f); err != nil {
		s.io.Set(ioGeneral)
		return nil
	}
	f.Seq = l.Start + int32(len(l.Files))
	if s.log.Debug(report.DebugFlist, 2) {
		shown := lv
		if f.Flags&flist.ImpliedDir != 0 && s.c.Setup.IncRecurse {
			shown = allFilters // rsync passes it, to no effect
		}
		s.log.Printf(report.Info, "[%s] make_file(%s,*,%d)\n", s.log.Who(), f.Name(), shown)
	}
	if s.Publish != nil && f.IsRegular() {
		if id := s.Publish(s.sources[si].path, f); id != nil {
			f.Ext().ContentID = id
		}
	}
	s.count(f)
	s.enc.Entry(f, wireName, link, l.Start)
	s.debugLinked(f, l.Start)
	if s.wantsACL(f) {
		s.enc.ACL(f, &ex.access, &ex.def)
	}
	if s.c.Xattrs > 0 {
		s.slab.Ext(f).Xattrs = s.enc.Xattrs(ex.xattrs)
	}
	if f.IsDir() {
		if s.c.Unsorted {
			s.wireDir[f] = int32(len(s.wireDir))
		}
		l.dirs++
	}
	if s.listShown {
		s.log.ListCount(len(l.Files))
	}
	l.Files = append(l.Files, f)
	return f
}

func (s *Sender) count(f *flist.File) {
	s.Stats.Files.Add(f.IsDir(), f.IsSymlink(), f.IsDevice(), f.IsSpecial())
}

// extras are the ACLs and extended attributes of an entry, where they are wanted.
type extras struct {
	access, def meta.ACL
	xattrs      *flist.XattrList
}

func (s *Sender) wantsACL(f *flist.File) bool { return s.c.ACLs && !f.IsSymlink() }

// readExtras reads the extras of an entry.
func (s *Sender) readExtras(ex *extras, si int32, f *flist.File) error {
	if !s.wantsACL(f) && s.c.Xattrs == 0 {
		return nil
	}
	if f.Mode == 0 { // a missing argument (--delete-missing-args)
		*ex = extras{access: meta.EmptyACL(), def: meta.EmptyACL(), xattrs: &flist.XattrList{}}
		return nil
	}
	src := s.sources[si]
	from, err := s.attributes(src, f)
	if err != nil {
		s.log.Syserr(report.ErrorXfer, err, "open %s failed", s.full(src, f.Name()))
		return err
	}
	defer from.Close()
	if s.wantsACL(f) {
		if ex.access, ex.def, err = meta.ReadACLs(from, f.Mode, s.c.Privilege); err != nil {
			s.log.Syserr(report.ErrorXfer, err, "get_acl: sys_acl_get_file(%s, ACL_TYPE_ACCESS)", s.full(src, f.Name()))
			return err
		}
		ex.access.Strip(f.Mode)
	}
	if s.c.Xattrs > 0 {
		rules := s.xattrRules()
		list, err := meta.ReadXattrs(from, &rules)
		if err != nil {
			s.log.Syserr(report.ErrorXfer, err, "rsync_xal_get: lgetxattr(%s) failed", s.full(src, f.Name()))
			return err
		}
		ex.xattrs = flist.NewXattrList(list)
		for i := range ex.xattrs.Items {
			it := &ex.xattrs.Items[i]
			it.Name, it.Source = rules.Sent(it.Name), it.Name
		}
	}
	return nil
}

// pin holds an entry: what a link points to, unless it is sent as a link.
func (s *Sender) pin(src *source, f *flist.File) (*fsroot.Pin, error) {
	if s.c.follows() && !f.IsSymlink() {
		return src.root.PinFollow(src.rel(f.Name()))
	}
	return src.root.Pin(src.rel(f.Name()))
}

// attributes are those of an entry: of what a link points to, unless it is sent as
// a link.
func (s *Sender) attributes(src *source, f *flist.File) (interface {
	meta.XattrSource
	io.Closer
}, error) {
	if s.c.follows() && !f.IsSymlink() {
		return s.pin(src, f)
	}
	return src.root.Glance(src.rel(f.Name()))
}

func (s *Sender) xattrRules() meta.XattrRules {
	r := meta.XattrRules{Level: s.c.Xattrs, Sender: true, Privilege: s.c.Privilege}
	if s.c.Filters != nil && s.c.Filters.HasXattrRules() {
		r.Exclude = func(name string) bool { return s.c.Filters.CheckXattr(name) < 0 }
	}
	return r
}

// scan adds the entries of a directory.
// rsync 3.5.0 flist.c:send_directory.
func (s *Sender) scan(l *curList, si int32, dir string, flags flist.Flags) {
	src := s.sources[si]
	if s.enter(si, dir); s.fatal != nil {
		return
	}
	err := src.root.EachEntry(src.rel(dir), func(name []byte, _ uint32, _ uint64) bool {
		if full := s.paths.Join(dir, name); len(full) >= flist.MaxPath {
			s.io.Set(ioGeneral)
			s.log.Printf(report.ErrorXfer, "filename overflows max-path len by %d: %s/%s\n", len(full)-flist.MaxPath+1, dir, name)
		} else {
			s.sendName(l, si, full, nil, flags, allFilters)
		}
		return s.fatal == nil
	})
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		s.statError(src, dir, true, err)
	default:
		s.io.Set(ioGeneral)
		s.log.Syserr(report.ErrorXfer, err, "opendir %s failed", s.full(src, dir))
	}
}

// sendTree adds what is below a directory, depth first, without incremental
// recursion. rsync 3.5.0 flist.c:send_if_directory.
func (s *Sender) sendTree(l *curList, si int32, dir string, flags flist.Flags) {
	from := len(l.Files)
	s.scan(l, si, dir, flags)
	to := len(l.Files)
	if s.c.Recurse {
		for _, f := range l.Files[from:to] {
			if f.IsDir() && f.Flags&flist.MountDir == 0 && s.fatal == nil {
				s.sendTree(l, si, f.Name(), flags)
			}
		}
	}
	if src := s.sources[si]; src.walk != nil {
		src.walk.Leave(src.rel(dir))
	}
}

// addDirs takes the directories of a sorted list into the order in which
// their own lists will be sent. rsync 3.5.0 flist.c:add_dirs_to_tree.
func (s *Sender) addDirs(parent int32, l *flist.List) {
	prev := int32(-1)
	for _, f := range l.Sorted {
		if !f.IsDir() {
			continue
		}
		at := int32(len(s.dirs))
		f.Ext().DirNdx = at
		s.dirs = append(s.dirs, dirNode{f: f, parent: parent, next: -1, child: -1, rel: s.relNames[f]})
		delete(s.relNames, f)
		if f.Base == "." {
			continue
		}
		switch {
		case prev >= 0:
			s.dirs[prev].next = at
		case parent >= 0:
			s.dirs[parent].child = at
		default:
			s.nextDir = at
		}
		prev = at
	}
}

// lookahead is how many files beyond those in work the receiving side should
// know of.
const lookahead = 1000

// sendMore sends lists until the receiving side knows of at least that many
// files beyond those it works on. rsync 3.5.0 flist.c:send_extra_file_list.
func (s *Sender) sendMore(atLeast int) error {
	if s.eof {
		return nil
	}
	before := s.io.Get()
	for s.held-s.oldTotal < atLeast {
		if err := s.sendDir(before); err != nil {
			return err
		}
		if s.eof {
			break
		}
	}
	if e := s.io.Get(); e != before && s.c.Setup.Protocol == 30 && !s.c.IgnoreErrors {
		s.c.W.MsgInt(wire.MsgIOError, e)
	}
	return s.c.W.Err()
}

// sendDir sends the list of the next directory, and with it those of
// directories that were named twice.
func (s *Sender) sendDir(before int32) error {
	l := s.newList()
	start := s.c.W.Total()
	at := s.nextDir
	f := s.dirs[at].f
	ndx := at
	if s.c.Unsorted {
		ndx = s.wireDir[f]
	}
	s.c.W.WriteNdx(&s.ndxOut, wire.NdxFlistOffset-ndx)
	l.Parent = at
	s.listDir(l, &s.dirs[at])
	for {
		next := s.dirs[at].next
		if next < 0 || s.dirs[next].f.Flags&flist.Duplicate == 0 {
			break
		}
		dup := s.dirs[next].f
		if dup.Src == f.Src && f.Flags&flist.ContentDir != 0 {
			dup.Flags &^= flist.ContentDir
		}
		at, f = next, dup
		s.listDir(l, &s.dirs[at])
	}
	if s.fatal != nil {
		return s.fatal
	}
	switch {
	case s.io.Get() == before || s.c.IgnoreErrors:
		s.enc.End(0)
	case s.c.Setup.SafeErrors:
		s.enc.End(s.io.Get())
	default:
		if s.c.Delete == DeleteDuring || s.c.Delete == DeleteDelay {
			return s.unsafeIO()
		}
		s.enc.End(0)
	}
	s.sortList(l)
	flist.MarkDuplicates(l.Sorted, s.c.Setup.Protocol)
	s.addDirs(at, l.List)
	s.lists = append(s.lists, l.List)
	s.total += len(l.Files)
	s.held += len(l.Files)
	s.Stats.FlistSize += s.c.W.Total() - start

	// Depth first: into the first child, else on to the nearest sibling.
	if c := s.dirs[at].child; c >= 0 {
		s.nextDir = c
		return nil
	}
	for s.dirs[at].next < 0 {
		s.leave(at)
		if at = s.dirs[at].parent; at < 0 {
			s.c.W.WriteNdx(&s.ndxOut, wire.NdxFlistEOF)
			s.eof = true
			return nil
		}
	}
	s.leave(at)
	s.nextDir = s.dirs[at].next
	return nil
}

// leave drops what is not needed of a directory any more.
func (s *Sender) leave(at int32) {
	f := s.dirs[at].f
	if src := s.sources[f.Src]; src.walk != nil {
		src.walk.Leave(src.rel(f.Name()))
	}
}

// unsafeIO ends a push whose deletions an old receiver could not stop.
func (s *Sender) unsafeIO() error {
	when := "during"
	if s.c.Delete == DeleteDelay {
		when = "delay"
	}
	s.log.Printf(report.ErrorXfer, "FATAL I/O ERROR: dying to avoid a --delete-%s issue with a pre-3.0.7 receiver.\n", when)
	return silentUnsupported
}

// listDir adds one directory's entries to its list, and what --relative
// operands name in it. rsync 3.5.0 flist.c:send1extra.
func (s *Sender) listDir(l *curList, d *dirNode) {
	f := d.f
	si := f.Src
	src := s.sources[si]
	dir := f.Name()
	flags := flist.ContentDir
	s.chdir(src)
	s.enter(si, dir)
	if f.Flags&flist.ContentDir != 0 {
		if s.c.OneFileSystem > 0 {
			st, err := s.linkStat(src, dir, s.c.CopyDirlinks)
			if err != nil {
				s.statError(src, dir, true, err)
				return
			}
			s.dev = st.Dev
		}
		s.scan(l, si, dir, flags)
	}
	for _, r := range d.rel {
		name := join(dir, r.name)
		if i := strings.IndexByte(r.name, '/'); i >= 0 {
			at := len(name) - len(r.name)
			s.impliedInc(l, si, name, at, at+i, flags, r.kind)
			continue
		}
		if r.kind == normalName {
			s.sendName(l, si, name, nil, flags|flist.TopDir, allFilters)
			continue
		}
		var st fsroot.Stat
		if r.kind != missingName {
			var err error
			if st, err = s.linkStat(src, name, true); err != nil {
				s.statError(src, name, false, err)
				continue
			}
		}
		s.sendName(l, si, name, &st, flags|flist.TopDir, allFilters)
	}
	d.rel = nil
}
