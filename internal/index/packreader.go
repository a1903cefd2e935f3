package index

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/prsync/prsync/internal/content"
	"golang.org/x/sys/unix"
)

// ErrChanged is wrapped by the error of a PackReader that finds no file which
// still is as the index says.
var ErrChanged = errors.New("file changed since it was indexed")

// maxOpenFiles is how many files of a pack are held open.
const maxOpenFiles = 32

// maxNames is how many of a content's paths are tried.
const maxNames = 100

// PackReader reads the virtual blob of a pack from the module's files. Before
// every read it makes sure that the file still has the size, times and inode
// under which its content was indexed. It may be used by several goroutines.
type PackReader struct {
	x    *Index
	pack *content.Pack
	tree *tree

	mu    sync.Mutex
	files map[int]*packFile // by entry
	clock uint64            // of uses
	done  bool
}

type packFile struct {
	f    *os.File
	st   Stat
	used uint64
	busy int // reads under way
	path string
}

// PackReader opens the blob of a pack that the current generation publishes;
// the caller closes it. The error wraps ErrUnknown when there is none.
func (x *Index) PackReader(h content.InfoHash) (*PackReader, error) {
	p, err := x.Pack(h)
	if err != nil {
		return nil, err
	}
	return x.Blob(p)
}

// Blob opens the blob of any pack, for one that holds some of its contents
// under whatever paths; the caller closes it. Reading what is not held gives an
// error that wraps ErrUnknown.
func (x *Index) Blob(p *content.Pack) (*PackReader, error) {
	t, err := openTree(x.cfg.Root, x.dir)
	if err != nil {
		return nil, err
	}
	return &PackReader{x: x, pack: p, tree: t, files: map[int]*packFile{}}, nil
}

// Pack returns the pack being read.
func (r *PackReader) Pack() *content.Pack { return r.pack }

// Close releases the reader.
func (r *PackReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return nil
	}
	r.done = true
	for _, f := range r.files {
		if f.busy == 0 {
			f.f.Close()
		}
	}
	return r.tree.close()
}

// ReadAt reads from the blob. Gaps between contents are zero bytes. The error
// wraps ErrChanged when a content is no longer to be had, in full, under any
// of its names; what was read up to there is returned.
func (r *PackReader) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("pack %s: negative offset", r.pack.InfoHash)
	}
	for i := r.pack.At(off); n < len(b); {
		at := off + int64(n)
		if at >= r.pack.Length {
			return n, io.EOF
		}
		gapEnd := r.pack.Length
		if i < len(r.pack.Entries) {
			gapEnd = r.pack.Entries[i].Offset
		}
		if at < gapEnd {
			gap := b[n:][:min(int64(len(b)-n), gapEnd-at)]
			clear(gap)
			n += len(gap)
			continue
		}
		e := &r.pack.Entries[i]
		part := b[n:][:min(int64(len(b)-n), e.Offset+e.Length-at)]
		k, err := r.readEntry(i, part, at-e.Offset)
		n += k
		if err != nil {
			return n, err
		}
		i++
	}
	return n, nil
}

// Has reports whether each content from off up to end of the blob has a path in
// the current generation. Whether the files are still as they were indexed only
// reading them tells.
func (r *PackReader) Has(off, end int64) bool {
	return r.x.view(func(cur *Reader) error {
		for i := r.pack.At(off); i < len(r.pack.Entries) && r.pack.Entries[i].Offset < end; i++ {
			if c, err := cur.content(r.pack.Entries[i].ID); err != nil {
				return err
			} else if c.retired != 0 {
				return ErrChanged
			}
		}
		return nil
	}) == nil
}

// readEntry reads a part of a content.
func (r *PackReader) readEntry(i int, b []byte, off int64) (int, error) {
	f, err := r.acquire(i)
	if err != nil {
		return 0, err
	}
	n, err := f.f.ReadAt(b, off)
	if err == nil {
		// A change during the read shows as well.
		err = f.check()
	} else if err == io.EOF {
		err = fmt.Errorf("%q: %w", f.path, ErrChanged)
	}
	r.release(i, f, err != nil)
	if err != nil {
		return 0, fmt.Errorf("pack %s, content %s: %w", r.pack.InfoHash, r.pack.Entries[i].ID, err)
	}
	return n, nil
}

func (f *packFile) check() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.f.Fd()), &st); err != nil {
		return err
	}
	if statOf(&st) != f.st {
		return fmt.Errorf("%q: %w", f.path, ErrChanged)
	}
	return nil
}

// acquire returns an open, checked file that has the content of entry i.
func (r *PackReader) acquire(i int) (*packFile, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return nil, os.ErrClosed
	}
	r.clock++
	if f := r.files[i]; f != nil {
		if f.check() == nil {
			f.used = r.clock
			f.busy++
			return f, nil
		}
		r.forget(i)
	}
	f, err := r.open(&r.pack.Entries[i])
	if err != nil {
		return nil, fmt.Errorf("pack %s, content %s: %w", r.pack.InfoHash, r.pack.Entries[i].ID, err)
	}
	f.used, f.busy = r.clock, 1
	for len(r.files) >= maxOpenFiles {
		oldest := -1
		for j, o := range r.files {
			if oldest < 0 || o.used < r.files[oldest].used {
				oldest = j
			}
		}
		r.forget(oldest)
	}
	r.files[i] = f
	return f, nil
}

// forget drops a file; whoever reads it closes it.
func (r *PackReader) forget(i int) {
	if f := r.files[i]; f.busy == 0 {
		f.f.Close()
	}
	delete(r.files, i)
}

func (r *PackReader) release(i int, f *packFile, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.busy--
	if failed && r.files[i] == f {
		delete(r.files, i)
	}
	if f.busy == 0 && (r.done || r.files[i] != f) {
		f.f.Close()
	}
}

// open opens the content under the first of its names that still is as it was
// indexed.
func (r *PackReader) open(e *content.Entry) (*packFile, error) {
	var names []Entry
	err := r.x.view(func(cur *Reader) (err error) {
		names, err = cur.Names(e.ID, maxNames)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("no path has it any more: %w", ErrChanged)
	for _, n := range names {
		fd, openErr := r.tree.open(n.Path, unix.O_RDONLY)
		if openErr != nil {
			err = fmt.Errorf("%q: %w: %w", n.Path, ErrChanged, openErr)
			continue
		}
		f := &packFile{f: os.NewFile(uintptr(fd), n.Path), st: n.Stat, path: n.Path}
		if err = f.check(); err == nil {
			return f, nil
		}
		f.f.Close()
	}
	return nil, err
}
