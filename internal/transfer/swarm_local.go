package transfer

import (
	"context"
	"crypto/sha256"
	"io"
	"os"
	"sort"
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
	bySize map[int64][]*holding
	known  map[inode]bool
	open   int // holdings that keep a descriptor

	walk sync.Once
}

type inode struct{ dev, ino uint64 }

// holding is one file.
type holding struct {
	at place
	st fsroot.Stat
	// likely is what it should hold, zero where nobody said.
	likely content.ID
	file   *os.File // kept open because its name is gone, or about to go

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
	return &holdings{r: r, min: min, placed: map[content.ID]*holding{}, bySize: map[int64][]*holding{}, known: map[inode]bool{}}
}

// keep holds a file of the destination open that is about to be deleted or
// replaced.
func (h *holdings) keep(at place, st *fsroot.Stat) {
	if !st.IsRegular() || st.Size < h.min || st.Size == 0 {
		return
	}
	h.mu.Lock()
	full := h.open >= maxKept
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
	h.open++
	h.known[inode{now.Dev, now.Ino}] = true
	h.bySize[now.Size] = append(h.bySize[now.Size], &holding{at: at, st: now, file: file})
}

// free closes what is kept, so that its space is free.
func (h *holdings) free() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for size, list := range h.bySize {
		rest := list[:0]
		for _, c := range list {
			c.mu.Lock()
			if c.file != nil {
				c.file.Close()
				c.file = nil
				h.open--
			} else {
				rest = append(rest, c)
			}
			c.mu.Unlock()
		}
		h.bySize[size] = rest
	}
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
	h.mu.Lock()
	h.known[inode{st.Dev, st.Ino}] = true
	h.bySize[st.Size] = append(h.bySize[st.Size], &holding{at: at, st: st, likely: id})
	h.mu.Unlock()
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
	h.walk.Do(h.look)
	h.mu.Lock()
	list := append([]*holding(nil), h.bySize[j.t.f.Size]...)
	h.mu.Unlock()
	f := j.t.f
	rank := func(c *holding) int {
		n := 0
		if c.likely == j.id {
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
	sort.SliceStable(list, func(a, b int) bool { return rank(list[a]) < rank(list[b]) })
	return list
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
				if i := (inode{st.Dev, st.Ino}); !h.known[i] {
					h.known[i] = true
					h.bySize[st.Size] = append(h.bySize[st.Size], &holding{at: r.at(name), st: st})
				}
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
