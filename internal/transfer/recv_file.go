package transfer

import (
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
)

// transfer receives one file.
func (v *receiver) transfer(f *flist.File, rq request, name string, redo bool, it *report.Item) error {
	c := v.c
	partial, hasPartial := v.partialPlace(name)
	basisFileH, at, err := v.basisOf(f, &rq, name, partial, hasPartial)
	if err != nil {
		return err
	}
	if basisFileH != nil {
		defer basisFileH.Close()
	}
	var st fsroot.Stat
	noSend := func() error {
		if err := v.drop(f); err != nil {
			return err
		}
		if c.Setup.IncRecurse {
			v.tell(evNoSend, rq.ndx)
		}
		return nil
	}
	if basisFileH != nil {
		if st, err = fsroot.Fstat(basisFileH); err != nil {
			v.log.Syserr(report.ErrorXfer, err, "fstat %s failed", v.full(at.shown))
			return noSend()
		}
		if st.IsDir() && at.name == name && at.root == v.dest {
			v.log.Printf(report.ErrorXfer, "recv_files: %s is a directory\n", v.full(at.shown))
			return noSend()
		}
	} else if v.noEntry {
		// Opening it as a basis said so.
	} else if dst, err := v.at(name).lstat(); err == nil && dst.IsDir() {
		v.log.Printf(report.ErrorXfer, "recv_files: %s is a directory\n", v.full(name))
		return noSend()
	}
	toDevice := c.WriteDevices && st.IsDevice()
	if toDevice && st.Size == 0 {
		st.Size = deviceSize(basisFileH)
	} else if !toDevice && basisFileH != nil && !st.IsRegular() {
		basisFileH.Close()
		basisFileH = nil
	}
	mode := f.Mode
	if !c.Perms {
		mode = meta.DestMode(mode, st.Mode, v.defaultPerms(dirOf(name)), basisFileH != nil, c.Executability)
	}
	if rq.rescue != nil {
		mode = rq.rescue.mode
	}
	oneInplace := c.Setup.InplacePartial && rq.basis == basisPartial && basisFileH != nil
	updates := oneInplace || c.Inplace && (at.root == v.dest && at.name == name || rq.basis == basisBackup)
	var w *writing
	switch {
	case oneInplace:
		w, err = openInPlace(partial)
	case c.Inplace:
		w, err = v.openInPlace(name)
	default:
		w, err = v.newTemp(name, mode)
	}
	if err != nil {
		if c.Inplace || oneInplace {
			v.log.Syserr(report.ErrorXfer, err, "open %s failed", v.full(name))
		} else {
			v.log.Syserr(report.ErrorXfer, err, "mkstemp %s failed", v.full(tempShown(name)))
		}
		return noSend()
	}
	if c.LogBefore {
		c.logItem(v.log, report.Client, it)
	} else if !c.Server && v.log.Info(report.InfoName, 1) && v.log.Config().Info[report.InfoProgress] == 1 {
		v.log.Printf(report.Info, "%s\n", name)
	}
	recv0 := c.R.Taken()
	ok, err := v.data(f, w, basisFileH, st.Size, updates, toDevice, redo, c.Inplace || oneInplace)
	if err != nil {
		v.broken(f, w, mode, name, partial, hasPartial, oneInplace)
		return err
	}
	it.Recv = c.R.Taken() - recv0 // what is sent meanwhile is the generator's
	if !c.Checksum {
		it.Sum = string(c.Setup.XferSum.AppendHex(nil, v.theirSum[:c.Setup.XferSum.Len()]))
	}
	code := report.Info
	if c.LogBefore {
		code = report.LogFile
	}
	c.logItem(v.log, code, it)
	return v.finish(f, rq, w, at, name, mode, ok, redo, oneInplace, partial, hasPartial)
}

func tempShown(name string) string {
	dir, base := dirOf(name), baseOf(name)
	return join(dir, fsroot.TempPrefix(base, true)+".XXXXXX")
}

// finish puts a received file in place, or keeps it for another try.
func (v *receiver) finish(f *flist.File, rq request, w *writing, at place, name string, mode uint32, ok, redo, oneInplace bool, partial place, hasPartial bool) error {
	c := v.c
	result := 0 // as rsync counts: -1 failed, 0 to be sent again, 1 done, 2 delayed
	if ok {
		result = 1
	}
	backup := c.Backup && !(redo && c.Partial && c.PartialDir == "")
	keptIn := c.Partial && (hasPartial || c.PartialDir == "")
	attrs := attrCall{accurate: ok, skipTimes: !ok}
	if c.Xattrs > 0 {
		if pin, err := at.root.Pin(at.name); at.root != nil && err == nil {
			defer pin.Close()
			attrs.basis = pin
		}
	}
	switch {
	case ok && (!c.DelayUpdates || !hasPartial) || c.Inplace:
		call := installCall{attrs: attrs, backup: backup && !c.Inplace}
		if hasPartial {
			call.partial = &partial
		}
		moved := w
		if oneInplace && !c.Inplace {
			moved = &writing{at: w.at, file: w.file}
		}
		if !v.install(v.log, moved, f, name, mode, call) {
			result = -1
		} else if hasPartial && at.root == partial.root && at.name == partial.name {
			if !oneInplace {
				partial.root.Unlink(partial.name)
			}
			v.dropPartialDir(partial)
		}
	case keptIn && (!oneInplace || c.DelayUpdates):
		if hasPartial && !v.makePartialDir(&partial) {
			what := "partial file"
			if ok {
				what = "completed file"
			}
			v.log.Printf(report.Error, "Unable to create partial-dir for %s -- discarding %s.\n", f.Name(), what)
			w.discard()
			result = -1
			break
		}
		to := v.at(name)
		if hasPartial {
			to = partial
		}
		if oneInplace {
			v.setOnFile(v.log, w.file, to.shown, f, mode, attrs)
			w.file.Close()
		} else if !v.installAt(v.log, w, f, to, mode, installCall{attrs: attrs, backup: backup && !hasPartial}) {
			result = -1
			break
		}
		if c.DelayUpdates && ok {
			v.delayed = append(v.delayed, delayedUpdate{f: f, ndx: rq.ndx, from: partial, name: name})
			result = 2
		}
	case oneInplace:
		w.file.Close()
	default:
		w.discard()
	}
	if v.died != nil {
		return v.died
	}
	if c.ReadBatch {
		v.batch.sent[rq.ndx] = true
	}
	switch result {
	case 1:
		v.learnFrom(name)
		if c.RemoveSource || c.RemoveSent || c.Setup.IncRecurse || c.HardLinks && f.Flags&flist.Linked != 0 {
			v.tell(evDone, rq.ndx)
		}
	case 0:
		v.verifyFailed(f, name, redo, keptIn, hasPartial)
		if !redo {
			v.failed[rq.ndx] = true
			if c.ReadBatch {
				v.batch.redo[rq.ndx] = true
			}
			v.tell(evRedo, rq.ndx)
		} else if c.Setup.IncRecurse {
			v.tell(evNoSend, rq.ndx)
		}
	case -1:
		if c.Setup.IncRecurse {
			v.tell(evNoSend, rq.ndx)
		}
	}
	return nil
}

// verifyFailed tells that a file did not come out as the sender has it.
func (v *receiver) verifyFailed(f *flist.File, name string, redo, kept, inDir bool) {
	c := v.c
	code := report.Warning
	if redo {
		code = report.ErrorXfer
	} else if !v.log.Info(report.InfoName, 1) && c.OutItemize == 0 {
		return
	}
	what := "discarded"
	switch {
	case !kept && !c.Inplace:
	case c.PartialDir != "":
		what = "put into partial-dir"
	default:
		what = "retained"
	}
	word, again := "WARNING", " (will try again)"
	if redo {
		word, again = "ERROR", ""
	} else if c.ReadBatch {
		again = " (may try again)"
	}
	v.log.Printf(code, "%s: %s failed verification -- update %s%s.\n", word, name, what, again)
}

// broken saves what it can of a file in work when the connection ends.
// rsync 3.5.0 cleanup.c:_exit_cleanup.
func (v *receiver) broken(f *flist.File, w *writing, mode uint32, name string, partial place, hasPartial, oneInplace bool) {
	c := v.c
	if w.inPlace {
		w.file.Close()
		return
	}
	if !c.Partial || !v.stream {
		w.discard()
		return
	}
	to := v.at(name)
	kept := *f
	call := attrCall{skipTimes: true}
	if hasPartial {
		if !v.makePartialDir(&partial) {
			w.discard()
			return
		}
		to = partial
	} else {
		// An old time keeps --update from taking it for newer.
		kept.Mtime, kept.Nsec = 0, 0
		call = attrCall{}
	}
	v.installAt(v.log, w, &kept, to, mode, installCall{attrs: call, backup: c.Backup && !hasPartial})
}

// delayedUpdate is a finished file that waits in its partial directory
// (--delay-updates).
type delayedUpdate struct {
	f    *flist.File
	ndx  int32
	from place
	name string
}

// finishDelayed puts the files of --delay-updates in place.
// rsync 3.5.0 receiver.c:handle_delayed_updates.
func (v *receiver) finishDelayed() {
	c := v.c
	v.delayed = append(v.delayed, v.swarm.takeDelayed()...)
	for _, d := range v.delayed {
		if c.Backup && v.makeBackup(v.log, d.name, false) == backupFailed {
			continue
		}
		if err := v.rename(d.from, v.at(d.name)); err != nil {
			v.log.Syserr(report.ErrorXfer, err, "rename failed for %s (from %s)", v.full(d.name), d.from.shown)
			continue
		}
		if c.RemoveSource || c.RemoveSent || c.HardLinks && d.f.Flags&flist.Linked != 0 {
			v.tell(evDone, d.ndx)
		}
		v.dropPartialDir(d.from)
		v.learnFrom(d.name)
	}
	v.delayed = nil
}
