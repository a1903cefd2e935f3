// Command prsync-host is what prsync runs for its commands serve, volunteer,
// status and publish. It is not run by hand.
package main

import (
	"os"

	"github.com/prsync/prsync/internal/app/hostcmd"
	"github.com/prsync/prsync/internal/version"
)

func main() {
	os.Exit(hostcmd.Main(os.Args, os.Environ(), version.Version, hostcmd.Streams{Out: os.Stdout, Err: os.Stderr}))
}
