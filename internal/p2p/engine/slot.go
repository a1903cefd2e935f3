package engine

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// sink receives what happens to a want. It must not block: locks are held.
type sink interface {
	event(content.Event)
}

// want is one content that a client asks for.
type want struct {
	sink   sink
	tag    uint64
	id     content.ID
	length int64
	waits  bool // for a host that has gone, until Stall
	have   []content.Range
	file   *os.File // ours: the client's descriptor, duplicated

	entry    int                  // valid when it is attached
	attached atomic.Pointer[pack] // nil before
	over     atomic.Bool          // its last event was sent
}

// end sends the last event, once.
func (w *want) end(err error, valid []content.Range) {
	if w.over.Swap(true) {
		return
	}
	w.sink.event(content.Event{Tag: w.tag, Done: true, Err: err, Valid: valid})
}

// slot is a content of a pack that lies in a file given by a client: first
// while it is fetched, then while it is seeded.
type slot struct {
	entry   int
	owner   sink // whose file it is
	file    *os.File
	have    []content.Range // what the client had, not verified yet
	wants   []*want         // unfinished; the first one gave the file
	left    int             // pieces that are not complete, nor in parts
	parts   map[int]bool    // pieces of which the origin sent our part alone
	gone    time.Time       // when the origin said that it has not even our part of a piece
	done    bool            // the whole content was verified
	doneAt  time.Time
	expires time.Time // no client is left; zero: one is

	sealed atomic.Bool // done, for those without the pack's lock
}

func (s *slot) isDone() bool { return s.sealed.Load() }

// read fills b from the file. A finished file that was written to afterwards
// is not what was verified.
func (s *slot) read(b []byte, off int64) error {
	if s.sealed.Load() {
		if st, err := s.file.Stat(); err != nil {
			return err
		} else if st.ModTime().After(s.doneAt) {
			return errors.New("the file was changed after it was fetched")
		}
	}
	n, err := s.file.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (s *slot) write(b []byte, off int64) error {
	_, err := s.file.WriteAt(b, off)
	return err
}

func (s *slot) close() { s.file.Close() }

// tell reports to every want of the slot.
func (s *slot) tell(ev content.Event) {
	for _, w := range s.wants {
		if !w.over.Load() {
			ev.Tag = w.tag
			w.sink.event(ev)
		}
	}
}

// takeHave removes what the client had from off to end and returns how many
// bytes that were.
func (s *slot) takeHave(off, end int64) (n int64) {
	if len(s.have) == 0 {
		return 0
	}
	var keep []content.Range
	for _, r := range s.have {
		lo, hi := max(r.Off, off), min(r.End, end)
		if lo >= hi {
			keep = append(keep, r)
			continue
		}
		n += hi - lo
		if r.Off < lo {
			keep = append(keep, content.Range{Off: r.Off, End: lo})
		}
		if hi < r.End {
			keep = append(keep, content.Range{Off: hi, End: r.End})
		}
	}
	if n > 0 {
		s.have = keep
	}
	return n
}

// lacks returns the hull of the bytes from off to end that the client does not
// have.
func (s *slot) lacks(off, end int64) (int64, int64) {
	for _, r := range s.have {
		if r.Off <= off && off < r.End {
			off = r.End
		}
	}
	for i := len(s.have) - 1; i >= 0; i-- {
		if r := s.have[i]; r.Off < end && end <= r.End {
			end = r.Off
		}
	}
	if off >= end {
		return 0, 0
	}
	return off, end
}

// attach begins a want for an entry of the pack.
func (p *pack) attach(entry int, w *want) {
	e := p.meta.Entries[entry]
	if e.Length != w.length {
		w.end(fmt.Errorf("content %s has %d bytes, not %d", w.id, e.Length, w.length), nil)
		w.file.Close()
		return
	}
	first, last := p.piecesOf(e.Offset, e.Offset+e.Length)
	unlock := p.lockPieces(first, last)
	p.mu.Lock()
	w.entry = entry
	w.attached.Store(p)
	if p.gone || w.over.Load() {
		w.end(ErrClosed, nil)
		p.mu.Unlock()
		unlock()
		w.file.Close()
		return
	}
	if s := p.slots[entry]; s != nil {
		s.wants = append(s.wants, w)
		p.mu.Unlock()
		unlock()
		if s.isDone() {
			p.e.spawn(func() { p.deliver(s) })
		}
		return
	}
	s := &slot{entry: entry, owner: w.sink, file: w.file, have: w.have, wants: []*want{w}}
	var move []int // pieces with bytes of this content elsewhere
	for i := first; i <= last; i++ {
		if pc := &p.pieces[i]; pc.complete || pc.touched || pc.origin {
			move = append(move, i)
		}
	}
	p.mu.Unlock()
	moved := p.moveIn(s, e, move)
	p.mu.Lock()
	for _, i := range move {
		if !moved[i] {
			p.lose(i)
		}
	}
	p.slots[entry] = s
	var ev content.Event
	for i := first; i <= last; i++ {
		pc := &p.pieces[i]
		if pc.wanted++; pc.complete {
			off, end := p.within(e, i)
			had, by := s.takeHave(off, end), byLocal
			if b, ok := p.brought[share{i, entry}]; ok {
				by = b
				delete(p.brought, share{i, entry})
			}
			ev.Bytes[byLocal] += had
			ev.Bytes[by] += end - off - had
			continue
		}
		if pc.wanted == 1 {
			p.left += p.meta.PieceSize(i)
		}
		s.left++
		if off, end := p.missing(i); off == end && !pc.checking {
			pc.checking = true
			p.checks = append(p.checks, i)
		}
	}
	p.progress = time.Now()
	p.plan.wantAt = p.progress
	if ev.Bytes != [3]int64{} {
		for src, n := range ev.Bytes {
			p.e.totals.bytes[src].Add(n)
		}
		s.tell(ev)
	}
	whole := s.left == 0
	p.mu.Unlock()
	unlock()
	if whole {
		p.e.spawn(func() { p.finish(s) })
	}
	p.tr.poke()
	p.poke()
}

// within returns the content's bytes that lie in piece i, as offsets in the
// content.
func (p *pack) within(e content.Entry, i int) (off, end int64) {
	return max(p.pieceOffset(i)-e.Offset, 0),
		min(p.pieceOffset(i)+p.meta.PieceSize(i)-e.Offset, e.Length)
}

// lockPieces keeps everybody from writing into the pieces or verifying them.
func (p *pack) lockPieces(first, last int) (unlock func()) {
	var mask [ioShards]bool
	for i := first; i <= last && i < first+ioShards; i++ {
		mask[i%ioShards] = true
	}
	for k := range p.io {
		if mask[k] {
			p.io[k].Lock()
		}
	}
	return func() {
		for k := range p.io {
			if mask[k] {
				p.io[k].Unlock()
			}
		}
	}
}

// moveIn copies the content's bytes of the given pieces, which a neighbour has
// brought along or a seed holds, into the slot's file, except where the client
// has them.
func (p *pack) moveIn(s *slot, e content.Entry, pieces []int) map[int]bool {
	moved := map[int]bool{}
	for _, i := range pieces {
		off, end := p.within(e, i)
		b := make([]byte, end-off)
		// Of a piece that is on its way only the beginning may be there.
		err := p.readAt(b, e.Offset+off)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			continue
		}
		at, ok := off, true
		for _, r := range append(append([]content.Range{}, s.have...), content.Range{Off: end, End: end}) {
			if r.End <= at && r.Off != end {
				continue
			}
			if stop := min(r.Off, end); at < stop {
				ok = s.write(b[at-off:stop-off], at) == nil && ok
			}
			if at = max(at, r.End); at >= end {
				break
			}
		}
		moved[i] = ok && err == nil && p.same(s, b, off)
	}
	return moved
}

// same reports whether the slot's file has b at off.
func (p *pack) same(s *slot, b []byte, off int64) bool {
	got := make([]byte, len(b))
	return s.read(got, off) == nil && string(got) == string(b)
}

// drop ends a want before its content is complete. When nobody else wants the
// content, its slot goes, and with it the pieces that only it held.
func (p *pack) drop(w *want, err error) {
	e := p.meta.Entries[w.entry]
	first, last := p.piecesOf(e.Offset, e.Offset+e.Length)
	unlock := p.lockPieces(first, last)
	defer unlock()
	p.mu.Lock()
	s := p.slots[w.entry]
	if w.over.Load() || s == nil || s.done {
		p.mu.Unlock()
		return
	}
	var valid []content.Range
	if s.file == w.file {
		valid = p.valid(s)
	}
	w.end(err, valid)
	rest := s.wants[:0:0]
	for _, o := range s.wants {
		if o != w {
			rest = append(rest, o)
		}
	}
	s.wants = rest
	if s.file != w.file {
		w.file.Close()
	}
	if len(rest) > 0 {
		p.mu.Unlock()
		return
	}
	edges := []int{first}
	if last != first {
		edges = append(edges, last)
	}
	kept := map[int]bool{}
	for _, i := range edges {
		kept[i] = p.pieces[i].complete
	}
	p.mu.Unlock()
	for i, complete := range kept {
		kept[i] = complete && p.moveOut(s, e, i)
	}
	p.mu.Lock()
	delete(p.slots, w.entry)
	for i := first; i <= last; i++ {
		pc := &p.pieces[i]
		if pc.wanted--; pc.wanted == 0 && !pc.complete {
			p.left -= p.meta.PieceSize(i)
		}
		pc.holed = pc.holed || pc.touched
		if !kept[i] {
			p.lose(i)
		}
	}
	p.mu.Unlock()
	s.close()
	p.poke()
}

// moveOut saves the content's part of piece i in the spill, so that the piece
// stays complete for its neighbours.
func (p *pack) moveOut(s *slot, e content.Entry, i int) bool {
	off, end := p.within(e, i)
	b := make([]byte, end-off)
	return s.read(b, off) == nil && p.spill.writeAt(b, e.Offset+off) == nil
}

// valid returns the ranges of the slot's file that are right: in verified
// pieces, or the client's own where nobody has written. p.mu is held.
func (p *pack) valid(s *slot) []content.Range {
	e := p.meta.Entries[s.entry]
	var out []content.Range
	add := func(r content.Range) {
		if n := len(out); n > 0 && out[n-1].End >= r.Off {
			out[n-1].End = max(out[n-1].End, r.End)
			return
		}
		out = append(out, r)
	}
	first, last := p.piecesOf(e.Offset, e.Offset+e.Length)
	for i := first; i <= last; i++ {
		off, end := p.within(e, i)
		pc := &p.pieces[i]
		switch {
		case pc.complete:
			add(content.Range{Off: off, End: end})
		case !pc.touched:
			for _, r := range s.have {
				if lo, hi := max(r.Off, off), min(r.End, end); lo < hi {
					add(content.Range{Off: lo, End: hi})
				}
			}
		}
	}
	return out
}

// finish verifies a content whose pieces are complete against its id and
// delivers it.
func (p *pack) finish(s *slot) {
	e := p.meta.Entries[s.entry]
	sum := sha256.New()
	buf := buffers.Get().(*[bufferSize]byte)
	n, err := io.CopyBuffer(sum, io.NewSectionReader(s.file, 0, e.Length), buf[:])
	buffers.Put(buf)
	switch {
	case err != nil:
		err = fmt.Errorf("read back: %w", err)
	case n != e.Length || content.ID(sum.Sum(nil)) != e.ID:
		err = fmt.Errorf("content %s does not match its id, though its pieces match theirs: has the host's file changed?", e.ID)
	}
	if err != nil {
		p.mu.Lock()
		wants := append([]*want(nil), s.wants...)
		p.dropValid(s)
		p.mu.Unlock()
		for _, w := range wants {
			p.drop(w, err)
		}
		return
	}
	p.mu.Lock()
	s.done = true
	s.doneAt = time.Now().Add(10 * time.Millisecond) // the clock of mtimes is coarse
	s.sealed.Store(true)
	s.have = nil
	first, last := p.piecesOf(e.Offset, e.Offset+e.Length)
	for i := first; i <= last; i++ {
		pc := &p.pieces[i]
		if pc.wanted--; pc.wanted == 0 && !pc.complete {
			p.left -= p.meta.PieceSize(i)
		}
	}
	p.mu.Unlock()
	p.deliver(s)
	p.tr.poke()
}

// dropValid makes the pieces of a slot incomplete, so that nothing of it is
// reported as valid. p.mu is held.
func (p *pack) dropValid(s *slot) {
	e := p.meta.Entries[s.entry]
	first, last := p.piecesOf(e.Offset, e.Offset+e.Length)
	for i := first; i <= last; i++ {
		p.lose(i)
	}
	s.have = nil
}

// deliver ends the wants of a finished slot. Those that brought a file of
// their own get a copy.
func (p *pack) deliver(s *slot) {
	for {
		p.mu.Lock()
		if len(s.wants) == 0 {
			p.mu.Unlock()
			return
		}
		w := s.wants[0]
		s.wants = s.wants[1:]
		p.mu.Unlock()
		var err error
		if w.file != s.file {
			if err = p.copyTo(s, w); err == nil {
				w.sink.event(content.Event{Tag: w.tag, Bytes: [3]int64{byLocal: w.length}})
			}
			w.file.Close()
		}
		p.mu.Lock()
		w.end(err, nil)
		p.mu.Unlock()
	}
}

// copyTo writes the slot's content into the want's file and verifies what was
// read.
func (p *pack) copyTo(s *slot, w *want) error {
	sum := sha256.New()
	src := io.TeeReader(io.NewSectionReader(s.file, 0, w.length), sum)
	n, err := io.Copy(io.NewOffsetWriter(w.file, 0), src)
	if err == nil && (n != w.length || content.ID(sum.Sum(nil)) != w.id) {
		err = errors.New("the file that held the content has changed")
	}
	return err
}
