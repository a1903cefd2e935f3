package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
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
}

// SwarmConfig lets a receiving client use a swarm.
type SwarmConfig struct {
	// Open starts the swarm. It is called once, for the first file that
	// qualifies.
	Open func(ctx context.Context) (Swarm, error)
	// Signature returns the published signature of a content, nil or an error
	// for none.
	Signature func(ctx context.Context, id content.ID) (*content.Signature, error)
	// Held opens a file of this machine that is known to hold the content, nil
	// for none. The function may be nil.
	Held func(id content.ID) *os.File
	// Lookup returns the contents of entries of the file list by name (relative
	// to the transfer), size and time, zero where it is unknown: for senders
	// that do not tell. The function may be nil.
	Lookup func(ctx context.Context, items []content.LookupItem) ([]content.ID, error)
	// Learn takes note of a verified file that was put in place. The function
	// may be nil.
	Learn func(path string, st fsroot.Stat, id content.ID)
	// MinSize is the size in bytes from which files qualify.
	MinSize int64
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
	flags int // as an item shows them
	id    content.ID

	// Filled in by whoever works on it.
	w       *writing
	slot    bool
	local   int64 // bytes that were found on this machine
	fetched [3]int64
	valid   []content.Range // what is right in the file after a failure
	err     error
	plain   string // why the plain way is better; the file was not begun
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

	begun   sync.Once
	once    sync.Once
	swarm   Swarm
	openErr error

	mu       sync.Mutex
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
	var have []content.Range
	if j.have != nil && j.basis.look.st.Size > 0 {
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
	if err := s.open(); err != nil {
		j.err, j.valid = err, have
		return true
	}
	if !s.begin(j) {
		return true
	}
	for _, h := range have {
		j.local += h.End - h.Off
	}
	s.mu.Lock()
	s.tag++
	tag := s.tag
	s.fetching[tag] = j
	s.mu.Unlock()
	err := s.swarm.Fetch(s.ctx, content.Want{Tag: tag, ID: j.id, Length: j.t.f.Size, File: j.w.file, Have: have})
	if err == nil {
		return false
	}
	s.mu.Lock()
	_, mine := s.fetching[tag]
	delete(s.fetching, tag)
	s.mu.Unlock()
	if !mine {
		return false
	}
	j.err, j.valid = err, have
	return true
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

// open starts the swarm once and returns why it cannot be used.
func (s *swarmer) open() error {
	s.once.Do(func() {
		if s.swarm, s.openErr = s.cfg.Open(s.ctx); s.openErr != nil {
			return
		}
		s.wg.Add(1)
		go s.listen()
	})
	return s.openErr
}

// viewInterval is how often the live view is redrawn.
const viewInterval = 250 * time.Millisecond

// listen takes what the swarm reports.
func (s *swarmer) listen() {
	defer s.wg.Done()
	var tick <-chan time.Time
	if s.cfg.View != nil {
		t := time.NewTicker(viewInterval)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case e, ok := <-s.swarm.Events():
			if !ok {
				s.allFailed(errors.New("the swarm has gone"))
				return
			}
			s.event(e)
		case <-tick:
			s.show()
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *swarmer) event(e content.Event) {
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
	for i, b := range e.Bytes {
		if b > 0 {
			j.fetched[i] += b
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
	s.ended(j)
}

// allFailed ends what is outstanding, and keeps more from being asked for.
func (s *swarmer) allFailed(err error) {
	s.mu.Lock()
	jobs := s.fetching
	s.fetching = map[uint64]*swarmJob{}
	s.mu.Unlock()
	for _, j := range jobs {
		j.err = err
		s.ended(j)
	}
}

func (s *swarmer) show() {
	st := s.swarm.Stats()
	s.totals.Peers(st.Peers, st.Uploaded, st.BadPeers)
	s.cfg.View.Update(s.totals.Snapshot())
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
	if s.swarm != nil {
		st := s.swarm.Stats()
		s.totals.Peers(st.Peers, st.Uploaded, st.BadPeers)
	}
	if s.cfg.View != nil {
		s.cfg.View.Finish()
	}
	s.held.close()
}

// salvage asks for the valid ranges of what is being fetched.
func (s *swarmer) salvage() {
	s.mu.Lock()
	var tags []uint64
	for tag := range s.fetching {
		tags = append(tags, tag)
	}
	s.mu.Unlock()
	for _, tag := range tags {
		if s.swarm.Cancel(tag) != nil {
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
