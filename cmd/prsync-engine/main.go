// Command prsync-engine is the swarm engine process that prsync starts for a
// transfer or a volunteer. It is a program of its own because prsync itself
// would pay 3 ms and 10 MB at every start for the BitTorrent library. It is not
// run by hand: its socket is descriptor 3, its settings come over that.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/prsync/prsync/internal/p2p/engine"
)

func main() {
	if err := engine.RunChild(context.Background(), os.NewFile(3, "socket")); err != nil {
		fmt.Fprintln(os.Stderr, "prsync-engine:", err)
		os.Exit(1)
	}
}
