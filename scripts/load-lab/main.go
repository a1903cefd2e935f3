// Command load-lab simulates customers of a central host with 40 volunteers
// under several redirect policies, prints a table and writes plots:
//
//	go run ./scripts/load-lab [-seed N] [-o DIR]
//	sudo go run ./scripts/load-lab -real [-seconds 40]
//
// With -real a shorter trace is simulated and run with real processes behind
// shaped links, and the figures stand side by side.
//
// internal/tracker/sim tells what is simulated and what 100 % workload means.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/prsync/prsync/internal/tracker/sim"
)

func main() {
	seed := flag.Uint64("seed", 2008, "of the random numbers")
	dir := flag.String("o", "", "write SVG plots to this directory")
	withReal := flag.Bool("real", false, "run real processes in network namespaces beside the simulation; needs root")
	seconds := flag.Float64("seconds", 40, "of each run with -real")
	scale := flag.Float64("scale", 20, "by how much rates and sizes of -real are smaller than the simulated ones")
	kinds := flag.String("uplinks", "unequal,equal", "kinds of uplinks for -real")
	bin := flag.String("bin", "", "`directory` with prsync's programs for -real; default is to build them")
	if len(os.Args) == 2 && os.Args[1] == customersArg {
		if err := customers(os.Stdin, os.Stdout); err != nil {
			fail(err)
		}
		return
	}
	flag.Parse()
	if *withReal {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		for kind := range strings.SplitSeq(*kinds, ",") {
			equal := kind == "equal"
			r := &real{bin: *bin, scale: *scale, equal: equal, workloads: []int{20, 100}, trace: sim.NewSteady(*seed, realVolunteers, equal, *seconds)}
			if err := r.run(ctx); err != nil {
				fail(err)
			}
		}
		return
	}
	fmt.Printf("seed %d; %d volunteers; 100 %% workload: the busiest minute demands %.0f %% of all uplinks\n\n", *seed, sim.Volunteers, 100*sim.FullLoad)
	lab := sim.NewLab(*seed)
	var all []sim.Result
	for _, equal := range []bool{true, false} {
		name := "unequal"
		if equal {
			name = "equal"
		}
		var rs []sim.Result
		for _, p := range sim.Policies {
			for w := 20; w <= 120; w += 20 {
				rs = append(rs, lab.Run(p, equal, w))
			}
		}
		fmt.Printf("%s uplinks\n", name)
		sim.Table(os.Stdout, rs)
		fmt.Println()
		all = append(all, rs...)
		if *dir != "" {
			file := filepath.Join(*dir, "load-"+name+".svg")
			if err := os.WriteFile(file, sim.Plot(rs, name+" uplinks"), 0o644); err != nil {
				fail(err)
			}
			fmt.Println("wrote", file)
		}
	}
	if missed := sim.Targets(all); len(missed) > 0 {
		for _, m := range missed {
			fmt.Println("MISSED:", m)
		}
		os.Exit(1)
	}
	fmt.Println("all targets met")
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "load-lab:", err)
	os.Exit(1)
}
