package transfer

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/delta/compress"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// receiver rebuilds the files that the generator asked for. It owns the
// incoming stream. rsync 3.5.0 receiver.c:recv_files.
type receiver struct {
	*Receiving
	log *report.Log

	in         wire.NdxState
	tokens     compress.Reader
	window     *delta.Window
	hash       checksum.FileHash
	sum        [checksum.MaxLen]byte
	theirSum   [checksum.MaxLen]byte
	failed     map[int32]bool // that the generator was told to ask for again
	delayed    []delayedUpdate
	phase      int
	cur        *flist.List
	done       int  // files in lists that are done with
	stream     bool // data of the file in work has arrived
	shortRange bool // it was handed over, and shorter than announced
	rangeSize  int64
	noEntry    bool // nothing is at the place of the file in work
	learns     bool // what it puts in place is told to Config.Learn
	learner    *learner
	lateDone   bool // finished files are told of before the next wait at the latest
	batch      batchState
}

// delayedUpdate is a finished file that waits in its partial directory
// (--delay-updates).
type delayedUpdate struct {
	f    *flist.File
	ndx  int32
	from place
	name string
}

func newReceiver(r *Receiving) *receiver {
	return &receiver{Receiving: r, log: r.c.Log.As("receiver"), in: r.in, window: delta.NewWindow(nil, 0), failed: map[int32]bool{},
		batch: batchState{sent: map[int32]bool{}, redo: map[int32]bool{}}}
}

func (v *receiver) tell(kind eventKind, ndx int32) {
	e := event{kind: kind, ndx: ndx}
	if kind == evDone && v.lateDone {
		v.events.putLate(e)
		return
	}
	v.events.put(e)
}

// run is the life of the receiver.
func (v *receiver) run() error {
	c := v.c
	maxPhase := 1
	if c.Setup.Protocol >= 29 {
		maxPhase = 2
	}
	for {
		rq, err := v.read()
		if err != nil {
			return err
		}
		if rq.ndx == wire.NdxDone {
			if p := c.Progress; p != nil && v.cur != nil {
				v.setIndex(nil, 0)
				if v.log.Info(report.InfoProgress, 2) {
					p.End(0)
				}
			}
			if c.Setup.IncRecurse && len(v.lists) > 0 {
				if c.ReadBatch {
					v.batchSkip()
					v.batch.freed++
				}
				v.done += len(v.lists[0].Files)
				v.lists[0] = nil
				v.lists = v.lists[1:]
				if len(v.lists) > 0 {
					continue
				}
			} else if c.ReadBatch && len(v.lists) > 0 {
				v.batchSkip()
			}
			if v.phase++; v.phase > maxPhase {
				break
			}
			if v.phase == 2 && c.DelayUpdates {
				v.finishDelayed()
			}
			v.tell(evPhase, 0)
			continue
		}
		if err := v.file(rq); err != nil {
			return err
		}
	}
	if c.Setup.Protocol < 29 && c.DelayUpdates {
		v.finishDelayed()
	}
	if !c.Server {
		v.readStats()
	}
	v.log.Heap()
	v.tell(evPhase, 0)
	if c.Setup.Protocol >= 31 {
		rq, err := v.read()
		if err != nil {
			return err
		}
		if rq.ndx != wire.NdxDone {
			return badGoodbye(rq.ndx, v.log.Who())
		}
		v.tell(evPhase, 0)
	}
	return nil
}

// readStats takes the sender's numbers at the end.
func (v *receiver) readStats() {
	r, s := v.c.R, &v.Stats
	// What it has read we have written.
	s.Written = r.Varlong30(3)
	s.Read = r.Varlong30(3)
	s.TotalSize = r.Varlong30(3)
	if v.c.Setup.Protocol >= 29 {
		s.FlistBuild = r.Varlong30(3)
		s.FlistXfer = r.Varlong30(3)
	}
	v.gotStats = true
}

// read reads the next index and what follows it; lists that arrive in between
// are taken in.
func (v *receiver) read() (request, error) {
	r := v.c.R
	for {
		ndx := r.ReadNdx(&v.in)
		if err := r.Err(); err != nil {
			return request{}, err
		}
		switch {
		case ndx == wire.NdxDone:
			return request{ndx: ndx}, nil
		case ndx == wire.NdxDelStats:
			var theirs report.Counts
			readDelStats(r, &theirs)
			if v.c.ReadBatch {
				v.batchDeleted = theirs
			}
			continue
		case ndx < 0:
			if !v.c.Setup.IncRecurse {
				last := int32(-1)
				if n := len(v.lists); n > 0 {
					last = v.lists[n-1].End() - 1
				}
				return request{}, exitcode.New(exitcode.Protocol, "Invalid file index: %d (%d - %d) [%s]", ndx, wire.NdxDone, last, v.log.Who())
			}
			if err := v.moreLists(&v.in, ndx); err != nil {
				return request{}, err
			}
			continue
		}
		rq := request{ndx: ndx, basis: basisFile}
		readAttrs(r, v.c.Setup.Protocol, &rq)
		if err := r.Err(); err != nil {
			return request{}, err
		}
		if v.c.Setup.Protocol < 30 && len(v.lists) > 0 && ndx == int32(len(v.lists[0].Files)) && rq.flags == report.ItemIsNew {
			continue // the keep-alive of protocol 29
		}
		return rq, nil
	}
}

// entryOf finds the entry of an index.
func (v *receiver) entryOf(ndx int32) (*flist.File, error) {
	for _, l := range v.lists {
		if ndx < l.Start-1 || ndx >= l.End() {
			continue
		}
		v.cur = l
		if ndx == l.Start-1 {
			if l.Parent < 0 || int(l.Parent) >= len(v.dirs) {
				break
			}
			return v.dirs[l.Parent], nil
		}
		return l.Files[ndx-l.Start], nil
	}
	first, last := int32(0), int32(-1)
	if n := len(v.lists); n > 0 {
		first, last = v.lists[0].Start-1, v.lists[n-1].End()-1
	}
	return nil, exitcode.New(exitcode.Protocol, "File-list index %d not in %d - %d (%s) [%s]", ndx, first, last, "read_ndx_and_attrs", v.log.Who())
}

// file takes one answer of the sender.
func (v *receiver) file(rq request) error {
	c := v.c
	f, err := v.entryOf(rq.ndx)
	if err != nil {
		return err
	}
	if !f.Active() {
		return exitcode.New(exitcode.Protocol, "rsync: refusing transfer of cleared file index %d", rq.ndx)
	}
	if rq.flags&report.ItemTransfer != 0 && (!f.IsRegular() || rq.ndx == v.cur.Start-1) {
		return exitcode.New(exitcode.Protocol, "received request to transfer non-regular file: %d [%s]", rq.ndx, v.log.Who())
	}
	name := v.name(f)
	if c.DaemonFilters != nil && name != "." && v.daemonExcluded(name, f.IsDir()) {
		return exitcode.New(exitcode.Protocol, "ERROR: rejecting file transfer request for daemon excluded file: %s", name)
	}
	if c.xattrsFollow(rq.flags) {
		v.xmu.Lock()
		flist.ReadXattrValues(c.R, f.Xattrs(), v.log.Who(), name)
		v.xmu.Unlock()
		if err := c.R.Err(); err != nil {
			return err
		}
	}
	it := v.item(f, rq, "")
	if rq.flags&report.ItemTransfer == 0 {
		it.Hlink = rq.xname
		c.maybeLogItem(v.log, it)
		const local = report.ItemXnameFollows | report.ItemLocalChange
		if c.Xattrs > 0 && rq.flags&report.ItemReportXattr != 0 && c.xfers() && rq.flags&local != local {
			v.lateXattrs(f, name)
		}
		if rq.flags&report.ItemIsNew != 0 {
			v.Stats.Created.Add(f.IsDir(), f.IsSymlink(), f.IsDevice(), f.IsSpecial())
		}
		return nil
	}
	if v.phase == 2 {
		return exitcode.New(exitcode.Protocol, "got transfer request in phase 2 [%s]", v.log.Who())
	}
	redo := v.failed[rq.ndx] || v.batch.sent[rq.ndx]
	if !redo && rq.flags&report.ItemIsNew != 0 {
		v.Stats.Created.Total++
	}
	v.setIndex(f, rq.ndx)
	v.Stats.Transferred++
	v.Stats.TransferredSize += f.Size
	if c.ReadBatch && !v.batchWanted(rq.ndx, redo) {
		again := ""
		if redo {
			again = " resend of"
		}
		v.log.Printf(report.Info, "(Skipping batched update for%s \"%s\")\n", again, name)
		v.batch.sent[rq.ndx] = true
		return v.drop(f)
	}
	if !c.xfers() {
		c.logItem(v.log, report.Client, it)
		if c.ReadBatch {
			return v.drop(f)
		}
		return nil
	}
	if c.OnlyBatch {
		c.logItem(v.log, report.Client, it)
		if !c.Server {
			if err := v.drop(f); err != nil {
				return err
			}
		}
		if c.Setup.IncRecurse {
			v.tell(evDone, rq.ndx)
		}
		return nil
	}
	return v.transfer(f, rq, name, redo, it)
}

// daemonExcluded reports whether the module's rules hide a name in the
// destination.
func (r *Receiving) daemonExcluded(name string, isDir bool) bool {
	w := r.c.DaemonFilters.Walk(filter.Root{Who: "receiver", Dir: r.destPath})
	return w.Check(name, isDir) == filter.Exclude
}

// lateXattrs sets extended attributes whose values have only now arrived.
func (v *receiver) lateXattrs(f *flist.File, name string) {
	at := v.at(name)
	st, err := at.lstat()
	if err != nil {
		return
	}
	lk := &look{at: at, st: st}
	v.overlay(lk)
	mode := f.Mode
	if !v.c.Perms {
		mode = st.Mode
	}
	pin, err := at.root.Pin(name)
	if err != nil {
		return
	}
	defer pin.Close()
	v.apply(v.log, pin, lk, f, mode, attrCall{basis: pin})
}

// basisOf opens what the tokens refer to. rsync 3.5.0
// receiver.c:recv_files.
func (v *receiver) basisOf(f *flist.File, rq *request, name string, partial place, hasPartial bool) (file *os.File, at place, err error) {
	c := v.c
	if rq.rescue = v.swarm.takeRescue(rq.ndx); rq.rescue != nil {
		// Its name goes now: later, the directory's time might be set already.
		rq.rescue.w.at.root.Unlink(rq.rescue.w.at.name)
		return rq.rescue.w.file, rq.rescue.w.at, nil
	}
	at = v.at(name)
	root := at.root
	kept := false // a partial file or a backup, which the rules were asked about
	switch k := rq.basis; {
	case c.Setup.Protocol < 29:
		switch {
		case c.Inplace && c.Backup:
			if p, ok := v.backupPlace(v.log, name); ok {
				at, rq.basis, kept = p, basisBackup, true
			}
		case hasPartial:
			at, kept = partial, true
		}
	case k == basisFile:
	case k == basisPartial:
		if hasPartial {
			at, kept = partial, true
		}
	case k == basisBackup:
		if p, ok := v.backupPlace(v.log, name); ok {
			at, kept = p, true
		}
	case k == basisFuzzy:
		if c.Fuzzy == 0 {
			v.log.Printf(report.ErrorXfer, "rsync: refusing malicious fuzzy operation for %s\n", rq.xname)
			return nil, at, exitcode.Silent(exitcode.Protocol)
		}
		n := join(dirOf(name), rq.xname)
		at = place{root, n, n}
	default:
		i, n := int(k), name
		if k > basisFuzzy {
			i, n = int(k)-basisFuzzy-1, join(dirOf(name), rq.xname)
		}
		if i >= len(v.alts) {
			return nil, at, exitcode.New(exitcode.Protocol, "invalid basis_dir index: %d.", k)
		}
		a := v.alts[i]
		if a.root == nil {
			return nil, v.at(name), nil
		}
		at = place{a.root, n, join(a.path, n)}
	}
	if c.DaemonFilters != nil && !kept && v.daemonExcluded(at.name, false) {
		at, rq.basis = v.at(name), basisFile
	}
	open := func(p place) *os.File {
		if p.root == nil {
			return nil
		}
		if c.WriteDevices {
			g, e := p.root.OpenFile(p.name, os.O_RDONLY, 0)
			if e != nil {
				return nil
			}
			return g
		}
		g, e := p.root.Open(p.name)
		if e != nil {
			v.noEntry = isMissing(e) && p.root == v.dest && p.name == name
			return nil
		}
		return g
	}
	v.noEntry = false
	inModule := c.Daemon && c.Setup.InplacePartial
	refused := inModule && v.partialRefused()
	if !refused {
		file = open(at)
	}
	if refused || file == nil && rq.basis == basisPartial {
		if inModule {
			return nil, at, exitcode.New(exitcode.Protocol, "rsync: refusing unconfined partial basis for %s", name)
		}
		at, rq.basis = v.at(name), basisFile
	}
	if file == nil && c.Setup.Protocol < 29 {
		if at.name != name {
			at, rq.basis = v.at(name), basisFile
			file = open(at)
		}
		if file == nil && len(v.alts) > 0 && v.alts[0].root != nil {
			at = place{v.alts[0].root, name, join(v.alts[0].path, name)}
			rq.basis = 0
			file = open(at)
		}
	}
	return file, at, nil
}

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

// drop reads the data of a file that will not be written.
func (v *receiver) drop(f *flist.File) error {
	_, err := v.data(f, nil, nil, 0, false, false, true, false)
	return err
}

// data receives the tokens of one file. ok tells that the result is what the
// sender has. rsync 3.5.0 receiver.c:receive_data.
func (v *receiver) data(f *flist.File, w *writing, basis *os.File, basisSize int64, updates, device, redo, inplaceSizing bool) (ok bool, err error) {
	c := v.c
	head, err := readSumHead(c.R, c.Setup, v.log.Who())
	if err != nil {
		return false, err
	}
	v.stream, v.rangeSize = false, 0
	cfg := delta.ApplyConfig{Head: head, File: v.fileHash(), InPlace: updates, Discard: w == nil}
	if !redo {
		cfg.Append = c.Append
	}
	if w == nil {
		cfg.Append = delta.AppendOff
	}
	if basis != nil && basisSize > 0 {
		v.window.Reset(basis, basisSize)
		cfg.Basis = v.window
	}
	var dst io.WriterAt
	var sparse *sparseFile
	truncate := inplaceSizing
	if w != nil {
		dst = w.file
		if c.Preallocate && f.Size > 0 && (!inplaceSizing || f.Size > basisSize) {
			if err := fsroot.Fallocate(w.file, 0, f.Size, false); err != nil {
				v.log.Syserr(report.Warning, err, "do_fallocate %s", v.full(f.Name()))
			}
			truncate = true
		}
		if c.Sparse && !(redo && c.Append != delta.AppendOff) {
			sparse = &sparseFile{f: w.file, punch: updates || c.Preallocate}
			if inplaceSizing && c.WholeFile {
				w.file.Truncate(0)
			}
			dst = sparse
		}
	}
	ap := delta.NewApplier(dst, cfg)
	if err := v.readTokens(f, w, ap, head); err != nil {
		return false, err
	}
	s := ap.Stats()
	v.Stats.Literal += s.Literal
	v.Stats.Matched += s.Matched
	if w != nil && !device {
		size := ap.Offset() + v.rangeSize
		// Zeros at the end keep the blocks that --preallocate has given them.
		if sparse != nil && (updates || sparse.to != size) {
			if err := sparse.flush(); err != nil {
				return false, v.writeError(f, err)
			}
		}
		if sparse != nil || truncate {
			if err := w.file.Truncate(size); err != nil {
				v.log.Syserr(report.ErrorXfer, err, "ftruncate failed on %s", v.full(f.Name()))
			}
		}
	}
	if p := c.Progress; p != nil {
		p.End(f.Size)
	}
	n := c.Setup.XferSum.Len()
	mine := v.hash.Sum(v.sum[:0])
	c.R.Full(v.theirSum[:n])
	if err := c.R.Err(); err != nil {
		return false, err
	}
	if w == nil {
		return true, nil
	}
	if v.shortRange {
		v.shortRange = false
		return false, nil
	}
	return bytes.Equal(mine, v.theirSum[:n]), nil
}

func (v *receiver) fileHash() checksum.FileHash {
	if v.hash == nil {
		v.hash = v.c.blockSums().NewFile()
	}
	v.hash.Reset()
	return v.hash
}

func (v *receiver) tokenReader() (compress.Reader, error) {
	if v.tokens == nil {
		var err error
		if v.tokens, err = compress.NewReader(v.c.R, v.c.Compress); err != nil {
			return nil, err
		}
	}
	return v.tokens, nil
}

// readTokens applies the tokens of one file.
func (v *receiver) readTokens(f *flist.File, w *writing, ap *delta.Applier, head delta.SumHead) error {
	tokens, err := v.tokenReader()
	if err != nil {
		return err
	}
	p := v.c.Progress
	for {
		t, err := tokens.Next()
		if err != nil {
			if rerr := v.c.R.Err(); rerr != nil {
				return rerr
			}
			return exitcode.New(exitcode.StreamIO, "%w [%s]", err, v.log.Who())
		}
		if t.End {
			return nil
		}
		if p != nil {
			p.Show(ap.Offset(), f.Size)
		}
		switch {
		case len(t.Literal) > 0:
			v.stream = true
			err = ap.Literal(t.Literal)
		case t.Block == rangeToken && v.c.Ranges != nil:
			if err := v.takeRange(w, ap); err != nil {
				return v.writeError(f, err)
			}
			continue
		default:
			var data []byte
			if data, err = ap.Block(t.Block); err == nil {
				err = tokens.Matched(data)
			}
		}
		if err != nil {
			return v.applyError(f, err, t)
		}
	}
}

// applyError tells a write error from a broken stream.
func (v *receiver) applyError(f *flist.File, err error, t compress.Token) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return v.writeError(f, err)
	}
	return exitcode.New(exitcode.Protocol, "%w [%s]", err, v.log.Who())
}

func (v *receiver) writeError(f *flist.File, err error) error {
	v.log.Syserr(report.Error, err, "write failed on %s", v.full(v.name(f)))
	return exitcode.Silent(exitcode.FileIO)
}

// takeRange copies a file that the sender handed over.
func (v *receiver) takeRange(w *writing, ap *delta.Applier) error {
	fr, ok := v.c.Ranges.pop()
	if !ok {
		return errors.New("no file was handed over")
	}
	defer fr.file.Close()
	v.Stats.Literal += fr.size
	v.stream = true
	if w == nil {
		return nil
	}
	n, _, err := fsroot.CopyRange(w.file, fr.file, 0, 0, fr.size)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		v.shortRange, err = true, nil
	}
	v.rangeSize = n
	return err
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

// setIndex tells the progress line which file is in work.
func (v *receiver) setIndex(f *flist.File, ndx int32) {
	p := v.c.Progress
	if p == nil || v.cur == nil {
		return
	}
	p.Update(func() {
		p.Xferred, p.Known, p.Complete = v.Stats.Transferred+1, v.total, v.eof
		p.XferSize, p.TotalSize, p.Busy = v.Stats.TransferredSize, v.dec.TotalSize, f != nil
		if f == nil {
			p.Xferred = v.Stats.Transferred
			p.Index = int(v.cur.End()-v.cur.Num) - 1
			return
		}
		p.XferSize += f.Size
		p.Index = v.c.place(v.cur, f, ndx)
	})
}

func (v *receiver) item(f *flist.File, rq request, hlink string) *report.Item {
	it := v.c.item(f, "recv", rq.flags, hlink)
	it.Path = v.logged(it.Name)
	return it
}

// logged is how a log calls an entry: a daemon's below its module.
func (r *Receiving) logged(name string) string {
	if r.c.Daemon {
		return join(r.destPath, name)
	}
	return name
}

// Run receives everything. The list and the destination are known already.
func (r *Receiving) Run() error {
	if err := r.openDirs(); err != nil {
		return err
	}
	r.openAlts()
	r.log = r.c.Log.As("receiver") // from now on the receiver reads the lists
	if r.c.Begin != nil {
		r.c.Begin()
	}
	v := newReceiver(r)
	v.learns = r.c.Learn != nil && r.c.xfers()
	if !r.c.ReadBatch { // which waits for the generator as well
		v.lateDone = true
		before := r.c.R.BeforeBlock
		r.c.R.BeforeBlock = func() {
			r.events.flush()
			if before != nil {
				before()
			}
		}
	}
	g := newGenerator(r)
	ended := make(chan error, 1)
	go func() {
		err := v.run()
		if err != nil {
			r.events.put(event{kind: evError, err: err})
		}
		ended <- err
	}()
	err := g.run()
	r.batchWants.put(generatorEnded)
	if err == nil {
		r.Stats.Deleted = g.deleted
		g.writeNdx(wire.NdxDone)
		if err = r.c.W.Flush(); err != nil && len(ended) > 0 {
			err = nil // the peer has gone after all was done
		}
	} else {
		// The receiver, which owns the incoming stream, meets its end.
		if r.c.Abort != nil {
			r.c.Abort(err)
		}
	}
	verr := <-ended
	v.learner.close()
	if verr != nil && (err == nil || r.c.W.Err() != nil) {
		err = verr // what the other side said before it went, or that it went
	}
	g.endSwarm(err)
	return err
}
