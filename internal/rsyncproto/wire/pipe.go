package wire

import (
	"io"
	"sync"
)

const pipeSize = 256 << 10

// Pipe returns the two ends of an in-process stream with a buffer, for a
// transfer whose both roles run in this process. Closing the writer lets the
// reader drain the buffer and then see io.EOF; closing the reader makes writes
// fail with io.ErrClosedPipe.
func Pipe() (*PipeReader, *PipeWriter) {
	p := &pipe{buf: make([]byte, pipeSize)}
	p.cond.L = &p.mu
	return &PipeReader{p}, &PipeWriter{p}
}

type pipe struct {
	mu      sync.Mutex
	cond    sync.Cond
	buf     []byte // ring
	start   int
	n       int
	wclosed bool
	rclosed bool
}

// PipeReader is the reading end of a Pipe.
type PipeReader struct{ p *pipe }

// PipeWriter is the writing end of a Pipe.
type PipeWriter struct{ p *pipe }

func (r *PipeReader) Read(b []byte) (int, error) {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.n == 0 {
		if p.rclosed {
			return 0, io.ErrClosedPipe
		}
		if p.wclosed {
			return 0, io.EOF
		}
		p.cond.Wait()
	}
	n := copy(b, p.buf[p.start:min(p.start+p.n, len(p.buf))])
	if n < len(b) && n < p.n {
		n += copy(b[n:], p.buf[:p.n-n])
	}
	p.start = (p.start + n) % len(p.buf)
	p.n -= n
	p.cond.Broadcast()
	return n, nil
}

// Close ends the stream from the reading side.
func (r *PipeReader) Close() error {
	r.p.mu.Lock()
	r.p.rclosed = true
	r.p.cond.Broadcast()
	r.p.mu.Unlock()
	return nil
}

func (w *PipeWriter) Write(b []byte) (int, error) {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	done := 0
	for len(b) > 0 {
		if p.rclosed || p.wclosed {
			return done, io.ErrClosedPipe
		}
		if p.n == len(p.buf) {
			p.cond.Wait()
			continue
		}
		end := (p.start + p.n) % len(p.buf)
		lim := len(p.buf)
		if end < p.start {
			lim = p.start
		}
		k := copy(p.buf[end:lim], b)
		p.n += k
		done += k
		b = b[k:]
		p.cond.Broadcast()
	}
	return done, nil
}

// Close ends the stream from the writing side.
func (w *PipeWriter) Close() error {
	w.p.mu.Lock()
	w.p.wclosed = true
	w.p.cond.Broadcast()
	w.p.mu.Unlock()
	return nil
}
