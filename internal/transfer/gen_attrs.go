package transfer

import (
	"errors"
	"os"
	"syscall"

	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"golang.org/x/sys/unix"
)

// look is what lies at a place: its stat, and, once asked for, its ACLs and
// extended attributes.
type look struct {
	at  place
	st  fsroot.Stat
	acl *meta.ACL
	def *meta.ACL
	xs  *flist.XattrList
	// outside: a link that -K keeps leads to a directory out of the tree.
	outside bool
}

// how an entry was found; the numbers are rsync's.
const (
	foundNone = -1 // nothing there
	found     = 0  // in the destination
	foundAlt  = 1  // in an alternate destination
)

// rulesFor are the rules of attributes; a variable so that the sum is shared.
func (r *Receiving) attrRules() *meta.Rules { return &r.rules }

// readACLs fills in the look's ACLs.
func (r *Receiving) readACLs(lk *look, pin *fsroot.Pin) {
	if lk.acl != nil || !r.c.ACLs {
		return
	}
	from := meta.XattrSource(pin)
	if pin == nil {
		g, err := lk.at.root.Glance(lk.at.name)
		if err != nil {
			return
		}
		defer g.Close()
		from = g
	}
	if a, d, err := meta.ReadACLs(from, lk.st.Mode, r.c.Privilege); err == nil {
		lk.acl, lk.def = &a, &d
	}
}

// readXattrs fills in the look's extended attributes.
func (r *Receiving) readXattrs(lk *look) {
	if lk.xs != nil || r.c.Xattrs == 0 {
		return
	}
	var xs meta.Xattrs // none where they cannot be read
	if from, err := lk.at.root.Glance(lk.at.name); err == nil {
		defer from.Close()
		xs, _ = meta.ReadXattrs(from, &r.rules.Xattrs)
	}
	lk.xs = flist.NewXattrList(xs)
}

func (r *Receiving) mtimeDiffers(st *fsroot.Stat, f *flist.File) bool {
	return !meta.SameTime(st.Mtime, mtimeOf(f), r.c.ModifyWindow)
}

func (r *Receiving) permsDiffer(mode uint32, st *fsroot.Stat) bool {
	if r.c.Perms {
		return (st.Mode^mode)&meta.PermBits != 0
	}
	return r.c.Executability && (st.Mode&0111 != 0) != (mode&0111 != 0)
}

func (r *Receiving) ownerDiffers(f *flist.File, st *fsroot.Stat) bool {
	return r.uidDiffers(f, st) || r.gidDiffers(f, st)
}

func (r *Receiving) uidDiffers(f *flist.File, st *fsroot.Stat) bool {
	return r.isRoot() && r.c.Owner && st.UID != f.UID
}

func (r *Receiving) gidDiffers(f *flist.File, st *fsroot.Stat) bool {
	return r.c.Group && f.Flags&flist.SkipGroup == 0 && st.GID != f.GID
}

func (r *Receiving) aclsDiffer(f *flist.File, mode uint32, lk *look) bool {
	if !r.c.ACLs || f.IsSymlink() || f.X == nil {
		return false
	}
	r.readACLs(lk, nil)
	if w := f.X.Access; w != nil && (lk.acl == nil || !w.SameExtended(lk.acl, mode)) {
		return true
	}
	if w := f.X.Default; w != nil && f.IsDir() && (lk.def == nil || !w.Equal(lk.def)) {
		return true
	}
	return false
}

func (r *Receiving) xattrsDiffer(f *flist.File, lk *look, mark bool) bool {
	if r.c.Xattrs == 0 {
		return false
	}
	var have *flist.XattrList
	if lk != nil {
		r.readXattrs(lk)
		have = lk.xs
	}
	r.xmu.Lock()
	defer r.xmu.Unlock()
	return f.Xattrs().Differ(have, mark)
}

// unchanged reports whether an entry's attributes are as they should be.
// rsync 3.5.0 generator.c:unchanged_attrs.
func (r *Receiving) unchanged(f *flist.File, mode uint32, lk *look) bool {
	if f.IsSymlink() {
		if r.c.Times && !r.c.OmitLinkTimes && r.mtimeDiffers(&lk.st, f) {
			return false
		}
		return !r.ownerDiffers(f, &lk.st) && !r.xattrsDiffer(f, lk, false)
	}
	if r.c.Times && r.mtimeDiffers(&lk.st, f) {
		return false
	}
	return !r.permsDiffer(mode, &lk.st) && !r.ownerDiffers(f, &lk.st) &&
		!r.aclsDiffer(f, mode, lk) && !r.xattrsDiffer(f, lk, false)
}

// sameContent reports whether what is there makes a transfer unnecessary.
// rsync 3.5.0 generator.c:quick_check_ok.
func (g *generator) sameContent(f *flist.File, lk *look) bool {
	c := g.c
	switch fileType(f.Mode) {
	case unix.S_IFREG:
		if lk.st.Size != f.Size {
			return false
		}
		switch {
		case c.Checksum && !g.again:
			return g.sameSum(f, lk)
		case c.SizeOnly && !g.again:
			return true
		case c.IgnoreTimes || g.again:
			return false
		}
		return !g.mtimeDiffers(&lk.st, f)
	case unix.S_IFLNK:
		if c.Privilege == meta.FakeSuper {
			// A real link is to become one of those that are kept in a file.
			if st, err := lk.at.lstat(); err != nil || st.IsSymlink() {
				return false
			}
		}
		link, err := meta.ReadSymlink(lk.at.root, lk.at.name, c.Privilege)
		return err == nil && link != "" && link == f.Link()
	case unix.S_IFDIR:
		return true
	case unix.S_IFBLK, unix.S_IFCHR:
		major, minor := meta.DeviceNumbers(lk.st.Rdev)
		return f.X != nil && major == f.X.Major && minor == f.X.Minor
	case unix.S_IFIFO, unix.S_IFSOCK:
		return fileType(lk.st.Mode) == fileType(f.Mode)
	}
	return false
}

func (g *generator) sameSum(f *flist.File, lk *look) bool {
	file, err := lk.at.root.OpenReader(lk.at.name)
	if err != nil {
		return false
	}
	defer file.Close()
	return string(g.summer.sum(file, lk.st.Size, g.c.Setup.FileSum)) == string(f.Sum())
}

// wantAttrs are the attributes that an entry should have.
func (r *Receiving) wantAttrs(f *flist.File, mode uint32) meta.Attrs {
	a := meta.Attrs{Mode: mode, UID: f.UID, GID: f.GID, Mtime: mtimeOf(f)}
	x := f.X
	if x == nil {
		return a
	}
	a.Rdev = meta.Device(x.Major, x.Minor)
	a.Atime.Sec = x.Atime
	a.Access, a.Default = x.Access, x.Default
	if r.c.Xattrs > 0 {
		r.xmu.Lock()
		a.Xattrs = meta.Xattrs{}
		if x.Xattrs != nil {
			for i := range x.Xattrs.Items {
				it := &x.Xattrs.Items[i]
				m := meta.Xattr{Name: it.Name, Value: it.Value, Len: it.Len}
				if it.Abbreviated() {
					m.Sum = append([]byte(nil), it.Sum[:]...)
				}
				a.Xattrs = append(a.Xattrs, m)
			}
		}
		r.xmu.Unlock()
	}
	return a
}

// attrCall is one setting of attributes.
type attrCall struct {
	skipTimes bool
	accurate  bool
	report    bool // say "NAME" or "NAME is uptodate" at --info=name2
	created   bool
	basis     *fsroot.Pin // may hold values of extended attributes
	// noXattrs leaves the extended attributes as they are: the generator says
	// that they differ, and the receiver sets them when it takes that answer.
	noXattrs bool
	link     *fsroot.Pin // that stands for the directory, with -K
}

// setAttrs brings the attributes of what lies at a place to what they should
// be. lk is what is known of it; its st may be nil-like (unknown) when fresh is
// set. It reports whether anything changed.
// rsync 3.5.0 rsync.c:set_file_attrs.
func (r *Receiving) setAttrs(l *report.Log, lk *look, f *flist.File, mode uint32, call attrCall) bool {
	if r.c.DryRun {
		changed := !r.unchanged(f, mode, lk)
		r.attrLine(l, lk.at.shown, call.report, changed)
		return changed
	}
	if r.nothingToSet(f, mode, lk, call) {
		r.attrLine(l, lk.at.shown, call.report, false)
		return false
	}
	var pin *fsroot.Pin
	var err error
	if f.IsDir() && r.c.KeepDirlinks {
		if pin, err = lk.at.root.PinFollow(lk.at.name); err == nil {
			if call.link, err = lk.at.root.Pin(lk.at.name); err == nil {
				defer call.link.Close()
			}
		}
	} else {
		pin, err = lk.at.root.Pin(lk.at.name)
	}
	if err != nil {
		l.Syserr(report.ErrorXfer, err, "stat %s failed", r.full(lk.at.shown))
		return false
	}
	defer pin.Close()
	changed := r.apply(l, pin, lk, f, mode, call)
	r.attrLine(l, lk.at.shown, call.report, changed)
	return changed
}

// apply sets attributes on a held inode.
func (r *Receiving) apply(l *report.Log, pin *fsroot.Pin, lk *look, f *flist.File, mode uint32, call attrCall) bool {
	want := r.wantAttrs(f, mode)
	have := meta.AttrsOf(&lk.st)
	have.Access, have.Default = lk.acl, lk.def
	changes, err := meta.Apply(pin, &want, &have, r.attrRules(), meta.Entry{
		SkipGroup: f.Flags&flist.SkipGroup != 0, SkipMtime: call.skipTimes, SkipAtime: call.skipTimes,
		AccurateTime: call.accurate, Created: call.created, Basis: call.basis, KeepXattrs: call.noXattrs, Link: call.link,
	})
	// Lines of output that come after this are rsync's only if they show what
	// rsync knows by then: not all that has changed, but what was read anew.
	lk.st.Mode, lk.st.UID, lk.st.GID = have.Mode, have.UID, have.GID
	lk.acl, lk.def = have.Access, have.Default
	r.attrErrors(l, lk, err)
	// rsync does not count attributes, only the time that is set again after them.
	return changes&^meta.ChangedXattrs != 0
}

// attrErrors reports what could not be set.
func (r *Receiving) attrErrors(l *report.Log, lk *look, err error) {
	if err == nil {
		return
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range j.Unwrap() {
			r.attrErrors(l, lk, e)
		}
		return
	}
	var ae *meta.ApplyError
	if !errors.As(err, &ae) {
		l.Syserr(report.ErrorXfer, err, "setting attributes of %s failed", r.full(lk.at.shown))
		return
	}
	switch ae.Verb {
	case "chown", "chgrp", "stat":
		l.Syserr(report.ErrorXfer, ae.Err, "%s %s failed", ae.Verb, r.full(lk.at.shown))
	default:
		l.Syserr(report.ErrorXfer, ae.Err, "%s %s", ae.Verb, r.full(lk.at.shown))
	}
}

// nothingToSet is the quick test before any descriptor is opened.
func (r *Receiving) nothingToSet(f *flist.File, mode uint32, lk *look, call attrCall) bool {
	c := r.c
	if c.Xattrs > 0 && !call.noXattrs || c.Privilege == meta.FakeSuper || c.DaemonChmod != nil {
		return false
	}
	if r.ownerDiffers(f, &lk.st) || !f.IsSymlink() && (lk.st.Mode^mode)&meta.PermBits != 0 {
		return false
	}
	if !(call.skipTimes || f.IsDir() && c.OmitDirTimes || f.IsSymlink() && c.OmitLinkTimes) {
		if c.Times && (call.accurate && mtimeOf(f) != lk.st.Mtime || !call.accurate && r.mtimeDiffers(&lk.st, f)) {
			return false
		}
		if c.Atimes && !f.IsDir() && (f.X == nil || f.X.Atime != lk.st.Atime.Sec || call.accurate) {
			return false
		}
	}
	return !r.aclsDiffer(f, mode, lk)
}

func (r *Receiving) attrLine(l *report.Log, name string, wanted, changed bool) {
	if !wanted || !l.Info(report.InfoName, 2) {
		return
	}
	if changed {
		l.Printf(report.Client, "%s\n", name)
	} else {
		l.Printf(report.Client, "%s is uptodate\n", name)
	}
}

// setNew sets the attributes of an entry that was just made.
func (r *Receiving) setNew(l *report.Log, at place, f *flist.File, mode uint32, call attrCall) bool {
	if r.c.DryRun {
		return true
	}
	st, err := at.lstat()
	if err != nil {
		l.Syserr(report.ErrorXfer, err, "stat %s failed", r.full(at.shown))
		return false
	}
	lk := &look{at: at, st: st}
	r.overlay(lk)
	if f.IsDir() && st.Mode&unix.S_ISGID != 0 && !r.c.Perms {
		call.created = true
	}
	return r.setAttrs(l, lk, f, mode, call)
}

// overlay puts what --fake-super keeps in place of the real attributes.
func (r *Receiving) overlay(lk *look) {
	if r.c.Privilege != meta.FakeSuper {
		return
	}
	if pin, err := lk.at.root.Pin(lk.at.name); err == nil {
		meta.OverlayFakeStat(pin, &lk.st)
		pin.Close()
	}
}

// setOnFile sets attributes through an open file.
func (r *Receiving) setOnFile(l *report.Log, file *os.File, shown string, f *flist.File, mode uint32, call attrCall) {
	st, err := fsroot.Fstat(file)
	if err != nil {
		l.Syserr(report.ErrorXfer, err, "stat %s failed", r.full(shown))
		return
	}
	lk := &look{at: place{shown: shown}, st: st}
	r.apply(l, fsroot.PinFile(file), lk, f, mode, call)
}

// itemize tells the sender what is different about an entry, or, to an old
// one, prints it. rsync 3.5.0 generator.c:itemize.
func (g *generator) itemize(t *target, ndx int32, how int, lk *look, flags int, basis byte, xname *string) {
	g.writeItem(t, ndx, g.itemFlags(t, how, lk, flags, xname), basis, xname)
}

// writeItem is itemize once it is known what is different.
func (g *generator) writeItem(t *target, ndx int32, flags int, basis byte, xname *string) {
	c, f := g.c, t.f
	named := xname != nil && *xname != ""
	if flags&(report.ItemSignificant|report.ItemReportXattr) == 0 && !g.log.Info(report.InfoName, 2) && c.OutItemize <= 1 && !named || c.ReadBatch {
		return
	}
	if c.Setup.Protocol < 29 {
		if ndx >= 0 {
			code := report.Client
			if c.LogFormat != nil && c.LogFormat.Has('i') {
				code = report.Info
			}
			hl := ""
			if xname != nil {
				hl = *xname
			}
			c.item(&g.line, f, "recv", flags, hl)
			c.logItem(g.log, code, &g.line)
		}
		return
	}
	w := c.W
	if ndx >= 0 {
		g.writeNdx(ndx)
	}
	w.Short(uint16(flags))
	if flags&report.ItemBasisTypeFollows != 0 {
		w.Byte(basis)
	}
	if flags&report.ItemXnameFollows != 0 {
		s := ""
		if xname != nil {
			s = *xname
		}
		w.Vstring(s)
	}
	if c.xattrsFollow(flags) {
		g.xmu.Lock()
		flist.WriteXattrRequest(w, f.Xattrs())
		g.xmu.Unlock()
	}
	if ndx >= 0 {
		w.EndItem()
	}
}

// itemFlags adds to flags what is different about an entry.
func (g *generator) itemFlags(t *target, how int, lk *look, flags int, xname *string) int {
	c, f := g.c, t.f
	if how != foundNone {
		keepTime := c.Times
		if f.IsDir() {
			keepTime = keepTime && !c.OmitDirTimes
		} else if f.IsSymlink() {
			keepTime = keepTime && !c.OmitLinkTimes
		}
		st := &lk.st
		if f.IsRegular() && f.Size != st.Size {
			flags |= report.ItemReportSize
		}
		switch {
		case f.Gen&flist.TimeFailed != 0:
			if flags&report.ItemLocalChange != 0 {
				flags |= report.ItemReportTime
				if c.Setup.Protocol >= 30 || !c.Server {
					flags |= report.ItemReportTimeFail
				}
			}
		case keepTime:
			if g.mtimeDiffers(st, f) {
				flags |= report.ItemReportTime
			}
		case flags&(report.ItemTransfer|report.ItemLocalChange) != 0 && flags&report.ItemMatched == 0 &&
			(flags&report.ItemXnameFollows == 0 || xname != nil && *xname != ""):
			flags |= report.ItemReportTime
		}
		if c.Atimes && !f.IsDir() && !f.IsSymlink() && f.X != nil &&
			!meta.SameTime(fsroot.Timespec{Sec: f.X.Atime}, fsroot.Timespec{Sec: st.Atime.Sec}, c.ModifyWindow) {
			flags |= report.ItemReportAtime
		}
		if !f.IsSymlink() {
			if c.Perms {
				if (st.Mode^t.mode)&meta.PermBits != 0 {
					flags |= report.ItemReportPerms
				}
			} else if c.Executability && (st.Mode&0111 != 0) != (t.mode&0111 != 0) {
				flags |= report.ItemReportPerms
			}
		}
		if g.uidDiffers(f, st) {
			flags |= report.ItemReportOwner
		}
		if g.gidDiffers(f, st) {
			flags |= report.ItemReportGroup
		}
		if g.aclsDiffer(f, t.mode, lk) {
			flags |= report.ItemReportACL
		}
		if c.Xattrs > 0 && g.xattrsDiffer(f, lk, true) {
			flags |= report.ItemReportXattr
		}
	} else {
		if c.Xattrs > 0 && g.xattrsDiffer(f, nil, true) {
			flags |= report.ItemReportXattr
		}
		flags |= report.ItemIsNew
	}
	return flags & 0xFFFF
}

// errIs reports whether err is one of the error numbers.
func errIs(err error, nos ...syscall.Errno) bool {
	for _, no := range nos {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
