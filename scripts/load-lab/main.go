// Command load-lab simulates customers of a central host with 40 volunteers
// under several redirect policies, prints a table and writes plots:
//
//	go run ./scripts/load-lab [-seed N] [-o DIR]
//
// internal/tracker/sim tells what is simulated and what 100 % workload means.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prsync/prsync/internal/tracker/sim"
)

func main() {
	seed := flag.Uint64("seed", 2008, "of the random numbers")
	dir := flag.String("o", "", "write SVG plots to this directory")
	flag.Parse()
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
				fmt.Fprintln(os.Stderr, "load-lab:", err)
				os.Exit(1)
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
