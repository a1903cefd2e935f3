package transfer

import (
	"os"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
)

// incoming is a file that is being received.
type incoming struct {
	f    *flist.File
	rq   request
	name string // in the destination
	redo bool   // it is sent for the second time

	// The basis: nil for none; where it lies and its size are known in any case.
	basis   *os.File
	at      place
	size    int64
	noEntry bool // opening it has shown that nothing is at the file's place

	w    *writing // nil: the data is only read
	mode uint32
	// partial is where an unfinished file is kept apart, if it is.
	partial    place
	hasPartial bool
	oneInplace bool // w is the partial file itself
	updates    bool // w is the basis
	toDevice   bool // w is a device
}

// inPlace reports whether w has contents already.
func (in *incoming) inPlace(c *Config) bool { return c.Inplace || in.oneInplace }

// transfer receives one file.
func (v *receiver) transfer(f *flist.File, rq request, name string, redo bool, it *report.Item) error {
	c := v.c
	in := &v.incoming
	*in = incoming{f: f, rq: rq, name: name, redo: redo}
	in.partial, in.hasPartial = v.partialPlace(name)
	var err error
	if in.basis, in.at, err = v.basisOf(in); err != nil {
		return err
	}
	if in.basis != nil {
		defer in.basis.Close()
	}
	noSend := func() error {
		if err := v.drop(f); err != nil {
			return err
		}
		v.tellFailed(rq.ndx)
		return nil
	}
	var st fsroot.Stat
	if in.basis != nil {
		if st, err = fsroot.Fstat(in.basis); err != nil {
			v.log.Syserr(report.ErrorXfer, err, "fstat %s failed", v.full(in.at.shown))
			return noSend()
		}
		if st.IsDir() && in.at.name == name && in.at.root == v.dest {
			v.log.Printf(report.ErrorXfer, "recv_files: %s is a directory\n", v.full(in.at.shown))
			return noSend()
		}
	} else if in.noEntry {
		// Opening it as a basis said so.
	} else if dst, err := v.at(name).lstat(); err == nil && dst.IsDir() {
		v.log.Printf(report.ErrorXfer, "recv_files: %s is a directory\n", v.full(name))
		return noSend()
	}
	in.size = st.Size
	in.toDevice = c.WriteDevices && st.IsDevice()
	if in.toDevice && in.size == 0 {
		in.size = deviceSize(in.basis)
	} else if !in.toDevice && in.basis != nil && !st.IsRegular() {
		in.basis.Close()
		in.basis = nil
	}
	in.mode = f.Mode
	if !c.Perms {
		if dir := dirOf(name); v.permsDir != dir {
			v.permsDir, v.dirPerms = dir, v.defaultPerms(v.log, dir)
		}
		in.mode = meta.DestMode(in.mode, st.Mode, v.dirPerms, in.basis != nil, c.Executability)
		it.Mode = in.mode
	}
	if rescue := in.rq.rescue; rescue != nil {
		in.mode = rescue.mode
	}
	in.oneInplace = c.Setup.InplacePartial && in.rq.basis == basisPartial && in.basis != nil
	in.updates = in.oneInplace || c.Inplace && (in.at.root == v.dest && in.at.name == name || in.rq.basis == basisBackup)
	switch {
	case in.oneInplace:
		in.w, err = openInPlace(in.partial)
	case c.Inplace:
		in.w, err = v.openInPlace(name)
	default:
		in.w, err = v.newTemp(name, in.mode)
	}
	if err != nil {
		if in.inPlace(c) {
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
	ok, err := v.data(in)
	if err != nil {
		v.broken(in)
		return err
	}
	it.Recv = c.R.Taken() - recv0 // what is sent meanwhile is the generator's
	if !c.Checksum && c.ShowsSums() {
		it.Sum = string(c.Setup.XferSum.AppendHex(nil, v.theirSum[:c.Setup.XferSum.Len()]))
	}
	code := report.Info
	if c.LogBefore {
		code = report.LogFile
	}
	c.logItem(v.log, code, it)
	if p := c.Progress; p != nil && p.Asked() {
		v.setIndex(f, in.rq.ndx)
		p.Instant(c.unnamed(v.log, name))
	}
	return v.finish(in, ok)
}

func tempShown(name string) string {
	dir, base := dirOf(name), baseOf(name)
	return join(dir, fsroot.TempPrefix(base, true)+".XXXXXX")
}

// errNoBackupKept ends a run rather than lose what a file replaces; why it
// could not be kept was reported.
var errNoBackupKept = error(&exitcode.Error{Code: exitcode.FileIO, At: exitcode.AtBackup, Who: "receiver"})

// finish puts a received file in place, or keeps it for another try.
func (v *receiver) finish(in *incoming, ok bool) error {
	c, f, w := v.c, in.f, in.w
	result := 0 // as rsync counts: -1 failed, 0 to be sent again, 1 done, 2 delayed
	if ok {
		result = 1
	}
	backup := c.Backup && !(in.redo && c.Partial && c.PartialDir == "")
	keptIn := c.Partial && (in.hasPartial || c.PartialDir == "")
	attrs := attrCall{accurate: ok, skipTimes: !ok}
	if c.Xattrs > 0 && in.at.root != nil {
		if pin, err := in.at.root.Pin(in.at.name); err == nil {
			defer pin.Close()
			attrs.basis = pin
		}
	}
	switch {
	case ok && (!c.DelayUpdates || !in.hasPartial) || c.Inplace:
		call := installCall{attrs: attrs, backup: backup && !c.Inplace}
		if in.hasPartial {
			call.partial = &in.partial
		}
		moved := w
		if in.oneInplace && !c.Inplace {
			moved = &writing{at: w.at, file: w.file}
		}
		if put := v.install(v.log, moved, f, in.name, in.mode, call); put == noBackup {
			return errNoBackupKept
		} else if put == notInstalled {
			result = -1
		} else if in.hasPartial && in.at.root == in.partial.root && in.at.name == in.partial.name {
			if !in.oneInplace {
				in.partial.root.Unlink(in.partial.name)
			}
			v.dropPartialDir(in.partial)
		}
	case keptIn && (!in.oneInplace || c.DelayUpdates):
		if in.hasPartial && !v.makePartialDir(&in.partial) {
			what := "partial file"
			if ok {
				what = "completed file"
			}
			v.log.Printf(report.Error, "Unable to create partial-dir for %s -- discarding %s.\n", f.Name(), what)
			w.discard()
			result = -1
			break
		}
		to := v.at(in.name)
		if in.hasPartial {
			to = in.partial
		}
		if in.oneInplace {
			v.setOnFile(v.log, w.file, to.shown, f, in.mode, attrs)
			w.file.Close()
		} else if put := v.installAt(v.log, w, f, to, in.mode, installCall{attrs: attrs, backup: backup && !in.hasPartial}); put == noBackup {
			return errNoBackupKept
		} else if put == notInstalled {
			result = -1
			break
		}
		if c.DelayUpdates && ok {
			v.delayed = append(v.delayed, delayedUpdate{f: f, ndx: in.rq.ndx, from: in.partial, name: in.name})
			result = 2
		}
	case in.oneInplace:
		w.file.Close()
	default:
		w.discard()
	}
	if c.ReadBatch {
		v.batch.sent[in.rq.ndx] = true
	}
	switch result {
	case 1:
		v.learnFrom(in.name)
		if c.RemoveSource || c.RemoveSent || c.Setup.IncRecurse || c.HardLinks && f.Flags&flist.Linked != 0 {
			v.tell(evDone, in.rq.ndx)
		}
	case 0:
		v.verifyFailed(in, keptIn)
		if !in.redo {
			v.failed[in.rq.ndx] = true
			if c.ReadBatch {
				v.batch.redo[in.rq.ndx] = true
			}
			v.tell(evRedo, in.rq.ndx)
		} else {
			v.tellFailed(in.rq.ndx)
		}
	case -1:
		v.tellFailed(in.rq.ndx)
	}
	return nil
}

// verifyFailed tells that a file did not come out as the sender has it.
func (v *receiver) verifyFailed(in *incoming, kept bool) {
	c, redo := v.c, in.redo
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
	v.log.Printf(code, "%s: %s failed verification -- update %s%s.\n", word, in.name, what, again)
}

// broken saves what it can of a file in work when the connection ends.
// rsync 3.5.0 cleanup.c:_exit_cleanup.
func (v *receiver) broken(in *incoming) {
	c, w := v.c, in.w
	if w.inPlace {
		w.file.Close()
		return
	}
	if !c.Partial || !v.stream {
		w.discard()
		return
	}
	to := v.at(in.name)
	kept := *in.f
	call := attrCall{skipTimes: true, noXattrs: true}
	if in.hasPartial {
		if !v.makePartialDir(&in.partial) {
			w.discard()
			return
		}
		to = in.partial
	} else {
		// An old time keeps --update from taking it for newer.
		kept.Mtime, kept.Nsec = 0, 0
		call = attrCall{noXattrs: true}
	}
	v.installAt(v.log, w, &kept, to, in.mode, installCall{attrs: call, backup: c.Backup && !in.hasPartial})
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
		v.debugRecv(v.log, "renaming %s to %s", d.from.shown, d.name)
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
