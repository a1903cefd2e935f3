package transfer

import (
	"errors"
	"io"
	"os"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"golang.org/x/sys/unix"
)

// basis is what a regular file will be compared with.
type basis struct {
	kind  byte
	look  *look
	fuzzy string // name of a similar file
}

// regular handles a regular file: done already, taken from an alternate
// destination, or asked for.
func (g *generator) regular(t *target, lk *look, exists bool, statErr error) error {
	c, f := g.c, t.f
	if !g.again {
		if c.MaxSize >= 0 && f.Size > c.MaxSize {
			g.skipLine("%s is over max-size\n", f.Name())
			return nil
		}
		if c.MinSize >= 0 && f.Size < c.MinSize {
			g.skipLine("%s is under min-size\n", f.Name())
			return nil
		}
		if c.Update && exists && lk.st.IsRegular() && f.Mtime-lk.st.Mtime.Sec < int64(c.ModifyWindow) {
			g.skipLine("%s is newer\n", t.name)
			return g.skippedLink(f, t.ndx)
		}
	}
	if exists && !lk.st.IsRegular() && !(c.WriteDevices && lk.st.IsDevice()) {
		if g.deleteItem(t.name, lk.st.Mode, g.delFlags(&lk.st)|delForFile) != delOK {
			return nil
		}
		exists, statErr = false, errNoEntry
	}
	b := basis{kind: basisFile, look: lk}
	if len(g.alts) > 0 && (!exists || c.AltKind != CopyDest) {
		alt, j, err := g.tryAltsRegular(t, lk, exists)
		if err != nil {
			return err
		}
		if j == altDone {
			if c.RemoveSource {
				g.sendSuccess(t.ndx)
			}
			return nil
		}
		if j >= 0 {
			b = basis{kind: byte(j), look: alt}
			exists = true
		}
	}
	realLook, realHow := b.look, foundNone
	if exists {
		realHow = found
	}
	partial, hasPartial := g.partialLook(t.name)
	if !(hasPartial && !exists) && !exists && c.Fuzzy > 0 {
		if fz := g.findFuzzy(t); fz != nil {
			if g.log.Debug(report.DebugFuzzy, 1) {
				g.log.Printf(report.Info, "fuzzy basis selected for %s: %s\n", t.name, fz.look.at.shown)
			}
			b = *fz
			exists = true
		}
	}
	if !exists && !hasPartial {
		if g.joins(f) && g.links.notLast(t) {
			g.leaveToLater(t)
			return nil
		}
		if !isMissing(statErr) {
			g.log.Syserr(report.ErrorXfer, statErr, "recv_generator: failed to stat %s", g.full(t.name))
			return nil
		}
		return g.ask(t, basis{kind: basisFile, look: lk}, foundNone, lk, nil)
	}
	if exists && c.WriteDevices && b.look.st.IsDevice() && b.look.st.Size == 0 {
		if file, err := b.look.at.root.OpenFile(b.look.at.name, unix.O_RDONLY, 0); err == nil {
			b.look.st.Size = deviceSize(file)
			file.Close()
		}
	}
	if exists && b.kind >= basisFile && b.kind < basisFuzzy && g.sameContent(f, b.look) {
		if hasPartial {
			partial.at.root.Unlink(partial.at.name)
			g.dropPartialDir(partial.at)
		}
		return g.upToDate(t, b.look)
	}
	if exists && c.Append != delta.AppendOff && !g.again && b.look.st.Size >= f.Size {
		return g.skippedLink(f, t.ndx)
	}
	if hasPartial {
		b = basis{kind: basisPartial, look: partial}
	}
	t.basis = b
	return g.ask(t, b, realHow, realLook, &t.basis)
}

func (g *generator) skipLine(format, name string) {
	if g.log.Info(report.InfoSkip, 1) {
		g.log.Printf(report.Info, format, name)
	}
}

// partialLook finds a partial file kept from an earlier run.
func (g *generator) partialLook(name string) (*look, bool) {
	if g.dest == nil {
		return nil, false
	}
	p, ok := g.partialPlace(name)
	if !ok {
		return nil, false
	}
	st, err := p.lstat()
	if err != nil || !st.IsRegular() {
		return nil, false
	}
	return &look{at: p, st: st}, true
}

// ask sends the request for a file. have is the basis, nil for none.
func (g *generator) ask(t *target, b basis, how int, real *look, have *basis) error {
	c, f := g.c, t.f
	if g.viaSwarm(t, b, how, real, have) {
		return nil
	}
	var file *os.File
	var copyTo *backupFile
	if have != nil && b.kind == basisFuzzy && !g.lend(fuzzyBasis(t, &b)) {
		have, b = nil, basis{kind: basisFile, look: real}
	}
	g.outdated(t.name)
	if have != nil && c.xfers() {
		inplaceBackup := c.Inplace && c.Backup && !g.again && b.kind == basisFile
		if !c.ReadBatch && !c.WholeFile {
			g.useFuzzy(f)
			var err error
			if file, err = openBasis(b.look.at, c); err != nil {
				g.log.Syserr(report.Error, err, "failed to open %s, continuing", g.full(b.look.at.shown))
				if g.joins(f) && g.links.notLast(t) {
					g.leaveToLater(t)
					return nil
				}
				have, how = nil, foundNone
				b = basis{kind: basisFile, look: real}
				inplaceBackup = false
			}
		}
		if file != nil {
			defer file.Close()
		}
		if inplaceBackup {
			var err error
			if copyTo, err = g.backupInPlace(t.name, &b.look.st); err != nil {
				return nil
			}
			if copyTo == nil {
				return nil
			}
			defer copyTo.close()
			if file == nil {
				copyTo.copyAll(g)
			} else {
				b.kind = basisBackup
			}
		}
	}
	if (c.RemoveSource || c.RemoveSent) && !c.DelayUpdates && g.phase == 0 && !c.DryRun {
		if err := g.fewActive(); err != nil {
			return err
		}
		g.active[t.ndx] = f.Size
		g.activeBytes += f.Size
	}
	if have != nil && c.xfers() && !c.ReadBatch && !c.WholeFile && g.log.Debug(report.DebugDeltasum, 2) {
		g.log.Printf(report.Info, "generating and sending sums for %d\n", t.ndx)
	}
	l, _ := g.find(t.ndx)
	if c.Setup.IncRecurse && (!c.DryRun || c.OnlyBatch) && l != nil {
		g.inProg[l]++
	}
	if c.HardLinks && f.Flags&flist.Linked != 0 {
		f.Gen |= flist.Sent
		if gr := g.links.group(f); gr != nil {
			gr.busy = t.ndx
		}
	}
	if !c.ReadBatch {
		g.writeNdx(t.ndx)
	} else {
		g.wanted(t.ndx)
	}
	if t.items {
		fl := report.ItemTransfer
		if c.Checksum && !g.again {
			fl |= report.ItemReportChange
		}
		if b.kind != basisFile {
			fl |= report.ItemBasisTypeFollows
		}
		var xname *string
		if b.kind >= basisFuzzy {
			fl |= report.ItemXnameFollows
			xname = &b.fuzzy
		}
		g.itemize(t, -1, how, real, fl, b.kind, xname)
	}
	if !c.xfers() {
		if err := g.linkDone(t, statOf(real, how)); err != nil {
			return err
		}
		g.c.W.EndItem()
		return nil
	}
	if c.ReadBatch {
		return nil
	}
	err := g.sendSums(t, b, have, file, copyTo)
	g.c.W.EndItem()
	return err
}

func statOf(lk *look, how int) *fsroot.Stat {
	if how == foundNone || lk == nil {
		return &fsroot.Stat{}
	}
	return &lk.st
}

// openBasis opens a file to be compared with.
func openBasis(p place, c *Config) (*os.File, error) {
	f, err := p.root.Open(p.name)
	if err != nil {
		return nil, err
	}
	st, err := fsroot.Fstat(f)
	if err == nil && !st.IsRegular() && !(c.WriteDevices && st.IsDevice()) {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sendSums sends the block sums of the basis, or that there is none.
// rsync 3.5.0 generator.c:generate_and_send_sums.
func (g *generator) sendSums(t *target, b basis, have *basis, file *os.File, copyTo *backupFile) error {
	c := g.c
	w := c.W
	if have == nil || file == nil || c.WholeFile || b.look.st.Size <= 0 {
		return writeSumHead(w, delta.SumHead{})
	}
	head, err := delta.SumSizes(b.look.st.Size, delta.SizeConfig{
		Protocol: c.Setup.Protocol, BlockSize: c.BlockSize, DigestLen: c.Setup.XferSum.Len(), FullSums: g.again,
	})
	if errors.Is(err, delta.ErrTooManyBlocks) {
		g.log.Printf(report.Warning, "WARNING: file is too large for checksum sending: %s\n", b.look.at.shown)
		return writeSumHead(w, delta.SumHead{})
	}
	if g.log.Debug(report.DebugDeltasum, 2) {
		g.log.Printf(report.Info, "count=%d rem=%d blength=%d s2length=%d flength=%d\n",
			head.Count, head.Remainder, head.BlockLen, head.S2Len, b.look.st.Size)
	}
	appending := c.Append != delta.AppendOff && !g.again
	if appending && copyTo != nil {
		// Before the request can leave: the receiver reads the backup as the basis.
		copyTo.copyAll(g)
	}
	if err := writeSumHead(w, head); err != nil || appending {
		return err
	}
	var src io.ReaderAt = file
	if copyTo != nil {
		src = &copyingReader{src: file, to: copyTo}
	}
	g.window.Reset(src, b.look.st.Size)
	return delta.Sign(g.window, head, c.blockSums(), w)
}

// copyingReader copies what is read of a file that is about to be overwritten
// into its backup.
type copyingReader struct {
	src *os.File
	to  *backupFile
}

func (r *copyingReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.src.ReadAt(p, off)
	if n > 0 {
		r.to.write(p[:n], off)
	}
	return n, err
}
