package transfer

import (
	"strings"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
	"golang.org/x/sys/unix"
)

// generator decides for every entry what is to be done with it, does all but
// the transfer of file contents, and asks the sender for those. It owns the
// outgoing stream. rsync 3.5.0 generator.c.
type generator struct {
	*Receiving
	log *report.Log

	lists  []*flist.List // those not yet done with
	cur    int           // index in lists of the one in work
	dirs   []*flist.File
	eof    bool
	total  int
	redo   []int32     // files to ask for again
	failed []int32     // those that are asked for after the next wait
	hdone  []hlinkDone // hard-linked files whose transfer has ended
	// relinked are hard-linked files that are asked for again, whose other names
	// are still to be made.
	relinked map[int32]struct{}
	dones    int // phases that the receiver has finished
	ended    error

	out   wire.NdxState
	phase int
	// again says that a failed file is being asked for a second time: what
	// would make it look done does not count.
	again bool

	itemizing bool
	report    bool        // "is uptodate" lines are wanted in place of %i
	code      report.Code // of the lines with names
	tweak     bool        // directory times and modes are set again at the end
	reTimes   bool
	rePerms   bool
	inProg    map[*flist.List]int
	toRedo    map[*flist.List]int

	parent     string // directory of the entry before
	priorDir   *flist.File
	dryDir     *flist.File // does not exist, in a dry run
	skipDir    *flist.File // whose contents are skipped
	dirDefault uint32

	fuzzyDir    string
	fuzzy       []fuzzyList
	links       linkState
	walk        *filter.Walk
	delWarned   bool
	delayed     []delayedDelete
	deleted     report.Counts
	skipped     int  // deletions that --max-delete stopped
	counting    bool // a pass over the directories tells how much it has listed
	listed      int  // entries so far
	topDevs     map[uint64]bool
	curDev      uint64
	dirDev      map[*flist.File]uint64
	active      map[int32]int64 // sizes of files asked for whose source is to be removed
	activeBytes int64
	line        report.Item
	taken       []event // for take
	window      *delta.Window
	summer      fileSummer
	spare       *target
	untold      int // entries of lists that are done, since the sender was woken for them
	swarm       generatorSwarm
}

// tellAfter is how many entries are dealt with before the sender is woken just
// to send more lists: it is lookahead ahead. When the generator has nothing to
// do, or asks for something, that goes out with it.
const tellAfter = lookahead / 4

// hlinkDone is a finished transfer of a hard-linked file.
type hlinkDone struct {
	ndx    int32
	failed bool
}

// target is an entry as the generator works on it.
type target struct {
	f     *flist.File
	ndx   int32
	name  string
	mode  uint32 // as it will be, which --perms may change
	code  report.Code
	items bool
	// look and basis are what the generator works with; they last as long as
	// the target.
	look  look
	basis basis
	// kept says that a job of the swarm holds on to the target.
	kept bool
}

func newGenerator(r *Receiving) *generator {
	g := &generator{
		Receiving: r, log: r.c.Log.As("generator").Via(r.c.TellInOrder), out: wire.NewNdxState(),
		inProg: map[*flist.List]int{}, toRedo: map[*flist.List]int{}, relinked: map[int32]struct{}{}, window: delta.NewWindow(nil, 0),
		topDevs: map[uint64]bool{}, dirDev: map[*flist.File]uint64{}, active: map[int32]int64{},
	}
	g.links.init()
	g.initSwarm()
	c := r.c
	hasI := c.OutItemize > 0
	logI := c.LogFormat != nil && c.LogFormat.Has('i')
	switch {
	case c.Setup.Protocol >= 29:
		g.itemizing, g.report, g.code = true, !hasI, report.LogFile
		if logI {
			g.code = report.None
		}
	case c.Daemon:
		g.itemizing, g.report, g.code = logI && c.xfers(), true, report.Info
		if g.itemizing || !c.xfers() {
			g.code = report.Client
		}
	case !c.Server:
		g.itemizing, g.report, g.code = hasI, !hasI, report.Info
		if hasI {
			g.code = report.None
		}
	default:
		g.report, g.code = true, report.Info
	}
	g.tweak = !c.ListOnly && r.solo == "" && !c.DryRun
	g.reTimes = c.Times && !c.OmitDirTimes
	if c.Filters != nil && r.dest != nil {
		g.walk = c.Filters.Walk(filter.Root{Who: "generator", Dir: r.destPath, Open: r.openMerge})
	}
	return g
}

// run is the life of the generator. rsync 3.5.0 generator.c:generate_files.
func (g *generator) run() error {
	c := g.c
	if !g.inStep() {
		g.take()
	} else if e, ok := g.events.next(); ok { // the first list; what else has come by now is chance
		g.heard(e)
	}
	g.debugGenr("generator starting pid=%d", c.PID)
	if c.Delete == DeleteBefore && g.solo == "" {
		if err := g.deletePass(); err != nil {
			return err
		}
	}
	if g.log.Debug(report.DebugFlist, 1) {
		how := "enabled"
		if c.WholeFile {
			how = "disabled for local transfer or --whole-file"
		}
		g.log.Printf(report.Info, "delta-transmission %s\n", how)
	}
	for {
		if err := g.list(); err != nil {
			return err
		}
		if c.ReadBatch {
			g.wanted(listLooked)
		}
		if !c.Setup.IncRecurse {
			if err := g.awaitSwarm(); err != nil {
				return err
			}
			g.c.W.WriteNdx(&g.out, wire.NdxDone)
			break
		}
		for {
			if err := g.passing(true); err != nil {
				return err
			}
			if g.cur+1 < len(g.lists) || g.eof {
				break
			}
			if err := g.finished(true); err != nil { // which the other side may wait for
				return err
			}
			if g.cur+1 < len(g.lists) || g.eof {
				break
			}
			if err := g.wait(); err != nil {
				return err
			}
		}
		if g.cur+1 >= len(g.lists) {
			break
		}
		g.cur++
	}
	if err := g.awaitSwarm(); err != nil {
		return err
	}
	g.cur++ // past the last: every list may end now
	if err := g.ending(); err != nil {
		return err
	}
	g.debugGenr("generate_files finished")
	return c.W.Err()
}

// ending runs the phases after all entries were looked at.
func (g *generator) ending() error {
	c := g.c
	proto := c.Setup.Protocol
	earlyDelay := !c.DelayUpdates
	earlyDelete := c.Delete != DeleteDelay && c.Delete != DeleteAfter
	delStats := func() {
		if c.deleting() || c.Force || c.ReadBatch {
			c.W.WriteNdx(&g.out, wire.NdxDelStats)
			writeDelStats(c.W, &g.deleted)
		}
	}
	done := func() { c.W.WriteNdx(&g.out, wire.NdxDone) }
	g.phase++
	g.debugGenr("generate_files phase=%d", g.phase)
	if err := g.awaitDones(1, true); err != nil {
		return err
	}
	// The sender is told of links while it listens: rsync's generator tells it too
	// late, and the run ends with "Invalid packet at end of run".
	for len(g.relinked) > 0 {
		if err := g.wait(); err != nil {
			return err
		}
		if err := g.finished(true); err != nil {
			return err
		}
	}
	g.phase++
	g.debugGenr("generate_files phase=%d", g.phase)
	done()
	if proto >= 29 && earlyDelay {
		done()
	}
	if proto >= 31 && earlyDelete {
		delStats()
		if earlyDelay {
			done()
		}
	}
	if err := g.awaitDones(2, false); err != nil {
		return err
	}
	if proto >= 29 {
		g.phase++
		g.debugGenr("generate_files phase=%d", g.phase)
		if !earlyDelay {
			done()
			if proto >= 31 && earlyDelete {
				done()
			}
		}
		if err := g.awaitDones(3, false); err != nil {
			return err
		}
	}
	if c.Delete == DeleteDelay {
		g.deleteDelayed()
	}
	if c.Delete == DeleteAfter && g.solo == "" && g.total > 0 {
		if err := g.deletePass(); err != nil {
			return err
		}
	}
	if c.MaxDelete >= 0 && g.skipped > 0 {
		g.log.Printf(report.Warning, "Deletions stopped due to --max-delete limit (%d skipped)\n", g.skipped)
		g.io.Set(ioDelLimit)
	}
	if proto >= 31 {
		if !earlyDelete {
			delStats()
			done()
		}
		if err := g.awaitDones(4, false); err != nil {
			return err
		}
	}
	g.log.Heap()
	if (g.rePerms || g.reTimes) && g.tweak && (!c.Setup.IncRecurse || c.Delete == DeleteDelay) {
		if c.Setup.IncRecurse {
			g.touchUp(g.dirs, 0)
		} else {
			for _, l := range g.lists {
				g.touchUp(l.Files, 0)
			}
		}
	}
	return nil
}

// list goes through the entries of the current list.
func (g *generator) list() error {
	l := g.lists[g.cur]
	c := g.c
	if c.HardLinks {
		// Links are joined to what is known: wait until that is enough.
		for c.Setup.IncRecurse && !g.eof && g.total < lookahead/2 {
			if err := g.wait(); err != nil {
				return err
			}
		}
	}
	if c.Setup.IncRecurse && l.Parent >= 0 && int(l.Parent) < len(g.dirs) {
		d := g.dirs[l.Parent]
		if err := g.entry(d, l.Start-1, g.name(d)); err != nil {
			return err
		}
		if (c.Delete == DeleteDuring || c.Delete == DeleteDelay) && !g.missing && !c.ListOnly && d.Gen&flist.MissingDir == 0 {
			if d.Flags&flist.ContentDir != 0 {
				g.deleteIn(g.name(d), d, g.dirDev[d])
			} else {
				g.enterFilters(g.name(d))
			}
			if g.ended != nil {
				return g.ended
			}
		}
	}
	for i, f := range l.Sorted {
		if !f.Active() {
			continue
		}
		ndx := l.Start + int32(i)
		if c.Unsorted {
			ndx = f.Seq
		}
		if err := g.entry(f, ndx, g.name(f)); err != nil {
			return err
		}
		if err := g.passing(false); err != nil {
			return err
		}
	}
	return nil
}

// touchUp sets modes and times of directories that work inside them changed, and
// passes over other entries; from is the number of the first, for --debug=TIME2.
// rsync 3.5.0 generator.c:touch_up_dirs.
func (g *generator) touchUp(dirs []*flist.File, from int) {
	for i, f := range dirs {
		if !f.Active() || !f.IsDir() || !g.c.ImpliedDirs && f.Flags&flist.ImpliedDir != 0 && g.c.Relative {
			continue
		}
		if g.log.Debug(report.DebugTime, 2) {
			g.log.Printf(report.Info, "touch_up_dirs: %s (%d)\n", f.Name(), from+i)
		}
		fixPerms := !g.c.Privilege.IsRoot() && f.Mode&unix.S_IWUSR == 0
		if f.Gen&flist.MissingDir != 0 || !g.reTimes && !fixPerms {
			continue
		}
		name := g.name(f)
		if fixPerms {
			if pin, err := g.pinDir(name); err == nil {
				pin.Chmod(f.Mode)
				pin.Close()
			}
		}
		if !g.reTimes {
			continue
		}
		// The time of a link that stands for the directory (-K) is its own.
		if st, err := g.dest.Lstat(name); err != nil || !g.mtimeDiffers(&st, f) {
			continue
		}
		if pin, err := g.dest.Pin(name); err == nil {
			pin.Utimes(fsroot.Timespec{Nsec: fsroot.OmitTime}, mtimeOf(f))
			pin.Close()
		}
	}
}

func mtimeOf(f *flist.File) fsroot.Timespec { return fsroot.Timespec{Sec: f.Mtime, Nsec: f.Nsec} }

// statDir looks at a directory, through a link where -K keeps it.
func (g *generator) statDir(name string) (fsroot.Stat, error) {
	if g.c.KeepDirlinks {
		return g.dest.Stat(name)
	}
	return g.dest.Lstat(name)
}

func (g *generator) pinDir(name string) (*fsroot.Pin, error) {
	if g.c.KeepDirlinks {
		return g.dest.PinFollow(name)
	}
	return g.dest.Pin(name)
}

// below reports whether an entry lies below a directory.
func below(f, dir *flist.File) bool {
	d, n := f.Dir, dir.Name()
	return d == n || strings.HasPrefix(d, n) && len(d) > len(n) && d[len(n)] == '/'
}

// target returns a target that may be given back with reuse.
func (g *generator) target(f *flist.File, ndx int32, name string) *target {
	t := g.spare
	if g.spare = nil; t == nil {
		t = new(target)
	}
	*t = target{f: f, ndx: ndx, name: name, mode: f.Mode, code: g.code, items: g.itemizing}
	return t
}

// reuse takes back a target that has been dealt with: most entries need no more
// than a look, and should cost no memory.
func (g *generator) reuse(t *target) {
	if !t.kept {
		g.spare = t
	}
}

// request begins the request for a file's contents.
func (g *generator) writeNdx(ndx int32) { g.c.W.WriteNdx(&g.out, ndx) }

// privilege reports whether we act as root.
func (r *Receiving) isRoot() bool {
	return r.c.Privilege == meta.Root || r.c.Privilege == meta.Super || r.c.Privilege == meta.FakeSuper
}
