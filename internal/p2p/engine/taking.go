package engine

import (
	"hash/maphash"
	"math/rand/v2"
	"time"

	pp "github.com/anacrolix/torrent/peer_protocol"
)

// Times of what sources are asked for.
const (
	// Others are asked for what a source owes when nothing has come from it for
	// takeSilence, or longer where it is slow, up to mostSilence.
	takeSilence  = 4 * time.Second
	mostSilence  = 8 * time.Second
	deadSilence  = 4 // times, then the connection is closed
	stealAfter   = time.Second
	stealGain    = 3 // a piece moves to a source that has it so many times sooner
	libraryGrace = 4 * time.Second
)

// task is a piece that is asked of a source, whole.
type task struct {
	piece int
	s     *source
	got   []bool // by block
	left  int    // blocks that are not written
	began time.Time
}

// blocks is the number of blocks of piece i.
func (p *pack) blocks(i int) int {
	return int((p.meta.PieceSize(i) + chunkSize - 1) / chunkSize)
}

func (p *pack) blockSize(i, k int) int {
	return int(min(chunkSize, p.meta.PieceSize(i)-int64(k)*chunkSize))
}

// has notes that a source has piece i. p.mu is held.
func (p *pack) has(s *source, i int) {
	if s.have[i] {
		return
	}
	s.have[i] = true
	s.n++
	p.sources.copies[i]++
	if !p.plan.avail[i] {
		p.plan.avail[i], p.plan.newsAt = true, time.Now()
	}
	p.pieces[i].refused = time.Time{}
}

// hasNot takes that back. p.mu is held.
func (p *pack) hasNot(s *source, i int) {
	if s.have[i] {
		s.have[i] = false
		s.n--
		p.sources.copies[i]--
		p.plan.peersStale.Store(true)
	}
}

// free reports whether piece i may be asked of the source. p.mu is held.
func (p *pack) free(s *source, i int) bool {
	pc := &p.pieces[i]
	return s.have[i] && pc.idle() && !pc.taken && !pc.enabled && (!pc.insist || p.plan.helpless)
}

// fill asks the source for pieces while it has room. p.mu is held.
func (p *pack) fill(s *source) {
	if !s.room() {
		return
	}
	now := time.Now()
	for s.room() {
		t := p.pick(s)
		if t == nil {
			t = p.steal(s, now)
		}
		if t == nil {
			return
		}
		p.askSource(s, t)
	}
}

// pick takes the rarest free piece of those that the source has, nil for none.
// p.mu is held.
func (p *pack) pick(s *source) *task {
	n := len(p.pieces)
	best, least := -1, 0
	start := rand.IntN(n)
	for k := range n {
		i := (start + k) % n
		if !p.free(s, i) {
			continue
		}
		if c := int(p.sources.copies[i]); best < 0 || c < least {
			if best, least = i, c; c <= 1 {
				break
			}
		}
	}
	if best < 0 {
		return nil
	}
	return p.newTask(s, best)
}

// newTask notes that a piece is taken from a source. p.mu is held.
func (p *pack) newTask(s *source, i int) *task {
	t := &task{piece: i, s: s, got: make([]bool, p.blocks(i)), left: p.blocks(i), began: time.Now()}
	p.sources.tasks[i] = t
	p.pieces[i].taken = true
	return t
}

// askSource asks the source for what is missing of the piece. p.mu is held.
func (p *pack) askSource(s *source, t *task) {
	if s.queue == 0 {
		s.heard = time.Now()
	}
	for k, got := range t.got {
		b := block{t.piece, uint32(k * chunkSize)}
		if _, asked := s.asked[b]; got || asked {
			continue
		}
		size := p.blockSize(t.piece, k)
		s.asked[b] = size
		s.queue += size
		s.tell(pp.Request, uint32(b.piece), b.begin, uint32(size))
	}
}

// steal moves a piece from a source that is slow to deliver it to one that has
// nothing else to do. p.mu is held.
//
// What was asked for is on its way in part, and comes twice then: that is worth
// it only when nothing else is left to be fetched.
func (p *pack) steal(s *source, now time.Time) *task {
	if p.left > p.takenBytes() {
		return nil
	}
	var best *task
	var worst time.Duration
	for _, t := range p.sources.tasks {
		if t.s == s || !s.have[t.piece] || now.Sub(t.began) < stealAfter || t.left == 0 {
			continue
		}
		here := s.rtt + s.takes(s.queue+int(p.meta.PieceSize(t.piece)), now)
		there := t.s.takes(t.s.queue, now)
		if there > stealGain*here && there > worst {
			best, worst = t, there
		}
	}
	if best == nil {
		return nil
	}
	p.withdraw(best)
	best.s, best.began = s, now
	return best
}

// takenBytes is the size of the pieces that are being taken. p.mu is held.
func (p *pack) takenBytes() (n int64) {
	for i := range p.sources.tasks {
		n += p.meta.PieceSize(i)
	}
	return n
}

// takes is how long n bytes are likely to take. p.mu is held.
func (s *source) takes(n int, now time.Time) time.Duration {
	rate := max(s.rate, 16<<10)
	d := time.Duration(float64(n) / rate * float64(time.Second))
	if s.queue > 0 {
		d += now.Sub(s.heard)
	}
	return d
}

// withdraw cancels the requests of a task. p.mu is held.
func (p *pack) withdraw(t *task) {
	for k := range t.got {
		b := block{t.piece, uint32(k * chunkSize)}
		if size, ok := t.s.asked[b]; ok {
			delete(t.s.asked, b)
			t.s.queue -= size
			if !t.s.gone {
				t.s.tell(pp.Cancel, uint32(b.piece), b.begin, uint32(size))
			}
		}
	}
}

// giveUp ends a task; others may fetch the piece. p.mu is held.
func (p *pack) giveUp(t *task) {
	p.withdraw(t)
	if p.sources.tasks[t.piece] == t {
		delete(p.sources.tasks, t.piece)
		p.pieces[t.piece].taken = false
	}
}

// abandon ends all tasks of a source. p.mu is held.
func (p *pack) abandon(s *source) {
	for _, t := range p.sources.tasks {
		if t.s == s {
			p.giveUp(t)
		}
	}
}

// disbelieve ends all tasks of a source that does not deliver them: as far as it
// goes, nobody has those pieces. p.mu is held.
func (p *pack) disbelieve(s *source) {
	for _, t := range p.sources.tasks {
		if t.s == s {
			p.hasNot(s, t.piece)
			p.giveUp(t)
		}
	}
}

// refusedBy is called when a source does not give a block: it cannot read the
// piece any more. p.mu is held.
func (p *pack) refusedBy(s *source, b block) {
	size, asked := s.asked[b]
	if !asked {
		return // cancelled, and acknowledged
	}
	delete(s.asked, b)
	s.queue -= size
	p.hasNot(s, b.piece)
	if t := p.sources.tasks[b.piece]; t != nil && t.s == s {
		p.giveUp(t)
	}
	p.fill(s)
}

// take handles a block that came. What comes late is welcome while the piece
// is still being taken.
func (p *pack) take(s *source, b block, data []byte) {
	now := time.Now()
	k := int(b.begin) / chunkSize
	p.mu.Lock()
	s.heard, s.silent = now, 0
	s.bytes += int64(len(data))
	s.measure(now)
	if size, ok := s.asked[b]; ok {
		delete(s.asked, b)
		s.queue -= size
	}
	t := p.sources.tasks[b.piece]
	if t == nil || b.begin%chunkSize != 0 || k >= len(t.got) || t.got[k] || len(data) != p.blockSize(b.piece, k) {
		p.trace.twice += int64(len(data))
		p.e.totals.wasted.Add(int64(len(data)))
		p.fill(s)
		p.mu.Unlock()
		return
	}
	t.got[k] = true
	p.noteFrom(b.piece, k, chunkFrom{s.key, maphash.Bytes(chunkSeed, data)})
	p.mu.Unlock()

	err := p.writePeer(b.piece, data, int64(b.begin))

	p.mu.Lock()
	t.left--
	whole := t.left == 0 && p.sources.tasks[b.piece] == t
	if whole {
		delete(p.sources.tasks, b.piece)
		p.pieces[b.piece].taken = false
		p.pieces[b.piece].checking = true
	}
	p.fill(s)
	p.mu.Unlock()
	if err != nil {
		p.writeFailed(err)
	}
	if !whole {
		return
	}
	err = p.verified(b.piece, byPeers)
	p.mu.Lock()
	p.pieces[b.piece].checking = false
	p.mu.Unlock()
	if err == nil {
		p.t.Piece(b.piece).UpdateCompletion()
	}
}

// patience is how long the source may say nothing. p.mu is held.
func (s *source) patience() time.Duration {
	slow := time.Duration(4 * float64(s.queue) / max(s.rate, 16<<10) * float64(time.Second))
	return min(max(takeSilence, slow), mostSilence)
}

// tendSources ends what is not wanted any more, or is not coming, and asks
// those that have room.
func (p *pack) tendSources(now time.Time) {
	var dead []*source
	p.mu.Lock()
	for i, t := range p.sources.tasks {
		if pc := &p.pieces[i]; pc.wanted == 0 || pc.complete {
			p.giveUp(t)
		}
	}
	for _, s := range p.sources.by {
		s.measure(now)
		if s.queue > 0 && now.Sub(s.heard) > s.patience() {
			p.disbelieve(s)
			s.rate = 0
			if s.silent++; s.silent >= deadSilence {
				dead = append(dead, s)
			}
			continue
		}
		p.fill(s)
	}
	p.mu.Unlock()
	for _, s := range dead {
		s.nc.Close()
	}
}
