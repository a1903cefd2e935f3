package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/fsroot"
)

// queued is a file to read with what happens to its result.
type queued struct {
	reading
	seq    uint32 // among all to read
	pack   int    // of the plan
	moving bool
	ref    uint32 // of the content to be replaced when moving
}

// attempts is how often a file that changes meanwhile is read.
const attempts = 3

// window is how many results may wait for an earlier file.
const window = 64

// read has the todos of the stage read, in parallel, and takes the results in
// the order of their paths.
func (s *scan) read(number int64) error {
	s.results = slices.Repeat([]uint32{refSkipped}, s.todo)
	if err := s.reserveContents(); err != nil {
		return err
	}
	s.moved, s.stats = map[uint32]uint32{}, map[uint32]Stat{}
	packs := packing{scan: s, number: number}

	ctx, cancel := context.WithCancel(s.ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	jobs, ordered := make(chan *queued), make(chan *queued, window)
	for range s.x.cfg.Workers {
		running.Go(func() {
			for q := range jobs {
				q.run(ctx, s.tree, s.x.cfg.Now)
			}
		})
	}
	var failed error // of the goroutine below, valid once ordered is closed
	running.Go(func() {
		defer close(ordered)
		defer close(jobs)
		failed = s.queue(ctx, jobs, ordered)
	})

	var again []*queued
	for q := range ordered {
		<-q.done
		if errors.Is(q.err, errUnstable) {
			q.recycle()
			again = append(again, q)
		} else if err := packs.take(q); err != nil {
			return err
		}
	}
	if failed != nil {
		return failed
	}
	for _, q := range again {
		for try := 1; try < attempts && errors.Is(q.err, errUnstable); try++ {
			q.recycle()
			q.sig, q.pieces, q.tail, q.done = nil, nil, nil, make(chan struct{})
			q.run(ctx, s.tree, s.x.cfg.Now)
		}
		if err := packs.take(q); err != nil {
			return err
		}
	}
	return packs.finish()
}

// queue sends every todo to the workers and, in order, to be taken. What Learn
// knows is done already.
func (s *scan) queue(ctx context.Context, jobs, ordered chan<- *queued) error {
	plan := newPlan(s.bytes, s.x.cfg.PackSize)
	seq := uint32(0)
	return s.stage.each(func(e *staged) error {
		if !e.todo {
			return nil
		}
		q := &queued{
			reading: reading{path: string(e.path), st: e.st, done: make(chan struct{})},
			seq:     seq, moving: e.moving, ref: e.ref,
		}
		seq++
		if s.publish {
			q.cfg = &s.x.cfg
			if e.st.Size > 0 {
				q.pack, q.pieceLength = plan.next(e.st.Size)
			} else {
				q.pieceLength = content.MinPieceLength
			}
		}
		var work chan<- *queued = jobs
		if l, ok := s.learned.entries[q.path]; ok && l.Stat == e.st {
			q.id, q.got = l.ID, l.Stat
			q.learned = true
			close(q.done)
			work = nil
		}
		// The result's place first: whoever waits for it must find it.
		select {
		case ordered <- q:
		case <-ctx.Done():
			return ctx.Err()
		}
		if work == nil {
			return nil
		}
		select {
		case work <- q:
			return nil
		case <-ctx.Done():
			q.err = ctx.Err()
			close(q.done)
			return ctx.Err()
		}
	})
}

// packing takes results in order and lays out the packs.
type packing struct {
	*scan
	number  int64
	current *packer
	plan    int // the pack of the plan that current is
}

func (p *packing) take(q *queued) error {
	defer q.recycle()
	switch {
	case q.err == nil:
	case gone(q.err), p.ctx.Err() != nil:
		if err := p.ctx.Err(); err != nil {
			return err
		}
		p.changed = p.changed || q.moving
		return nil
	default:
		p.changed = p.changed || q.moving
		p.skip(q.path, q.err)
		return nil
	}
	p.changed = true
	if !q.learned {
		p.made.ReadFiles++
		p.made.ReadBytes += q.got.Size
	}
	if q.got != q.st {
		p.stats[q.seq] = q.got
	}
	ref, err := p.content(q)
	p.results[q.seq] = ref
	return err
}

// content returns a reference to the content that was read, entering it when
// it is new or when the generation before lacks something about it.
func (p *packing) content(q *queued) (uint32, error) {
	if i, ok := p.ids.find(p.contents, &q.id); ok {
		c := &p.contents[i]
		if q.keep && c.flags&flagKept == 0 {
			// The same bytes under a name that is not kept came first.
			return i | refNew, p.store(c, q)
		}
		return i | refNew, nil
	}
	c := record{id: q.id, size: q.got.Size, pack: noPack}
	old, known := uint32(0), false
	if p.old != nil {
		var err error
		if old, known, err = p.old.find(&q.id); err != nil {
			return 0, err
		}
	}
	if known {
		had, err := p.old.record(old)
		if err != nil {
			return 0, err
		}
		homed := had.pack != noPack && !p.dissolve[had.pack]
		if !p.publish || (homed || had.size == 0) && (!q.keep || had.flags&flagKept != 0) {
			return old, nil
		}
		if homed {
			c.pack, c.offset = had.pack, had.offset
		}
	}
	if p.publish {
		if err := p.store(&c, q); err != nil {
			return 0, err
		}
		if c.size > 0 && c.pack == noPack {
			if err := p.turn(q); err != nil {
				return 0, err
			}
			c.offset = p.current.place(&q.reading, uint32(len(p.contents)))
			c.pack = uint32(len(p.packs)) | packNew
		}
	}
	p.contents = append(p.contents, c)
	p.ids.add(p.contents)
	i := uint32(len(p.contents) - 1)
	if known {
		p.moved[old] = i
	}
	return i | refNew, nil
}

// store writes the data record of c.
func (p *packing) store(c *record, q *queued) error {
	c.flags = 0
	if q.sig != nil {
		c.flags |= flagSignature
	}
	if q.keep {
		c.flags |= flagKept
	}
	if len(q.sig) == 0 && len(q.kept) == 0 {
		return nil
	}
	off, err := p.data.append(q.sig, q.kept)
	c.data, c.dataOff, c.dataLen = p.data.number, off, uint32(dataHeader+len(q.sig)+len(q.kept))
	return err
}

// turn makes current the pack that q goes to.
func (p *packing) turn(q *queued) error {
	if c := p.current; c != nil && (q.pack > p.plan || c.pieceLength != q.pieceLength || len(c.pieces)/20 >= 2*content.TargetPieces) {
		if err := p.finish(); err != nil {
			return err
		}
	}
	if p.current == nil {
		p.current = &packer{pieceLength: q.pieceLength}
		p.plan = q.pack
	}
	return nil
}

// finish writes the current pack.
func (p *packing) finish() error {
	if p.current == nil {
		return nil
	}
	pack, err := p.current.finish(fmt.Sprintf("%s-%06d-%03d.pack", p.x.cfg.Name, p.number, len(p.packs)))
	if err != nil {
		return err
	}
	if err := fsroot.ReplaceFile(p.x.root, packsDir+"/"+pack.InfoHash.String(), pack.Metainfo("", nil), 0o644); err != nil {
		return fmt.Errorf("pack %s: %w", pack.Name, err)
	}
	p.packs = append(p.packs, packRecord{
		hash: pack.InfoHash, length: pack.Length, bytes: p.current.bytes,
		generation: p.number, contents: uint32(len(pack.Entries)),
	})
	p.current = nil
	return nil
}
