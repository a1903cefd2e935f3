package engine

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/anacrolix/torrent"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/origin"
)

// Times of the schedule.
const (
	stepInterval   = 100 * time.Millisecond
	firstAnnounce  = 500 * time.Millisecond // how long to wait for the first list of peers
	settleTime     = time.Second
	spareBackoff   = 300 * time.Millisecond
	ownBackoff     = time.Second // after the origin refused a piece of ours
	mustAfter      = 3 * time.Second
	hintsAge       = 2 * time.Second
	watchdogPeriod = 200 * time.Millisecond
	redialPeriod   = 2 * time.Second
	spareWorth     = 2 * time.Second // what is left must take longer for second copies
	maxRunBytes    = 4 << 20
	runTime        = 500 * time.Millisecond // of a request to the origin
	pipelineTime   = 2 * time.Second
	absence        = 3 * time.Second // a peer that is listed and out of reach for so long does nothing for us
)

// plan is what the pack's loop knows; guarded by pack.mu.
type plan struct {
	began    time.Time
	wantAt   time.Time // when the last want came
	newsAt   time.Time // when a peer came up with a piece that none had
	usedAt   time.Time // when there was something to fetch or to give
	avail    []bool    // some connected peer has the piece
	library  []bool    // some peer of the library has it
	copies   []uint16  // how many of those
	helpless bool      // the host does not answer
	gone     bool      // it has said so of some piece
	mine     []bool    // by content.Owner
	ids      []string
	conns    int                  // of the library, to peers that have something
	present  int                  // all of its connections
	alone    bool                 // nobody else is fetching
	seen     map[string]time.Time // when a peer was connected, or listed for the first time
	listed   map[string]time.Time // when the loop saw a prsync peer in the host's list first
	lost     []int                // pieces to tell the library about
	cursor   int
	checking bool

	out     []byte // pieces the origin said are out
	outAt   time.Time
	spareAt time.Time

	peerData  time.Time // when a peer sent something useful
	peerBytes int64
	rate      float64 // bytes per second that became valid, smoothed
	rateAt    time.Time
	rateBytes int64

	// unchoked are the library's connections that give us what we ask for, and
	// since when.
	unchoked map[*torrent.PeerConn]time.Time
	watchAt  time.Time
	kicks    int
	redialAt time.Time

	peersAt    time.Time // when to look at the peers again in any case
	peersStale atomic.Bool
	redialSoon atomic.Bool // the host has listed peers
}

func (pl *plan) init(pieces int) {
	pl.began = time.Now()
	pl.usedAt, pl.newsAt = pl.began, pl.began
	pl.avail, pl.library, pl.copies = make([]bool, pieces), make([]bool, pieces), make([]uint16, pieces)
	pl.mine = make([]bool, pieces)
	pl.unchoked = map[*torrent.PeerConn]time.Time{}
	pl.seen, pl.listed = map[string]time.Time{}, map[string]time.Time{}
	pl.cursor = rand.IntN(pieces)
	pl.peersStale.Store(true)
}

func (pl *plan) gotData(n int) {
	pl.peerData = time.Now()
	pl.peerBytes += int64(n)
	pl.kicks = 0
}

// peersChanged is called when a peer came, went or got a piece. It takes no
// lock: the library may hold its own.
func (p *pack) peersChanged() {
	p.plan.peersStale.Store(true)
	p.poke()
}

// run is the pack's loop.
func (p *pack) run() {
	defer p.e.wg.Done()
	tick := time.NewTicker(stepInterval)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.wake:
		case <-tick.C:
		}
		if p.step(time.Now()) {
			return
		}
	}
}

// step brings everything in line with what is known now. It returns true when
// the pack has left the swarm.
func (p *pack) step(now time.Time) (over bool) {
	p.observePeers(now)
	if !now.Before(p.sources.tendAt) { // news of one reach it at once
		p.sources.tendAt = now.Add(stepInterval)
		p.connectSources(now)
		p.tendSources(now)
	}
	p.applyPriorities(now)
	p.startChecks()
	p.askOrigin(now)
	p.watchdog(now)
	p.measure(now)
	p.tell(now)
	p.checkLost(now)
	p.checkGone(now)
	p.checkStall(now)
	return p.expire(now)
}

// observePeers finds out which pieces are to be had from peers, and which are
// ours to fetch.
func (p *pack) observePeers(now time.Time) {
	if !p.plan.peersStale.Swap(false) && now.Before(p.plan.peersAt) {
		return
	}
	p.plan.peersAt = now.Add(absence / 2)
	conns := p.t.PeerConns()
	avail, copies := make([]bool, len(p.pieces)), make([]uint16, len(p.pieces))
	holders := 0
	listed := p.tr.peersOf(p.meta.InfoHash)
	ids := []string{p.e.peerID}
	for _, c := range conns {
		k := peerOf(c)
		if p.e.bans.banned(k) {
			continue
		}
		p.plan.seen[k.id] = now
		have := c.PeerPieces()
		if !have.IsEmpty() {
			holders++
		}
		for it := have.Iterator(); it.HasNext(); {
			if i := it.Next(); int(i) < len(avail) {
				avail[i] = true
				copies[i]++
			}
		}
		if _, ok := listed[k.id]; !ok && have.GetCardinality() < uint64(len(p.pieces)) && isOurs(k.id) {
			ids = append(ids, k.id)
		}
	}
	p.mu.Lock()
	for id, s := range p.sources.by {
		// Who downloads comes here to take, unless he cannot reach us.
		if peer, ok := listed[id]; ok && !peer.seed && s.n < len(p.pieces) {
			p.plan.seen[id] = now
		}
	}
	p.mu.Unlock()
	for id, peer := range listed {
		seen, known := p.plan.seen[id]
		if !known {
			seen = now
			p.plan.seen[id] = now
		}
		// The host lists those who have died for a while.
		if !peer.seed && now.Sub(seen) < absence && !p.e.bans.banned(peerKey{id: id}) {
			ids = append(ids, id)
		}
	}
	for id := range p.plan.listed {
		if _, ok := listed[id]; !ok {
			delete(p.plan.listed, id)
		}
	}
	for id, seen := range p.plan.seen {
		if _, ok := listed[id]; !ok && now.Sub(seen) > absence {
			delete(p.plan.seen, id)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan.library, p.plan.copies, p.plan.conns, p.plan.present = avail, copies, holders, len(conns)
	for i := range p.plan.avail {
		had := p.plan.avail[i]
		if p.plan.avail[i] = avail[i] || p.sources.copies[i] > 0; p.plan.avail[i] && !had {
			p.plan.newsAt = now
		}
	}
	p.plan.alone = len(ids) == 1 && now.Sub(p.plan.began) > absence
	if slices.Equal(ids, p.plan.ids) {
		return
	}
	p.plan.ids = ids
	self, _ := slices.BinarySearch(ids, p.e.peerID)
	for i := range p.plan.mine {
		p.plan.mine[i] = content.Owner(p.meta.InfoHash, i, ids) == self
	}
}

// isOurs reports whether a peer id is that of a prsync engine: others do not
// fetch an assigned share.
func isOurs(id string) bool { return len(id) > 3 && id[:3] == "-PR" }

// applyPriorities leaves to the library what its peers have, takes back what
// none has or a source will bring sooner, and tells it about pieces that were
// lost.
//
// It is given a few pieces at a time, the rarest first. Whenever a peer gets a
// piece that the library wants already, the library sets the number of requests
// that this peer may have outstanding to what it can add just then, which is
// hardly any when much is wanted: who falls behind would stay behind.
// pipeline is how many pieces are left to the library at a time: some for each
// peer, and what arrives in pipelineTime. p.mu is held.
// lure returns a piece to ask the library for although no peer has it, or -1.
// The library makes and takes no connections for a torrent of which it has
// nothing and wants nothing. p.mu is held.
// startChecks hashes pieces whose bytes may all lie here already.
func (p *pack) startChecks() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plan.checking || len(p.checks) == 0 {
		return
	}
	p.plan.checking = true
	p.e.spawn(p.check)
}

func (p *pack) check() {
	for {
		p.mu.Lock()
		if len(p.checks) == 0 || p.e.ctx.Err() != nil {
			p.plan.checking = false
			p.mu.Unlock()
			return
		}
		i := p.checks[0]
		p.checks = p.checks[1:]
		p.mu.Unlock()
		err := p.verified(i, byLocal)
		p.mu.Lock()
		p.pieces[i].checking = false
		p.progress = time.Now()
		p.mu.Unlock()
		if err == nil {
			p.t.Piece(i).UpdateCompletion()
		}
	}
}

// job is a run of pieces to ask the origin for.
type job struct {
	first, n int
	claim    string
	part     *slot // of the one piece only what this content has in it; nil: all
}

// askOrigin starts as many requests as the host allows.
func (p *pack) askOrigin(now time.Time) {
	if !p.tr.answered(p.meta.InfoHash) && now.Sub(p.plan.began) < firstAnnounce {
		return
	}
	for {
		if !p.tr.acquire(now, p.share()) {
			return
		}
		rate := p.tr.originRate()
		p.mu.Lock()
		j, ok := p.choose(now, rate)
		if ok {
			for i := j.first; i < j.first+j.n; i++ {
				p.pieces[i].origin = true
			}
		}
		p.mu.Unlock()
		if !ok {
			p.tr.releaseSlot()
			return
		}
		if !p.e.spawn(func() {
			defer p.poke()
			defer p.tr.releaseSlot()
			p.fetch(j)
		}) {
			return
		}
	}
}

// share is how many requests to the origin one engine makes at a time: the more
// others fetch, the fewer. A piece that the origin sends among many others takes
// long to arrive, and nobody can pass it on before.
func (p *pack) share() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch n := len(p.plan.ids); {
	case n > 10, time.Since(p.plan.began) < settleTime: // nobody knows yet who else comes
		return 1
	case n > 3:
		return 2
	}
	return p.e.cfg.OriginRequests
}

// choose returns what to ask the origin for next; rate is what one request
// gets, in bytes per second. p.mu is held.
func (p *pack) choose(now time.Time, rate float64) (job, bool) {
	if p.left <= 0 {
		return job{}, false
	}
	n := len(p.pieces)
	want := func(i int) bool {
		pc := &p.pieces[i]
		return pc.idle() && !pc.taken && !now.Before(pc.retryAt) && (!p.plan.avail[i] || pc.insist)
	}
	must := func(i int) bool {
		pc := &p.pieces[i]
		return pc.insist || !pc.refused.IsZero() && (p.plan.alone || now.Sub(pc.refused) > p.patience(i, rate))
	}
	maxRun := max(1, int(min(int64(rate*runTime.Seconds()), maxRunBytes)/p.meta.PieceLength))
	own := -1
	for k := range n {
		i := (p.plan.cursor + k) % n
		if !want(i) {
			continue
		}
		if !p.pieces[i].gone.IsZero() {
			if s := p.lacksPart(i); s != nil {
				return job{i, 1, origin.ClaimPart, s}, true
			}
			continue
		}
		if must(i) {
			return job{i, 1, origin.ClaimMust, nil}, true
		}
		if own < 0 && p.plan.mine[i] {
			own = i
		}
	}
	if own >= 0 {
		run := 1
		for run < maxRun && own+run < n && p.plan.mine[own+run] && want(own+run) && !must(own+run) && p.pieces[own+run].gone.IsZero() {
			run++
		}
		p.plan.cursor = (own + run) % n
		return job{own, run, origin.ClaimOwn, nil}, true
	}
	// While wants still come in, here and most likely at the others, nobody
	// knows yet who will not fetch a share.
	if now.Before(p.plan.spareAt) || now.Sub(p.plan.wantAt) < settleTime {
		return job{}, false
	}
	if i := p.chooseSpare(now); i >= 0 {
		return job{i, 1, origin.ClaimSpare, nil}, true
	}
	return job{}, false
}

// patience is how long to hope for a peer to show up with a piece that the
// origin refuses: a little different for each peer and piece, so that one
// insists and the others get it from that one. Pieces that take long to arrive
// take longer to show up.
func (p *pack) patience(i int, rate float64) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(p.e.peerID))
	h.Write([]byte{byte(i), byte(i >> 8), byte(i >> 16)})
	takes := time.Duration(float64(p.meta.PieceLength) / max(rate, 1<<10) * float64(time.Second))
	return mustAfter + 3*takes + time.Duration(h.Sum32()%3000)*time.Millisecond
}

// chooseSpare returns a piece to fetch although it is not ours, -1 for none:
// first one that is not out at all, then one that no connected peer has, then
// any that the peers have not begun to send. p.mu is held.
func (p *pack) chooseSpare(now time.Time) int {
	best, bestRank := -1, 3
	hints := now.Sub(p.plan.outAt) < hintsAge
	worth := p.plan.rate > 0 && float64(p.left)/p.plan.rate > spareWorth.Seconds()
	n := len(p.pieces)
	start := rand.IntN(n)
	for k := range n {
		i := (start + k) % n
		pc := &p.pieces[i]
		if !pc.idle() || pc.taken || !pc.gone.IsZero() || now.Before(pc.retryAt) {
			continue
		}
		rank := 3
		switch {
		case !p.plan.avail[i] && hints && !p.isOut(i):
			return i
		case !p.plan.avail[i]:
			rank = 1
		case !pc.touched && worth:
			rank = 2
		}
		if rank < bestRank {
			best, bestRank = i, rank
		}
	}
	return best
}

func (p *pack) isOut(i int) bool {
	return i/8 < len(p.plan.out) && p.plan.out[i/8]&(0x80>>(i%8)) != 0
}

// watchdog wakes the library up when nothing comes although peers have what
// is wanted: first by changing priorities, which makes it ask again, then by
// closing and reopening connections. (A Reject may leave one idle for good.)
// Peers that have not unchoked us owe nothing: many take 10 s and more.
// dial hands the library the peers that it is not connected to.
// hides reports whether a prsync engine that downloads has not come to take
// anything here for so long that it most likely cannot reach us; on a
// connection of the library it can.
// measure keeps the rate at which the pack becomes complete.
func (p *pack) measure(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	total := p.bytes[byPeers] + p.bytes[byOrigin]
	dt := now.Sub(p.plan.rateAt).Seconds()
	if dt < 0.25 {
		return
	}
	if !p.plan.rateAt.IsZero() {
		r := float64(total-p.plan.rateBytes) / dt
		p.plan.rate += (r - p.plan.rate) * min(1, dt)
	}
	p.plan.rateAt, p.plan.rateBytes = now, total
}

// checkStall gives up when nothing has come for long: nothing of this pack,
// and nothing of any other either, unless it has been very long.
func (p *pack) checkStall(now time.Time) {
	stall := p.e.cfg.Stall
	p.mu.Lock()
	silent := now.Sub(p.progress)
	over := p.left > 0 && silent > stall
	if p.left <= 0 {
		p.progress = now
	}
	p.mu.Unlock()
	elsewhere := now.Sub(time.Unix(0, p.e.totals.progress.Load()))
	if !over || elsewhere < stall && silent < 3*stall {
		return
	}
	err := fmt.Errorf("no progress for %v with %d peers", silent.Round(time.Second), len(p.t.PeerConns()))
	oe := p.tr.originError()
	if oe == nil && p.lacksGone() {
		oe = errGone
	}
	if oe != nil {
		err = fmt.Errorf("%w, and the host does not help: %v", err, oe)
	}
	p.failAll(err)
}

// expire closes files that nobody needs any more, and leaves the swarm when
// there have been none for a while. Then it returns true.
func (p *pack) expire(now time.Time) (over bool) {
	p.mu.Lock()
	var old []*slot
	for entry, s := range p.slots {
		if s.done && len(s.wants) == 0 && !s.expires.IsZero() && now.After(s.expires) {
			old = append(old, s)
			delete(p.slots, entry)
		}
	}
	if len(old) > 0 {
		p.recheck()
	}
	if len(p.slots) > 0 || p.left > 0 || p.plan.present > 0 && len(p.seeds) > 0 {
		p.plan.usedAt = now
	}
	idle, seeded := p.idle() > p.e.cfg.Idle, len(p.seeds) > 0
	p.mu.Unlock()
	for _, s := range old {
		s.close()
	}
	switch {
	case !idle:
		return false
	case seeded:
		return p.sleep()
	}
	return p.leave()
}
