// Command prsync-engine is the swarm engine process that prsync starts for a
// transfer or a volunteer. It is a program of its own because prsync itself
// would pay 3 ms and 10 MB at every start for the BitTorrent library. It is not
// run by hand: its socket is descriptor 3, its settings come over that.
//
// With PRSYNC_ENGINE_TRACE=FILE in its environment it appends to that file what
// it does, as scripts/swarm-lab --trace wants it.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/prsync/prsync/internal/p2p/engine"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "prsync-engine:", err)
		os.Exit(1)
	}
}

func run() error {
	var log *slog.Logger
	if name := os.Getenv("PRSYNC_ENGINE_TRACE"); name != "" {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		log = slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return engine.RunLogged(context.Background(), os.NewFile(3, "socket"), log)
}
