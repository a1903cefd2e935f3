package engine

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/ipc"
)

// seed is a pack, or a part of it, that lies outside the engine.
type seed struct {
	owner any // who gave it
	// rest is what is left of it while the pack sleeps; nil: the pack must not.
	rest  *sessionSeed
	held  func(entry int) bool
	read  func(entry int, b []byte, off int64) error
	close func()
}

// seedOf returns a seed that holds the entry. p.mu is held.
func (p *pack) seedOf(entry int) *seed {
	for _, sd := range p.seeds {
		if sd.held(entry) {
			return sd
		}
	}
	return nil
}

// Seed offers a pack from a reader of its virtual blob to the swarm. have
// reports which pieces can be read; they are not verified here, the peers do.
// Seeding ends with the returned function.
func (e *Engine) Seed(o content.Offer, meta *content.Pack, r io.ReaderAt, have func(piece int) bool) (stop func(), err error) {
	tr, err := e.trackerOf(o.URL)
	if err != nil {
		return nil, err
	}
	p, err := e.pack(meta, tr)
	if err != nil {
		return nil, err
	}
	sd := &seed{
		held: func(entry int) bool {
			en := meta.Entries[entry]
			first, last := p.piecesOf(en.Offset, en.Offset+en.Length)
			for i := first; i <= last; i++ {
				if !have(i) {
					return false
				}
			}
			return true
		},
		read: func(entry int, b []byte, off int64) error {
			n, err := r.ReadAt(b, meta.Entries[entry].Offset+off)
			if n == len(b) {
				return nil
			}
			return err
		},
		close: func() {},
	}
	sd.owner = sd
	p.addSeed(sd)
	return func() { p.removeSeed(sd) }, nil
}

// addSeed replaces what the same owner offered before.
func (p *pack) addSeed(sd *seed) {
	p.removeSeed(sd.owner)
	p.mu.Lock()
	p.seeds = append(p.seeds, sd)
	var news []int
	for i := range p.pieces {
		if !p.pieces[i].complete && p.pieces[i].wanted == 0 && p.seeded(i) {
			p.pieces[i] = piece{complete: true}
			news = append(news, i)
		}
	}
	p.mu.Unlock()
	for _, i := range news {
		p.t.Piece(i).UpdateCompletion()
	}
	p.tr.poke()
}

// seeded reports whether all contents of piece i are held by seeds or in
// finished files. p.mu is held.
func (p *pack) seeded(i int) bool {
	return p.spans(p.pieceOffset(i), p.pieceOffset(i)+p.meta.PieceSize(i), func(s span) error {
		if s.entry < 0 || p.seedOf(s.entry) != nil {
			return nil
		}
		if sl := p.slots[s.entry]; sl != nil && sl.done {
			return nil
		}
		return errBadPiece
	}) == nil
}

// unknown tells those who seed the pack that the host does not publish it any
// more, or not to us.
func (p *pack) unknown() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, sd := range p.seeds {
		if s, ok := sd.owner.(*session); ok {
			s.unknown(p.meta.InfoHash)
		}
	}
}

func (s *session) unknown(h content.InfoHash) {
	m := ipc.Unknown{InfoHash: h}
	s.out.frame(ipc.TypeUnknown, m.Encode())
}

func (p *pack) removeSeed(owner any) {
	p.mu.Lock()
	var gone []*seed
	rest := p.seeds[:0]
	for _, sd := range p.seeds {
		if sd.owner == owner {
			gone = append(gone, sd)
		} else {
			rest = append(rest, sd)
		}
	}
	p.seeds = rest
	if len(gone) > 0 {
		p.recheck()
	}
	p.mu.Unlock()
	for _, sd := range gone {
		sd.close()
	}
	p.poke()
}

// recheck loses the pieces whose bytes are nowhere any more. p.mu is held.
func (p *pack) recheck() {
	for i := range p.pieces {
		if !p.pieces[i].complete {
			continue
		}
		err := p.spans(p.pieceOffset(i), p.pieceOffset(i)+p.meta.PieceSize(i), func(s span) error {
			if s.entry < 0 || p.slots[s.entry] != nil || p.seedOf(s.entry) != nil || p.spill.has(s.blob, s.n) {
				return nil
			}
			return errBadPiece
		})
		if err != nil {
			p.lose(i)
		}
	}
}

// Limits on the files of a seed that are open at a time.
const (
	seedFiles    = 128
	seedFileTime = 20 * time.Second
)

// seedFileCache keeps files that a client opened for its seed, for a while:
// the client checks a file against its index when it opens it.
type seedFileCache struct {
	open func(content.ID) (*os.File, error)
	ids  func(entry int) content.ID

	mu    sync.Mutex
	gone  bool
	files map[int]*seedFile
}

type seedFile struct {
	f      *os.File
	opened time.Time
	used   time.Time
	mtime  time.Time
	size   int64
	users  int
	stale  bool
}

var errSeedChanged = errors.New("the file changed while it was seeded")

func (c *seedFileCache) read(entry int, b []byte, off int64) error {
	sf, err := c.take(entry)
	if err != nil {
		return err
	}
	defer c.give(sf)
	st, err := sf.f.Stat()
	if err == nil && (!st.ModTime().Equal(sf.mtime) || st.Size() != sf.size) {
		err = errSeedChanged
	}
	if err == nil {
		var n int
		if n, err = sf.f.ReadAt(b, off); n == len(b) {
			return nil
		}
	}
	c.mu.Lock()
	if c.files[entry] == sf {
		delete(c.files, entry)
		sf.stale = true
	}
	c.mu.Unlock()
	return err
}

// take returns the entry's file for the caller's use.
func (c *seedFileCache) take(entry int) (*seedFile, error) {
	now := time.Now()
	c.mu.Lock()
	if sf := c.files[entry]; sf != nil && now.Sub(sf.opened) < seedFileTime {
		sf.users++
		sf.used = now
		c.mu.Unlock()
		return sf, nil
	}
	c.mu.Unlock()
	f, err := c.open(c.ids(entry))
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	sf := &seedFile{f: f, opened: now, used: now, mtime: st.ModTime(), size: st.Size(), users: 1}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		sf.stale = true
		return sf, nil
	}
	c.retire(entry)
	if len(c.files) >= seedFiles {
		oldest := -1
		for k, o := range c.files {
			if oldest < 0 || o.used.Before(c.files[oldest].used) {
				oldest = k
			}
		}
		c.retire(oldest)
	}
	c.files[entry] = sf
	return sf, nil
}

// retire takes a file out of the cache. c.mu is held.
func (c *seedFileCache) retire(entry int) {
	if sf := c.files[entry]; sf != nil {
		delete(c.files, entry)
		if sf.stale = true; sf.users == 0 {
			sf.f.Close()
		}
	}
}

func (c *seedFileCache) give(sf *seedFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sf.users--; sf.users == 0 && sf.stale {
		sf.f.Close()
	}
}

func (c *seedFileCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for entry := range c.files {
		c.retire(entry)
	}
}
