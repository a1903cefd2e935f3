package transfer

import (
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// take takes in what the receiver has told.
func (g *generator) take() {
	taken := g.events.take(g.taken)
	g.taken = nil // in use
	for _, e := range taken {
		g.heard(e)
	}
	clear(taken)
	g.taken = taken[:0]
}

func (g *generator) heard(e event) {
	switch e.kind {
	case evList:
		g.lists = append(g.lists, e.list)
		g.dirs = e.dirs
		g.total += len(e.list.Files)
		if g.c.HardLinks && !g.c.ListOnly {
			if err := g.matchLinks(e.list); err != nil && g.ended == nil {
				g.ended = err
			}
		}
	case evEOF:
		g.eof = true
	case evPhase:
		g.dones++
	case evError:
		if g.ended == nil {
			g.ended = e.err
		}
	case evRedo, evDone, evNoSend:
		g.status(e.kind, e.ndx)
	case evSwarm:
		g.swarm.ended = append(g.swarm.ended, e.job)
	}
}

// inStep reports whether the receiver's news are taken in one by one, and only
// where the generator has nothing else to do, as rsync's always are: what it
// says of files that have arrived goes between its requests, and whether a source
// is removed before another name of it is opened must not be chance.
func (g *generator) inStep() bool { return g.c.RemoveSource || g.c.RemoveSent }

// wait sleeps until the receiver tells something. A file that failed is asked
// for again after that: as in rsync, whose generator hears of it when it has
// nothing to do, new files go first.
func (g *generator) wait() error {
	if g.ended != nil {
		return g.ended
	}
	if len(g.failed) > 0 {
		g.redo, g.failed = append(g.redo, g.failed...), nil
		return nil
	}
	if err := g.c.W.Flush(); err != nil {
		return g.lost(err)
	}
	if !g.inStep() {
		<-g.events.signal
		g.take()
	} else {
		e, ok := g.events.next()
		for !ok {
			<-g.events.signal
			e, ok = g.events.next()
		}
		g.heard(e)
	}
	g.redo, g.failed = append(g.redo, g.failed...), nil
	return g.ended
}

// awaitDones waits until the sender has finished n phases. With redo, what is to
// be sent again is asked for meanwhile, all of it: the news of the last such file
// may have come together with the end of the phase.
func (g *generator) awaitDones(n int, redo bool) error {
	for {
		if err := g.finished(redo); err != nil {
			return err
		}
		if g.dones >= n && !(redo && len(g.failed) > 0) {
			return nil
		}
		if err := g.wait(); err != nil {
			return err
		}
	}
}

// lost is the error for a broken outgoing stream: what the receiver met, if it
// has met something, says more.
func (g *generator) lost(err error) error {
	g.take()
	if g.ended != nil {
		return g.ended
	}
	return err
}

// find returns the list and the entry of an index that is still held.
func (g *generator) find(ndx int32) (*flist.List, *flist.File) {
	for _, l := range g.lists {
		if f := l.Find(ndx); f != nil {
			return l, f
		}
	}
	return nil, nil
}

// status notes how the transfer of a file ended.
// rsync 3.5.0 io.c:got_flist_entry_status.
func (g *generator) status(kind eventKind, ndx int32) {
	l, f := g.find(ndx)
	if f == nil {
		if g.ended == nil {
			g.ended = exitcode.New(exitcode.Protocol, "File-list index %d is not known (got_flist_entry_status) [%s]", ndx, g.log.Who())
		}
		return
	}
	g.activeBytes -= g.active[ndx]
	delete(g.active, ndx)
	if g.swarm.swarmer != nil {
		g.directDone(kind, ndx)
	}
	if kind == evDone && (g.c.RemoveSource || g.c.RemoveSent) {
		g.sendSuccess(ndx)
	}
	inc := g.c.Setup.IncRecurse
	if inc {
		g.inProg[l]--
	}
	switch kind {
	case evRedo:
		if g.c.ReadBatch {
			if inc {
				g.inProg[l]++
			}
			return
		}
		if inc {
			g.toRedo[l]++
		}
		g.failed = append(g.failed, ndx)
	default:
		if g.c.HardLinks && f.Flags&flist.Linked != 0 {
			g.hdone = append(g.hdone, hlinkDone{ndx, kind == evNoSend})
			if inc {
				g.inProg[l]++
			}
		}
	}
}

// fewActive waits until few enough files are asked for whose source is to be
// removed: what is removed late is sent again after a run that breaks off.
// rsync 3.5.0 io.c:increment_active_files.
func (g *generator) fewActive() error {
	const many, manyBytes, few = 50, 128 << 10, 10
	if g.c.Setup.Protocol < 30 { // a sender does not tell what it cannot send
		return nil
	}
	room := func() bool {
		return len(g.active) < few || len(g.active) < many && g.activeBytes < manyBytes
	}
	for !room() {
		if err := g.finished(false); err != nil {
			return err
		}
		if room() {
			break
		}
		if err := g.wait(); err != nil {
			return err
		}
	}
	return nil
}

// sendSuccess tells the sender that it may remove a source file. It goes behind
// what was asked for before, which may be another name of it; rsync's overtakes
// what it has not flushed yet, and the sender then says that the file vanished.
func (g *generator) sendSuccess(ndx int32) {
	if g.c.DryRun {
		return
	}
	g.c.W.Flush()
	var b [4]byte
	g.c.W.MsgInOrder(wire.MsgSuccess, wire.AppendInt(b[:0], ndx))
}

// heldLinks is how many files that others are to be linked to may have arrived
// while the generator goes on with new ones.
const heldLinks = 64

// passing is finished for a generator that has other things to do. As rsync's,
// which leaves up to 512 bytes of the receiver's news unread meanwhile, it asks
// for links late: what they cost in the stream depends on the indexes around
// them, and would be chance. rsync 3.5.0 io.c:perform_io.
func (g *generator) passing(redo bool) error { return g.settle(redo, heldLinks) }

// finished takes care of all that has come to an end meanwhile.
func (g *generator) finished(redo bool) error { return g.settle(redo, 0) }

// settle takes care of what has come to an end meanwhile: hard links to finished
// files, but for as many as are held back, files to ask for again, lists that are
// complete. rsync 3.5.0 generator.c:check_for_finished_files.
func (g *generator) settle(redo bool, held int) error {
	if !g.inStep() {
		select {
		case <-g.events.signal:
			g.take()
		default:
		}
	}
	for {
		if g.ended != nil {
			return g.ended
		}
		if len(g.swarm.ended) > 0 {
			if err := g.settleSwarm(); err != nil {
				return err
			}
			continue
		}
		if len(g.hdone) > held {
			d := g.hdone[0]
			g.hdone = g.hdone[1:]
			l, f := g.find(d.ndx)
			if f == nil {
				return exitcode.New(exitcode.Protocol, "hard-linked file %d is not known [%s]", d.ndx, g.log.Who())
			}
			err := g.within(l, func() error {
				if d.failed {
					return g.skippedLink(f, d.ndx)
				}
				return g.finishLink(g.target(f, d.ndx, g.name(f)), nil, -1)
			})
			if err != nil {
				return err
			}
			g.inProg[l]--
			delete(g.relinked, d.ndx)
			continue
		}
		if redo && len(g.redo) > 0 {
			ndx := g.redo[0]
			g.redo = g.redo[1:]
			l, f := g.find(ndx)
			if f == nil {
				return exitcode.New(exitcode.Protocol, "file %d to send again is not known [%s]", ndx, g.log.Who())
			}
			g.again = true
			err := g.within(l, func() error { return g.entry(f, ndx, g.name(f)) })
			g.again = false
			if err != nil {
				return err
			}
			if gr := g.links.group(f); gr != nil && gr.busy == ndx {
				g.relinked[ndx] = struct{}{}
			}
			g.toRedo[l]--
			continue
		}
		if g.cur == 0 || !g.c.Setup.IncRecurse || len(g.lists) == 0 {
			return nil
		}
		first := g.lists[0]
		if g.inProg[first] > 0 || g.toRedo[first] > 0 {
			return nil
		}
		g.released.Add(1)
		g.c.W.WriteNdx(&g.out, wire.NdxDone)
		if g.untold += len(first.Files); g.untold >= tellAfter {
			g.untold = 0
			g.c.W.EndItem()
		}
		if g.c.Delete != DeleteDelay && g.tweak && first.Parent >= 0 && int(first.Parent) < len(g.dirs) {
			g.touchUp(g.dirs[first.Parent:first.Parent+1], int(first.Parent))
		}
		delete(g.inProg, first)
		delete(g.toRedo, first)
		g.lists[0] = nil
		g.lists = g.lists[1:]
		g.cur--
	}
}

// within runs do with l as the current list: what has come to an end may belong
// to an earlier one, or come when every list has been gone through.
func (g *generator) within(l *flist.List, do func() error) error {
	cur := g.cur
	for i := range g.lists {
		if g.lists[i] == l {
			g.cur = i
		}
	}
	err := do()
	g.cur = cur
	return err
}
