package transfer

import (
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"golang.org/x/sys/unix"
)

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
	var alike *look // in an alternate destination
	if !exists {
		how = foundNone
		if len(g.alts) > 0 {
			alt, j := g.tryAltsOther(t, lk)
			if j == altDone || j >= 0 {
				how, alike = foundAlt, alt
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
	if alike != nil && c.Xattrs > 0 && !c.DryRun {
		g.copyXattrs(g.at(t.name), alike.at)
	}
	changed := false
	switch {
	case real.outside:
	case realExists:
		changed = g.setAttrs(g.log, &real, f, t.mode, attrCall{created: f.Gen&flist.DirCreated != 0, noXattrs: true})
	default:
		changed = g.setNew(g.log, g.at(t.name), f, t.mode, attrCall{noXattrs: true})
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
		if g.ended != nil {
			return g.ended
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

// skipContents leaves out everything below a directory.
func (g *generator) skipContents(f *flist.File) {
	g.log.Printf(report.Error, "*** Skipping any contents from this failed directory ***\n")
	g.skipDir = f
	f.Gen |= flist.MissingDir
}
