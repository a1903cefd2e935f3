package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"
)

// ErrUnknown says that a generation does not have a path, content or pack.
var ErrUnknown = errors.New("not in the index")

// errClosed is returned by a Reader after Close.
var errClosed = errors.New("index reader is closed")

// Reader reads one generation, which never changes. It may be used by several
// goroutines, by another process than the one that writes the index, and
// while newer generations are made: open a new one to see these. Signatures and
// kept bytes are there as long as their generation is the current one or the
// one before; later, reading them may fail with fs.ErrNotExist.
type Reader struct {
	root *os.Root // the state directory

	refs   atomic.Int64 // users of data, and 1 until Close; the last one unmaps
	closed atomic.Bool
	data   []byte // the whole generation file
	mapped bool
	h      *header
	// verified has a bit for each page whose checksum was right.
	verified []atomic.Uint32
	noVerify bool

	filesMu sync.Mutex
	files   map[uint32]*os.File // open data files by number
}

// OpenReader opens the current generation of a module's state directory. It
// returns an error that wraps fs.ErrNotExist when there is none yet.
func OpenReader(dir string) (*Reader, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	// A generation may be superseded and removed between the look at CURRENT
	// and the opening of the file it names.
	for try := 0; ; try++ {
		n, err := readCurrent(root)
		if err == nil {
			var r *Reader
			if r, err = openGeneration(root, n); err == nil {
				return r, nil
			}
		}
		if try == 5 || !errors.Is(err, os.ErrNotExist) || n == 0 {
			root.Close()
			return nil, fmt.Errorf("open index in %s: %w", dir, err)
		}
	}
}

// openGeneration maps generation n; the reader then owns root.
func openGeneration(root *os.Root, n int64) (*Reader, error) {
	f, err := root.Open(generationName(n))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Size() < headerSize {
		return nil, corrupt("%s has %d bytes", generationName(n), fi.Size())
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", generationName(n), err)
	}
	r, err := newReader(data, true)
	if err == nil && r.Generation() != n {
		err = corrupt("%s says it is generation %d", generationName(n), r.Generation())
	}
	if err != nil {
		unix.Munmap(data)
		return nil, err
	}
	r.root, r.mapped = root, true
	return r, nil
}

// newReader reads a generation from memory. Without verify the checksums are
// not looked at: for fuzzing, which would else never get past them.
func newReader(data []byte, verify bool) (*Reader, error) {
	h, err := parseHeader(data, verify)
	if err != nil {
		return nil, err
	}
	if verify && xxh3.Hash(data[h.pagesAt:]) != h.pagesSum {
		return nil, corrupt("checksum of the page table")
	}
	pages := (len(data) - int(h.pagesAt)) / 8
	r := &Reader{
		data: data, h: h, noVerify: !verify,
		verified: make([]atomic.Uint32, (pages+31)/32),
		files:    map[uint32]*os.File{},
	}
	r.refs.Store(1)
	return r, nil
}

// Close releases the reader. What its methods returned stays valid; calls
// that still run finish.
func (r *Reader) Close() error {
	if r.closed.CompareAndSwap(false, true) {
		r.unlock()
	}
	return nil
}

// lock keeps the mapping in place until unlock. Unlike a mutex it may be taken
// again by its holder, from inside an iteration.
func (r *Reader) lock() (unlock func(), err error) {
	for {
		n := r.refs.Load()
		if n == 0 || r.closed.Load() {
			return nil, errClosed
		}
		if r.refs.CompareAndSwap(n, n+1) {
			return r.unlock, nil
		}
	}
}

func (r *Reader) unlock() {
	if r.refs.Add(-1) > 0 {
		return
	}
	r.filesMu.Lock()
	defer r.filesMu.Unlock()
	for _, f := range r.files {
		f.Close()
	}
	if r.mapped {
		unix.Munmap(r.data)
	}
	r.data = nil
	if r.root != nil {
		r.root.Close()
	}
}

// bytes returns n verified bytes at off. The caller holds the lock, and does
// not keep them beyond it.
func (r *Reader) bytes(off, n uint64) ([]byte, error) {
	if off < headerSize || off > r.h.pagesAt || n > r.h.pagesAt-off {
		return nil, corrupt("%d bytes at %d are outside", n, off)
	}
	if n == 0 || r.noVerify {
		return r.data[off : off+n], nil
	}
	for p := (off - headerSize) / pageSize; p <= (off+n-1-headerSize)/pageSize; p++ {
		bit := uint32(1) << (p % 32)
		if r.verified[p/32].Load()&bit != 0 {
			continue
		}
		start := headerSize + p*pageSize
		end := min(start+pageSize, r.h.pagesAt)
		if xxh3.Hash(r.data[start:end]) != binary.LittleEndian.Uint64(r.data[r.h.pagesAt+8*p:]) {
			return nil, corrupt("checksum of the %d bytes at %d", end-start, start)
		}
		r.verified[p/32].Or(bit)
	}
	return r.data[off : off+n], nil
}

// Generation returns the number of the generation.
func (r *Reader) Generation() int64 { return int64(r.h.generation) }

// Created returns when the generation was made.
func (r *Reader) Created() time.Time { return time.Unix(0, int64(r.h.created)) }

// Publishes tells whether contents have packs and signatures.
func (r *Reader) Publishes() bool { return r.h.publish == 1 }

// Len returns the number of paths in the tree.
func (r *Reader) Len() int { return int(r.h.entries - r.h.retired) }

// Contents returns the number of contents that have a path, and their bytes.
func (r *Reader) Contents() (n int, bytes int64) { return int(r.h.live), int64(r.h.liveBytes) }

// Stale tells whether there is a newer generation.
func (r *Reader) Stale() bool {
	n, err := readCurrent(r.root)
	return err == nil && n != r.Generation()
}

// block returns block i without its checks of content.
func (r *Reader) block(i uint64) ([]byte, error) {
	b, err := r.bytes(r.h.blockAt+8*i, min(16, 8*(r.h.blocks-i)))
	if err != nil {
		return nil, err
	}
	start, end := binary.LittleEndian.Uint64(b), r.h.blockAt
	if len(b) == 16 {
		end = binary.LittleEndian.Uint64(b[8:])
	}
	if end < start {
		return nil, corrupt("block %d ends before it starts", i)
	}
	return r.bytes(start, end-start)
}

// cursor runs over entries in order. The caller holds the lock.
type cursor struct {
	r    *Reader
	next uint64 // ordinal of the entry that rest starts with
	rest []byte
	held bool // the next advance stays at the current entry
	entry
}

// advance steps to the next entry; it returns false at the end.
func (c *cursor) advance() (bool, error) {
	if c.held {
		c.held = false
		return true, nil
	}
	if c.next >= c.r.h.entries {
		return false, nil
	}
	if c.next%blockEntries == 0 {
		b, err := c.r.block(c.next / blockEntries)
		if err != nil {
			return false, err
		}
		c.rest, c.path = b, c.path[:0]
	}
	rest, ok := parseEntry(c.rest, &c.entry)
	if !ok || uint64(c.ref) >= c.r.h.contents {
		return false, corrupt("entry %d", c.next)
	}
	c.rest = rest
	c.next++
	return true, nil
}

// seek returns a cursor whose next advance reaches the first entry whose path
// is not below path, unless it is at the end.
func (r *Reader) seek(path string) (*cursor, error) {
	// The last block that starts at or before path.
	var failed error
	i := sort.Search(int(r.h.blocks), func(i int) bool {
		b, err := r.block(uint64(i))
		var e entry
		if err == nil {
			if _, ok := parseEntry(b, &e); !ok {
				err = corrupt("block %d", i)
			}
		}
		if err != nil {
			failed = err
			return true
		}
		return string(e.path) > path
	})
	if failed != nil {
		return nil, failed
	}
	c := &cursor{r: r}
	if i == 0 {
		return c, nil
	}
	c.next = uint64(i-1) * blockEntries
	for {
		ok, err := c.advance()
		if err != nil || !ok {
			return c, err
		}
		if string(c.path) >= path {
			c.held = true
			return c, nil
		}
	}
}

// record returns the content with the ordinal i.
func (r *Reader) record(i uint32) (record, error) {
	if uint64(i) >= r.h.contents {
		return record{}, corrupt("content %d of %d", i, r.h.contents)
	}
	b, err := r.bytes(headerSize+recordSize*uint64(i), recordSize)
	if err != nil {
		return record{}, err
	}
	return parseRecord(b), nil
}

// find returns the ordinal of the content id.
func (r *Reader) find(id *content.ID) (uint32, bool, error) {
	b, err := r.bytes(r.h.fanoutAt+4*fanoutSlot(id, r.h.fanoutBits), 8)
	if err != nil {
		return 0, false, err
	}
	lo, hi := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
	if lo > hi || hi > r.h.contents {
		return 0, false, corrupt("table of contents")
	}
	b, err = r.bytes(headerSize+recordSize*lo, recordSize*(hi-lo))
	if err != nil {
		return 0, false, err
	}
	n := int(hi - lo)
	i := sort.Search(n, func(i int) bool { return bytes.Compare(b[recordSize*i:recordSize*i+32], id[:]) >= 0 })
	if i == n || content.ID(b[recordSize*i:]) != *id {
		return 0, false, nil
	}
	return uint32(lo) + uint32(i), true, nil
}

// packRecord returns the pack with the ordinal i.
func (r *Reader) packRecord(i uint32) (packRecord, error) {
	if uint64(i) >= r.h.packs {
		return packRecord{}, corrupt("pack %d of %d", i, r.h.packs)
	}
	b, err := r.bytes(r.h.packsAt+packSize*uint64(i), packSize)
	if err != nil {
		return packRecord{}, err
	}
	return parsePackRecord(b), nil
}
