package app

import (
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
)

// subcommand runs one of our own commands. They are recognized only as the
// first word, so that a source of that name is written ./serve.
func (p *program) subcommand(name string) (done bool, err error) { return false, nil }

func (p *program) daemon(d *options.DaemonOptions) error {
	return p.fail(exitcode.New(exitcode.Unsupported, "the daemon is not built in"))
}
