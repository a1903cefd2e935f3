package delta

import (
	"io"
)

// windowLen is how much of a file is held at once, unless a block is longer.
const windowLen = 256 << 10

// Window shows one stretch of a file after another. It never maps the file: a
// file that shrinks while it is read yields zero bytes and an error that Err
// keeps, so that the transfer can go on and fail its verification.
// rsync 3.5.0 fileio.c:map_ptr
type Window struct {
	r    io.ReaderAt
	size int64
	off  int64  // of buf in the file
	buf  []byte // what is held
	err  error
}

// NewWindow returns a Window over the first size bytes of r.
func NewWindow(r io.ReaderAt, size int64) *Window {
	return &Window{r: r, size: size}
}

// Reset makes w a Window over another file, keeping its memory.
func (w *Window) Reset(r io.ReaderAt, size int64) {
	w.r, w.size, w.err = r, size, nil
	w.off, w.buf = 0, w.buf[:0]
}

// Size returns the length of the file as it was given.
func (w *Window) Size() int64 { return w.size }

// Err returns the first error met while reading, io.ErrUnexpectedEOF when the
// file turned out shorter than its size.
func (w *Window) Err() error { return w.err }

// Bytes returns the n bytes at off, which must lie within the size. They are
// valid until the next call. Calls that move forward read each byte once.
func (w *Window) Bytes(off int64, n int) []byte {
	if off >= w.off && off+int64(n) <= w.off+int64(len(w.buf)) {
		i := int(off - w.off)
		return w.buf[i : i+n : i+n]
	}
	want := int(min(max(int64(n), windowLen), w.size-off))
	want = max(want, n)
	kept := 0
	if off >= w.off && off < w.off+int64(len(w.buf)) {
		kept = len(w.buf) - int(off-w.off)
	}
	src := w.buf[len(w.buf)-kept:]
	if cap(w.buf) < want {
		w.buf = make([]byte, want, max(want, windowLen))
	}
	w.buf = w.buf[:want]
	copy(w.buf, src)
	w.off = off
	w.fill(w.buf[kept:], off+int64(kept))
	return w.buf[:n:n]
}

// fill reads all of p or zeroes what it cannot read.
func (w *Window) fill(p []byte, off int64) {
	n, err := 0, error(nil)
	if off < w.size {
		n, err = w.r.ReadAt(p, off)
	} else {
		err = io.EOF
	}
	if n >= len(p) {
		return
	}
	clear(p[max(n, 0):])
	if w.err == nil {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		w.err = err
	}
}
