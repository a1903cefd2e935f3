package transfer

import (
	"path"
	"strings"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/delta/compress"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter"
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
	permsDir   string // dirPerms are its default permissions, "" for none
	dirPerms   uint32
	phase      int
	cur        *flist.List
	freed      int32 // lists that are done with
	stream     bool  // data of the file in work has arrived
	shortRange bool  // it was handed over, and shorter than announced
	rangeSize  int64
	learns     bool // what it puts in place is told to Config.Learn
	learner    *learner
	lateDone   bool // finished files are told of before the next wait at the latest
	batch      batchState
	line       report.Item
	incoming   incoming
	applier    delta.Applier
	gathered   gathered
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

// tellFailed tells the generator, if it waits for the end of the file, that it
// has not come.
func (v *receiver) tellFailed(ndx int32) {
	if c := v.c; c.Setup.IncRecurse || c.RemoveSource || c.RemoveSent {
		v.tell(evNoSend, ndx)
	}
}

// run is the life of the receiver.
func (v *receiver) run() error {
	c := v.c
	v.debugRecv(v.log, "recv_files(%d) starting", len(v.lists[0].Files))
	for {
		rq, err := v.read()
		if err != nil {
			return err
		}
		if rq.ndx == wire.NdxDone {
			if v.listDone() {
				break
			}
			continue
		}
		if err := v.file(rq); err != nil {
			return err
		}
	}
	if c.Setup.Protocol < 29 && c.DelayUpdates {
		v.finishDelayed()
	}
	v.debugRecv(v.log, "recv_files finished")
	if !c.Server {
		v.readStats()
	}
	v.heard = c.R.Total()
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

// listDone takes the sender's word that it has no more of the first list, or
// of a phase, and tells whether that was the last one.
func (v *receiver) listDone() (last bool) {
	c := v.c
	if c.Progress != nil && v.cur != nil && c.endsProgress(v.log, v.lists) {
		v.setIndex(nil, 0)
		c.Progress.End(0)
	}
	if c.Setup.IncRecurse && len(v.lists) > 0 {
		if c.ReadBatch {
			v.batchSkip()
			v.batch.freed++
		}
		v.freeFirst()
		if len(v.lists) > 0 {
			return false
		}
	} else if c.ReadBatch && len(v.lists) > 0 {
		v.batchSkip()
	}
	if v.phase++; v.phase > c.lastPhase() {
		return true
	}
	v.debugRecv(v.log, "recv_files phase=%d", v.phase)
	if v.phase == 2 && c.DelayUpdates {
		v.finishDelayed()
	}
	v.tell(evPhase, 0)
	return false
}

// freeFirst drops the first list. Its entries serve again if the generator has
// done with them too: a sender that ends a list before its time must not have
// them changed under the generator's eyes.
func (v *receiver) freeFirst() {
	l := v.lists[0]
	v.lists[0] = nil
	v.lists = v.lists[1:]
	if v.freed++; v.freed > v.released.Load() {
		return
	}
	if v.c.ReadBatch || v.c.DelayUpdates || v.c.Swarm != nil {
		return // files of lists that are done with are in work still
	}
	v.dec.GiveBack(l)
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
		if err := v.ended(); err != nil {
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
				return request{}, invalidIndex(v.lists, ndx, v.log.Who())
			}
			if err := v.moreLists(&v.in, ndx, 2); err != nil {
				return request{}, err
			}
			continue
		}
		rq := request{ndx: ndx, basis: basisFile}
		readAttrs(r, v.c.Setup.Protocol, &rq)
		if err := r.Err(); err != nil {
			return request{}, err
		}
		if rq.keepsAlive(v.c.Setup.Protocol, v.lists) {
			continue
		}
		return rq, nil
	}
}

// entryOf finds the entry of an index.
func (v *receiver) entryOf(ndx int32) (*flist.File, error) {
	i := listOf(v.lists, ndx)
	if i < 0 {
		return nil, noSuchIndex(v.lists, ndx, v.log.Who())
	}
	l := v.lists[i]
	v.cur = l
	if ndx >= l.Start {
		return l.Files[ndx-l.Start], nil
	}
	if l.Parent < 0 || int(l.Parent) >= len(v.dirs) {
		return nil, noSuchIndex(v.lists, ndx, v.log.Who())
	}
	return v.dirs[l.Parent], nil
}

// file takes one answer of the sender.
func (v *receiver) file(rq request) error {
	c := v.c
	f, err := v.entryOf(rq.ndx)
	if err != nil {
		return err
	}
	if err := rq.check(f, v.cur, v.phase, v.log.Who()); err != nil {
		return err
	}
	name := v.name(f)
	if v.log.Debug(report.DebugRecv, 1) {
		v.debugRecv(v.log, "recv_files(%s)", name)
	}
	if name != "." && v.daemonExcluded(name, f.IsDir()) {
		return exitcode.New(exitcode.Protocol, "ERROR: rejecting file transfer request for daemon excluded file: %s", name)
	}
	if c.xattrsFollow(rq.flags) {
		v.xmu.Lock()
		flist.ReadXattrValues(c.R, f.Xattrs(), v.log.Who(), name, c.MaxAlloc)
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
		if c.Xattrs > 0 && rq.flags&report.ItemReportXattr != 0 && c.xfers() && !c.DryRun && rq.flags&local != local {
			v.lateXattrs(f, name)
		}
		if rq.flags&report.ItemIsNew != 0 {
			v.Stats.Created.Add(f.IsDir(), f.IsSymlink(), f.IsDevice(), f.IsSpecial())
		}
		return nil
	}
	redo := v.failed[rq.ndx] || v.batch.sent[rq.ndx]
	if !redo && rq.flags&report.ItemIsNew != 0 {
		v.Stats.Created.Total++
	}
	v.Stats.Transferred++
	v.Stats.TransferredSize += f.Size
	if p := c.Progress; p != nil && p.Shown() {
		v.setIndex(f, rq.ndx)
	}
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
		c.logUnsent(v.log, it)
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

// setHidden makes the module's rules ready for the names below the destination.
func (r *Receiving) setHidden() {
	if r.c.DaemonFilters != nil {
		r.hidden = r.c.DaemonFilters.Walk(filter.Root{Who: "receiver", Dir: r.destPath})
	}
}

// daemonExcluded reports whether the module's rules hide a name in the
// destination.
func (r *Receiving) daemonExcluded(name string, isDir bool) bool {
	return r.hidden != nil && r.hidden.Check(name, isDir) == filter.Exclude
}

// hidesDest reports whether the module's rules hide the destination, by the name
// that the client gives it, as a file or as a directory: what it becomes is not
// known yet. shown is that name in messages (rsync 3.5.0 main.c:get_local_name).
func (r *Receiving) hidesDest(arg string) (shown string, hides bool) {
	name := strings.TrimPrefix(path.Join("/", arg), "/")
	if r.c.DaemonFilters == nil || name == "" {
		return "", false
	}
	if shown = arg; r.c.Top != "" { // rsync has cleaned it by then
		if shown = name; strings.HasSuffix(arg, "/") || strings.HasSuffix(arg, "/.") {
			shown += "/"
		}
	}
	walk := r.c.DaemonFilters.Walk(filter.Root{Who: "receiver", Dir: "/"})
	return shown, walk.Check(name, false) == filter.Exclude || walk.Check(name, true) == filter.Exclude
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

// setIndex tells the progress line which file is in work.
func (v *receiver) setIndex(f *flist.File, ndx int32) {
	if v.cur == nil {
		return
	}
	p := v.c.Progress
	p.Update(func() {
		p.Xferred, p.Known, p.Complete = v.Stats.Transferred, v.total, v.eof
		p.XferSize, p.TotalSize, p.Busy = v.Stats.TransferredSize, v.dec.TotalSize, f != nil
		p.Index = v.c.place(v.cur, f, ndx)
	})
}

// item is an entry as lines of output show it, until the next one.
func (v *receiver) item(f *flist.File, rq request, hlink string) *report.Item {
	it := &v.line
	v.c.item(it, f, "recv", rq.flags, hlink)
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
