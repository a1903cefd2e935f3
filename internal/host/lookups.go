package host

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// maxLookups is how many large look-ups are answered at a time; each may hold
// tens of megabytes. Others are as large as a header.
const (
	maxLookups  = 8
	smallLookup = 256 << 10
)

const (
	// lookupPatience is how long a look-up waits for a place before one of
	// those that have one is looked at for being slow.
	lookupPatience = time.Second
	// slowLookup is how long the rest of a body may take, by what has come so
	// far, while others wait.
	slowLookup = 10 * time.Second
)

// lookups are the places of large look-ups. A client has one while it sends and
// is answered, however slowly it sends, as long as nobody waits: then the
// slowest is turned away, or a few who send next to nothing would shut the
// others out.
type lookups struct {
	free chan struct{} // one element per place taken

	mu   sync.Mutex
	held map[*lookup]struct{}
}

// lookup is one that has a place. Its body is read through it.
type lookup struct {
	io.ReadCloser
	began time.Time
	size  int64 // of the body; the most it may have when it does not say
	got   atomic.Int64
	cut   func() // ends the reading; nil: that has been done
}

func (l *lookup) Read(b []byte) (int, error) {
	n, err := l.ReadCloser.Read(b)
	l.got.Add(int64(n))
	if err == io.EOF {
		l.got.Store(l.size)
	}
	return n, err
}

// rest is how long the body will still take.
func (l *lookup) rest(now time.Time) time.Duration {
	got := l.got.Load()
	return time.Duration(float64(now.Sub(l.began)) * float64(l.size-got) / float64(max(got, 1)))
}

func newLookups() *lookups {
	return &lookups{free: make(chan struct{}, maxLookups), held: map[*lookup]struct{}{}}
}

// enter lets a look-up of at most limit bytes wait while many large ones are
// answered, not ok when the client has gone. The body of r is then one that is
// turned away when it is too slow for others.
func (p *lookups) enter(w http.ResponseWriter, r *http.Request, limit int64) (done func(), ok bool) {
	if r.ContentLength >= 0 && r.ContentLength <= smallLookup {
		return func() {}, true
	}
	tick := time.NewTicker(lookupPatience)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case p.free <- struct{}{}:
			waiting = false
		case <-r.Context().Done():
			return nil, false
		case now := <-tick.C:
			p.hurry(now)
		}
	}
	l := &lookup{ReadCloser: r.Body, began: time.Now(), size: r.ContentLength}
	if l.size < 0 {
		l.size = limit
	}
	l.cut = func() { http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) }
	r.Body = l
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[l] = struct{}{}
	return func() {
		p.mu.Lock()
		delete(p.held, l)
		p.mu.Unlock()
		<-p.free
	}, true
}

// hurry turns away the one that will take longest, if that is too long.
func (p *lookups) hurry(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var slowest *lookup
	longest := slowLookup
	for l := range p.held {
		if l.cut == nil || now.Sub(l.began) < lookupPatience {
			continue
		}
		if d := l.rest(now); d > longest || d < 0 {
			slowest, longest = l, d
		}
	}
	if slowest != nil {
		slowest.cut()
		slowest.cut = nil
	}
}
