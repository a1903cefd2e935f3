package transfer

import (
	"sync"
	"sync/atomic"
)

// I/O error bits, as they travel (rsync.h: IOERR_…).
const (
	ioGeneral  = 1 << 0 // must be 1
	ioVanished = 1 << 1
	ioDelLimit = 1 << 2
	ioValid    = ioGeneral | ioVanished | ioDelLimit
)

// IOErrors collects what went wrong with files without ending the run.
type IOErrors struct{ bits atomic.Int32 }

// Set adds error bits.
func (e *IOErrors) Set(bits int32) { e.bits.Or(bits & ioValid) }

// Get returns the bits.
func (e *IOErrors) Get() int32 { return e.bits.Load() }

// Result is how a transfer ended, beside an error that broke it off.
type Result struct {
	IOErrors int32
}

// General reports whether a file could not be read or written.
func (r Result) General() bool { return r.IOErrors&ioGeneral != 0 }

// Vanished reports whether a source file had vanished.
func (r Result) Vanished() bool { return r.IOErrors&ioVanished != 0 }

// DelLimit reports whether --max-delete stopped deletions.
func (r Result) DelLimit() bool { return r.IOErrors&ioDelLimit != 0 }

// queue is an unbounded queue from the receiver to the generator: the receiver
// must never wait for the generator, which may be waiting for the sender.
type queue[T any] struct {
	mu     sync.Mutex
	items  []T
	begin  int // of items: those before it were taken by next
	late   int // of items, not signalled yet
	signal chan struct{}
}

// maxLate is how many items wait at most before they are signalled.
const maxLate = 32

func newQueue[T any]() *queue[T] { return &queue[T]{signal: make(chan struct{}, 1)} }

func (q *queue[T]) put(v T) {
	q.mu.Lock()
	q.items = append(q.items, v)
	q.late = 0
	q.mu.Unlock()
	q.wake()
}

func (q *queue[T]) wake() {
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// putLate is put without waking the reader for every single item: whoever
// calls it calls flush before it waits for anything.
func (q *queue[T]) putLate(v T) {
	q.mu.Lock()
	q.items = append(q.items, v)
	q.late++
	due := q.late >= maxLate
	if due {
		q.late = 0
	}
	q.mu.Unlock()
	if due {
		q.wake()
	}
}

// flush signals what putLate has left.
func (q *queue[T]) flush() {
	q.mu.Lock()
	due := q.late > 0
	q.late = 0
	q.mu.Unlock()
	if due {
		q.wake()
	}
}

// next returns the first item, if there is one.
func (q *queue[T]) next() (v T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.begin == len(q.items) {
		return v, false
	}
	var none T
	v, q.items[q.begin] = q.items[q.begin], none
	if q.begin++; 2*q.begin >= len(q.items) { // each item is moved once, on average
		n := copy(q.items, q.items[q.begin:])
		clear(q.items[n:])
		q.items, q.begin = q.items[:n], 0
	}
	q.late = min(q.late, len(q.items)-q.begin)
	return v, true
}

// take appends everything queued to buf.
func (q *queue[T]) take(buf []T) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	buf = append(buf, q.items[q.begin:]...)
	clear(q.items)
	q.items, q.begin, q.late = q.items[:0], 0, 0
	return buf
}
