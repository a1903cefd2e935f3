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

// debugIDs gives a line of --debug=OWN2 for each id that is mapped.
// rsync 3.5.0 uidlist.c:recv_add_id.
func (r *Receiving) debugIDs(p *flist.Policy) {
	if !r.log.Debug(report.DebugOwn, 2) {
		return
	}
	users, groups := map[uint32]bool{}, map[uint32]bool{}
	user, group := p.UserID, p.GroupID
	p.UserID = func(id uint32, name string) uint32 {
		to := user(id, name)
		if !users[id] {
			users[id] = true
			r.log.Printf(report.Info, "uid %d(%s) maps to %d\n", id, name, to)
		}
		return to
	}
	p.GroupID = func(id uint32, name string) (uint32, bool) {
		to, skip := group(id, name)
		if !groups[id] {
			groups[id] = true
			r.log.Printf(report.Info, "gid %d(%s) maps to %d\n", id, name, to)
		}
		return to, skip
	}
}

// debugSend gives a line of --debug=SEND.
func (s *Sender) debugSend(format string, args ...any) {
	if s.log.Debug(report.DebugSend, 1) {
		s.log.Printf(report.Info, format+"\n", args...)
	}
}

// shown names an entry as rsync's sender does: behind the directory it works in.
func (s *Sender) shown(src *source, name string) string {
	dir, _ := flist.CleanName(src.dir)
	return join(dir, name)
}

// debugGenr gives a line of --debug=GENR.
func (g *generator) debugGenr(format string, args ...any) {
	if g.log.Debug(report.DebugGenr, 1) {
		g.log.Printf(report.Info, format+"\n", args...)
	}
}

// debugRecv gives a line of --debug=RECV.
func (r *Receiving) debugRecv(l *report.Log, format string, args ...any) {
	if l.Debug(report.DebugRecv, 1) {
		l.Printf(report.Info, format+"\n", args...)
	}
}

// debugBackup tells how a backup was made. rsync 3.5.0 backup.c:link_or_rename.
func (r *Receiving) debugBackup(how string, from place) {
	if r.log.Debug(report.DebugBackup, 1) {
		r.log.Printf(report.Info, "make_backup: %s %s successful.\n", how, from.shown)
	}
}
