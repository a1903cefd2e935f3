package transfer

import (
	"path"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
)

// A hard-link group is worked on as rsync does (hlink.c), with a record for
// each group in place of chains of indexes: the first member that gets its
// content becomes the leader, the others are linked to it, those that come by
// while it is being transferred wait.

// linkGroup is what is known of one group of hard-linked entries.
type linkGroup struct {
	members []linkMember // in the order in which they are worked on
	leader  string       // name of a member that is in place, "" for none yet
	first   int32        // its index
	alt     int          // alternate destination the leader was linked to, or -1
	busy    int32        // index of the member being transferred, -1 for none
	waiting []linkMember
	forced  *flist.File // the member that has to be transferred itself
}

type linkMember struct {
	f    *flist.File
	ndx  int32
	skip bool
}

type linkState struct{ groups map[int32]*linkGroup }

func (s *linkState) init() { s.groups = map[int32]*linkGroup{} }

func (s *linkState) group(f *flist.File) *linkGroup {
	if f.X == nil || f.Flags&flist.Linked == 0 {
		return nil
	}
	return s.groups[f.X.Group]
}

// member reports whether an entry belongs to a group.
func (s *linkState) member(f *flist.File) bool { return s.group(f) != nil }

// notFirst reports whether other members come, or came, before this one.
func (s *linkState) notFirst(f *flist.File) bool {
	g := s.group(f)
	if g == nil {
		return false
	}
	return g.leader != "" || g.busy >= 0 || len(g.members) > 0 && g.members[0].f != f
}

// notLast reports whether members come after this one that may have a basis.
func (s *linkState) notLast(f *flist.File) bool {
	g := s.group(f)
	if g == nil || len(g.members) == 0 || g.forced == f {
		return false
	}
	for i := len(g.members) - 1; i >= 0; i-- {
		if !g.members[i].skip {
			return g.members[i].f != f
		}
	}
	return false
}

// joins reports whether another member of its group may do the work for an entry.
// One that is asked for again is the member that all others wait for.
func (g *generator) joins(f *flist.File) bool {
	return g.c.HardLinks && f.Flags&flist.Linked != 0 && !g.again
}

// matchLinks takes the members in a list into their groups.
// rsync 3.5.0 hlink.c:match_gnums.
func (g *generator) matchLinks(l *flist.List) error {
	for i, f := range l.Sorted {
		if !f.Active() || f.Flags&flist.Linked == 0 || f.X == nil {
			continue
		}
		gr := g.links.groups[f.X.Group]
		if gr == nil {
			if g.c.Setup.IncRecurse && f.X.Group < l.Start {
				return exitcode.New(exitcode.Protocol, "hard-link gnum %d precedes flist start %d", f.X.Group, l.Start)
			}
			gr = &linkGroup{alt: -1, busy: -1}
			g.links.groups[f.X.Group] = gr
		}
		ndx := l.Start + int32(i)
		if g.c.Unsorted {
			ndx = f.Seq
		}
		gr.members = append(gr.members, linkMember{f: f, ndx: ndx})
	}
	return nil
}

// joinLink links an entry to its group's leader. It reports whether that is
// all there is to do; otherwise the entry is worked on like the first.
// rsync 3.5.0 hlink.c:hard_link_check.
func (g *generator) joinLink(t *target, lk *look, exists bool) (bool, error) {
	gr := g.links.group(t.f)
	if gr.leader == "" {
		if gr.busy < 0 {
			return false, nil // it becomes the leader
		}
		gr.waiting = append(gr.waiting, linkMember{f: t.f, ndx: t.ndx})
		t.f.Gen |= flist.Sent
		g.inProg[g.lists[g.cur]]++
		return true, nil
	}
	if g.log.Debug(report.DebugHlink, 2) { // rsync tells of its chains of indexes too
		group := int32(-1)
		if g.c.Setup.Protocol >= 30 {
			group = t.f.X.Group
		}
		g.log.Printf(report.Info, "hlink for %d (%s,%d): leader is %d (%s)\n", t.ndx, t.name, group, gr.first, gr.leader)
	}
	from, shown := g.at(gr.leader), gr.leader
	if gr.alt >= 0 && g.c.DryRun {
		a := g.alts[gr.alt]
		from = place{a.root, gr.leader, join(a.path, gr.leader)}
		if l, _ := g.find(gr.first); l == nil {
			shown = path.Clean(from.shown) // so rsync keeps it once its list is gone
		}
	}
	st, err := from.lstat()
	if err != nil {
		if !g.c.DryRun || !isMissing(err) {
			g.log.Syserr(report.ErrorXfer, err, "stat %s failed", g.full(from.shown))
			return true, nil
		}
		st = fsroot.Stat{}
	}
	how := foundNone
	if exists {
		how = found
	} else if len(g.alts) > 0 {
		how, lk = g.joinAlt(t, lk, &st)
	}
	g.linkTo(t, lk, how, from, &st, shown)
	if g.c.RemoveSource && g.c.xfers() {
		g.sendSuccess(t.ndx)
	}
	return true, nil
}

// joinAlt finds out whether the link would be no change against an alternate
// destination.
func (g *generator) joinAlt(t *target, lk *look, leader *fsroot.Stat) (int, *look) {
	how, best := foundNone, lk
	for j := range g.alts {
		a, ok := g.altLook(j, t.name)
		if !ok {
			continue
		}
		if g.c.AltKind == LinkDest {
			if !a.st.SameFile(leader) {
				continue
			}
			if g.c.OutItemize == 0 || !g.log.Info(report.InfoName, 2) && g.c.OutItemize < 2 {
				t.items, t.code = false, report.None
				if g.log.Info(report.InfoName, 2) && g.report {
					g.log.Printf(report.Client, "%s is uptodate\n", t.name)
				}
			}
			return foundAlt, a
		}
		if !t.f.IsRegular() || !g.sameContent(t.f, a) {
			continue
		}
		how, best = foundAlt, a
		if g.unchanged(t.f, t.mode, a) {
			break
		}
	}
	return how, best
}

// linkTo makes an entry a hard link of the leader.
// rsync 3.5.0 hlink.c:maybe_hard_link.
func (g *generator) linkTo(t *target, lk *look, how int, from place, leader *fsroot.Stat, leaderName string) bool {
	if how == found && lk.st.SameFile(leader) {
		if t.items {
			empty := ""
			g.itemize(t, t.ndx, how, lk, report.ItemLocalChange|report.ItemXnameFollows, 0, &empty)
		}
		if g.log.Info(report.InfoName, 2) && g.report {
			g.log.Printf(report.Client, "%s is uptodate\n", t.name)
		}
		t.f.Gen |= flist.LinkDone
		return true
	}
	var del delFlags
	if how == found {
		del = delForFile
	}
	if !g.create(t, lk, del, creation{hard: &from}) {
		return false
	}
	if t.items {
		g.itemize(t, t.ndx, how, lk, report.ItemLocalChange|report.ItemXnameFollows, 0, &leaderName)
	}
	if t.code != report.None && g.log.Info(report.InfoName, 1) {
		g.log.Printf(t.code, "%s => %s\n", t.name, leaderName)
	}
	return true
}

// finishLink makes an entry that is in place its group's leader and links
// those that waited for it. rsync 3.5.0 hlink.c:finish_hard_link.
func (g *generator) finishLink(t *target, st *fsroot.Stat, alt int) error {
	gr := g.links.group(t.f)
	if gr == nil {
		return nil
	}
	t.f.Gen |= flist.LinkDone
	waiting := gr.waiting
	gr.waiting = nil
	gr.busy = -1
	gr.leader, gr.first, gr.alt = t.name, t.ndx, alt
	if len(waiting) == 0 {
		return nil
	}
	from := g.at(t.name)
	if alt >= 0 && g.c.DryRun {
		a := g.alts[alt]
		from = place{a.root, t.name, join(a.path, t.name)}
	}
	leader := fsroot.Stat{}
	if st != nil {
		leader = *st
	} else if s, err := from.lstat(); err == nil {
		leader = s
	} else if !g.c.DryRun {
		g.log.Syserr(report.ErrorXfer, err, "stat %s failed", g.full(t.name))
		return nil
	}
	for _, m := range waiting {
		wt := g.target(m.f, m.ndx, g.name(m.f))
		lk := &look{at: g.at(wt.name)}
		how := foundNone
		if s, err := lk.at.lstat(); err == nil {
			lk.st, how = s, found
		}
		ok := g.linkTo(wt, lk, how, from, &leader, t.name)
		if l, _ := g.find(m.ndx); l != nil {
			g.inProg[l]--
		}
		if ok && g.c.RemoveSource && g.c.xfers() {
			g.sendSuccess(m.ndx)
		}
	}
	return nil
}

// leaveToLater makes a member wait for one that comes after it and may have a
// basis to start from.
func (g *generator) leaveToLater(t *target) {
	gr := g.links.group(t.f)
	gr.waiting = append(gr.waiting, linkMember{f: t.f, ndx: t.ndx})
	if l, _ := g.find(t.ndx); l != nil {
		g.inProg[l]++
	}
}

// skippedLink notes that a member will not be made. If others waited for it,
// or for a later one that does not exist any more, the first of them takes its
// place. rsync 3.5.0 generator.c:handle_skipped_hlink.
func (g *generator) skippedLink(f *flist.File) error {
	gr := g.links.group(f)
	if gr == nil {
		return nil
	}
	at := -1
	for i := range gr.members {
		if gr.members[i].f == f {
			gr.members[i].skip = true
			at = i
		}
	}
	if gr.busy >= 0 {
		if at < 0 || gr.members[at].ndx != gr.busy {
			return nil // one that is being transferred will serve them
		}
		gr.busy = -1
	} else {
		for _, m := range gr.members[at+1:] {
			if !m.skip {
				return nil
			}
		}
	}
	if len(gr.waiting) == 0 || gr.leader != "" {
		return nil
	}
	m := gr.waiting[0]
	gr.waiting = gr.waiting[1:]
	l, _ := g.find(m.ndx)
	if l == nil {
		return nil
	}
	g.inProg[l]--
	gr.forced = m.f
	return g.within(l, func() error { return g.entry(m.f, m.ndx, g.name(m.f)) })
}
