package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/index"
)

// errChanged says that no file is left which still is as it was indexed.
var errChanged = errors.New("file changed since it was indexed")

// heldFile is an open file that was as the index has it when it was opened.
type heldFile struct {
	*os.File
	st    index.Stat
	links uint64
}

// check reports whether the file still has the bytes that were indexed. Its
// ctime may have changed together with its number of links: that is what
// happens to a file whose name a newer one has taken.
func (f *heldFile) check() error {
	st, links, err := f.now()
	if err != nil {
		return err
	}
	if links != f.links {
		st.Ctime = f.st.Ctime
	}
	if st != f.st {
		return errChanged
	}
	return nil
}

func (f *heldFile) now() (st index.Stat, links uint64, err error) {
	fi, err := f.Stat()
	if err != nil {
		return st, 0, err
	}
	st, ok := index.StatOf(fi)
	sys, ok2 := fi.Sys().(*syscall.Stat_t)
	if !ok || !ok2 {
		return st, 0, errChanged
	}
	return st, uint64(sys.Nlink), nil
}

// openEntry opens the file of an entry below root. A link or another file that
// was put in its place is not what the index has, wherever it leads.
func openEntry(root string, e *index.Entry) (*heldFile, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// Without blocking, should a FIFO have been put there.
	f, err := dir.OpenFile(e.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	h := &heldFile{File: f, st: e.Stat}
	st, links, err := h.now()
	if err == nil && st != e.Stat {
		err = errChanged
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", e.Path, err)
	}
	h.links = links
	return h, nil
}

// maxTried is how many names of a content are tried.
const maxTried = 16

// openContent opens a content under the path it was asked for, or under any
// other that has it.
func openContent(root string, r *index.Reader, path string, id content.ID) (*heldFile, error) {
	err := error(errChanged)
	if e, lookErr := r.Lookup(path); lookErr == nil && e.ID == id && e.Retired.IsZero() {
		var f *heldFile
		if f, err = openEntry(root, &e); err == nil {
			return f, nil
		}
	}
	names, namesErr := r.Names(id, maxTried)
	if namesErr != nil {
		return nil, namesErr
	}
	for i := range names {
		if names[i].Path == path {
			continue
		}
		var f *heldFile
		if f, err = openEntry(root, &names[i]); err == nil {
			return f, nil
		}
	}
	return nil, err
}

// meter measures and limits what a service sends to customers.
type meter struct {
	active  atomic.Int64 // requests being served
	sent    atomic.Int64 // bytes
	uplink  *uplink
	stalled time.Duration // how long a customer may take nothing
}

func newMeter(u *uplink, stalled time.Duration) *meter { return &meter{uplink: u, stalled: stalled} }

const (
	// sendChunk is sent between two looks at the limit.
	sendChunk = 256 << 10
	// heldBack is the end of each answer that is sent only once the file was
	// found unchanged after everything had been read. A customer of a file
	// that is rewritten in place thus gets a short answer, and tries again,
	// instead of a mixture.
	heldBack = 16 << 10
)

// serve answers with the file: ranges, conditions and HEAD as
// http.ServeContent has them, by sendfile(2) where that is possible.
func (m *meter) serve(w http.ResponseWriter, r *http.Request, name string, mtime time.Time, f *heldFile) {
	m.active.Add(1)
	defer m.active.Add(-1)
	setType(w, name)
	http.ServeContent(&checkedWriter{ResponseWriter: w, ctx: r.Context(), f: f, m: m}, r, "", mtime, f.File)
}

// setType sets the content's type by its name alone.
func setType(w http.ResponseWriter, name string) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if h.Get("Content-Type") == "" {
		t := mime.TypeByExtension(path.Ext(name))
		if t == "" {
			t = "application/octet-stream"
		}
		h.Set("Content-Type", t)
	}
}

// checkedWriter writes a file's bytes, the last ones after a check.
type checkedWriter struct {
	http.ResponseWriter
	ctx context.Context
	f   *heldFile
	m   *meter
}

// Unwrap lets http.ResponseController reach the connection.
func (w *checkedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// mayTake gives the customer time for what is sent next: one that has stopped
// taking it must not keep others out.
func (w *checkedWriter) mayTake() {
	http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.m.stalled))
}

// ReadFrom is what http.ServeContent copies through.
func (w *checkedWriter) ReadFrom(src io.Reader) (total int64, err error) {
	l, ok := src.(*io.LimitedReader)
	if !ok {
		return 0, errors.New("host: a body of unknown length")
	}
	for l.N > heldBack {
		n := min(sendChunk, l.N-heldBack)
		if err := w.m.uplink.wait(w.ctx, int(n)); err != nil {
			return total, err
		}
		w.mayTake()
		k, err := io.Copy(w.ResponseWriter, io.LimitReader(l.R, n))
		l.N -= k
		total += k
		w.m.sent.Add(k)
		if err != nil {
			return total, err
		}
		if k < n {
			return total, io.ErrUnexpectedEOF
		}
	}
	tail := make([]byte, l.N)
	if _, err := io.ReadFull(l.R, tail); err != nil {
		panic(http.ErrAbortHandler) // the file has become shorter
	}
	if err := w.f.check(); err != nil {
		panic(http.ErrAbortHandler)
	}
	if err := w.m.uplink.wait(w.ctx, len(tail)); err != nil {
		return total, err
	}
	w.mayTake()
	n, err := w.ResponseWriter.Write(tail)
	l.N -= int64(n)
	w.m.sent.Add(int64(n))
	return total + int64(n), err
}
