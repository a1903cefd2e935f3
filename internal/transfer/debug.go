package transfer

import (
	"strings"

	"github.com/prsync/prsync/internal/delta"
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

// debugSums gives a line of --debug=DELTASUM2 about a file, whose name and args
// are in format.
func (s *Sender) debugSums(format string, src *source, f *flist.File, args ...any) {
	if s.log.Debug(report.DebugDeltasum, 2) {
		s.log.Printf(report.Info, format+"\n", append([]any{s.shown(src, f.Name())}, args...)...)
	}
}

// debugSearch gives the lines of --debug=DELTASUM2 of a search for blocks. Those
// of DELTASUM3 and 4, about each offset that is looked at, rsync's search alone
// could give: ours passes most offsets without a look.
// rsync 3.5.0 match.c:match_sums, hash_search, matched.
func (s *Sender) debugSearch(cfg *delta.SearchConfig, sig *delta.Signature, size int64) {
	if sig == nil || sig.Head.Count == 0 || size == 0 || cfg.Append != delta.AppendOff || !s.log.Debug(report.DebugDeltasum, 2) {
		return
	}
	s.log.Printf(report.Info, "built hash table\n")
	s.log.Printf(report.Info, "hash search b=%d len=%d\n", sig.Head.BlockLen, size)
	cfg.Matched = func(i int32, off, n, last int64) {
		s.log.Printf(report.Info, "match at %d last_match=%d j=%d len=%d n=%d\n", off, last, i, n, off-last)
	}
}

// chdir gives the lines of --debug=CHDIR: rsync's sender works in the directory
// of its source, which ours holds open. A relative one rsync enters from the
// directory that it was started in. rsync 3.5.0 flist.c:change_pathname.
func (s *Sender) chdir(src *source) {
	if src == s.in || !s.log.Debug(report.DebugChdir, 1) {
		return
	}
	entered := s.in != nil && s.in.dir != ""
	s.in = src
	if entered && !strings.HasPrefix(src.dir, "/") {
		s.log.Printf(report.Info, "[%s] change_dir(%s)\n", s.log.Who(), s.c.Cwd)
	}
	if src.dir != "" {
		s.log.Printf(report.Info, "[%s] change_dir(%s)\n", s.log.Who(), src.path)
	}
}

// debugLinked gives the lines of --debug=HLINK1 and 3 about an entry that is sent.
// The tables that rsync makes for each device it creates per run, we keep in one:
// "created hashtable for dev" is not ours to say. rsync 3.5.0
// flist.c:send_file_entry.
func (s *Sender) debugLinked(f *flist.File, start int32) {
	if s.c.Setup.Protocol < 30 || f.Flags&flist.Linked == 0 || !s.log.Debug(report.DebugHlink, 1) {
		return
	}
	key := [2]uint64{f.X.Dev, f.X.Ino}
	if first, ok := s.firstLinks[key]; ok {
		un := ""
		if first < start {
			un = "un"
		}
		s.log.Printf(report.Info, "[%s] #%d hard-links #%d (%sabbrev)\n", s.log.Who(), f.Seq, first, un)
		return
	}
	if s.firstLinks == nil {
		s.firstLinks = map[[2]uint64]int32{}
	}
	s.firstLinks[key] = f.Seq
	if s.log.Debug(report.DebugHlink, 3) {
		s.log.Printf(report.Info, "[%s] dev:inode for #%d is %d:%d\n", s.log.Who(), f.Seq, f.X.Dev, f.X.Ino)
	}
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
