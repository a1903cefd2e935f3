package p2p

import (
	"sync"

	"github.com/prsync/prsync/internal/content"
)

// eventQueue stands between the engine's frames and a consumer that may be
// slow: what is reported about one content meanwhile becomes one event, so
// that the queue never holds more events than contents are outstanding.
type eventQueue struct {
	out  chan content.Event
	stop chan struct{}

	mu       sync.Mutex
	wake     *sync.Cond
	order    []uint64
	pending  map[uint64]*content.Event
	finished bool
	once     sync.Once
}

func newEventQueue() *eventQueue {
	q := &eventQueue{
		out: make(chan content.Event), stop: make(chan struct{}),
		pending: map[uint64]*content.Event{},
	}
	q.wake = sync.NewCond(&q.mu)
	return q
}

func (q *eventQueue) push(e content.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if old := q.pending[e.Tag]; old != nil {
		q.pending[e.Tag] = merge(*old, e)
		return
	}
	q.order = append(q.order, e.Tag)
	q.pending[e.Tag] = &e
	q.wake.Signal()
}

// merge returns one event that says what both say.
func merge(a, b content.Event) *content.Event {
	for i := range b.Bytes {
		b.Bytes[i] += a.Bytes[i]
	}
	b.Wasted += a.Wasted
	return &b
}

// finish closes out once everything was delivered.
func (q *eventQueue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished = true
	q.wake.Signal()
}

// close gives up what is undelivered.
func (q *eventQueue) close() {
	q.once.Do(func() { close(q.stop) })
	q.finish()
}

func (q *eventQueue) run(wg *sync.WaitGroup) {
	defer wg.Done()
	defer close(q.out)
	for {
		q.mu.Lock()
		for len(q.order) == 0 && !q.finished {
			q.wake.Wait()
		}
		if len(q.order) == 0 {
			q.mu.Unlock()
			return
		}
		tag := q.order[0]
		q.order = q.order[1:]
		e := *q.pending[tag]
		delete(q.pending, tag)
		q.mu.Unlock()
		select {
		case q.out <- e:
		case <-q.stop:
			return
		}
	}
}
