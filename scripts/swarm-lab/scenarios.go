package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prsync/prsync/internal/netlab"
)

// scenario is something to measure.
type scenario struct {
	name, about string
	quick       bool
	run         func(ctx context.Context, l *lab, s scenario) error
}

// distribute makes a scenario's run of one distribution.
func distribute(d distribution) func(context.Context, *lab, scenario) error {
	return func(ctx context.Context, l *lab, s scenario) error {
		_, err := d.run(ctx, l, s.name)
		return err
	}
}

var scenarios = []scenario{
	{"equal", "one file of 100 MB to 8 edges, every uplink 50 Mbit/s", true,
		distribute(distribution{size: 100, make: one, hub: 50, edge: 50, n: 8, ratio: 1.25, copies: 1.10})},
	{"many", "the same bytes as 2,000 files of 5 KB to 1 MB", true,
		distribute(distribution{size: 100, make: many, hub: 50, edge: 50, n: 8, ratio: 1.4})},
	{"more-edges", "40 MB to 5 and to 20 edges, every uplink 20 Mbit/s", false, moreEdges},
	{"fast-hub", "60 MB to 8 edges, the hub's uplink four times the edges' 20 Mbit/s", false,
		distribute(distribution{size: 60, make: one, hub: 80, edge: 20, n: 8, ratio: 1.5})},
	{"stagger", "as equal, with starts spread over 20 s", false,
		distribute(distribution{size: 100, make: one, hub: 50, edge: 50, n: 8, stagger: 20 * time.Second, ratio: 1.5})},
	{"partial", "as equal in four folders, of which one edge mirrors one", false,
		distribute(distribution{size: 100, make: folders, hub: 50, edge: 50, n: 8, folder: "folder2", ratio: 1.5})},
	{"delay", "40 MB to 8 edges, every uplink 20 Mbit/s, 100 ms of round trip", false,
		distribute(distribution{size: 40, make: one, hub: 20, edge: 20, n: 8, rtt: 100 * time.Millisecond, ratio: 1.5})},
	{"killed", "as equal; a quarter of the edges is killed mid-way", true,
		distribute(distribution{size: 100, make: one, hub: 50, edge: 50, n: 8, killed: 2, alone: true, ratio: 1.5})},
	{"hub-lost", "as equal; the hub's HTTP side and tracker are killed when one copy is out", true,
		distribute(distribution{size: 100, make: one, hub: 50, edge: 50, n: 8, lose: true, alone: true})},
	{"corrupt", "as equal, with a ninth peer that serves corrupt data", true,
		distribute(distribution{size: 100, make: one, hub: 50, edge: 50, n: 8, corrupt: true, alone: true})},
	{"renamed", "a file of 1 GiB gets another name; one edge", true, renamed},
	{"duplicates", "17 % of 100 MB of large files duplicate others; one edge", true, duplicated},
	{"alone", "500 MB in one file and 100 MB in 2,000, over loopback; one edge", true, alone},
	{"image", "1 % of a 700 MB image changes in place, and one insertion; one edge", true, image},
}

// moreEdges compares 20 edges with 5.
func moreEdges(ctx context.Context, l *lab, s scenario) error {
	var took [2]float64
	for i, n := range []int{5, 20} {
		d := distribution{size: 40, make: one, hub: 20, edge: 20, n: n}
		var err error
		if took[i], err = d.run(ctx, l, fmt.Sprintf("%d-edges", n)); err != nil {
			return err
		}
	}
	ratio := took[1] / took[0]
	fmt.Printf("%20s 20 edges take %.2f times as long as 5\n", "", ratio)
	if ratio > 1.25 {
		l.miss(s.name, "20 edges take %.2f times as long as 5, aimed at 1.25", ratio)
	}
	return nil
}

// update is a change of the published tree that one edge follows.
type update struct {
	make   func(dir string) error // before
	change func(dir string) error // nil: the first transfer counts
	size   int64
}

// updated is what following it cost.
type updated struct {
	stats stats
	link  int64 // bytes that left the hub
	took  float64
}

// run follows the update with one of the programs, and prints a line.
func (u update) run(ctx context.Context, l *lab, name string, ours bool) (updated, error) {
	src := filepath.Join(l.dir, "src-"+name)
	defer os.RemoveAll(src)
	if err := os.Mkdir(src, 0o755); err != nil {
		return updated{}, err
	}
	if err := u.make(src); err != nil {
		return updated{}, err
	}
	load0 := load()
	r, err := l.newRound(ctx, ours, src, netlab.Link{}, []netlab.Link{{}}, false)
	if err != nil {
		return updated{}, err
	}
	defer r.close()
	if u.change != nil {
		if c := r.sync(ctx, 0, ""); c.err != nil {
			return updated{}, c.err
		}
		if err := u.change(src); err != nil {
			return updated{}, err
		}
		if ours {
			if err := r.publish(ctx); err != nil {
				return updated{}, err
			}
		}
	}
	before, err := r.nw.Hub().Sent()
	if err != nil {
		return updated{}, err
	}
	w := watch(r.nw)
	c := r.sync(ctx, 0, "", "--delete")
	if c.err != nil {
		return updated{}, c.err
	}
	after, err := r.nw.Hub().Sent()
	if err != nil {
		return updated{}, err
	}
	hubUse, edgeUse := w.summary(1)
	if err := r.compare(ctx, 0, ""); err != nil {
		return updated{}, err
	}
	prog := "rsync"
	if ours {
		prog = "prsync"
	}
	res := updated{c.stats, after - before, c.took.Seconds()}
	fmt.Printf("%-12s %-7s %8.2f s; left the hub: %.3f MB, payload %.3f MB (%.4f of the tree), %s  %s | %s\n", name, prog, res.took,
		float64(res.link)/1e6, float64(c.stats.fromHub())/1e6, float64(c.stats.fromHub())/float64(u.size),
		load0+"–"+load(), hubUse, edgeUse)
	return res, nil
}

// both follows the update with stock rsync and with prsync.
func (u update) both(ctx context.Context, l *lab, name string) (stock, ours updated, err error) {
	if l.stock != "" {
		if stock, err = u.run(ctx, l, name, false); err != nil {
			return stock, ours, err
		}
	}
	ours, err = u.run(ctx, l, name, true)
	return stock, ours, err
}

func renamed(ctx context.Context, l *lab, s scenario) error {
	size := int64(l.scale * (1 << 30))
	u := update{size: size, make: one(size), change: func(dir string) error {
		if err := os.Mkdir(filepath.Join(dir, "archive"), 0o755); err != nil {
			return err
		}
		return os.Rename(filepath.Join(dir, "file"), filepath.Join(dir, "archive/other-name"))
	}}
	_, ours, err := u.both(ctx, l, s.name)
	if err == nil && (ours.stats.fromHub() > 0 || ours.link > size/1000) {
		l.failed = append(l.failed, fmt.Sprintf("%s: %d bytes of payload, %d over the link", s.name, ours.stats.fromHub(), ours.link))
	}
	return err
}

func duplicated(ctx context.Context, l *lab, s scenario) error {
	size := int64(l.scale * 100e6)
	u := update{size: size, make: duplicates(size)}
	_, ours, err := u.both(ctx, l, s.name)
	if share := float64(ours.stats.fromHub()) / float64(size); err == nil && share > 0.83 {
		l.failed = append(l.failed, fmt.Sprintf("%s: %.3f of the bytes were fetched, aimed at 0.83", s.name, share))
	}
	return err
}

func image(ctx context.Context, l *lab, s scenario) error {
	size := int64(l.scale * 700e6)
	u := update{size: size, make: one(size), change: func(dir string) error {
		tmp := filepath.Join(l.dir, "image")
		if err := changedImage(tmp, size); err != nil {
			return err
		}
		return os.Rename(tmp, filepath.Join(dir, "file"))
	}}
	stock, ours, err := u.both(ctx, l, s.name)
	if err != nil || l.stock == "" {
		return err
	}
	ratio := float64(ours.link) / float64(stock.link)
	fmt.Printf("%20s prsync fetched %.2f times what rsync's delta sent\n", "", ratio)
	if ratio > 1.3 {
		l.failed = append(l.failed, fmt.Sprintf("%s: fetched %.2f times what rsync's delta sent, aimed at 1.3", s.name, ratio))
	}
	return nil
}
