package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"time"

	"github.com/prsync/prsync/internal/content"
	"golang.org/x/sys/unix"
)

// Skip is a path that could not be indexed.
type Skip struct {
	Path string
	Err  error
}

// MaxSkips bounds how many of them a Generation names.
const MaxSkips = 1000

// Generation tells what a scan found and made.
type Generation struct {
	Number  int64
	Changed bool // false: nothing differs, Number is that of before
	Entries int  // paths in the tree
	// Contents that have a path, and the bytes of them.
	Contents int
	Bytes    int64
	Packs    int
	// Files that were read, and the bytes of them.
	ReadFiles int
	ReadBytes int64
	// Added and Dropped count contents that came and went.
	Added, Dropped int
	// Skipped are paths that could not be indexed, NumSkipped all of them.
	Skipped    []Skip
	NumSkipped int
}

// Scan walks the module's tree, reads what changed, and makes a new generation
// if anything did. With publish, contents get packs and signatures and index
// files are kept; without, only identities are recorded, and what Learn knows
// need not be read. On an error, that of ctx among them, the current
// generation stays.
func (x *Index) Scan(ctx context.Context, publish bool) (*Generation, error) {
	return x.update(ctx, publish, nil)
}

// Rescan is Scan for some paths of the module: files, and directories with all
// that is below them. Other paths are taken to be unchanged, those too that
// are hard links to one of them. Before the first generation it scans
// everything.
func (x *Index) Rescan(ctx context.Context, publish bool, paths []string) (*Generation, error) {
	if len(paths) == 0 {
		paths = []string{}
	}
	return x.update(ctx, publish, paths)
}

func (x *Index) update(ctx context.Context, publish bool, paths []string) (*Generation, error) {
	x.writing.Lock()
	defer x.writing.Unlock()
	if x.closed {
		return nil, errClosed
	}
	// A commit may have failed after it had written CURRENT.
	if before, err := x.refresh(); err != nil {
		return nil, fmt.Errorf("index of %s: %w", x.cfg.Root, err)
	} else if before != nil {
		before.Close()
	}
	if x.current != nil && x.current.Publishes() != publish {
		paths = nil // every content needs something else than it has
	}
	s := &scan{x: x, ctx: ctx, publish: publish, old: x.current, now: x.cfg.Now(), made: &Generation{}}
	made, err := s.run(paths)
	if err != nil {
		return nil, fmt.Errorf("index of %s: %w", x.cfg.Root, err)
	}
	return made, nil
}

// scan makes one generation.
type scan struct {
	x       *Index
	ctx     context.Context
	publish bool
	old     *Reader // nil for the first
	now     time.Time
	made    *Generation
	tree    *tree
	stage   *stage
	changed bool

	before *cursor // the entry of the generation before that comes next
	covers func(string) bool

	// What the walk leaves.
	learned  *learned
	todo     int   // files to read
	bytes    int64 // of them
	dissolve map[uint32]bool
	moving   map[uint32]bool // contents queued to leave a dissolved pack

	// What reading leaves.
	contents []record          // new ones, their pack an ordinal in packs with packNew set
	memory   []byte            // that contents lie in
	ids      idTable           // over contents
	moved    map[uint32]uint32 // ordinals before to those in contents that replace them
	results  []uint32          // for each todo: an ordinal before, or with refNew set in contents
	stats    map[uint32]Stat   // for todos that changed since the walk
	packs    []packRecord
	data     dataWriter
}

const (
	packNew    = 1 << 31 // pack is an ordinal in scan.packs
	refNew     = 1 << 31 // result is an ordinal in scan.contents
	refSkipped = 1<<32 - 1
)

func (s *scan) run(paths []string) (*Generation, error) {
	var err error
	if s.tree, err = openTree(s.x.cfg.Root, s.x.dir); err != nil {
		return nil, err
	}
	defer s.tree.close()
	s.tree.hide = s.x.cfg.Hide
	if s.learned, err = readLearned(s.x.root); err != nil {
		return nil, err
	}
	if s.publish {
		s.learned.entries = nil
	}
	if s.stage, err = newStage(s.x.root); err != nil {
		return nil, err
	}
	defer s.stage.discard(s.x.root)
	defer s.discardContents()
	number := int64(1)
	if s.old != nil {
		number = s.old.Generation() + 1
		unlock, err := s.old.lock()
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	s.data = dataWriter{root: s.x.root, number: uint32(number)}
	defer s.data.discard()
	s.changed = s.old == nil || s.old.Publishes() != s.publish

	if err := s.walk(paths); err != nil {
		return nil, err
	}
	if s.todo > 0 {
		if err := s.read(number); err != nil {
			return nil, err
		}
	}
	s.made.Number, s.made.Changed = number, s.changed
	if !s.changed {
		s.made.Number = s.old.Generation()
		s.made.Entries = s.old.Len()
		s.made.Contents, s.made.Bytes = s.old.Contents()
		s.made.Packs = int(s.old.h.packs)
		return s.made, s.learned.forget(s.x.root)
	}
	if err := s.build(number); err != nil {
		return nil, err
	}
	return s.made, s.learned.forget(s.x.root)
}

func (s *scan) skip(path string, err error) {
	s.made.NumSkipped++
	if len(s.made.Skipped) < MaxSkips {
		s.made.Skipped = append(s.made.Skipped, Skip{path, err})
	}
}

// walk merges what is in the tree with the generation before into the stage.
func (s *scan) walk(paths []string) error {
	if err := s.choosePacks(); err != nil {
		return err
	}
	covers := func(string) bool { return true }
	walk := func(file func([]byte, *Stat) error) error { return s.tree.walk(s.ctx, "", file, s.skip) }
	if paths != nil && s.old != nil {
		c, run := s.tree.revisit(s.ctx, paths, s.found, s.skip)
		covers, walk = c, func(func([]byte, *Stat) error) error { return run() }
	}
	s.covers = covers
	if s.old != nil {
		s.before = &cursor{r: s.old}
		if err := s.step(); err != nil {
			return err
		}
	}
	if err := walk(s.found); err != nil {
		return err
	}
	for s.before != nil {
		if err := s.missing(); err != nil {
			return err
		}
	}
	return nil
}

// step moves before to the next entry of the generation before.
func (s *scan) step() error {
	ok, err := s.before.advance()
	if !ok {
		s.before = nil
	}
	return err
}

// found takes a file that the walk met.
func (s *scan) found(path []byte, st *Stat) error {
	for s.before != nil && string(s.before.path) < string(path) {
		if err := s.missing(); err != nil {
			return err
		}
	}
	e := staged{entry: entry{path: path, st: *st}}
	if s.before == nil || string(s.before.path) != string(path) {
		e.todo = true
		return s.add(&e)
	}
	b := s.before
	switch {
	case b.st != *st:
		e.todo = true
		s.changed = true
	default:
		e.ref = b.ref
		if b.retired != 0 {
			s.changed = true
		}
		if s.publish {
			if err := s.revise(&e); err != nil {
				return err
			}
		}
	}
	if err := s.add(&e); err != nil {
		return err
	}
	return s.step()
}

// revise has an unchanged file read again when it lacks what publishing needs:
// a pack because it had none or because its own is given up, or kept bytes.
func (s *scan) revise(e *staged) error {
	c, err := s.old.record(e.ref)
	if err != nil {
		return err
	}
	homeless := c.size > 0 && (c.pack == noPack || s.dissolve[c.pack])
	unkept := c.flags&flagKept == 0 && s.x.cfg.keeps(string(e.path), c.size)
	if (homeless || unkept) && !s.moving[e.ref] {
		s.moving[e.ref] = true
		e.todo, e.moving = true, true
	}
	return nil
}

// missing takes the entry before, which the walk did not meet.
func (s *scan) missing() error {
	b := s.before
	e := staged{entry: entry{path: b.path, st: b.st, ref: b.ref, retired: b.retired}}
	if s.covers(string(b.path)) && e.retired == 0 {
		e.retired = s.now.Unix()
		s.changed = true
		if !s.publish {
			return s.step()
		}
	}
	if e.retired == 0 || s.publish && s.inGrace(e.retired) {
		if err := s.add(&e); err != nil {
			return err
		}
	}
	return s.step()
}

func (s *scan) inGrace(retired int64) bool {
	return s.x.cfg.Grace > 0 && s.now.Unix()-retired < int64(s.x.cfg.Grace.Seconds())
}

func (s *scan) add(e *staged) error {
	if e.todo {
		if s.todo++; s.todo >= refNew {
			return errors.New("more than 2^31 files to read")
		}
		s.bytes += e.st.Size
	}
	return s.stage.add(e)
}

// tinyPart of the usual size makes a pack tiny.
const tinyPart = 16

// choosePacks decides which packs are given up: those mostly dead, and tiny
// ones when there are many.
func (s *scan) choosePacks() error {
	s.dissolve, s.moving = map[uint32]bool{}, map[uint32]bool{}
	if s.old == nil || !s.publish {
		return nil
	}
	var tiny []uint32
	for i := uint32(0); uint64(i) < s.old.h.packs; i++ {
		p, err := s.old.packRecord(i)
		if err != nil {
			return err
		}
		if p.liveBytes*2 < p.bytes {
			s.dissolve[i] = true
		} else if p.bytes < s.x.cfg.PackSize/tinyPart {
			tiny = append(tiny, i)
		}
	}
	if len(tiny) > s.x.cfg.tiny {
		for _, i := range tiny {
			s.dissolve[i] = true
		}
	}
	return nil
}

// gone tells whether an error of reading says that the path is no file any
// more, which the walk just missed.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENXIO)
}

// idTable finds the contents of a slice by their ids; it takes 8 bytes for
// each, without pointers.
type idTable struct {
	slots []uint32 // ordinal + 1
	n     int
}

func (t *idTable) find(recs []record, id *content.ID) (uint32, bool) {
	if len(t.slots) == 0 {
		return 0, false
	}
	for i := t.slot(id); ; i = (i + 1) & (len(t.slots) - 1) {
		s := t.slots[i]
		if s == 0 {
			return 0, false
		}
		if recs[s-1].id == *id {
			return s - 1, true
		}
	}
}

func (t *idTable) slot(id *content.ID) int {
	return int(uint32(id[0])|uint32(id[1])<<8|uint32(id[2])<<16|uint32(id[3])<<24) & (len(t.slots) - 1)
}

// add enters the last of recs.
func (t *idTable) add(recs []record) {
	if t.n*2 >= len(t.slots) {
		t.slots = make([]uint32, max(64, 2*len(t.slots)))
		for i := range recs[:len(recs)-1] {
			t.put(recs, i)
		}
	}
	t.put(recs, len(recs)-1)
	t.n++
}

func (t *idTable) put(recs []record, n int) {
	i := t.slot(&recs[n].id)
	for t.slots[i] != 0 {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = uint32(n) + 1
}

// order returns the ordinals of recs by ascending id.
func order(recs []record) []uint32 {
	o := make([]uint32, len(recs))
	for i := range o {
		o[i] = uint32(i)
	}
	sort.Slice(o, func(i, j int) bool { return string(recs[o[i]].id[:]) < string(recs[o[j]].id[:]) })
	return o
}
