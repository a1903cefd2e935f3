package session

import (
	"os"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
)

// copyAs turns the process into the user of --copy-as, after the negotiation,
// which may refuse the options. What the operator names (filter files, logs,
// batches) is open by then; nothing of the tree is.
func copyAs(sides ...*side) error {
	o := sides[0].o
	if !o.CopyAsSet {
		o = sides[len(sides)-1].o
	}
	spec := o.CopyAs
	if !o.CopyAsSet {
		return nil
	}
	for _, s := range sides {
		if s.log.Debug(report.DebugCmd, 2) {
			s.log.Printf(report.Info, "[%s] copy_as=%s\n", s.who(), spec)
		}
	}
	names, ok := sides[0].p.Env.Names.(*meta.SystemNames)
	if !ok {
		names = meta.NewSystemNames()
	}
	if err := meta.Become(names, spec); err != nil {
		return exitcode.New(exitcode.Syntax, "%w", err)
	}
	for _, s := range sides {
		c := s.c
		c.EUID = uint32(os.Geteuid())
		if c.Privilege = privilege(s.o, c.EUID); c.Privilege == meta.Super {
			c.Privilege = meta.Ordinary
		}
		c.IDs.Privilege = c.Privilege
	}
	return nil
}
