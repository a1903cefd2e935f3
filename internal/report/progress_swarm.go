package report

import "time"

// Update changes the fields of p.
func (p *Progress) Update(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
}

// Swarm counts bytes that came by the swarm, whatever the receiver does
// meanwhile; with a negative n they were of no use. With --info=progress2 the
// line shows them, at most once a second.
func (p *Progress) Swarm(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swarm += n
	if n > 0 && p.log.Info(InfoProgress, 2) && !p.log.cfg.Server {
		p.show(p.shown+p.swarm, p.TotalSize)
	}
}

// File counts a file that came by the swarm and, with --progress, prints its
// name, unless that is empty, and its line. index is its number among all
// files, known how many there are so far.
func (p *Progress) File(name string, size int64, index, known int, complete bool, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files++
	if !p.log.Info(InfoProgress, 1) || p.log.cfg.Server {
		return
	}
	if p.log.Info(InfoProgress, 2) {
		p.Index, p.Known, p.Complete = max(index, p.Index), known, complete
		p.draw(p.shown+p.swarm, p.TotalSize, p.now(), true)
		return
	}
	if name != "" {
		p.log.Printf(Info, "%s\n", name)
	}
	// The line of its own leaves that of the receiver as it was.
	now := p.now()
	before := p.Xferred
	if p.Busy {
		before--
	}
	line := Progress{
		log: p.log, human: p.human, now: p.now, files: p.files, start: progressPoint{at: now.Add(-took)},
		Xferred: before, Index: index, Known: known, Complete: complete,
	}
	line.draw(size, size, now, true)
}
