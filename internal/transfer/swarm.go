package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/report"
)

// A Swarm fetches contents from everyone who holds them. Of an
// implementation is expected:
//
//   - Fetch returns at once. After a nil error exactly one Event with Done set
//     follows for the Want, whatever happens to the swarm; after any other
//     error none does.
//   - A Want without progress fails by itself; nobody here counts the time.
//   - Between Fetch and that last event the file is written by offset only.
//     With a nil Err it holds the whole content, verified against its id.
//   - Events is closed when no more can come.
//
// Its methods may be called by several goroutines.
type Swarm interface {
	Fetch(ctx context.Context, w content.Want) error
	// Cancel gives up a Want; its last event follows.
	Cancel(tag uint64) error
	Events() <-chan content.Event
	Stats() content.SwarmStats
	// Err returns nil as long as the swarm can be used. When it cannot, Events
	// has been or will be closed.
	Err() error
}

// SwarmConfig lets a receiving client use a swarm.
type SwarmConfig struct {
	// Open starts the swarm. It is called for the first file that qualifies,
	// and once more if the swarm dies.
	Open func(ctx context.Context) (Swarm, error)
	// Signature returns the published signature of a content, nil or an error
	// for none.
	Signature func(ctx context.Context, id content.ID) (*content.Signature, error)
	// Held opens a file of this machine that is known to hold the content, nil
	// for none. The function may be nil.
	Held func(id content.ID) *os.File
	// Direct reports whether so many bytes had better come from the sender,
	// because nobody else takes part in the swarm and the link is fast. It may
	// take a moment the first time. The function may be nil: never.
	Direct func(size int64) bool
	// Lookup returns the contents of entries of the file list by name (relative
	// to the transfer), size and time, zero where it is unknown: for senders
	// that do not tell. The function may be nil.
	Lookup func(ctx context.Context, items []content.LookupItem) ([]content.ID, error)
	// MinSize is the size in bytes from which files qualify.
	MinSize int64
	// Debug takes a line about what the swarm does, nil where nobody wants it.
	Debug func(line string)
	// Require makes it an error to fall back.
	Require bool
	// View shows the swarm at work, nil for no view.
	View *report.SwarmView
}

// swarmSlots bounds the contents that are asked for at a time, each of which
// takes a file descriptor here and in the engine.
const swarmSlots = 512

// swarmWorkers prepare files: they copy, hash and match.
const swarmWorkers = 2

// swarmJob is a file that goes by way of the swarm.
type swarmJob struct {
	// Given by the generator, which also settles the job.
	t     *target
	basis basis
	how   int
	real  *look
	have  *basis
	flags int  // as an item shows them
	stale bool // the sender has been asked for what basis is, by --fuzzy: it changes
	id    content.ID

	// Filled in by whoever works on it.
	w       *writing
	line    *line // that it was asked of
	slot    bool
	local   int64 // bytes that were found on this machine
	fetched [3]int64
	valid   []content.Range // what is right in the file after a failure
	err     error
	plain   string // why the plain way is better; the file was not begun
	direct  bool   // because nobody else is in the swarm
}

// swarmer works on the files that go by way of the swarm. The generator
// submits and settles them:
//
//	generator ── submit ──► workers ── Fetch ──► Swarm
//	    ▲                      │ held here            │
//	    └──── events ◄─────────┴────── listener ◄─────┘
type swarmer struct {
	r    *Receiving
	cfg  *SwarmConfig
	log  *report.Log
	held *holdings

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	slots  chan struct{}

	begun  sync.Once
	alone  atomic.Bool // Direct has said yes, and answers at once from now on
	openMu sync.Mutex  // held while the swarm is opened

	mu       sync.Mutex
	line     *line // in use, nil before the first
	lineErr  error
	lines    int // opened
	wake     *sync.Cond
	todo     []*swarmJob
	fetching map[uint64]*swarmJob
	leaders  map[content.ID][]*swarmJob // followers of a content in work
	tag      uint64
	closed   bool

	totals report.SwarmTotals
}

func newSwarmer(r *Receiving) *swarmer {
	s := &swarmer{
		r: r, cfg: r.c.Swarm, log: r.c.Log.As("swarm"), slots: make(chan struct{}, swarmSlots),
		fetching: map[uint64]*swarmJob{}, leaders: map[content.ID][]*swarmJob{},
	}
	s.wake = sync.NewCond(&s.mu)
	s.held = newHoldings(r, s.cfg.MinSize)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// submit queues a job.
func (s *swarmer) submit(j *swarmJob) {
	s.begun.Do(func() {
		for range swarmWorkers {
			s.wg.Add(1)
			go s.work()
		}
	})
	s.totals.Want(j.t.f.Size)
	s.mu.Lock()
	s.todo = append(s.todo, j)
	s.mu.Unlock()
	s.wake.Signal()
}

// leave takes a file that may go straight to the sender without a worker's
// looking at it: nothing here can hold its content.
func (s *swarmer) leave(j *swarmJob) bool {
	if !s.alone.Load() || s.held.may(j.id, j.t.f.Size) {
		return false
	}
	if s.cfg.Held != nil {
		if f := s.cfg.Held(j.id); f != nil {
			f.Close()
			return false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, busy := s.leaders[j.id]; busy || !s.cfg.Direct(j.t.f.Size) {
		return false
	}
	s.leaders[j.id] = nil
	j.direct = true
	s.totals.Want(j.t.f.Size)
	s.totals.Leave(j.t.f.Size)
	return true
}

// work is the life of a worker.
func (s *swarmer) work() {
	defer s.wg.Done()
	for {
		s.mu.Lock()
		for len(s.todo) == 0 && !s.closed {
			s.wake.Wait()
		}
		if s.closed {
			s.mu.Unlock()
			return
		}
		j := s.todo[0]
		s.todo[0] = nil
		s.todo = s.todo[1:]
		if followers, busy := s.leaders[j.id]; busy {
			s.leaders[j.id] = append(followers, j)
			s.mu.Unlock()
			continue
		}
		s.leaders[j.id] = nil
		s.mu.Unlock()
		if s.prepare(j) {
			s.ended(j)
		}
	}
}

// ended hands a job back to the generator.
func (s *swarmer) ended(j *swarmJob) { s.r.events.put(event{kind: evSwarm, job: j}) }

// released lets the jobs for the same content go on, once the first is in
// place or has failed.
func (s *swarmer) released(j *swarmJob) {
	s.mu.Lock()
	followers := s.leaders[j.id]
	delete(s.leaders, j.id)
	s.todo = append(followers, s.todo...)
	s.mu.Unlock()
	s.wake.Broadcast()
	if j.slot {
		j.slot = false
		<-s.slots
	}
}

// errSwarmClosed ends jobs when the transfer ends.
var errSwarmClosed = errors.New("the transfer has ended")

// prepare does what can be done here and asks the swarm for the rest. It
// reports whether that was all.
func (s *swarmer) prepare(j *swarmJob) bool {
	select {
	case s.slots <- struct{}{}:
		j.slot = true
	case <-s.ctx.Done():
		j.err = errSwarmClosed
		return true
	}
	if s.copyHeld(j) || j.err != nil {
		return true
	}
	if s.cfg.Direct != nil && !s.cfg.Require && s.cfg.Direct(j.t.f.Size) {
		s.alone.Store(true)
		j.plain, j.direct = "nobody else is in the swarm, and the link is fast", true
		s.why(2, j, "%s: asking the sender", j.plain)
		return true
	}
	var have []content.Range
	if j.have != nil && j.basis.look.st.Size > 0 {
		if j.t.f.Size < smallDelta {
			j.plain = "a small file with a basis is cheaper as an exact delta"
			s.why(2, j, "%s", j.plain)
			return true
		}
		if have = s.matchBasis(j); j.err != nil || j.plain != "" {
			return true
		}
		if len(have) == 1 && have[0] == (content.Range{Off: 0, End: j.t.f.Size}) {
			if id, err := hashFile(s.ctx, j.w.file, j.t.f.Size); err == nil && id == j.id {
				j.local = j.t.f.Size
				return true
			}
			have = nil // the sums lied: the swarm verifies by pieces
		}
	}
	if _, err := s.open(); err != nil {
		j.err, j.valid = err, have
		return true
	}
	if !s.begin(j) {
		return true
	}
	for _, h := range have {
		j.local += h.End - h.Off
	}
	return !s.fetch(j, have)
}

// fetch asks the swarm for a content. Unless it reports that it did, the job
// has failed.
func (s *swarmer) fetch(j *swarmJob, have []content.Range) bool {
	for {
		l, err := s.open()
		if err != nil {
			j.err, j.valid = err, have
			return false
		}
		s.mu.Lock()
		s.tag++
		tag := s.tag
		s.fetching[tag] = j
		j.line = l
		s.mu.Unlock()
		err = l.swarm.Fetch(s.ctx, content.Want{Tag: tag, ID: j.id, Length: j.t.f.Size, File: j.w.file, Waits: s.cfg.Require, Have: have})
		if err == nil {
			return true
		}
		s.mu.Lock()
		_, mine := s.fetching[tag]
		delete(s.fetching, tag)
		s.mu.Unlock()
		switch {
		case !mine:
			return true
		case l.swarm.Err() == nil:
			j.err, j.valid = err, have
			return false
		}
		// It has died: wait for the next, or for there to be none.
		select {
		case <-l.over:
		case <-s.ctx.Done():
			j.err = errSwarmClosed
			return false
		}
	}
}

// begin makes the job's temporary file, unless it is there.
func (s *swarmer) begin(j *swarmJob) bool {
	if j.w != nil {
		return true
	}
	w, err := s.r.newTemp(j.t.name, j.t.mode)
	if err != nil {
		// The plain way will meet the same, and say so as rsync does.
		j.plain = err.Error()
		return false
	}
	j.w = w
	if s.r.c.Preallocate {
		if err := fsroot.Fallocate(w.file, 0, j.t.f.Size, false); err != nil {
			s.log.Syserr(report.Warning, err, "do_fallocate %s", s.r.full(j.t.name))
		}
	}
	return true
}

// line is a swarm that was opened.
type line struct {
	swarm Swarm
	over  chan struct{} // closed when it has died and the next is open, or none will be
	again []*swarmJob   // to be asked for once more
}

// maxLines is how often the swarm is opened.
const maxLines = 2

// open returns the swarm, opening it first where there is none, or why it
// cannot be used.
func (s *swarmer) open() (*line, error) {
	s.openMu.Lock()
	defer s.openMu.Unlock()
	s.mu.Lock()
	l, err := s.line, s.lineErr
	s.mu.Unlock()
	if l != nil || err != nil {
		return l, err
	}
	return s.connect()
}

// connect opens the swarm. openMu is held.
func (s *swarmer) connect() (*line, error) {
	sw, err := s.cfg.Open(s.ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.line, s.lineErr = nil, err
		return nil, err
	}
	s.lines++
	s.line = &line{swarm: sw, over: make(chan struct{})}
	s.wg.Add(1)
	go s.listen(s.line)
	return s.line, nil
}

// reconnect follows a swarm that has died.
func (s *swarmer) reconnect(l *line) {
	s.openMu.Lock()
	why := l.swarm.Err()
	if why == nil {
		why = errors.New("the swarm has gone")
	}
	if s.lines < maxLines && s.ctx.Err() == nil {
		if s.log.Info(report.InfoSwarm, 1) {
			s.log.Printf(report.Info, "swarm: %v: trying again\n", why)
		}
		_, why = s.connect()
	} else {
		s.mu.Lock()
		s.line, s.lineErr = nil, why
		s.mu.Unlock()
	}
	s.openMu.Unlock()
	close(l.over)
	s.mu.Lock()
	jobs := l.again
	for tag, j := range s.fetching {
		if j.line == l {
			jobs = append(jobs, j)
			delete(s.fetching, tag)
		}
	}
	s.mu.Unlock()
	for _, j := range jobs {
		if why != nil {
			j.err = why
		} else {
			// What was written is verified piece by piece.
			j.err = nil
			if s.fetch(j, []content.Range{{Off: 0, End: j.t.f.Size}}) {
				continue
			}
		}
		s.ended(j)
	}
}

// viewInterval is how often the live view is redrawn.
const viewInterval = 250 * time.Millisecond

// listen takes what a swarm reports.
func (s *swarmer) listen(l *line) {
	defer s.wg.Done()
	var tick <-chan time.Time
	if s.cfg.View != nil {
		t := time.NewTicker(viewInterval)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case e, ok := <-l.swarm.Events():
			if !ok {
				s.reconnect(l)
				return
			}
			s.event(l, e)
		case <-tick:
			s.stats(l.swarm)
			s.cfg.View.Update(s.totals.Snapshot())
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *swarmer) event(l *line, e content.Event) {
	s.mu.Lock()
	j := s.fetching[e.Tag]
	if e.Done {
		delete(s.fetching, e.Tag)
	}
	s.mu.Unlock()
	if j == nil {
		return
	}
	var n int64
	for _, src := range []content.Source{content.FromPeers, content.FromOrigin} {
		if b := e.Bytes[src]; b > 0 {
			j.fetched[src] += b
			n += b
		}
	}
	s.totals.Fetch(e.Bytes[content.FromPeers], e.Bytes[content.FromOrigin], e.Wasted)
	if p := s.r.c.Progress; p != nil {
		p.Swarm(n)
	}
	if !e.Done {
		return
	}
	j.err, j.valid = e.Err, e.Valid
	if e.Err != nil && l.swarm.Err() != nil {
		l.again = append(l.again, j)
		return
	}
	s.ended(j)
}

func (s *swarmer) stats(sw Swarm) {
	st := sw.Stats()
	s.totals.Peers(st.Peers, st.Uploaded, st.BadPeers)
}

// grace is how long a swarm may take to say what it had when a transfer is
// broken off.
const grace = 500 * time.Millisecond

// close ends all work. With keep set, files that were being fetched are kept
// as partial files where --partial says so.
func (s *swarmer) close(keep bool) {
	if keep && s.r.c.Partial {
		s.salvage()
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wake.Broadcast()
	s.wg.Wait()
	if s.line != nil {
		s.stats(s.line.swarm)
	}
	if s.cfg.View != nil {
		s.cfg.View.Finish()
	}
	s.held.close()
}

// salvage asks for the valid ranges of what is being fetched.
func (s *swarmer) salvage() {
	s.mu.Lock()
	l := s.line
	var tags []uint64
	for tag := range s.fetching {
		tags = append(tags, tag)
	}
	s.mu.Unlock()
	for _, tag := range tags {
		if l == nil || l.swarm.Cancel(tag) != nil {
			return
		}
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	for {
		s.mu.Lock()
		n := len(s.fetching)
		s.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-t.C:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// why tells, for --info=swarm2, which way a file goes.
func (s *swarmer) why(level uint8, j *swarmJob, format string, args ...any) {
	if s.log.Info(report.InfoSwarm, level) {
		s.log.Printf(report.Info, "swarm: %s: %s\n", j.t.name, fmt.Sprintf(format, args...))
	}
}
