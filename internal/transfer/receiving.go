package transfer

import (
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// Receiving is the receiving side of a transfer: what its two roles, the
// generator and the receiver, share. The lists are immutable once both know
// them; each role keeps what it notes about entries to itself.
type Receiving struct {
	c     *Config
	log   *report.Log // before the roles start, "Receiver"
	dec   *flist.Decoder
	ids   *meta.IDMap
	rules meta.Rules
	io    *IOErrors
	// listIO are the errors that came with lists, which count from their list
	// on: what the generator does before it gets there must not be chance.
	listIO *IOErrors
	// Stats are complete when Run has returned.
	Stats report.Stats

	dest     *fsroot.Root
	destPath string       // absolute, for messages
	hidden   *filter.Walk // the module's rules, nil where there are none
	solo     string       // the one file's local name, "" for a directory
	missing  bool         // the destination does not exist (dry run)
	made     bool         // we have just created it
	alts     []altDir
	temp     *fsroot.Root
	backup   *fsroot.Root
	partial  *fsroot.Root // of an absolute --partial-dir

	// lists, as the receiver knows them; the generator gets them as events
	lists  []*flist.List
	dirs   []*flist.File // all directories, in the order of their numbers
	eof    bool
	total  int
	heard  int64         // see Heard
	in     wire.NdxState // of the indexes read, then the receiver's
	events *queue[event]
	// released counts the lists, from the first on, whose entries the generator
	// does not look at any more.
	released atomic.Int32

	gotStats     bool          // the sender's numbers have come
	batchWants   *queue[int32] // to the reader of a batch: see batch.go
	batchDeleted report.Counts

	xmu sync.Mutex // guards the items of all XattrLists

	swarm receivingSwarm

	// over is the generator's error, with which the receiver ends where it next
	// takes something of the stream: the rest is for whoever sees the peer off.
	over atomic.Pointer[error]

	pmu sync.Mutex // guards partial and backup until they are open
}

// altDir is an alternate destination.
type altDir struct {
	root *fsroot.Root // nil when it does not exist
	path string
}

// eventKind is what the receiver tells the generator.
type eventKind uint8

const (
	evList   eventKind = iota // a list has arrived
	evEOF                     // no more lists
	evRedo                    // the file failed its verification
	evDone                    // the file is in place
	evNoSend                  // the file will not come
	evPhase                   // the sender has finished a phase
	evError                   // the run is broken
	evSwarm                   // a file that goes by the swarm has come to an end
)

type event struct {
	kind eventKind
	ndx  int32
	list *flist.List
	dirs []*flist.File
	job  *swarmJob
	err  error
}

// NewReceiving returns the receiving side for c.
func NewReceiving(c *Config) (*Receiving, error) {
	r := &Receiving{c: c, log: c.Log.As("Receiver").Via(c.TellInOrder), io: &IOErrors{}, listIO: &IOErrors{}, events: newQueue[event](), in: wire.NewNdxState(), batchWants: newQueue[int32]()}
	ids, warnings, err := meta.NewIDMap(c.Names, c.IDs)
	if err != nil {
		return nil, exitcode.New(exitcode.Syntax, "%w", err)
	}
	for _, w := range warnings {
		r.log.Printf(report.Error, "%s\n", w)
	}
	r.ids = ids
	r.rules = c.rules()
	r.dec = flist.NewDecoder(c.R, c.listParams(), r.policy())
	return r, nil
}

// rules are what the transfer preserves.
func (c *Config) rules() meta.Rules {
	r := meta.Rules{
		Perms: c.Perms, Owner: c.Owner, Group: c.Group, Times: c.Times, Atimes: c.Atimes,
		OmitDirTimes: c.OmitDirTimes, OmitLinkTimes: c.OmitLinkTimes, ACLs: c.ACLs,
		Privilege: c.Privilege, ModifyWindow: c.ModifyWindow, Chmod: c.DaemonChmod,
		Xattrs:   meta.XattrRules{Level: c.Xattrs, Privilege: c.Privilege},
		XattrSum: flist.XattrSum,
	}
	if c.Filters != nil && c.Filters.HasXattrRules() {
		r.Xattrs.Exclude = func(name string) bool { return c.Filters.CheckXattr(name) < 0 }
	}
	return r
}

// ended returns the generator's error once that has ended the run.
func (r *Receiving) ended() error {
	if err := r.over.Load(); err != nil {
		return *err
	}
	return nil
}

// Files returns how many entries have arrived.
func (r *Receiving) Files() int { return r.total }

// Message takes a message that concerns the receiving side.
func (r *Receiving) Message(code wire.Msg, ndx int32) {
	if code == wire.MsgNoSend {
		r.events.put(event{kind: evNoSend, ndx: ndx})
	}
}

// NoteIOErrors takes the sender's error bits in.
func (r *Receiving) NoteIOErrors(bits int32) { r.io.Set(bits) }

// Result tells how receiving ended.
func (r *Receiving) Result() Result { return Result{IOErrors: r.io.Get() | r.listIO.Get()} }

// Close releases the directories.
func (r *Receiving) Close() {
	for _, root := range []*fsroot.Root{r.dest, r.temp, r.backup, r.partial} {
		if root != nil {
			root.Close()
		}
	}
	for _, a := range r.alts {
		if a.root != nil {
			a.root.Close()
		}
	}
}

// Heard is how many bytes had come from the sender when it had no more files.
func (r *Receiving) Heard() int64 { return r.heard }

// TotalSize is the size of all files in the lists.
func (r *Receiving) TotalSize() int64 { return r.dec.TotalSize }

// Dir is the absolute path of the destination, as the engine sees it.
func (r *Receiving) Dir() string { return r.destPath }

// full names a path of the destination for a message.
func (r *Receiving) full(name string) string { return r.c.fullName(r.destPath, name) }

// name is where an entry goes, relative to the destination.
func (r *Receiving) name(f *flist.File) string {
	if r.solo != "" {
		return r.solo
	}
	return f.Name()
}

// isMissing reports whether an error says that there is nothing of the name.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// Run receives everything. The list and the destination are known already.
func (r *Receiving) Run() error {
	r.setHidden()
	r.openAlts()
	if err := r.openDirs(); err != nil {
		return err
	}
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
		if e, ok := err.(*exitcode.Error); ok && e.Who == "" {
			mine := *e
			mine.Who = "receiver"
			err = &mine
		}
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
		// The receiver, which owns the incoming stream, meets its end. If it is the
		// outgoing one that broke, it reads what the peer said before it went.
		if r.c.W.Err() == nil {
			over := err
			r.over.Store(&over)
		}
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
