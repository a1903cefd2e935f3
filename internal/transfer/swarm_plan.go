package transfer

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"golang.org/x/sys/unix"
)

// How the generator uses a swarm. Every file that it would ask the sender for
// comes by viaSwarm:
//
//	no content id, too small, not the first try  → ask the sender
//	otherwise a job for the swarmer, and, when it has ended (settleSwarm):
//	    the content is there                     → install, print, count
//	    an exact delta is cheaper, or it failed  → ask the sender; what there is
//	                                               of the content is the basis
//
// A job holds its file list as an outstanding request does, and the first
// phase does not end before all jobs have.

// generatorSwarm is what the generator keeps about the swarm.
type generatorSwarm struct {
	*swarmer                        // nil without a swarm
	ended    []*swarmJob            // to be settled
	active   map[*swarmJob]struct{} // submitted and not settled
	hands    *receiver              // does what the receiver does with a complete file
	off      bool                   // a file falls back just now
	direct   map[int32]*swarmJob    // asked of the sender; others may wait for the content
	begin    map[*swarmJob]time.Time
	// What files are a basis by --fuzzy, by their names: of what the sender was
	// asked for, and of jobs.
	lent      map[string]bool
	borrowers map[string][]*swarmJob

	stats report.Stats // of what came this way, added to the others at the end

	ids      map[*flist.File]content.ID // from Lookup
	looked   map[*flist.List]bool
	noLookup bool
}

// receivingSwarm is what the two roles share about the swarm.
type receivingSwarm struct {
	mu      sync.Mutex
	rescues map[int32]*rescue
	delayed []delayedUpdate
	tops    map[string]bool
	size    int64 // of the regular files in the lists
	counts  report.SwarmCounts
}

// rescue is what the swarm left of a file that the sender is asked for now.
type rescue struct {
	w    *writing
	mode uint32
}

// noteTops takes in a file list: the directories that the transfer covers.
func (s *receivingSwarm) noteTops(c *Config, l *flist.List) {
	if c.Swarm == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tops == nil {
		s.tops = map[string]bool{}
	}
	for _, f := range l.Files {
		switch {
		case !f.Active():
		case f.IsRegular():
			s.size += f.Size
		case f.IsDir() && f.Dir == "":
			s.tops[f.Name()] = true
		}
	}
}

func (s *receivingSwarm) topDirs() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tops["."] {
		return []string{"."}
	}
	for name := range s.tops {
		names = append(names, name)
	}
	return names
}

func (s *receivingSwarm) takeRescue(ndx int32) *rescue {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rescues[ndx]
	delete(s.rescues, ndx)
	return r
}

func (s *receivingSwarm) takeDelayed() []delayedUpdate {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.delayed
	s.delayed = nil
	return d
}

// total is the size of all regular files known so far.
func (s *receivingSwarm) total() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// SwarmCounts returns what the swarm did, once Run has returned.
func (r *Receiving) SwarmCounts() report.SwarmCounts { return r.swarm.counts }

// initSwarm makes the generator use the swarm where the options allow it.
func (g *generator) initSwarm() {
	c := g.c
	if c.Swarm == nil || c.Server || c.Local || g.dest == nil || c.Setup.Protocol < 30 || !c.xfers() ||
		c.OnlyBatch || c.ReadBatch || c.Batch != nil || c.Inplace || c.WriteDevices || c.Append != delta.AppendOff {
		return
	}
	g.swarm = generatorSwarm{
		swarmer: newSwarmer(g.Receiving), active: map[*swarmJob]struct{}{}, direct: map[int32]*swarmJob{}, begin: map[*swarmJob]time.Time{},
		hands: newReceiver(g.Receiving), ids: map[*flist.File]content.ID{}, looked: map[*flist.List]bool{},
		lent: map[string]bool{}, borrowers: map[string][]*swarmJob{},
	}
}

// keepForSwarm holds a file that is about to be deleted, in case its content
// is wanted under another name.
func (g *generator) keepForSwarm(name string, mode uint32) {
	if g.swarm.swarmer == nil || fileType(mode) != unix.S_IFREG {
		return
	}
	if st, err := g.dest.Lstat(name); err == nil {
		g.swarm.held.keep(g.at(name), &st)
	}
}

// contentOf returns the content of an entry, if it is known.
func (g *generator) contentOf(f *flist.File) (content.ID, bool) {
	if f.X != nil && f.X.ContentID != nil {
		return content.ID(*f.X.ContentID), true
	}
	if g.swarm.cfg.Lookup == nil || g.swarm.noLookup {
		return content.ID{}, false
	}
	if err := g.lookup(); err != nil {
		g.swarm.noLookup = true
		if g.swarm.cfg.Require && g.ended == nil {
			g.ended = exitcode.New(exitcode.SocketIO, "the swarm's contents cannot be looked up: %w (--swarm=require)", err)
		}
		if g.log.Info(report.InfoSwarm, 1) {
			g.log.Printf(report.Info, "swarm: contents cannot be looked up: %v\n", err)
		}
		return content.ID{}, false
	}
	id, ok := g.swarm.ids[f]
	return id, ok
}

// lookup asks for the contents of all lists that have arrived since the last
// time.
func (g *generator) lookup() error {
	s := &g.swarm
	var files []*flist.File
	var items []content.LookupItem
	ask := func() error {
		if len(items) == 0 {
			return nil
		}
		ids, err := s.cfg.Lookup(s.ctx, items)
		if err == nil && len(ids) != len(items) {
			err = fmt.Errorf("%d answers to %d questions", len(ids), len(items))
		}
		if err != nil {
			return err
		}
		for i, id := range ids {
			if !id.IsZero() {
				s.ids[files[i]] = id
			}
		}
		files, items = files[:0], items[:0]
		return nil
	}
	for _, l := range g.lists[g.cur:] {
		if s.looked[l] {
			continue
		}
		s.looked[l] = true
		for _, f := range l.Files {
			if !f.Active() || !f.IsRegular() || f.Size < s.cfg.MinSize || f.Size == 0 {
				continue
			}
			files = append(files, f)
			items = append(items, content.LookupItem{Path: strings.TrimPrefix(f.Name(), "/"), Size: f.Size, Mtime: f.Mtime})
			if len(items) == content.MaxLookup {
				if err := ask(); err != nil {
					return err
				}
			}
		}
	}
	return ask()
}

// viaSwarm makes a file a job of the swarm, if it qualifies.
func (g *generator) viaSwarm(t *target, b basis, how int, real *look, have *basis) bool {
	s := &g.swarm
	if s.swarmer == nil || s.off || g.again || g.phase != 0 {
		return false
	}
	c, f := g.c, t.f
	if how == found && real != nil {
		s.held.keep(real.at, &real.st)
	}
	if f.Size < s.cfg.MinSize || f.Size == 0 {
		return false
	}
	id, ok := g.contentOf(f)
	if !ok {
		if g.log.Info(report.InfoSwarm, 2) {
			g.log.Printf(report.Info, "swarm: %s: its content is not known\n", t.name)
		}
		return false
	}
	if s.lent[t.name] {
		if g.log.Info(report.InfoSwarm, 2) {
			g.log.Printf(report.Info, "swarm: %s: as it was it is the basis of another file: asking the sender\n", t.name)
		}
		return false
	}
	if g.abbreviated(f) {
		return false // the sender has to be asked for the attributes anyway
	}
	t.kept = true
	j := &swarmJob{t: t, basis: b, how: how, real: real, have: have, id: id, flags: report.ItemTransfer}
	if g.told(f) && !s.cfg.Require && s.leave(j) {
		s.direct[t.ndx] = j
		return false
	}
	if have != nil {
		g.useFuzzy(f)
	}
	if t.items {
		fl := report.ItemTransfer
		if c.Checksum {
			fl |= report.ItemReportChange
		}
		j.flags = g.itemFlags(t, how, real, fl, nil)
	}
	if l, _ := g.find(t.ndx); c.Setup.IncRecurse && l != nil {
		g.inProg[l]++
	}
	if c.HardLinks && f.Flags&flist.Linked != 0 {
		f.Gen |= flist.Sent
		if gr := g.links.group(f); gr != nil {
			gr.busy = t.ndx
		}
	}
	s.active[j] = struct{}{}
	if have != nil && b.kind == basisFuzzy {
		name := fuzzyBasis(t, &b)
		s.borrowers[name] = append(s.borrowers[name], j)
	}
	s.begin[j] = c.Now()
	s.submit(j)
	return true
}

// abbreviated reports whether values of extended attributes have not come with
// the list.
func (g *generator) abbreviated(f *flist.File) bool {
	if g.c.Xattrs == 0 || f.X == nil || f.X.Xattrs == nil {
		return false
	}
	g.xmu.Lock()
	defer g.xmu.Unlock()
	for i := range f.X.Xattrs.Items {
		if f.X.Xattrs.Items[i].Abbreviated() {
			return true
		}
	}
	return false
}

// awaitSwarm waits for all jobs.
func (g *generator) awaitSwarm() error {
	for len(g.swarm.active) > 0 {
		if err := g.finished(false); err != nil {
			return err
		}
		if len(g.swarm.active) == 0 {
			break
		}
		if err := g.wait(); err != nil {
			return err
		}
	}
	return nil
}

// settleSwarm ends the jobs that have come back.
func (g *generator) settleSwarm() error {
	s := &g.swarm
	for len(s.ended) > 0 {
		j := s.ended[0]
		s.ended = s.ended[1:]
		delete(s.active, j)
		g.returns(j)
		began := s.begin[j]
		delete(s.begin, j)
		if j.err == nil && j.plain == "" && j.w != nil {
			g.swarmDone(j, began)
			s.released(j)
			continue
		}
		// Files of the same content wait until this one is in place.
		waits := j.direct && g.told(j.t.f)
		if waits {
			s.direct[j.t.ndx] = j
		}
		err := g.swarmFailed(j)
		if !waits {
			s.released(j)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// told reports whether the generator will hear how a file came out that it
// asks for: with incremental recursion alone every request has an end, and of
// hard links another one may be asked for.
func (g *generator) told(f *flist.File) bool {
	return g.c.Setup.IncRecurse && !(g.c.HardLinks && f.Flags&flist.Linked != 0)
}

// directDone takes note of how a file that the sender was asked for came out.
func (g *generator) directDone(kind eventKind, ndx int32) {
	j := g.swarm.direct[ndx]
	if j == nil {
		return
	}
	delete(g.swarm.direct, ndx)
	if kind == evDone {
		at := g.at(j.t.name)
		if st, err := at.lstat(); err == nil {
			g.swarm.held.add(at, st, j.id)
		}
	}
	g.swarm.released(j)
}

// swarmDone puts a complete file in place and tells of it as the receiver does
// of one that the sender has sent.
func (g *generator) swarmDone(j *swarmJob, began time.Time) {
	c, f, v := g.c, j.t.f, g.swarm.hands
	name := j.t.name
	if c.Sparse {
		if err := punchZeros(j.w.file, f.Size); err != nil {
			v.log.Syserr(report.Warning, err, "making %s sparse failed", g.full(name))
		}
	}
	s := &g.swarm.stats
	s.Transferred++
	s.TransferredSize += f.Size
	s.Literal += f.Size - j.local
	s.Matched += j.local
	if j.flags&report.ItemIsNew != 0 {
		s.Created.Total++
	}
	it := v.item(f, request{ndx: j.t.ndx, flags: j.flags}, "")
	if !c.Checksum && c.ShowsSums() {
		it.Sum = string(c.Setup.XferSum.AppendHex(nil, g.xferSum(j)))
	}
	shown := ""
	if c.LogBefore {
		c.logItem(v.log, report.Client, it)
	} else if v.log.Info(report.InfoName, 1) && v.log.Config().Info[report.InfoProgress] == 1 {
		shown = name
	}
	if p := c.Progress; p != nil {
		p.Swarm(j.local)
		p.Update(func() { p.TotalSize = max(p.TotalSize, g.Receiving.swarm.total()) })
		index := f.Seq
		if l, _ := g.find(j.t.ndx); l != nil {
			index -= l.Num
		}
		p.File(shown, f.Size, int(index), g.total, g.eof, c.Now().Sub(began))
		if p.Asked() {
			p.Update(func() { p.Index, p.Known, p.Complete = int(index), g.total, g.eof })
			p.Instant(c.unnamed(v.log, name))
		}
	}
	code := report.Info
	if c.LogBefore {
		code = report.LogFile
	}
	c.logItem(v.log, code, it)

	in := &incoming{f: f, rq: request{ndx: j.t.ndx, flags: j.flags}, w: j.w, name: name, mode: j.t.mode, at: g.at(name)}
	in.partial, in.hasPartial = g.partialPlace(name)
	if j.have != nil {
		in.at = j.basis.look.at
	}
	made, err := fsroot.Fstat(j.w.file)
	if err := v.finish(in, true); err != nil && g.ended == nil {
		g.ended = err
	}
	g.swarm.totals.Settle(j.local)
	final := g.at(name)
	if len(v.delayed) > 0 {
		final = v.delayed[len(v.delayed)-1].from
		g.Receiving.swarm.mu.Lock()
		g.Receiving.swarm.delayed = append(g.Receiving.swarm.delayed, v.delayed...)
		g.Receiving.swarm.mu.Unlock()
		v.delayed = nil
	}
	if st, e := final.lstat(); err == nil && e == nil && st.SameFile(&made) {
		g.swarm.held.place(final, st, j.id)
		if full := join(g.destPath, name); !c.DelayUpdates && c.Learn.wants(full) {
			c.Learn.Note(full, st, j.id)
		}
	}
	if n := j.fetched[content.FromPeers] + j.fetched[content.FromOrigin]; n > 0 {
		g.swarm.why(1, j, "%d bytes from peers, %d from the host, %d found here",
			j.fetched[content.FromPeers], j.fetched[content.FromOrigin], j.local)
	}
}

// xferSum is the checksum that the sender would have sent behind the file.
func (g *generator) xferSum(j *swarmJob) []byte {
	h := g.c.blockSums().NewFile()
	w := delta.NewWindow(j.w.file, j.t.f.Size)
	for off := int64(0); off < j.t.f.Size; {
		b := w.Bytes(off, int(min(256<<10, j.t.f.Size-off)))
		h.Write(b)
		off += int64(len(b))
	}
	return h.Sum(nil)
}

// swarmFailed asks the sender for a file. The partial temporary file is the
// basis if it has more of the content than what was there before.
func (g *generator) swarmFailed(j *swarmJob) error {
	s := &g.swarm
	var fetched int64
	for _, n := range j.fetched {
		fetched += n
	}
	if p := g.c.Progress; p != nil {
		p.Swarm(-fetched)
	}
	if j.plain != "" {
		s.totals.Leave(j.t.f.Size)
	} else {
		s.totals.Fall(j.t.f.Size)
	}
	if j.err != nil {
		if s.cfg.Require {
			if j.w != nil {
				j.w.discard()
			}
			return exitcode.New(exitcode.SocketIO, "the swarm cannot deliver %s: %w (--swarm=require)", g.full(j.t.name), j.err)
		}
		s.why(1, j, "%v: asking the sender", j.err)
		if errIs(j.err, unix.ENOSPC, unix.EDQUOT) || strings.Contains(j.err.Error(), unix.ENOSPC.Error()) {
			s.held.free()
			if j.w != nil {
				j.w.discard()
				j.w = nil
			}
		}
	}
	if g.c.Setup.IncRecurse {
		if l, _ := g.find(j.t.ndx); l != nil {
			g.inProg[l]--
		}
	}
	s.off = true
	defer func() { s.off = false }()
	b, have := j.basis, j.have
	if j.stale {
		b, have = basis{kind: basisFile, look: j.real}, nil
	}
	if !g.rescues(j) {
		if j.w != nil {
			j.w.discard()
		}
		return g.ask(j.t, b, j.how, j.real, have)
	}
	st, err := fsroot.Fstat(j.w.file)
	if err != nil {
		j.w.discard()
		return g.ask(j.t, b, j.how, j.real, have)
	}
	r := &g.Receiving.swarm
	r.mu.Lock()
	if r.rescues == nil {
		r.rescues = map[int32]*rescue{}
	}
	r.rescues[j.t.ndx] = &rescue{w: j.w, mode: j.t.mode}
	r.mu.Unlock()
	b = basis{kind: basisFile, look: &look{at: j.w.at, st: st}}
	return g.ask(j.t, b, j.how, j.real, &b)
}

// rescues reports whether the temporary file of a failed job is worth more
// than the basis, if there was one.
func (g *generator) rescues(j *swarmJob) bool {
	if j.w == nil || j.plain != "" || g.c.WholeFile {
		return false
	}
	var valid int64
	for _, r := range j.valid {
		valid += r.End - r.Off
	}
	if len(j.valid) == 0 {
		// A swarm that died cannot tell. The sender's sums will.
		valid = j.local + j.fetched[content.FromPeers] + j.fetched[content.FromOrigin]
	}
	if valid == 0 {
		return false
	}
	// Where a signature told what of the basis is of use, that is in the file.
	return j.have == nil || j.local > 0 || valid > j.basis.look.st.Size/2
}

// endSwarm ends the use of the swarm, when both roles have ended.
func (g *generator) endSwarm(err error) {
	s := &g.swarm
	if s.swarmer == nil {
		return
	}
	s.close(err != nil)
	g.take()
	v := s.hands
	for j := range s.active {
		if j.w == nil {
			continue
		}
		if !g.c.Partial || err == nil {
			j.w.discard()
			continue
		}
		in := &incoming{f: j.t.f, w: j.w, name: j.t.name, mode: j.t.mode}
		in.partial, in.hasPartial = g.partialPlace(in.name)
		if v.stream = true; !in.hasPartial {
			// What is kept under the final name may be continued by --append.
			n := int64(0)
			if len(j.valid) > 0 && j.valid[0].Off == 0 {
				n = j.valid[0].End
			}
			v.stream = n > 0 && j.w.file.Truncate(n) == nil
		}
		v.broken(in)
	}
	r := &g.Receiving.swarm
	for _, left := range r.rescues {
		left.w.discard()
	}
	r.rescues = nil
	r.counts = s.totals.Snapshot()
	st := &s.stats
	all := &g.Receiving.Stats
	all.Transferred += st.Transferred
	all.TransferredSize += st.TransferredSize
	all.Literal += st.Literal
	all.Matched += st.Matched
	all.Created.Total += st.Created.Total
}
