// Command bench puts prsync beside stock rsync in one run and prints ratios of
// medians: wall time, CPU (user and system, of all processes of both ends) and
// peak memory. The programs take turns, another one first in every round, so
// that a noisy machine disturbs both. Before each run what was written is waited
// for, and a first copy finds no other copy on the disk. A run that fails ends the
// benchmark, and so does one whose destination is not the source afterwards.
//
//	go run ./scripts/bench                      everything, 5 rounds
//	go run ./scripts/bench -rows 'local' -n 3   some rows
//	go run ./scripts/bench -quick               a look that takes a minute or two
//
// It needs no root and removes its data, which lie below -dir ($TMPDIR). A row
// is one table line; where the daemon takes part, the lines below it have
// prsync at one end only. A "-" is what was too short to be measured. The last
// column is the spread of the wall times of both, (largest - smallest) / median.
//
// CPU and memory are of all processes of both ends, the daemon's start
// included. Peak memory adds the peaks of the processes up: what processes
// share after a fork counts in each of them, as the kernel keeps it.
//
// -o writes lines for other programs to a file:
//
//	bench ROW SIDE WALL CPU RSS   medians in seconds and KiB, per side
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	var b bench
	dir := flag.String("dir", "", "where the data go; empty is $TMPDIR")
	rows := flag.String("rows", "", "run only rows that match this regular expression")
	list := flag.Bool("list", false, "list the rows and stop")
	out := flag.String("o", "", "append machine-readable lines to this file")
	flag.IntVar(&b.rounds, "n", 5, "rounds per row")
	quick := flag.Bool("quick", false, "one round on data of a twentieth of the size")
	flag.DurationVar(&b.limit, "limit", 10*time.Minute, "the longest that one run may take")
	flag.Float64Var(&b.scale, "scale", 1, "size of the data, 1 is 20,000 files, 1 GiB and 1,000,000 empty files")
	flag.StringVar(&b.stock, "rsync", "rsync", "the stock rsync")
	flag.StringVar(&b.ours, "prsync", "", "the prsync; empty builds it from this module")
	flag.Parse()
	if *quick {
		b.rounds, b.scale = 1, 0.05
	}
	if *list {
		for _, r := range allRows() {
			fmt.Println(r.name)
		}
		return
	}
	if err := b.run(*dir, *rows, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	rounds      int
	scale       float64
	limit       time.Duration
	stock, ours string
	dir         string
	made        map[string]bool // data sets
}

func (b *bench) run(dir, rows, out string) error {
	match, err := regexp.Compile(rows)
	if err != nil {
		return err
	}
	if b.stock, err = exec.LookPath(b.stock); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(dir, "prsync-bench-"); err != nil {
		return err
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.cleanOnSignal()
	if b.ours == "" {
		b.ours = filepath.Join(b.dir, "prsync")
		build := exec.Command("go", "build", "-o", b.ours, "github.com/prsync/prsync/cmd/prsync")
		build.Stderr, build.Env = os.Stderr, append(os.Environ(), "CGO_ENABLED=0")
		if err := build.Run(); err != nil {
			return fmt.Errorf("building prsync: %w", err)
		}
	}
	if b.ours, err = filepath.Abs(b.ours); err != nil {
		return err
	}
	// What a program leaves behind becomes our child, and its CPU is counted.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	b.made = map[string]bool{}
	machine := io.Discard
	if out != "" {
		f, err := os.OpenFile(out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
		if err != nil {
			return err
		}
		defer f.Close()
		machine = f
	}
	fmt.Printf("medians of %d; load %s; %s\n", b.rounds, load(), machineName(b.dir))
	fmt.Printf("%-30s %9s %9s   %6s %6s %6s   %s\n", "ratios are prsync / rsync", "rsync s", "prsync s", "wall", "CPU", "memory", "spread")
	for _, r := range allRows() {
		if !match.MatchString(r.name) {
			continue
		}
		res, err := b.row(r)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		b.report(machine, r, res)
	}
	fmt.Printf("load %s\n", load())
	return nil
}

// load is the machine's load average over a minute: it tells how much the wall
// times are worth.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// machineName tells the kernel, the processors and the file system of dir.
func machineName(dir string) string {
	var u unix.Utsname
	unix.Uname(&u)
	var fs unix.Statfs_t
	unix.Statfs(dir, &fs)
	name, ok := map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.TMPFS_MAGIC: "tmpfs", unix.XFS_SUPER_MAGIC: "xfs",
		unix.BTRFS_SUPER_MAGIC: "btrfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs"}[int64(fs.Type)]
	if !ok {
		name = fmt.Sprintf("file system %#x", fs.Type)
	}
	return fmt.Sprintf("Linux %s, %d processors, %s", unix.ByteSliceToString(u.Release[:]), runtime.NumCPU(), name)
}

// cleanOnSignal removes the data when the run is broken off.
func (b *bench) cleanOnSignal() {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-ch
		os.RemoveAll(b.dir)
		os.Exit(1)
	}()
}

// report prints a row: the first side is what the others are divided by.
func (b *bench) report(machine io.Writer, r row, res [][]sample) {
	base := median(res[0])
	for i, side := range r.sides {
		m := median(res[i])
		if i > 0 {
			name := r.name
			if i > 1 {
				name = "  " + side.name
			}
			fmt.Printf("%-30s %9.3f %9.3f   %6s %6s %6s   %.0f%% %.0f%%\n", name, base.wall, m.wall,
				ratio(m.wall, base.wall), ratio(m.cpu, base.cpu), ratio(m.rss, base.rss), spread(res[0]), spread(res[i]))
		}
	}
	for i, side := range r.sides {
		m := median(res[i])
		fmt.Fprintf(machine, "bench %s %s %.4f %.4f %.0f\n", r.name, side.name, m.wall, m.cpu, m.rss)
	}
}

// spread is how far apart the wall times are, in percent of their median.
func spread(all []sample) float64 {
	lo, hi := all[0].wall, all[0].wall
	for _, s := range all {
		lo, hi = min(lo, s.wall), max(hi, s.wall)
	}
	return 100 * (hi - lo) / median(all).wall
}

func ratio(a, b float64) string {
	if a <= 0 || b <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}

// median takes each figure's own median.
func median(all []sample) sample {
	mid := func(get func(sample) float64) float64 {
		var v []float64
		for _, s := range all {
			v = append(v, get(s))
		}
		slices.Sort(v)
		return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	}
	return sample{
		wall: mid(func(s sample) float64 { return s.wall }),
		cpu:  mid(func(s sample) float64 { return s.cpu }),
		rss:  mid(func(s sample) float64 { return s.rss }),
	}
}
