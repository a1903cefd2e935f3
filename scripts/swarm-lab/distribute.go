package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/netlab"
)

// A distribution is a hub and edges that fetch at the same time.
type distribution struct {
	size    float64 // MB at full scale
	make    func(size int64) func(dir string) error
	hub     float64 // Mbit/s
	edge    float64
	n       int
	rtt     time.Duration
	stagger time.Duration // the last edge starts so much later
	folder  string        // what edge 1 mirrors, "" is all
	killed  int           // edges that die when half of the bound is over
	lose    bool          // the hub's HTTP side dies when one copy is out
	corrupt bool          // one more peer, which serves wrong data
	alone   bool          // without stock rsync
	ratio   float64       // what is aimed at; 0 is none
	copies  float64       // likewise, of payload
}

func header() {
	fmt.Printf("%-12s %-7s %8s %8s %8s %6s %7s %8s %5s  %s\n", "scenario", "program", "median", "slowest", "bound", "ratio", "link", "payload", "load", "CPU and largest process of hub | mean edge")
	fmt.Printf("%-12s %-7s %8s %8s %8s %6s %7s %8s\n", "", "", "s", "s", "s", "", "copies", "copies")
}

// bound is the least time in which the edges that live to the end can have
// everything: sizes are what each wants, all the size of the work.
func bound(all float64, sizes []float64, hub netlab.Link, edges []netlab.Link) float64 {
	b, sum, up := 8*all/hub.Up, 0.0, hub.Up
	for i, s := range sizes {
		if edges[i].Down > 0 {
			b = max(b, 8*s/edges[i].Down)
		}
		sum += 8 * s
		up += edges[i].Up
	}
	return max(b, sum/up)
}

// downlinks are so many times faster than uplinks.
const asymmetry = 4

// run measures one distribution with both programs, and returns the time of
// prsync's slowest edge.
func (d distribution) run(ctx context.Context, l *lab, name string) (float64, error) {
	src := filepath.Join(l.dir, "src-"+name)
	defer os.RemoveAll(src)
	if err := os.Mkdir(src, 0o755); err != nil {
		return 0, err
	}
	if err := d.make(int64(d.size * 1e6 * l.scale))(src); err != nil {
		return 0, err
	}
	for _, ours := range []bool{false, true} {
		if !ours && (d.alone || l.stock == "" || !l.isBeside(name)) {
			continue
		}
		slowest, err := d.round(ctx, l, name, src, ours)
		if err != nil || ours {
			return slowest, err
		}
	}
	return 0, nil
}

func (d distribution) links(l *lab) (hub netlab.Link, edges []netlab.Link) {
	make := func(rate float64) netlab.Link {
		return netlab.Link{Up: rate * 1e6 * l.rate, Down: asymmetry * rate * 1e6 * l.rate, RTT: d.rtt}
	}
	n := d.n
	if d.corrupt {
		n++
	}
	return make(d.hub), slices.Repeat([]netlab.Link{make(d.edge)}, n)
}

func (d distribution) round(ctx context.Context, l *lab, name, src string, ours bool) (slowest float64, err error) {
	hub, edges := d.links(l)
	total, err := treeSize(src)
	if err != nil {
		return 0, err
	}
	part, err := treeSize(filepath.Join(src, d.folder))
	if err != nil {
		return 0, err
	}
	sizes := make([]float64, d.n-d.killed)
	for i := range sizes {
		sizes[i] = float64(total)
	}
	if d.folder != "" {
		sizes[0] = float64(part)
	}
	least := bound(float64(total), sizes, hub, edges[:len(sizes)])
	load0 := load()
	r, err := l.newRound(ctx, ours, src, hub, edges, d.lose)
	if err != nil {
		return 0, err
	}
	defer r.close()
	// Nothing takes longer than one after the other, ten times.
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(float64(d.n)*10*least*float64(time.Second)))
	defer cancel()
	if d.corrupt {
		if err := r.corrupt(ctx, d.n); err != nil {
			return 0, err
		}
	}
	before, err := r.nw.Hub().Sent()
	if err != nil {
		return 0, err
	}
	w := watch(r.nw)
	if d.lose {
		go r.loseHub(ctx, total+total/20)
	}
	clients := make([]*client, d.n)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			time.Sleep(d.stagger * time.Duration(i) / time.Duration(max(1, d.n-1)))
			folder := ""
			if i == 0 {
				folder = d.folder
			}
			kill := i >= d.n-d.killed
			if kill {
				go r.dieAt(ctx, i, time.Duration(least/2*float64(time.Second)))
			}
			clients[i] = r.sync(ctx, i, folder)
			clients[i].killed = kill
		})
	}
	wg.Wait()
	after, err := r.nw.Hub().Sent()
	if err != nil {
		return 0, err
	}
	hubUse, edgeUse := w.summary(d.n)
	if err := failures(clients); err != nil {
		return 0, err
	}
	for i, c := range clients {
		folder := ""
		if i == 0 {
			folder = d.folder
		}
		if !c.killed {
			if err := r.compare(ctx, i, folder); err != nil {
				return 0, err
			}
		}
	}
	mid, slowest := times(clients)
	var payload, bad int64
	back := map[string]bool{}
	for _, c := range clients {
		payload += c.stats.fromHub()
		bad += c.stats.bad
		if c.stats.fellBack != "" && c.stats.fellBack != "0" {
			back[c.stats.fellBack] = true
		}
	}
	prog := "rsync"
	if ours {
		prog = "prsync"
	}
	copies := float64(payload) / float64(total)
	shown := fmt.Sprintf("%.2f", copies)
	if len(back) > 0 {
		// What rsync did not have to send again of a file that fell back is no
		// literal data: the sum does not tell.
		shown = "–"
	}
	fmt.Printf("%-12s %-7s %8.2f %8.2f %8.2f %6.2f %7.2f %8s %5s  %s | %s\n", name, prog, mid, slowest, least, slowest/least,
		float64(after-before)/float64(total), shown, load0+"–"+load(), hubUse, edgeUse)
	if !ours {
		return slowest, nil
	}
	if len(back) > 0 {
		var counts []string
		for n := range back {
			counts = append(counts, n)
		}
		fmt.Printf("%20s files that fell back, per edge: %s\n", "", strings.Join(counts, ", "))
	}
	if d.corrupt {
		fmt.Printf("%20s peers dropped for bad data, over all edges: %d\n", "", bad)
		if bad == 0 {
			l.failed = append(l.failed, name+": nobody dropped the corrupt peer")
		}
	}
	if d.ratio > 0 && slowest/least > d.ratio {
		l.miss(name, "%.2f × bound, aimed at %.2f", slowest/least, d.ratio)
	}
	if d.copies > 0 && copies > d.copies {
		l.miss(name, "%.2f copies left the hub, aimed at %.2f", copies, d.copies)
	}
	return slowest, nil
}

// miss notes a figure that is worse than aimed at. Small work is all start and
// end, and proves nothing.
func (l *lab) miss(name, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if l.scale < 1 {
		fmt.Printf("%20s %s, at full size\n", "", text)
		return
	}
	l.failed = append(l.failed, name+": "+text)
}
