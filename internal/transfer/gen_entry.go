package transfer

import (
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"golang.org/x/sys/unix"
)

// entry looks at one entry and does, or asks for, what is needed.
// rsync 3.5.0 generator.c:recv_generator.
func (g *generator) entry(f *flist.File, ndx int32, name string) error {
	t := g.target(f, ndx, name)
	err := g.work(t)
	g.reuse(t)
	return err
}

func (g *generator) work(t *target) error {
	c, f, ndx, name := g.c, t.f, t.ndx, t.name
	// With incremental recursion a directory comes by twice: inDir when its
	// parent is worked on, and again before its own contents.
	isDir := f.IsDir()
	early := isDir && c.Setup.IncRecurse && ndx != g.lists[g.cur].Start-1
	if c.ListOnly {
		if early || isDir && c.Relative && !c.ImpliedDirs && f.Flags&flist.ImpliedDir != 0 {
			return nil
		}
		g.listEntry(f)
		return nil
	}
	if g.skipDir != nil {
		if below(f, g.skipDir) {
			if isDir {
				f.Gen |= flist.MissingDir
				return nil
			}
			return g.skippedLink(f)
		}
		g.skipDir = nil
	}
	if c.DaemonFilters != nil && name != "." {
		w := c.DaemonFilters.Walk(filter.Root{Who: "receiver", Dir: g.destPath})
		if w.Check(name, isDir) == filter.Exclude {
			if early {
				return nil
			}
			if err := g.skippedLink(f); err != nil {
				return err
			}
			kind := "file"
			if isDir {
				kind = "directory"
			}
			g.log.Printf(report.ErrorXfer, "ERROR: daemon refused to receive %s \"%s\"\n", kind, name)
			if isDir {
				g.skipContents(f)
			}
			return nil
		}
	}
	lk, err := g.lookAt(t, isDir)
	if err != nil && !isMissing(err) && lk == nil {
		return err
	}
	exists := err == nil
	statErr := err
	if c.MissingArgs == 2 && f.Mode == 0 {
		if g.walk != nil && g.walk.Check(name, isDir) == filter.Exclude {
			return nil
		}
		if exists {
			g.deleteItem(name, lk.st.Mode, g.delFlags(&lk.st))
		}
		return nil
	}
	if c.Existing && !g.again && !exists && isMissing(statErr) {
		if early {
			return nil
		}
		kind := "file"
		if isDir {
			kind = "directory"
			g.skipDir = f
			f.Gen |= flist.MissingDir
		} else if err := g.skippedLink(f); err != nil {
			return err
		}
		if g.log.Info(report.InfoSkip, 1) {
			g.log.Printf(report.Info, "not creating new %s \"%s\"\n", kind, name)
		}
		return nil
	}
	if c.IgnoreExisting && !g.again && exists && (!isDir || !lk.st.IsDir()) {
		g.existsLine(t, lk, early)
		return g.skippedLink(f)
	}
	if isDir {
		return g.directory(t, lk, exists, statErr, early)
	}
	if !c.Perms {
		t.mode = meta.DestMode(t.mode, lk.st.Mode, g.dirDefault, exists && !lk.st.IsDir(), c.Executability)
	}
	if c.HardLinks && f.Flags&flist.Linked != 0 && g.links.notFirst(f) {
		done, err := g.joinLink(t, lk, exists)
		if done || err != nil {
			return err
		}
	}
	switch {
	case f.IsSymlink() && c.Links:
		return g.symlink(t, lk, exists)
	case !c.DropDevices && (f.IsDevice() && c.Devices && g.isRoot() || f.IsSpecial() && c.Specials):
		return g.special(t, lk, exists)
	case !f.IsRegular():
		if g.log.Info(report.InfoNonreg, 1) {
			g.log.Printf(report.Info, "skipping non-regular file \"%s\"\n", f.Name())
		}
		return nil
	}
	return g.regular(t, lk, exists, statErr)
}

// existsLine is what --ignore-existing says.
func (g *generator) existsLine(t *target, lk *look, early bool) {
	if !g.log.Info(report.InfoSkip, 1) || early {
		return
	}
	suffix := ""
	if g.log.Info(report.InfoSkip, 2) {
		switch {
		case kindOf(lk.st.Mode) != kindOf(t.f.Mode):
			suffix = " (type change)"
		case !g.sameContent(t.f, lk):
			suffix = " (file change)"
			if g.c.Checksum {
				suffix = " (sum change)"
			}
		case !g.unchanged(t.f, t.mode, lk):
			suffix = " (attr change)"
		default:
			suffix = " (uptodate)"
		}
	}
	g.log.Printf(report.Info, "%s exists%s\n", t.name, suffix)
}

// kindOf folds file types as rsync does: devices are one kind, specials one.
func kindOf(mode uint32) uint32 {
	switch {
	case flist.IsDevice(mode):
		return unix.S_IFBLK
	case flist.IsSpecial(mode):
		return unix.S_IFIFO
	}
	return fileType(mode)
}

// lookAt finds out what is at an entry's place. It also prepares for a new
// parent directory. A look without an error says that something is there.
func (g *generator) lookAt(t *target, isDir bool) (*look, error) {
	c, f := g.c, t.f
	lk := &t.look
	lk.at = g.at(t.name)
	if g.missing || g.dryDir != nil && below(f, g.dryDir) {
		return lk, errNoEntry
	}
	g.dryDir = nil
	dn := f.Dir
	if dn == "" {
		dn = "."
	}
	if g.parent != dn {
		if err := g.newParent(t, dn); err != nil {
			if err == errDryParent {
				g.parent = ""
				return lk, errNoEntry
			}
			return nil, err
		}
	}
	g.parent = dn
	var err error
	if isDir && c.KeepDirlinks {
		lk.st, err = g.dest.Lstat(t.name)
		if err == nil && lk.st.IsSymlink() {
			if st, err := g.dest.Stat(t.name); err == nil && st.IsDir() {
				lk.st = st
			}
		}
	} else {
		lk.st, err = g.dest.Lstat(t.name)
	}
	if err == nil {
		g.overlay(lk)
	}
	return lk, err
}

// errDryParent says that the parent is only missing because nothing is made in
// a dry run.
var errDryParent = exitcode.New(exitcode.OK, "parent is missing")

// newParent is called for the first entry of a directory.
func (g *generator) newParent(t *target, dn string) error {
	c, f := g.c, t.f
	if !c.Setup.IncRecurse && dn != "." && g.solo == "" && (g.priorDir == nil || g.priorDir.Name() != dn) {
		ok := false
		probe := flist.File{Mode: unix.S_IFDIR}
		probe.Dir, probe.Base = flist.Split(dn)
		if i := flist.SearchActive(g.lists[g.cur].Sorted, &probe, c.Setup.Protocol); i >= 0 {
			ok = true
		}
		switch {
		case ok:
		case c.MissingArgs == 2 && f.Mode == 0:
			g.log.Printf(report.Error, "WARNING: parent dir is absent in the file list: %s\n", dn)
		default:
			return exitcode.New(exitcode.Protocol, "ABORTING due to invalid path from sender: %s/%s", dn, f.Base)
		}
	}
	if c.Relative && !c.ImpliedDirs && f.Mode != 0 {
		if _, err := g.dest.Stat(dn); err != nil {
			if c.DryRun {
				return errDryParent
			}
			if _, err := g.dest.MkdirAll(dn, newDirMode); err != nil {
				g.log.Syserr(report.ErrorXfer, err, "recv_generator: mkdir %s failed", g.full(dn))
			}
		}
	}
	g.fuzzyDir, g.fuzzy = dn, nil
	if !c.Perms {
		g.dirDefault = g.defaultPerms(dn)
	}
	return nil
}

// delFlags are how an entry that is in the way is deleted.
func (g *generator) delFlags(st *fsroot.Stat) delFlags {
	var fl delFlags
	if g.c.deleting() || g.c.Force {
		fl |= delRecurse
	}
	if st.Mode&unix.S_IWUSR == 0 && !g.isRoot() && st.UID == g.c.EUID {
		fl |= delNoWrite
	}
	return fl
}

// skipContents leaves out everything below a directory.
func (g *generator) skipContents(f *flist.File) {
	g.log.Printf(report.Error, "*** Skipping any contents from this failed directory ***\n")
	g.skipDir = f
	f.Gen |= flist.MissingDir
}

// directory handles a directory.
func (g *generator) directory(t *target, lk *look, exists bool, statErr error, early bool) error {
	c, f := g.c, t.f
	if c.Relative && !c.ImpliedDirs && f.Flags&flist.ImpliedDir != 0 {
		return nil
	}
	var added uint32
	if c.Privilege == meta.FakeSuper {
		added = 0700
	}
	if early {
		// Missing directories are made while the parent is in work, so that
		// the parent's time is right from now on.
		if !c.Times || c.OmitDirTimes || c.DryRun {
			return nil
		}
		if exists && (lk.st.IsDir() || g.deleteItem(t.name, lk.st.Mode, g.delFlags(&lk.st)|delForDir) != delOK) {
			return nil
		}
		if g.dest.Mkdir(t.name, (t.mode|added)&0700) == nil {
			f.Gen |= flist.DirCreated
		}
		return nil
	}
	if exists && !lk.st.IsDir() {
		if g.deleteItem(t.name, lk.st.Mode, g.delFlags(&lk.st)|delForDir) != delOK {
			g.skipContents(f)
			return nil
		}
		exists = false
	}
	if c.DryRun && !exists {
		if g.dryDir == nil {
			g.dryDir = f
		}
		f.Gen |= flist.MissingDir
	}
	real, realExists := *lk, exists
	if f.Gen&flist.DirCreated != 0 || g.made && f.Base == "." && f.Dir == "" {
		exists = false
	}
	if !c.Perms {
		t.mode = meta.DestMode(t.mode, lk.st.Mode, g.dirDefault, exists, c.Executability)
	}
	how := found
	var basis *fsroot.Pin // has values of extended attributes that are not sent
	if !exists {
		how = foundNone
		if len(g.alts) > 0 {
			alt, j := g.tryAltsOther(t, lk)
			if j == altDone || j >= 0 {
				how = foundAlt
				if c.Xattrs > 0 {
					if pin, err := alt.at.root.Pin(alt.at.name); err == nil {
						defer pin.Close()
						basis = pin
					}
				}
			}
			if j == altDone {
				t.items, t.code = false, report.None
			}
			if j >= 0 {
				lk = alt
			}
		}
	}
	item := func() {}
	if t.items {
		fl := 0
		if how != found {
			fl = report.ItemLocalChange
		}
		fl = g.itemFlags(t, how, lk, fl, nil)
		item = func() { g.writeItem(t, t.ndx, fl, 0, nil) }
	}
	if !realExists && !c.DryRun {
		if err := g.makeDir(t.name, t.mode|added); err != nil {
			item()
			g.log.Syserr(report.ErrorXfer, err, "recv_generator: mkdir %s failed", g.full(t.name))
			g.skipContents(f)
			return nil
		}
	}
	changed := false
	if realExists {
		changed = g.setAttrs(g.log, &real, f, t.mode, attrCall{created: f.Gen&flist.DirCreated != 0, basis: basis, xLater: true})
	} else {
		changed = g.setNew(g.log, g.at(t.name), f, t.mode, attrCall{basis: basis, xLater: true})
	}
	// Not earlier: the receiver may set attributes of the directory as soon as
	// values come for it.
	item()
	if changed && g.log.Info(report.InfoName, 1) && t.code != report.None {
		g.log.Printf(t.code, "%s/\n", t.name)
	}
	if !g.isRoot() && t.mode&0700 != 0700 && g.tweak {
		if pin, err := g.pinDir(t.name); err == nil {
			if err := pin.Chmod(t.mode | 0700); err != nil {
				g.log.Syserr(report.ErrorXfer, err, "failed to modify permissions on %s", g.full(t.name))
			}
			pin.Close()
		}
		g.rePerms = true
	}
	dev := real.st.Dev
	if !realExists {
		dev = g.curDev
	}
	if c.Setup.IncRecurse {
		if c.OneFileSystem > 0 {
			g.dirDev[f] = dev
		}
	} else if (c.Delete == DeleteDuring || c.Delete == DeleteDelay) && g.phase == 0 && f.Gen&flist.MissingDir == 0 {
		if f.Flags&flist.ContentDir != 0 {
			g.deleteIn(t.name, f, dev)
		} else {
			g.enterFilters(t.name)
		}
	}
	g.priorDir = f
	return nil
}

// makeDir makes a directory; for --relative also those above it.
func (g *generator) makeDir(name string, mode uint32) error {
	err := g.dest.Mkdir(name, mode&meta.PermBits&^unix.S_ISUID)
	if err == nil || errIs(err, unix.EEXIST) {
		return nil
	}
	if !g.c.Relative || !isMissing(err) {
		return err
	}
	if _, err := g.dest.MkdirAll(dirOf(name), newDirMode); err != nil {
		return err
	}
	return g.dest.Mkdir(name, mode&meta.PermBits)
}

// symlink handles a symbolic link.
func (g *generator) symlink(t *target, lk *look, exists bool) error {
	c, f := g.c, t.f
	link := f.Link()
	if c.SafeLinks && UnsafeLink(link, t.name) {
		if g.log.Info(report.InfoName, 1) {
			g.log.Printf(report.Info, "ignoring unsafe symlink \"%s\" -> \"%s\"\n", f.Name(), link)
		}
		return nil
	}
	how := foundNone
	var del delFlags
	if exists {
		how = found
		del = delForLink
		if lk.st.IsSymlink() && g.sameContent(f, lk) {
			return g.upToDate(t, lk)
		}
	} else if len(g.alts) > 0 {
		alt, j := g.tryAltsOther(t, lk)
		switch {
		case j == altDone && c.AltKind != CopyDest:
			return nil
		case j == altDone, j == altCopy:
			t.items, t.code = false, report.None
		case j >= 0:
			how, lk = foundAlt, alt
		}
	}
	if !g.create(t, lk, del, creation{link: link}) {
		return nil
	}
	g.setNew(g.log, g.at(t.name), f, t.mode, attrCall{})
	if t.items {
		if how == found && !lk.st.IsSymlink() {
			how = foundNone
		}
		g.itemize(t, t.ndx, how, lk, report.ItemLocalChange|report.ItemReportChange, 0, nil)
	}
	if t.code != report.None && g.log.Info(report.InfoName, 1) {
		g.log.Printf(t.code, "%s -> %s\n", t.name, link)
	}
	if err := g.linkDone(t, nil); err != nil {
		return err
	}
	if c.RemoveSource || c.RemoveSent {
		g.sendSuccess(t.ndx)
	}
	return nil
}

// upToDate is the end of an entry whose content is right.
func (g *generator) upToDate(t *target, lk *look) error {
	if t.items {
		g.readXattrs(lk) // as they are now
	}
	g.setAttrs(g.log, lk, t.f, t.mode, attrCall{report: g.report, accurate: t.f.IsRegular() && g.c.Checksum && !g.again, xLater: true})
	if t.items {
		g.itemize(t, t.ndx, found, lk, 0, 0, nil)
	}
	if err := g.linkDone(t, &lk.st); err != nil {
		return err
	}
	if g.c.RemoveSource {
		g.sendSuccess(t.ndx)
	}
	return nil
}

// linkDone joins the waiting members of a hard-link group to this one.
func (g *generator) linkDone(t *target, st *fsroot.Stat) error {
	if g.c.HardLinks && t.f.Flags&flist.Linked != 0 {
		return g.finishLink(t, st, -1)
	}
	return nil
}

// special handles a device, fifo or socket.
func (g *generator) special(t *target, lk *look, exists bool) error {
	c, f := g.c, t.f
	how := foundNone
	var del delFlags
	if exists {
		if del = delForSpecial; f.IsDevice() {
			del = delForDevice
		}
		if kindOf(lk.st.Mode) == kindOf(f.Mode) {
			how = found
			if g.sameContent(f, lk) {
				return g.upToDate(t, lk)
			}
		}
	} else if len(g.alts) > 0 {
		alt, j := g.tryAltsOther(t, lk)
		switch {
		case j == altDone && c.AltKind != CopyDest:
			return nil
		case j == altDone, j == altCopy:
			t.items, t.code = false, report.None
		case j >= 0:
			how, lk = foundAlt, alt
		}
	}
	if !g.create(t, lk, del, creation{node: true}) {
		return nil
	}
	g.setNew(g.log, g.at(t.name), f, t.mode, attrCall{})
	if t.items {
		g.itemize(t, t.ndx, how, lk, report.ItemLocalChange|report.ItemReportChange, 0, nil)
	}
	if t.code != report.None && g.log.Info(report.InfoName, 1) {
		g.log.Printf(t.code, "%s\n", t.name)
	}
	if err := g.linkDone(t, nil); err != nil {
		return err
	}
	if c.RemoveSource {
		g.sendSuccess(t.ndx)
	}
	return nil
}

// creation says what to make: a symbolic link, a hard link, or a node.
type creation struct {
	link string
	hard *place
	node bool
}

// create makes an entry that is not a regular file, in the place of what is
// there without a moment when nothing is. rsync 3.5.0
// generator.c:atomic_create.
func (g *generator) create(t *target, lk *look, del delFlags, what creation) bool {
	c := g.c
	dirInWay := del != 0 && lk.st.IsDir()
	direct := del == 0 || dirInWay || c.TempDir != ""
	if del != 0 {
		if c.Backup && !dirInWay && !g.again {
			if g.makeBackup(g.log, t.name, direct) == backupFailed {
				return false
			}
		} else if direct {
			fl := del
			if c.deleting() || c.Force {
				fl |= delRecurse
			}
			if g.deleteItem(t.name, lk.st.Mode, fl) != delOK {
				return false
			}
		}
	}
	if c.DryRun {
		return true
	}
	var verb string
	var mk func(name string) error
	switch {
	case what.link != "":
		verb = "symlink"
		mk = func(name string) error { return meta.MakeSymlink(g.dest, what.link, name, c.Privilege) }
	case what.hard != nil:
		verb = "link"
		mk = func(name string) error { return fsroot.Link(what.hard.root, what.hard.name, g.dest, name, false) }
	default:
		verb = "mknod"
		mk = func(name string) error {
			var rdev uint64
			if t.f.IsDevice() {
				rdev = meta.Device(t.f.X.Major, t.f.X.Minor)
			}
			return meta.MakeNode(g.dest, name, t.mode, rdev, c.Privilege)
		}
	}
	name := t.name
	var err error
	if direct {
		if err = mk(name); err != nil && c.Relative && !c.ImpliedDirs && isMissing(err) {
			if _, merr := g.dest.MkdirAll(dirOf(name), newDirMode); merr == nil {
				err = mk(name)
			}
		}
	} else {
		name, err = g.dest.CreateUnique(dirOf(t.name), baseOf(t.name), mk)
	}
	if err != nil {
		switch verb {
		case "symlink":
			g.log.Syserr(report.ErrorXfer, err, "symlink %s -> \"%s\" failed", g.full(t.name), what.link)
		case "link":
			g.log.Syserr(report.ErrorXfer, err, "link %s => %s failed", g.full(t.name), what.hard.shown)
		default:
			g.log.Syserr(report.ErrorXfer, err, "mknod %s failed", g.full(t.name))
		}
		return false
	}
	if what.hard != nil {
		t.f.Gen |= flist.LinkDone
	}
	if direct {
		return true
	}
	if err := fsroot.Rename(g.dest, name, g.dest, t.name); err != nil {
		g.log.Syserr(report.ErrorXfer, err, "rename %s -> \"%s\" failed", g.full(name), t.name)
		g.dest.Unlink(name)
		return false
	}
	if what.hard != nil {
		// Renaming one link of an inode onto another leaves both.
		g.dest.Unlink(name)
	}
	return true
}

// listEntry prints an entry of a listing.
func (g *generator) listEntry(f *flist.File) {
	if g.c.MissingArgs == 2 && f.Mode == 0 {
		width := 11
		if g.c.Human > 0 {
			width = 14
		}
		g.log.Printf(report.Info, "%-*s %s\n", 10+1+width+20, "*missing", f.Name())
		return
	}
	var atime *int64
	if g.c.Atimes {
		var zero int64
		atime = &zero
		if f.X != nil {
			atime = &f.X.Atime
		}
	}
	link := ""
	if g.c.Links {
		link = f.Link()
	}
	g.log.Write(report.Info, report.ListLine(f.Mode, f.Size, f.Mtime, atime, f.Name(), link, g.c.Human))
}
