// Command prsync is rsync that fetches from everyone who holds the data.
package main

import (
	"os"

	"github.com/prsync/prsync/internal/app"
)

func main() { os.Exit(app.Main(os.Args, os.Environ())) }
