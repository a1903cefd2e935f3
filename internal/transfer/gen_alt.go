package transfer

import (
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"golang.org/x/sys/unix"
)

// What a search of the alternate destinations came to, beside an index.
const (
	altNone = -1 // nothing of use
	altDone = -2 // the entry is in place, or need not be
	altCopy = -3 // it should have been linked, and must be made instead
)

// altLook looks at a name in an alternate destination.
func (g *generator) altLook(j int, name string) (*look, bool) {
	a := g.alts[j]
	if a.root == nil {
		return nil, false
	}
	at := place{a.root, name, join(a.path, name)}
	st, err := at.lstat()
	if err != nil {
		return nil, false
	}
	lk := &look{at: at, st: st}
	g.overlay(lk)
	return lk, true
}

// tryAltsRegular looks for a regular file in the alternate destinations. An
// index says that the file there serves as basis.
// rsync 3.5.0 generator.c:try_dests_reg.
func (g *generator) tryAltsRegular(t *target, real *look, exists bool) (*look, int, error) {
	c := g.c
	var best *look
	at, level := altNone, 0
	for j := range g.alts {
		lk, ok := g.altLook(j, t.name)
		if !ok || !lk.st.IsRegular() {
			continue
		}
		if level == 0 {
			best, at, level = lk, j, 1
		}
		if !g.sameContent(t.f, lk) {
			continue
		}
		if level == 1 {
			best, at, level = lk, j, 2
		}
		if g.unchanged(t.f, t.mode, lk) {
			best, at, level = lk, j, 3
			break
		}
	}
	if level == 0 {
		return nil, altNone, nil
	}
	copyIt := level >= 2
	if level == 3 && c.AltKind != CopyDest {
		if exists {
			if c.AltKind == LinkDest && real.st.SameFile(&best.st) {
				return nil, altNone, nil
			}
			if !c.DryRun {
				if err := g.dest.Unlink(t.name); err != nil && !isMissing(err) {
					return nil, altNone, nil
				}
			}
		}
		linked := true
		if c.AltKind == LinkDest {
			if !c.DryRun {
				if err := fsroot.Link(best.at.root, best.at.name, g.dest, t.name, false); err != nil {
					linked = false
					if g.log.Info(report.InfoName, 1) {
						g.log.Syserr(report.Info, err, "link %s => %s failed", g.full(t.name), best.at.shown)
					}
				}
			}
			if linked {
				if c.Atimes {
					g.setAttrs(g.log, &look{at: g.at(t.name), st: best.st}, t.f, t.mode, attrCall{noXattrs: true})
				}
				if c.HardLinks {
					if err := g.linkedAlt(t, &best.st, at); err != nil {
						return nil, altNone, err
					}
				}
				if !g.report && (g.log.Info(report.InfoName, 2) || c.OutItemize > 1) {
					empty := ""
					g.itemize(t, t.ndx, foundAlt, best, report.ItemLocalChange|report.ItemXnameFollows, 0, &empty)
				}
			}
		} else if t.items {
			g.itemize(t, t.ndx, found, best, 0, 0, nil)
		}
		if linked {
			if g.log.Info(report.InfoName, 2) && g.report {
				g.log.Printf(report.Client, "%s is uptodate\n", t.name)
			}
			return nil, altDone, nil
		}
	} else if exists {
		return nil, altNone, nil
	}
	if copyIt {
		if !c.DryRun && !g.copyAlt(t, best) {
			return nil, altNone, nil
		}
		if t.items {
			g.itemize(t, t.ndx, found, best, report.ItemLocalChange, 0, nil)
		}
		if g.report && (!t.items && g.log.Info(report.InfoName, 1) && level == 2 || g.log.Info(report.InfoName, 2) && level == 3) {
			if level == 3 {
				g.log.Printf(report.Client, "%s is uptodate\n", t.name)
			} else {
				g.log.Printf(report.Info, "%s\n", t.name)
			}
		}
		if err := g.linkDone(t, &best.st); err != nil {
			return nil, altNone, err
		}
		return nil, altDone, nil
	}
	return best, at, nil
}

// linkedAlt notes that a member of a hard-link group was linked to an
// alternate destination.
func (g *generator) linkedAlt(t *target, st *fsroot.Stat, alt int) error {
	if !g.links.member(t.f) {
		return nil
	}
	return g.finishLink(t, st, alt)
}

// copyAlt copies a file from an alternate destination.
// rsync 3.5.0 generator.c:copy_altdest_file.
func (g *generator) copyAlt(t *target, from *look) bool {
	c := g.c
	src, err := from.at.root.Open(from.at.name)
	if err != nil {
		g.copyFailed(from, t.name, err)
		return false
	}
	defer src.Close()
	p, err := g.newTemp(t.name, t.mode)
	if err == nil && c.Inplace {
		p.discard()
		p, err = g.openInPlace(t.name)
	}
	if err != nil {
		g.copyFailed(from, t.name, err)
		return false
	}
	n, _, err := fsroot.CopyRange(p.file, src, 0, 0, from.st.Size)
	if err == nil && n < from.st.Size {
		err = unix.EIO
	}
	if err == nil && c.Inplace {
		err = p.file.Truncate(from.st.Size)
	}
	if err != nil {
		p.discard()
		g.copyFailed(from, t.name, err)
		return false
	}
	if c.Xattrs > 0 {
		if pin, err := from.at.root.Pin(from.at.name); err == nil {
			g.copyXattrsTo(fsroot.PinFile(p.file), pin, t.name)
			pin.Close()
		}
	}
	return g.install(g.log, p, t.f, t.name, t.mode, installCall{attrs: attrCall{accurate: true, noXattrs: true}}) == isInstalled
}

// copyXattrs gives what lies at a place the extended attributes of another:
// then only what else came for them has to be sent.
func (g *generator) copyXattrs(to, from place) {
	src, err := from.root.Pin(from.name)
	if err != nil {
		return
	}
	defer src.Close()
	dst, err := to.root.Pin(to.name)
	if err != nil {
		return
	}
	defer dst.Close()
	g.copyXattrsTo(dst, src, to.shown)
}

func (g *generator) copyXattrsTo(dst, src *fsroot.Pin, shown string) {
	if err := meta.CopyXattrs(dst, src, &g.rules.Xattrs); err != nil {
		g.log.Syserr(report.ErrorXfer, err, "copy_xattrs: lsetxattr of %s failed", g.full(shown))
	}
}

func (g *generator) copyFailed(from *look, to string, err error) {
	if g.log.Info(report.InfoCopy, 1) {
		g.log.Syserr(report.Info, err, "copy_file %s => %s", g.full(from.at.shown), to)
	}
}

// tryAltsOther looks for an entry that is not a regular file in the alternate
// destinations. rsync 3.5.0 generator.c:try_dests_non.
func (g *generator) tryAltsOther(t *target, lk *look) (*look, int) {
	c := g.c
	var best *look
	at, level := altNone, 0
	for j := range g.alts {
		a, ok := g.altLook(j, t.name)
		if !ok || kindOf(a.st.Mode) != kindOf(t.f.Mode) {
			continue
		}
		if level < 1 {
			best, at, level = a, j, 1
		}
		if !g.sameContent(t.f, a) {
			continue
		}
		if level < 2 {
			best, at, level = a, j, 2
		}
		if g.unchanged(t.f, t.mode, a) {
			best, at, level = a, j, 3
			break
		}
	}
	if level < 3 {
		if level == 0 {
			return nil, altNone
		}
		return best, at
	}
	result := altDone
	if c.AltKind == LinkDest && !t.f.IsDir() {
		if !c.DryRun {
			if err := fsroot.Link(best.at.root, best.at.name, g.dest, t.name, false); err != nil {
				result, level = altCopy, 2
			}
		}
		if result == altDone && g.links.member(t.f) {
			g.finishLink(t, &best.st, -1)
		}
	} else {
		level = 2
	}
	if t.items && c.OutItemize > 0 && (g.log.Info(report.InfoName, 2) || c.OutItemize > 1) {
		fl := report.ItemMatched
		var xname *string
		if !(c.AltKind == CompareDest && !t.f.IsDir()) {
			fl |= report.ItemLocalChange
			if level == 3 {
				empty := ""
				fl |= report.ItemXnameFollows
				xname = &empty
			}
		}
		g.itemize(t, t.ndx, found, best, fl, 0, xname)
	}
	if g.log.Info(report.InfoName, 2) && g.report {
		slash := ""
		if t.f.IsDir() {
			slash = "/"
		}
		g.log.Printf(report.Client, "%s%s is uptodate\n", t.name, slash)
	}
	return best, result
}
