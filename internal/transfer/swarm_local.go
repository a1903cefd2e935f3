package transfer

import (
	"context"
	"crypto/sha256"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/report"
	"golang.org/x/sys/unix"
)

// holdings are the files of this machine that may hold a content that is
// wanted: what this transfer has put in place, what lies in the destination,
// and, kept open, what it has deleted or replaced.
type holdings struct {
	r   *Receiving
	min int64 // smaller files do not count

	mu     sync.Mutex
	placed map[content.ID]*holding
	likely map[content.ID]*holding // that the sender said has the content
	alike  map[likeness][]*holding
	known  map[inode]bool
	kept   []*holding // that keep a descriptor

	walk   sync.Once
	looked bool          // the walk has ended
	before map[int64]int // files by size, without those that this transfer brought
}

type inode struct{ dev, ino uint64 }

// likeness is what a file has in common with one that is wanted: its size, and
// its name or its time of modification or neither.
type likeness struct {
	size, mtime int64
	base        string
}

// maxAlike bounds the files of one likeness that are remembered: trees of many
// files of one size must not cost the square of their number.
const maxAlike = 64

// holding is one file.
type holding struct {
	at   place
	st   fsroot.Stat
	file *os.File // kept open because its name is gone, or about to go

	mu     sync.Mutex
	id     content.ID
	hashed bool
}

const (
	// maxKept bounds the deleted files that are kept open, and so the space
	// that their deletion does not free before the end.
	maxKept = 256
	// maxWalk bounds the entries of the destination that are looked at.
	maxWalk = 4 << 20
	// maxTries bounds the files that are hashed to find one content.
	maxTries = 8
)

func newHoldings(r *Receiving, min int64) *holdings {
	return &holdings{r: r, min: min, placed: map[content.ID]*holding{}, likely: map[content.ID]*holding{}, alike: map[likeness][]*holding{}, known: map[inode]bool{}, before: map[int64]int{}}
}

// keep holds a file of the destination open that is about to be deleted or
// replaced.
func (h *holdings) keep(at place, st *fsroot.Stat) {
	if !st.IsRegular() || st.Size < h.min || st.Size == 0 {
		return
	}
	h.mu.Lock()
	full := len(h.kept) >= maxKept
	h.mu.Unlock()
	if full {
		return
	}
	file, err := at.root.Open(at.name)
	if err != nil {
		return
	}
	now, err := fsroot.Fstat(file)
	if err != nil || !now.IsRegular() || now.Size != st.Size {
		file.Close()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &holding{at: at, st: now, file: file}
	h.kept = append(h.kept, c)
	h.before[now.Size]++
	h.remember(c)
}

// remember notes a file unless it is known. h.mu is held.
func (h *holdings) remember(c *holding) {
	i := inode{c.st.Dev, c.st.Ino}
	if h.known[i] && c.file == nil {
		return
	}
	h.known[i] = true
	for _, k := range [...]likeness{
		{size: c.st.Size, base: baseOf(c.at.name)}, {size: c.st.Size, mtime: c.st.Mtime.Sec}, {size: c.st.Size},
	} {
		if len(h.alike[k]) < maxAlike || c.file != nil {
			h.alike[k] = append(h.alike[k], c)
		}
	}
}

// free closes what is kept, so that its space is free.
func (h *holdings) free() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.kept {
		c.mu.Lock()
		c.file.Close()
		c.file = nil
		c.mu.Unlock()
	}
	h.kept = nil
}

func (h *holdings) close() { h.free() }

// place notes a file whose content was verified.
func (h *holdings) place(at place, st fsroot.Stat, id content.ID) {
	h.mu.Lock()
	h.placed[id] = &holding{at: at, st: st, id: id, hashed: true}
	h.mu.Unlock()
}

// add notes a file that came from the sender, who says that it has the content.
func (h *holdings) add(at place, st fsroot.Stat, id content.ID) {
	if !st.IsRegular() || st.Size < h.min || st.Size == 0 {
		return
	}
	c := &holding{at: at, st: st}
	h.mu.Lock()
	h.likely[id] = c
	h.remember(c)
	h.mu.Unlock()
}

// may reports whether some file may hold a content of that size. It is yes
// until the destination was looked at.
func (h *holdings) may(id content.ID, size int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.looked || h.placed[id] != nil || h.likely[id] != nil || h.before[size] > 0
}

// find returns files that may hold the content, the likeliest first. names are
// the top of what is transferred.
func (h *holdings) find(j *swarmJob) []*holding {
	h.mu.Lock()
	if p := h.placed[j.id]; p != nil {
		h.mu.Unlock()
		return []*holding{p}
	}
	h.mu.Unlock()
	h.walk.Do(func() {
		h.look()
		h.mu.Lock()
		h.looked = true
		h.mu.Unlock()
	})
	f := j.t.f
	h.mu.Lock()
	likely := h.likely[j.id]
	var list []*holding
	if likely != nil {
		list = append(list, likely)
	}
	for _, k := range [...]likeness{{size: f.Size, mtime: f.Mtime}, {size: f.Size, base: f.Base}, {size: f.Size}} {
		list = append(list, h.alike[k]...)
	}
	h.mu.Unlock()
	rank := func(c *holding) int {
		n := 0
		if c == likely {
			n -= 4
		}
		if c.st.Mtime.Sec == f.Mtime {
			n -= 2
		}
		if baseOf(c.at.name) == f.Base {
			n--
		}
		return n
	}
	slices.SortStableFunc(list, func(a, b *holding) int { return rank(a) - rank(b) })
	seen := map[*holding]bool{}
	return slices.DeleteFunc(list, func(c *holding) bool {
		twice := seen[c]
		seen[c] = true
		return twice
	})
}

// look lists the regular files of the destination by size: below the
// directories that the transfer covers, else only beside its files.
func (h *holdings) look() {
	r := h.r
	if r.dest == nil {
		return
	}
	dirs := []string{"."}
	deep := map[string]bool{}
	if r.c.Recurse && r.solo == "" {
		for _, name := range r.swarm.topDirs() {
			if deep[name] = true; name != "." {
				dirs = append(dirs, name)
			}
		}
	}
	dev := uint64(0)
	if r.c.OneFileSystem > 0 {
		if st, err := r.dest.Lstat(""); err == nil {
			dev = st.Dev
		}
	}
	for seen := 0; len(dirs) > 0; {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		ents, err := r.dest.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range ents {
			if seen++; seen > maxWalk {
				return
			}
			name := join(dir, e.Name)
			if e.Type != unix.S_IFREG && e.Type != unix.S_IFDIR && e.Type != 0 {
				continue
			}
			if e.Type == unix.S_IFDIR && !deep[dir] {
				continue
			}
			st, err := r.dest.Lstat(name)
			switch {
			case err != nil:
			case st.IsDir() && deep[dir] && (dev == 0 || st.Dev == dev):
				dirs, deep[name] = append(dirs, name), true
			case st.IsRegular() && st.Size >= h.min && st.Size > 0:
				h.mu.Lock()
				h.before[st.Size]++
				h.remember(&holding{at: r.at(name), st: st})
				h.mu.Unlock()
			}
		}
		delete(deep, dir)
	}
}

// copyHeld completes a job from a file of this machine, if there is one with
// the content.
func (s *swarmer) copyHeld(j *swarmJob) bool {
	if s.cfg.Held != nil {
		if file := s.cfg.Held(j.id); file != nil {
			ok := s.copyFile(j, file)
			file.Close()
			if ok {
				s.why(1, j, "held on this machine, by its index")
				return true
			}
		}
	}
	tries := 0
	for _, c := range s.held.find(j) {
		if s.ctx.Err() != nil || j.err != nil || tries >= maxTries {
			break
		}
		if c.hashedAs() != j.id {
			if c.isHashed() {
				continue
			}
			tries++
		}
		if s.copyHolding(j, c) {
			s.why(1, j, "same content as %s", c.at.shown)
			return true
		}
	}
	return false
}

func (c *holding) hashedAs() content.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}

func (c *holding) isHashed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hashed
}

// copyHolding copies a holding that has the content. It hashes it unless that
// was done; a file that changes meanwhile does not count.
func (s *swarmer) copyHolding(j *swarmJob, c *holding) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	file := c.file
	if file == nil {
		var err error
		if file, err = c.at.root.Open(c.at.name); err != nil {
			return false
		}
		defer file.Close()
	}
	if !unchangedSince(file, &c.st, c.file != nil) {
		return false
	}
	if !c.hashed {
		id, err := hashFile(s.ctx, file, c.st.Size)
		if err != nil || !unchangedSince(file, &c.st, c.file != nil) {
			return false
		}
		c.id, c.hashed = id, true
	}
	if c.id != j.id {
		return false
	}
	return s.copyFile(j, file) && unchangedSince(file, &c.st, c.file != nil)
}

// unchangedSince reports whether an open file is as it was. Losing a name
// changes the ctime of a file that is kept open.
func unchangedSince(file *os.File, was *fsroot.Stat, kept bool) bool {
	st, err := fsroot.Fstat(file)
	return err == nil && st.SameFile(was) && st.Size == was.Size && st.Mtime == was.Mtime && (kept || st.Ctime == was.Ctime)
}

// copyFile copies a file of the right content into the job's temporary one.
func (s *swarmer) copyFile(j *swarmJob, src *os.File) bool {
	if st, err := fsroot.Fstat(src); err != nil || st.Size != j.t.f.Size {
		return false
	}
	if !s.begin(j) {
		return false
	}
	n, how, err := fsroot.CopyRange(j.w.file, src, 0, 0, j.t.f.Size)
	if err != nil || n != j.t.f.Size {
		s.held.free() // there may be too little space
		return false
	}
	j.local = n
	if s.log.Info(report.InfoSwarm, 2) {
		s.why(2, j, "copied by %s", how)
	}
	return true
}

// hashFile returns the content id of a file's first size bytes.
func hashFile(ctx context.Context, f *os.File, size int64) (content.ID, error) {
	h := sha256.New()
	buf := make([]byte, 256<<10)
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return content.ID{}, err
		}
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		h.Write(buf[:n])
		off += int64(n)
		if err != nil && off < size {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return content.ID{}, err
		}
	}
	return content.ID(h.Sum(nil)), nil
}
