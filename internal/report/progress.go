package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const progressHistory = 5

type progressPoint struct {
	at  time.Time
	ofs int64
}

// Progress draws --progress lines. Show, End and the fields that a line shows
// belong to the receiver, which changes the fields inside Update; Swarm and
// File are for those beside it. rsync 3.5.0 progress.c.
type Progress struct {
	mu    sync.Mutex
	swarm int64 // --info=progress2: bytes that came by the swarm
	files int   // that came by the swarm
	shown int64 // --info=progress2: where the receiver is
	log   *Log
	human int
	now   func() time.Time
	asked *atomic.Bool
	// Foreground reports whether we may write to the terminal; nil is yes.
	Foreground func() bool

	start  progressPoint
	hist   [progressHistory]progressPoint
	newest int
	oldest int
	width  int // of the last line end, for --info=progress2

	// What the end of a line shows.
	Index     int // of the current file among all
	Known     int // files known so far
	Complete  bool
	Busy      bool // a file is in work: it is the Xferred-th
	Xferred   int
	XferSize  int64 // --info=progress2: bytes of the files so far
	TotalSize int64
}

// NewProgress returns a client's Progress, which prints through l. asked is set
// by who wants to be told now, nil for nobody.
func NewProgress(l *Log, human int, now func() time.Time, asked *atomic.Bool) *Progress {
	p := &Progress{log: l, human: human, now: now, asked: asked}
	if !p.Shown() {
		p.start.at = now()
	}
	return p
}

// Shown reports whether progress is shown all the time.
func (p *Progress) Shown() bool { return p.log.Info(InfoProgress, 1) }

// Asked reports, once, whether the user has asked where the transfer is, and is
// not shown it anyway.
func (p *Progress) Asked() bool {
	return p.asked != nil && p.asked.Load() && p.asked.Swap(false) && !p.Shown()
}

// Instant draws where the whole transfer is, once, behind the end of a file.
// name is "" if a line with it was printed. rsync 3.5.0 progress.c:instant_progress.
func (p *Progress) Instant(name string) {
	if name != "" {
		p.log.Printf(Info, "%s\n", name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draw(p.XferSize+p.swarm, p.TotalSize, p.now(), true)
}

// Show draws a moment in the middle of a file, at most once a second.
func (p *Progress) Show(ofs, size int64) {
	if !p.Shown() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log.Info(InfoProgress, 2) {
		p.shown = p.XferSize - size + ofs
		ofs, size = p.shown+p.swarm, p.TotalSize
	}
	p.show(ofs, size)
}

// show is Show with the offset in all. p.mu is held.
func (p *Progress) show(ofs, size int64) {
	now := p.now()
	if p.start.at.IsZero() {
		if !p.hist[p.newest].at.IsZero() && now.Sub(p.hist[p.newest].at) <= 1500*time.Millisecond {
			p.start = progressPoint{p.hist[p.newest].at, 0}
		} else {
			p.start = progressPoint{now, ofs}
		}
		for i := range p.hist {
			p.hist[i] = p.start
		}
	} else {
		if now.Sub(p.hist[p.newest].at) < time.Second {
			return
		}
		p.newest = p.oldest
		p.oldest = (p.oldest + 1) % progressHistory
		p.hist[p.newest] = progressPoint{now, ofs}
	}
	if p.Foreground != nil && !p.Foreground() {
		return
	}
	p.draw(ofs, size, now, false)
}

// End draws the end of a file.
func (p *Progress) End(size int64) {
	if !p.Shown() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log.Info(InfoProgress, 2) {
		p.shown = p.XferSize
		p.draw(p.shown+p.swarm, p.TotalSize, p.now(), true)
		return
	}
	p.draw(size, size, p.now(), true)
	p.start = progressPoint{}
	p.Busy = false
}

func (p *Progress) draw(ofs, size int64, now time.Time, last bool) {
	eol := "  "
	var rate, remain float64
	newline := last
	ms := func(from time.Time) float64 {
		if d := now.Sub(from).Milliseconds(); d > 0 {
			return float64(d)
		}
		return 1
	}
	if last {
		kind := "ir"
		if p.Complete {
			kind = "to"
		}
		eol = fmt.Sprintf(" (xfr#%d, %s-chk=%d/%d)", p.Xferred+p.files, kind, p.Known-p.Index-1, p.Known)
		if p.log.Info(InfoProgress, 2) {
			if pad := p.width - len(eol); pad > 0 {
				eol += strings.Repeat(" ", pad)
			} else {
				p.width = len(eol)
			}
			newline = false
		} else {
			eol += "\n"
		}
		d := 1.0
		if !p.start.at.IsZero() {
			d = ms(p.start.at)
		}
		rate = float64(ofs-p.start.ofs) * 1000 / d / 1024
		remain = d / 1000
	} else {
		d := ms(p.hist[p.oldest].at)
		rate = float64(ofs-p.hist[p.oldest].ofs) * 1000 / d / 1024
		if rate != 0 {
			remain = float64(size-ofs) / rate / 1000
		}
	}
	units := "kB/s"
	switch {
	case rate > 1024*1024:
		rate, units = rate/1024/1024, "GB/s"
	case rate > 1024:
		rate, units = rate/1024, "MB/s"
	}
	left := "  ??:??:??"
	if remain >= 0 && remain <= 9999*3600 {
		left = fmt.Sprintf("%4d:%02d:%02d", int(remain/3600), int(remain/60)%60, int(remain)%60)
	}
	pct := 100
	if ofs != size && size != 0 {
		pct = int(100 * float64(ofs) / float64(size))
	}
	f := p.log.cfg.Numbers
	p.log.ClearNewline()
	p.log.Printf(Client, "\r%15s %3d%% %7s%s %s%s", f.Number(ofs, p.human), pct, f.fixed(rate, 2), units, left, eol)
	if !newline && !p.log.cfg.Quiet {
		p.log.NeedNewline()
	}
}

// NeedNewline tells that the terminal's line is not finished: the next
// message starts on a new one.
func (l *Log) NeedNewline() {
	l.mu.Lock()
	l.needsNewline, l.counting = true, false
	l.mu.Unlock()
}

// ListBegin announces the work on a file list, which ListEnd ends.
// rsync 3.5.0 flist.c:start_filelist_progress.
func (l *Log) ListBegin(what string) {
	if l.cfg.Quiet {
		return
	}
	l.Printf(Client, "%s ... ", what)
	l.NeedNewline()
}

// ListEnd ends the line of ListBegin. A log file has it even from a quiet run,
// and in a line of its own. rsync 3.5.0 flist.c:finish_filelist_progress.
func (l *Log) ListEnd(files int) {
	l.ClearNewline()
	switch {
	case !l.Info(InfoFlist, 2):
		l.Printf(Info, "done\n")
	case files == 1:
		l.Printf(Info, "1 file to consider\n")
	default:
		l.Printf(Info, "%d files to consider\n", files)
	}
}

// ListCount shows, at --info=flist2, every hundredth count of the files of a
// list in work; one count overwrites the other.
// rsync 3.5.0 flist.c:emit_filelist_progress.
func (l *Log) ListCount(files int) {
	if files%100 != 0 || l.cfg.Quiet || !l.Info(InfoFlist, 2) {
		return
	}
	l.mu.Lock()
	if l.counting {
		l.needsNewline = false
	}
	l.mu.Unlock()
	l.Printf(Client, " %d files...\r", files)
	l.mu.Lock()
	l.needsNewline, l.counting = true, true
	l.mu.Unlock()
}

// ClearNewline takes NeedNewline back.
func (l *Log) ClearNewline() {
	l.mu.Lock()
	l.needsNewline = false
	l.mu.Unlock()
}

// FinishLine ends an unfinished line.
func (l *Log) FinishLine() {
	l.mu.Lock()
	need := l.needsNewline
	l.needsNewline = false
	held := l.held
	l.held = ""
	l.mu.Unlock()
	if held != "" && l.cfg.Err != nil {
		io.WriteString(l.cfg.Err, held)
	}
	if need && l.cfg.Out != nil {
		fmt.Fprintln(l.cfg.Out)
	}
}
