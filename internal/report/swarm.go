package report

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// SwarmCounts are what a swarm did for a transfer. All sizes are in bytes.
type SwarmCounts struct {
	Files     int   // put in place without the connection
	Wanted    int64 // of the files that went this way
	FromPeers int64
	FromHost  int64
	FromLocal int64 // found on this machine
	Wasted    int64 // fetched twice, or with a wrong hash
	Uploaded  int64
	Peers     int // connected now, or last
	MostPeers int
	BadPeers  int // dropped because of wrong data
	FellBack  int // files that the connection carried in the end
	Left      int // files that were left to the connection, as it is cheaper
}

// Done is what has arrived of Wanted.
func (c *SwarmCounts) Done() int64 { return c.FromPeers + c.FromHost + c.FromLocal }

// SwarmTotals gathers SwarmCounts from several goroutines. The zero value is
// ready.
type SwarmTotals struct {
	mu sync.Mutex
	c  SwarmCounts
}

// Want counts a file that goes by the swarm.
func (t *SwarmTotals) Want(size int64) { t.add(func(c *SwarmCounts) { c.Wanted += size }) }

// Fetch counts verified bytes, and wasted ones.
func (t *SwarmTotals) Fetch(peers, host, wasted int64) {
	t.add(func(c *SwarmCounts) { c.FromPeers += peers; c.FromHost += host; c.Wasted += wasted })
}

// Settle counts a file that is in place, with the bytes that were here before.
func (t *SwarmTotals) Settle(local int64) {
	t.add(func(c *SwarmCounts) { c.Files++; c.FromLocal += local })
}

// Fall counts a file that goes back to the connection.
func (t *SwarmTotals) Fall(size int64) {
	t.add(func(c *SwarmCounts) { c.FellBack++; c.Wanted -= size })
}

// Leave counts a file that is left to the connection.
func (t *SwarmTotals) Leave(size int64) {
	t.add(func(c *SwarmCounts) { c.Left++; c.Wanted -= size })
}

// Peers takes in what the swarm says of itself.
func (t *SwarmTotals) Peers(now int, uploaded int64, bad int) {
	t.add(func(c *SwarmCounts) {
		c.Peers, c.MostPeers, c.Uploaded, c.BadPeers = now, max(now, c.MostPeers), uploaded, bad
	})
}

func (t *SwarmTotals) add(f func(*SwarmCounts)) {
	t.mu.Lock()
	f(&t.c)
	t.mu.Unlock()
}

// Snapshot returns the counts as they are now.
func (t *SwarmTotals) Snapshot() SwarmCounts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.c
}

// SwarmSummary prints the swarm's part of the statistics (--stats), and the
// line that --info=swarm shows in their place. Nothing is printed for a
// transfer without a swarm.
func (l *Log) SwarmSummary(c *SwarmCounts, human int) {
	if c.Files == 0 && c.FellBack == 0 && c.Left == 0 && c.Done() == 0 {
		return
	}
	f := l.cfg.Numbers
	num := func(n int64) string { return f.Number(n, human) }
	switch {
	case l.Info(InfoStats, 2):
		l.Printf(Client, "\n")
		l.Printf(Info, "Swarm files: %s (fell back: %s)\n", f.Number(int64(c.Files), 1), f.Number(int64(c.FellBack), 1))
		l.Printf(Info, "Swarm files left to the sender: %s\n", f.Number(int64(c.Left), 1))
		l.Printf(Info, "Swarm bytes from peers: %s (%d%%)\n", num(c.FromPeers), share(c.FromPeers, c.Done()))
		l.Printf(Info, "Swarm bytes from host: %s (%d%%)\n", num(c.FromHost), share(c.FromHost, c.Done()))
		l.Printf(Info, "Swarm bytes found here: %s (%d%%)\n", num(c.FromLocal), share(c.FromLocal, c.Done()))
		l.Printf(Info, "Swarm bytes wasted: %s\n", num(c.Wasted))
		l.Printf(Info, "Swarm bytes uploaded: %s\n", num(c.Uploaded))
		l.Printf(Info, "Swarm peers: %d at most, %d dropped for bad data\n", c.MostPeers, c.BadPeers)
	case l.Info(InfoSwarm, 1):
		l.Printf(Info, "swarm: %d files, %s bytes from peers, %s from the host, %s found here; %d fell back, %d left to the sender\n",
			c.Files, num(c.FromPeers), num(c.FromHost), num(c.FromLocal), c.FellBack, c.Left)
	}
}

func share(part, whole int64) int {
	if whole <= 0 {
		return 0
	}
	return int(float64(part)/float64(whole)*100 + 0.5)
}

// SwarmView is a line on the terminal that shows a swarm at work: what is
// done, how fast, how many peers, and where the bytes come from. Other
// messages take its place; the next update draws it again below them.
type SwarmView struct {
	// Foreground reports whether we may write to the terminal; nil is yes.
	Foreground func() bool

	log *Log
	bar *progressbar.ProgressBar
	max int64
}

// NewSwarmView returns a view that draws on the log's standard output, which
// has to be a terminal.
func NewSwarmView(l *Log) *SwarmView { return &SwarmView{log: l} }

// Update draws the line. One goroutine calls it, then Finish.
func (v *SwarmView) Update(c SwarmCounts) {
	if c.Wanted <= 0 || v.Foreground != nil && !v.Foreground() {
		return
	}
	if v.bar == nil {
		v.bar = progressbar.NewOptions64(c.Wanted,
			progressbar.OptionSetWriter(liveWriter{v.log.core}),
			progressbar.OptionSetWidth(16),
			progressbar.OptionShowBytes(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetPredictTime(true),
		)
		v.max = c.Wanted
	}
	if c.Wanted != v.max {
		v.max = c.Wanted
		v.bar.ChangeMax64(c.Wanted)
	}
	done := c.Done()
	v.bar.Describe(fmt.Sprintf("swarm: %d peers, %d%% from peers, %d%% host, %d%% here",
		c.Peers, share(c.FromPeers, done), share(c.FromHost, done), share(c.FromLocal, done)))
	// At its maximum the bar would call itself finished, while more may come.
	v.bar.Set64(max(0, min(done, c.Wanted-1)))
}

// Finish takes the line away.
func (v *SwarmView) Finish() {
	if v.bar != nil {
		v.log.core.clearLive()
	}
}

// liveWriter writes the live line of a terminal.
type liveWriter struct{ c *core }

func (w liveWriter) Write(p []byte) (int, error) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if w.c.cfg.Out == nil || w.c.needsNewline {
		return len(p), nil // a progress line is being drawn there
	}
	w.c.live = true
	return w.c.cfg.Out.Write(p)
}

// eraseLine goes to the start of the terminal's line and clears it.
const eraseLine = "\r\x1b[K"

func (c *core) clearLive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live {
		c.live = false
		io.WriteString(c.cfg.Out, eraseLine)
	}
}
