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
	if g.log.Debug(report.DebugGenr, 1) {
		g.debugGenr("recv_generator(%s,%d)", name, ndx)
	}
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
			return g.skippedLink(f, ndx)
		}
		g.skipDir = nil
	}
	if name != "." && g.daemonExcluded(name, isDir) {
		if early {
			return nil
		}
		if err := g.skippedLink(f, ndx); err != nil {
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
		} else if err := g.skippedLink(f, ndx); err != nil {
			return err
		}
		if g.log.Info(report.InfoSkip, 1) {
			g.log.Printf(report.Info, "not creating new %s \"%s\"\n", kind, name)
		}
		return nil
	}
	if c.IgnoreExisting && !g.again && exists && (!isDir || !lk.st.IsDir()) {
		g.existsLine(t, lk, early)
		return g.skippedLink(f, ndx)
	}
	if isDir {
		return g.directory(t, lk, exists, statErr, early)
	}
	if !c.Perms {
		t.mode = meta.DestMode(t.mode, lk.st.Mode, g.dirDefault, exists && !lk.st.IsDir(), c.Executability)
	}
	if g.joins(f) && g.links.notFirst(t) {
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
		g.noParent()
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
				g.noParent()
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
			st, err := g.dest.Stat(t.name)
			if err != nil && !isMissing(err) {
				// A link out of the tree is kept, though nothing goes through it.
				st, err = g.dest.StatAnywhere(t.name)
				lk.outside = err == nil && st.IsDir()
			}
			if err == nil && st.IsDir() {
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

// noParent notes that an entry has no parent, in a dry run: nothing there is like
// it, and who comes next is in another directory.
func (g *generator) noParent() { g.parent, g.fuzzy = "", []fuzzyList{} }

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
			return exitcode.New(exitcode.Protocol, "ABORTING due to invalid path from sender: %s/%s", dn, f.Base).Placed(exitcode.AtNoParent)
		}
	}
	if c.Relative && !c.ImpliedDirs && f.Mode != 0 {
		if _, err := g.dest.Stat(dn); err != nil {
			if c.DryRun {
				return errDryParent
			}
			if err := g.makeParents(dn); err != nil {
				g.log.Syserr(report.ErrorXfer, err, "recv_generator: mkdir %s failed", g.full(dn))
			}
		}
	}
	g.fuzzyDir, g.fuzzy = dn, nil
	if !c.Perms {
		g.dirDefault = g.defaultPerms(g.log, dn)
	}
	return nil
}

// makeParents makes a directory and those above it. What is there already is
// left to who uses it. rsync 3.5.0 util1.c:make_path.
func (g *generator) makeParents(dn string) error {
	err := g.dest.Mkdir(dn, newDirMode)
	if above := dirOf(dn); isMissing(err) && above != "." {
		if err := g.makeParents(above); err != nil {
			return err
		}
		err = g.dest.Mkdir(dn, newDirMode)
	}
	if errIs(err, unix.EEXIST) {
		return nil
	}
	return err
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

// upToDate is the end of an entry whose content is right.
func (g *generator) upToDate(t *target, lk *look) error {
	if t.items {
		g.readXattrs(lk) // as they are now
	}
	g.setAttrs(g.log, lk, t.f, t.mode, attrCall{report: g.report, accurate: t.f.IsRegular() && g.c.Checksum && !g.again, noXattrs: true})
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
	g.log.Write(report.Info, g.log.Config().Numbers.ListLine(f.Mode, f.Size, f.Mtime, atime, f.Name(), link, g.c.Human))
}
