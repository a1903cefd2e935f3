package transfer

import (
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
)

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
	} else if done := g.nodeFromAlt(t, &lk, &how); done {
		return nil
	}
	if !g.create(t, lk, del, creation{link: link}) {
		return nil
	}
	g.setNew(g.log, g.at(t.name), f, t.mode, attrCall{noXattrs: true})
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
	} else if done := g.nodeFromAlt(t, &lk, &how); done {
		return nil
	}
	if !g.create(t, lk, del, creation{node: true}) {
		return nil
	}
	g.setNew(g.log, g.at(t.name), f, t.mode, attrCall{noXattrs: true})
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

// nodeFromAlt looks for a link or node in the alternative directories. It
// reports whether nothing is left to do; else lk and how are those of the one
// to compare with, if there is one.
func (g *generator) nodeFromAlt(t *target, lk **look, how *int) (done bool) {
	if len(g.alts) == 0 {
		return false
	}
	alt, j := g.tryAltsOther(t, *lk)
	switch {
	case j == altDone && g.c.AltKind != CopyDest:
		return true
	case j == altDone, j == altCopy:
		t.items, t.code = false, report.None
	case j >= 0:
		*how, *lk = foundAlt, alt
	}
	return false
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
