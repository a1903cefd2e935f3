package transfer

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/delta/compress"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

var silentUnsupported = exitcode.Silent(exitcode.Unsupported)

// Sender is the sending side of a transfer. One goroutine uses it.
type Sender struct {
	c     *Config
	log   *report.Log
	enc   *flist.Encoder
	Stats report.Stats
	io    *IOErrors
	// Publish returns the content id of a regular file of a published module,
	// given the directory its name is relative to; nil for none.
	Publish func(dir string, f *flist.File) *[32]byte
	// DestRoot, of a local copy, tells whether a source is the destination
	// file itself, which --remove-source-files must not remove.
	SameAsDest func(st *fsroot.Stat) bool

	// building lists
	sources        []*source
	in             *source             // for --debug=CHDIR: where rsync's sender would be
	firstLinks     map[[2]uint64]int32 // for --debug=HLINK: device and inode to the first index
	byDir          map[string]int32
	paths          flist.Paths
	slab           flist.Slab
	lastDir        string
	dev            uint64 // -x: of the operand
	lastImplied    string
	lastImpliedSrc int32
	impliedFile    *flist.File
	relNames       map[*flist.File][]relName
	dirs           []dirNode
	summer         fileSummer
	wireDir        map[*flist.File]int32
	nextDir        int32
	listShown      bool
	started        bool
	nextStart      int32
	nextNum        int32
	fatal          error

	// sending
	lists    []*flist.List // those not yet done with, in order
	total    int           // files in all lists so far
	held     int           // of them, in lists that are not done with
	oldTotal int           // of those, in lists up to the current one
	eof      bool          // all lists are sent
	sending  bool          // in the middle of a file
	ndxIn    wire.NdxState
	ndxOut   wire.NdxState
	tokens   compress.Writer
	search   delta.Searcher
	window   *delta.Window
	hash     checksum.FileHash
	sumBuf   [checksum.MaxLen]byte
	blocks   delta.Stats
	handed   bool // the file in work went to the receiver as a whole
	phase    int
	cur      *flist.List
	line     report.Item
}

// NewSender returns the sending side for c.
func NewSender(c *Config, names flist.Names) *Sender {
	s := &Sender{
		c: c, log: c.Log.As("sender"), io: &IOErrors{},
		byDir: map[string]int32{}, relNames: map[*flist.File][]relName{}, wireDir: map[*flist.File]int32{},
		ndxIn: wire.NewNdxState(), ndxOut: wire.NewNdxState(), nextDir: -1,
		window: delta.NewWindow(nil, 0),
	}
	s.enc = flist.NewEncoder(c.W, c.listParams(), names)
	return s
}

// Close releases the source directories.
func (s *Sender) Close() {
	for _, src := range s.sources {
		src.root.Close()
		if src.removal != nil {
			src.removal.Close()
		}
	}
}

// listParams are the shape of file list entries for this transfer.
func (c *Config) listParams() flist.Params {
	st := c.Setup
	return flist.Params{
		Protocol: st.Protocol, IncRecurse: st.IncRecurse, VarintFlags: st.VarintFlags,
		SafeErrors: st.SafeErrors, ID0Names: st.ID0Names, ContentIDs: st.Offer != nil,
		UID: c.Owner, GID: c.Group, Links: c.Links, Devices: c.Devices, Specials: c.Specials,
		HardLinks: c.HardLinks, ACLs: c.ACLs, Xattrs: c.Xattrs > 0, Atimes: c.Atimes,
		Checksum: c.Checksum, SumLen: st.FileSum.Len(), NumericIDs: c.NumericIDs, Relative: c.Relative,
	}
}

// Run answers the generator until it has nothing more to ask.
// rsync 3.5.0 sender.c:send_files.
func (s *Sender) Run() error {
	before := s.io.Get()
	s.debugSend("send_files starting")
	for {
		if s.c.Setup.IncRecurse {
			if err := s.sendMore(lookahead); err != nil {
				return err
			}
		}
		rq, err := s.read()
		if err != nil {
			return err
		}
		if rq.ndx == wire.NdxDone {
			if s.listDone() {
				break
			}
			continue
		}
		if s.c.Setup.IncRecurse {
			if err := s.sendMore(lookahead); err != nil {
				return err
			}
		}
		if err := s.answer(rq); err != nil {
			return err
		}
	}
	if e := s.io.Get(); e != before && s.c.Setup.Protocol >= 30 {
		s.c.W.MsgInt(wire.MsgIOError, e)
	}
	s.debugSend("send files finished")
	s.matchReport()
	s.c.W.WriteNdx(&s.ndxOut, wire.NdxDone)
	return s.c.W.Flush()
}

// listDone takes the generator's word that it has no more to ask of the first
// list, or of a phase, repeats it, and tells whether that was the last one.
func (s *Sender) listDone() (last bool) {
	if s.c.Progress != nil && s.cur != nil && s.c.endsProgress(s.log, s.lists) {
		s.setIndex(nil, 0)
		s.c.Progress.End(0)
	}
	if s.c.Setup.IncRecurse && len(s.lists) > 0 {
		done := s.lists[0]
		s.held -= len(done.Files)
		s.oldTotal -= len(done.Files)
		s.nextStart, s.nextNum = done.End()+1, done.Num+1
		s.lists[0] = nil
		s.lists = s.lists[1:]
		s.slab.GiveBack(done)
		if len(s.lists) > 0 {
			if s.cur == done {
				s.cur = s.lists[0]
			}
			if s.lists[0] == s.cur {
				s.oldTotal = len(s.cur.Files)
			}
			s.c.W.WriteNdx(&s.ndxOut, wire.NdxDone)
			return false
		}
	}
	if s.phase++; s.phase > s.c.lastPhase() {
		return true
	}
	s.debugSend("send_files phase=%d", s.phase)
	s.c.W.WriteNdx(&s.ndxOut, wire.NdxDone)
	return false
}

// matchReport is the line of --debug=DELTASUM1.
func (s *Sender) matchReport() {
	if s.log.Debug(report.DebugDeltasum, 1) {
		b := s.blocks
		s.log.Printf(report.Info, "total: matches=%d  hash_hits=%d  false_alarms=%d data=%d\n", b.Matches, b.HashHits, b.FalseAlarms, b.Literal)
	}
}

// answer sends one file, or notes that something else was done with it.
func (s *Sender) answer(rq request) error {
	f, err := s.file(rq.ndx)
	if err != nil {
		return err
	}
	if err := rq.check(f, s.cur, s.phase, s.log.Who()); err != nil {
		return err
	}
	src := s.sources[f.Src]
	s.chdir(src)
	if s.log.Debug(report.DebugSend, 1) {
		s.debugSend("send_files(%d, %s)", rq.ndx, s.shown(src, f.Name()))
	}
	if s.wantsXattrs(rq.flags) {
		l := f.Xattrs()
		for _, it := range flist.ReadXattrRequest(s.c.R, l, s.log.Who(), f.Name()) {
			it.Wanted = true
		}
		if err := s.c.R.Err(); err != nil {
			return err
		}
	}
	if rq.flags&report.ItemTransfer == 0 {
		s.c.maybeLogItem(s.log, s.item(f, src, rq.flags, rq.xname))
		s.writeAttrs(rq, f, src)
		if rq.flags&report.ItemIsNew != 0 {
			s.Stats.Created.Add(f.IsDir(), f.IsSymlink(), f.IsDevice(), f.IsSpecial())
		}
		return s.c.W.Err()
	}
	redo := f.Flags&flist.Sent != 0
	if !redo && rq.flags&report.ItemIsNew != 0 {
		s.Stats.Created.Total++
	}
	s.Stats.Transferred++
	s.Stats.TransferredSize += f.Size
	if p := s.c.Progress; p != nil && p.Shown() {
		s.setIndex(f, rq.ndx)
	}
	sent0, recv0 := s.c.W.Made(), s.c.R.Taken()
	it := s.item(f, src, rq.flags, "")
	if !s.c.xfers() {
		s.c.logUnsent(s.log, it)
		s.writeAttrs(rq, f, src)
		return s.c.W.Err()
	}
	head, sig, err := s.sums(redo)
	if err != nil {
		return err
	}
	file, st, ok := s.open(f, src, rq.ndx, redo)
	if !ok {
		return s.c.W.Err()
	}
	s.debugSums("send_files mapped %s of size %d", src, f, st.Size)
	s.handed = false
	defer func() {
		if !s.handed {
			file.Close()
		}
	}()
	s.writeAttrs(rq, f, src)
	out := io.Writer(s.c.W)
	if s.c.OnlyBatch && s.c.Batch != nil {
		out = s.c.Batch
	}
	writeSumHead(out, head)
	s.debugSums("calling match_sums %s", src, f)
	if s.c.LogBefore {
		s.c.logItem(s.log, report.Client, it)
	} else if !s.c.Server && s.log.Info(report.InfoName, 1) && s.log.Config().Info[report.InfoProgress] == 1 {
		s.log.Printf(report.Client, "%s\n", f.Name())
	}
	s.sending = true
	if err := s.data(f, file, st.Size, rq, sig, redo); err != nil {
		return err
	}
	s.sending = false
	if p := s.c.Progress; p != nil {
		p.End(st.Size)
		if p.Asked() {
			s.setIndex(f, rq.ndx)
			p.Instant(s.c.unnamed(s.log, f.Name()))
		}
	}
	it.Sent, it.Recv = s.c.W.Made()-sent0, s.c.R.Taken()-recv0
	if s.c.ShowsSums() {
		it.Sum = s.sumText(f)
	}
	code := report.Info
	if s.c.LogBefore {
		code = report.LogFile
	}
	s.c.logItem(s.log, code, it)
	if err := s.window.Err(); err != nil {
		s.io.Set(ioGeneral)
		s.log.Syserr(report.ErrorXfer, readError(err), "read errors mapping %s", s.full(src, f.Name()))
	}
	if s.log.Debug(report.DebugSend, 1) {
		s.debugSend("sender finished %s", s.shown(src, f.Name()))
	}
	f.Flags |= flist.Sent
	s.c.W.EndItem()
	return s.c.W.Err()
}

// setIndex tells the progress line which file is in work; nil is the last of
// the current list.
func (s *Sender) setIndex(f *flist.File, ndx int32) {
	if s.cur == nil {
		return
	}
	p := s.c.Progress
	p.Xferred, p.Known, p.Complete = s.Stats.Transferred, s.total, s.eof
	p.XferSize, p.TotalSize = s.Stats.TransferredSize, s.enc.TotalSize
	p.Index = s.c.place(s.cur, f, ndx)
}

// unnamed returns the name that precedes an instant progress, "" where a line
// with it is printed for every file.
func (c *Config) unnamed(l *report.Log, name string) string {
	if l.Info(report.InfoName, 1) || c.OutItemize > 0 {
		return ""
	}
	return name
}

// place counts the files of all lists up to one that is in work; nil is the
// last of its list.
// rsync 3.5.0 progress.c:set_current_file_index.
func (c *Config) place(l *flist.List, f *flist.File, ndx int32) int {
	if f == nil {
		return int(l.End()-l.Num) - 1
	}
	if c.Unsorted {
		ndx = l.Start + int32(max(0, flist.SearchActive(l.Sorted, f, c.Setup.Protocol)))
	}
	return int(ndx - l.Num)
}

// item is an entry as lines of output show it, until the next one.
func (s *Sender) item(f *flist.File, src *source, flags int, hlink string) *report.Item {
	it := &s.line
	s.c.item(it, f, "send", flags, hlink)
	it.Path = s.logPath(src, f.Name())
	return it
}

func (s *Sender) logPath(src *source, name string) string {
	if src.dir == "" || src.top {
		return name
	}
	if name == "." {
		p, _ := flist.CleanName(src.dir)
		return strings.TrimSuffix(p, "/") + "/." // as rsync names the top
	}
	p, _ := flist.CleanName(join(src.dir, name))
	return p
}

// sumText is %C of a file that was sent.
func (s *Sender) sumText(f *flist.File) string {
	if s.c.Checksum {
		return string(s.c.Setup.FileSum.AppendHex(nil, f.Sum()))
	}
	return string(s.c.Setup.XferSum.AppendHex(nil, s.hash.Sum(nil)))
}

// removalRoot is the source that files are removed from: what lies behind links
// that lead out of it is sent with -L and the like, but not removed. A module is
// confined already, or its root is that of the file system.
func (s *Sender) removalRoot(src *source) (*fsroot.Root, error) {
	if !s.c.follows() || s.c.InsecureLinks || s.c.Confine || s.c.Daemon {
		return src.root, nil
	}
	if src.removal == nil {
		root, err := fsroot.OpenAt(src.root, ".", fsroot.Policy{FollowDirLinks: true, Confine: true})
		if err != nil {
			return nil, err
		}
		src.removal = root
	}
	return src.removal, nil
}

// Success removes a source file that has arrived (--remove-source-files).
// rsync 3.5.0 sender.c:successful_send.
func (s *Sender) Success(ndx int32) error {
	if !s.c.RemoveSource && !s.c.RemoveSent {
		return nil
	}
	f, err := s.file(ndx)
	if err != nil {
		return err
	}
	src := s.sources[f.Src]
	name := f.Name()
	rel := src.rel(name)
	var st fsroot.Stat
	op := "secure-open-parent"
	from, err := s.removalRoot(src)
	behind := func() error { // what keeps the file's directory from being opened
		if dir := path.Dir(rel); dir != "." {
			if _, err := from.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	}
	if err == nil && from != src.root {
		err = behind()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Syserr(report.ErrorXfer, err, "sender failed to %s %s", op, name)
		return nil
	}
	op = "re-lstat"
	if s.c.CopyLinks {
		st, err = src.root.Stat(rel)
	} else {
		st, err = src.root.Lstat(rel)
	}
	if err == nil {
		if s.SameAsDest != nil && s.SameAsDest(&st) {
			s.log.Printf(report.ErrorXfer, "ERROR: Skipping sender remove of destination file: %s\n", name)
			return nil
		}
		if st.Size != f.Size || st.Mtime.Sec != f.Mtime || f.Nsec != 0 && st.Mtime.Nsec != f.Nsec {
			s.log.Printf(report.ErrorXfer, "ERROR: Skipping sender remove for changed file: %s\n", name)
			return nil
		}
		op = "remove"
		err = from.Unlink(rel)
	}
	switch {
	case err == nil:
		if s.log.Info(report.InfoRemove, 1) {
			s.log.Printf(report.Info, "sender removed %s\n", name)
		}
	case errors.Is(err, fs.ErrNotExist):
		s.log.Printf(report.Info, "sender file already removed: %s\n", name)
	default:
		if from == src.root {
			if berr := behind(); berr != nil {
				op, err = "secure-open-parent", berr
			}
		}
		s.log.Syserr(report.ErrorXfer, err, "sender failed to %s %s", op, name)
	}
	return nil
}

// Sending reports, after Run, whether that ended in the middle of a file.
func (s *Sender) Sending() bool { return s.sending }

// TotalSize is the size of all files in the lists.
func (s *Sender) TotalSize() int64 { return s.enc.TotalSize }

// Result tells how sending ended.
func (s *Sender) Result() Result { return Result{IOErrors: s.io.Get()} }

// NoteIOErrors takes the receiving side's error bits in.
func (s *Sender) NoteIOErrors(bits int32) { s.io.Set(bits) }

func (s *Sender) writeDelStats() {
	s.c.W.WriteNdx(&s.ndxOut, wire.NdxDelStats)
	writeDelStats(s.c.W, &s.Stats.Deleted)
}

// Goodbye exchanges the last markers. rsync 3.5.0 main.c:read_final_goodbye.
func (s *Sender) Goodbye() error {
	r, w := s.c.R, s.c.W
	if s.c.Setup.Protocol < 29 {
		if ndx := r.Int(); r.Err() == nil && ndx != wire.NdxDone {
			return badGoodbye(ndx, s.log.Who())
		}
		return r.Err()
	}
	rq, err := s.read()
	if err == nil && rq.ndx == wire.NdxDone && s.c.Setup.Protocol >= 31 {
		w.WriteNdx(&s.ndxOut, wire.NdxDone)
		w.Flush()
		rq, err = s.read()
	}
	if err != nil {
		return err
	}
	if rq.ndx != wire.NdxDone {
		return badGoodbye(rq.ndx, s.log.Who())
	}
	return nil
}

func badGoodbye(ndx int32, who string) error {
	return exitcode.New(exitcode.Protocol, "Invalid packet at end of run (%d) [%s]", ndx, who)
}
