package session

import (
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/report"
)

// debugExit gives the lines of --debug=EXIT. broken is what broke the run off.
// rsync 3.5.0 cleanup.c:_exit_cleanup.
func (s *side) debugExit(broken, result error) {
	if s.p.Server || !s.log.Debug(report.DebugExit, 1) {
		return
	}
	who := "generator"
	if s.p.Sender {
		who = "sender"
	}
	first := exitcode.Of(broken, exitcode.StreamIO)
	if s.log.Debug(report.DebugExit, 2) {
		s.log.Printf(report.Info, "[%s] _exit_cleanup(code=%d, file=main.go, line=1): entered\n", who, first)
	}
	s.log.Printf(report.Info, "[%s] _exit_cleanup(code=%d, file=main.go, line=1): about to call exit(%d)\n",
		who, first, exitcode.Of(result, exitcode.StreamIO))
}
