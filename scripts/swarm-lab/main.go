// Command swarm-lab measures stock rsync and prsync on the same work in a
// laboratory of network namespaces: a hub and N edges, each behind an access
// link of its own whose rate is shaped in both directions (tbf). It needs root.
//
//	sudo go run ./scripts/swarm-lab                       a quick look, some minutes
//	sudo go run ./scripts/swarm-lab --all                 every scenario, full size
//	sudo go run ./scripts/swarm-lab --scenario equal,many some of them
//	sudo go run ./scripts/swarm-lab --list
//
//	          ┌──────── switch (a bridge) ────────┐
//	        link          link        link      link
//	         hub          edge1       edge2  …  edgeN
//	   prsync serve,      prsync -a --stats rsync://hub/mod/ DIR/
//	  or rsync --daemon   rsync  -a --stats rsync://hub/mod/ DIR/
//
// Round-trip times are made by a relay here that copies the frames of a link
// late, so that no netem is needed.
//
// Each line tells, for one program: when the median and the slowest edge had
// everything, the lower bound of any distribution,
//
//	max(F/u_s, F/d_min, ΣF_i/(u_s+Σu_i))
//
// (F the size of the work, u_s and u_i the uplinks of hub and edges, d the
// downlinks), the ratio of the slowest edge to it, how many copies of F left
// the hub (counted by the link with all headers, and payload as far as the
// edges' statistics tell), and CPU and memory of the processes. Then the trees
// are compared.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/netlab"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == liarArg {
		if err := liar(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "swarm-lab: corrupt peer:", err)
			os.Exit(1)
		}
		return
	}
	var l lab
	all := flag.Bool("all", false, "every scenario at full size, instead of the quick ones at a quarter")
	names := flag.String("scenario", "", "the scenarios to run, separated by commas")
	list := flag.Bool("list", false, "list the scenarios and stop")
	dir := flag.String("dir", "", "where the data go; empty is $TMPDIR")
	flag.Float64Var(&l.scale, "scale", 0, "size of the data in parts of the full size; 0 is 1, and 0.25 for the quick run")
	flag.Float64Var(&l.rate, "rate", 1, "rate of the links in parts of the full rate")
	flag.StringVar(&l.stock, "rsync", "rsync", "the stock rsync; empty leaves it out")
	flag.StringVar(&l.beside, "beside", "equal", "scenarios with shaped links in which stock rsync runs, too, separated by commas, or all; it is slow")
	flag.StringVar(&l.bin, "bin", "", "the directory with prsync, prsync-host and prsync-engine; empty builds them")
	flag.DurationVar(&l.linger, "linger", 0, "let prsync go on seeding after its end (--swarm-linger)")
	flag.StringVar(&l.args, "args", "", "further arguments of prsync, separated by spaces")
	flag.BoolVar(&l.trace, "trace", false, "keep what every engine does twice a second in edgeN.trace; implies --keep")
	flag.BoolVar(&l.keep, "keep", false, "keep the data and the logs")
	flag.Parse()
	l.keep = l.keep || l.trace
	if *list {
		for _, s := range scenarios {
			mark := " "
			if s.quick {
				mark = "q"
			}
			fmt.Printf("%s %-12s %s\n", mark, s.name, s.about)
		}
		return
	}
	chosen, err := choose(*names, *all)
	if err == nil {
		if l.scale == 0 {
			l.scale = 1
			if !*all && *names == "" {
				l.scale = 0.25
			}
		}
		err = l.main(*dir, chosen)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "swarm-lab:", err)
		os.Exit(1)
	}
}

// choose returns the scenarios to run.
func choose(names string, all bool) (chosen []scenario, err error) {
	wanted := map[string]bool{}
	for _, n := range strings.FieldsFunc(names, func(r rune) bool { return r == ',' || r == ' ' }) {
		wanted[n] = true
	}
	for _, s := range scenarios {
		if wanted[s.name] || names == "" && (all || s.quick) {
			chosen = append(chosen, s)
		}
		delete(wanted, s.name)
	}
	for n := range wanted {
		return nil, fmt.Errorf("there is no scenario %q; see --list", n)
	}
	return chosen, nil
}

// lab is one run of the program.
type lab struct {
	scale, rate float64
	stock, bin  string
	beside      string
	args        string
	linger      time.Duration
	keep, trace bool
	dir         string
	failed      []string
}

func (l *lab) main(dir string, chosen []scenario) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root: run it with sudo")
	}
	for _, tool := range []string{"ip", "tc", "diff"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: install iproute2 and diffutils", err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if l.dir, err = os.MkdirTemp(dir, "prsync-swarm-lab-"); err != nil {
		return err
	}
	if l.dir, err = filepath.Abs(l.dir); err != nil {
		return err
	}
	if l.keep {
		fmt.Println("data and logs:", l.dir)
	} else {
		defer os.RemoveAll(l.dir)
	}
	// Hosts drop root and have to reach what they publish.
	if err := os.Chmod(l.dir, 0o755); err != nil {
		return err
	}
	netlab.SweepStale()
	if l.bin == "" {
		l.bin = filepath.Join(l.dir, "bin")
		build := exec.CommandContext(ctx, "go", "build", "-o", l.bin+"/", "./cmd/...")
		build.Stderr, build.Env = os.Stderr, append(os.Environ(), "CGO_ENABLED=0")
		if build.Dir, err = moduleRoot(); err != nil {
			return err
		}
		if err := build.Run(); err != nil {
			return fmt.Errorf("building prsync: %w; name a directory with --bin", err)
		}
	}
	if l.bin, err = filepath.Abs(l.bin); err != nil {
		return err
	}
	if l.stock != "" {
		if l.stock, err = exec.LookPath(l.stock); err != nil {
			return err
		}
	}
	header()
	for _, s := range chosen {
		if err := s.run(ctx, l, s); err != nil {
			if ctx.Err() != nil {
				return errors.New("broken off")
			}
			fmt.Printf("%-12s FAILED: %v\n", s.name, err)
			l.failed = append(l.failed, s.name+": "+err.Error())
		}
	}
	if len(l.failed) > 0 {
		fmt.Println()
		for _, f := range l.failed {
			fmt.Println("MISSED", f)
		}
		return fmt.Errorf("%d missed", len(l.failed))
	}
	return nil
}

// moduleRoot is where go.mod lies.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("run it in the source tree, or name the programs with --bin")
	}
	return filepath.Dir(mod), nil
}

// isBeside reports whether stock rsync runs in a scenario, too.
func (l *lab) isBeside(name string) bool {
	for _, b := range strings.FieldsFunc(l.beside, func(r rune) bool { return r == ',' || r == ' ' }) {
		if b == name || b == "all" {
			return true
		}
	}
	return false
}

// load is the machine's load average.
func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(b), " ")
	return one
}
