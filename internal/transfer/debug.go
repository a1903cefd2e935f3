package transfer

import (
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
)

// debugEntry gives the lines of --debug=FLIST2 and HLINK about an entry that
// has arrived. rsync 3.5.0 flist.c:recv_file_entry.
func (c *Config) debugEntry(log *report.Log, f *flist.File, start int32) {
	c.debugLink(log, f, start)
	if log.Debug(report.DebugFlist, 2) {
		log.Printf(report.Info, "recv_file_name(%s)\n", f.Name())
	}
}

// debugLink tells of a hard link to an earlier entry.
func (c *Config) debugLink(log *report.Log, f *flist.File, start int32) {
	if c.Setup.Protocol < 30 || f.Flags&flist.Linked == 0 || f.Flags&flist.LinkFirst != 0 || f.X == nil || !log.Debug(report.DebugHlink, 1) {
		return
	}
	un := ""
	if f.X.Group < start {
		un = "un"
	}
	log.Printf(report.Info, "[%s] #%d hard-links #%d (%sabbrev)\n", log.Who(), f.Seq, f.X.Group, un)
}
