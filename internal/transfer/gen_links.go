package transfer

import (
	"path"
	"slices"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
)

// A hard-link group is worked on as rsync does (hlink.c), with a record for
// each group in place of chains of indexes: the first member that gets its
// content becomes the leader, the others are linked to it, those that come by
// while it is being transferred wait. Members are known by their indexes: their
// entries serve again when their list is done with.

// linkState is what is known of the groups, by their numbers. Of one that has a
// leader that is no more than its name: a large tree may have as many groups as
// files.
type linkState struct {
	open   map[int32]*linkGroup // that have no leader yet
	placed map[int32]linkLeader
}

// linkLeader is the member of a group that the others are linked to.
type linkLeader struct {
	name string
	ndx  int32
	alt  int32 // alternate destination that it was linked to, or -1
}

// linkGroup is a group none of whose members is in place.
type linkGroup struct {
	members []linkMember // in the order in which they are worked on
	waiting []int32      // for the one that is being transferred
	busy    int32        // the member being transferred, -1 for none
	forced  int32        // the member that has to be transferred itself, -1 for none
}

type linkMember struct {
	ndx  int32
	skip bool
}

func (s *linkState) init() {
	s.open, s.placed = map[int32]*linkGroup{}, map[int32]linkLeader{}
}

// group returns the group of an entry if it is one without a leader, else nil.
func (s *linkState) group(f *flist.File) *linkGroup {
	if f.X == nil || f.Flags&flist.Linked == 0 {
		return nil
	}
	return s.open[f.X.Group]
}

// leader returns the leader of an entry's group.
func (s *linkState) leader(f *flist.File) (linkLeader, bool) {
	if f.X == nil || f.Flags&flist.Linked == 0 {
		return linkLeader{}, false
	}
	l, ok := s.placed[f.X.Group]
	return l, ok
}

// member reports whether an entry belongs to a group.
func (s *linkState) member(f *flist.File) bool {
	_, led := s.leader(f)
	return led || s.group(f) != nil
}

// notFirst reports whether other members come, or came, before this one.
func (s *linkState) notFirst(t *target) bool {
	if _, led := s.leader(t.f); led {
		return true
	}
	g := s.group(t.f)
	return g != nil && (g.busy >= 0 || len(g.members) > 0 && g.members[0].ndx != t.ndx)
}

// notLast reports whether members come after this one that may have a basis.
func (s *linkState) notLast(t *target) bool {
	g := s.group(t.f)
	if g == nil || len(g.members) == 0 || g.forced == t.ndx {
		return false
	}
	for _, m := range slices.Backward(g.members) {
		if !m.skip {
			return m.ndx != t.ndx
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
		if _, led := g.links.placed[f.X.Group]; led {
			continue
		}
		gr := g.links.open[f.X.Group]
		if gr == nil {
			if g.c.Setup.IncRecurse && f.X.Group < l.Start {
				return exitcode.New(exitcode.Protocol, "hard-link gnum %d precedes flist start %d", f.X.Group, l.Start)
			}
			gr = &linkGroup{busy: -1, forced: -1}
			g.links.open[f.X.Group] = gr
		}
		ndx := l.Start + int32(i)
		if g.c.Unsorted {
			ndx = f.Seq
		}
		gr.members = append(gr.members, linkMember{ndx: ndx})
	}
	return nil
}

// joinLink links an entry to its group's leader. It reports whether that is
// all there is to do; otherwise the entry is worked on like the first.
// rsync 3.5.0 hlink.c:hard_link_check.
func (g *generator) joinLink(t *target, lk *look, exists bool) (bool, error) {
	lead, led := g.links.leader(t.f)
	if !led {
		gr := g.links.group(t.f)
		if gr.busy < 0 {
			return false, nil // it becomes the leader
		}
		gr.waiting = append(gr.waiting, t.ndx)
		t.f.Gen |= flist.Sent
		g.inProg[g.lists[g.cur]]++
		return true, nil
	}
	if g.log.Debug(report.DebugHlink, 2) { // rsync tells of its chains of indexes too
		group := int32(-1)
		if g.c.Setup.Protocol >= 30 {
			group = t.f.X.Group
		}
		g.log.Printf(report.Info, "hlink for %d (%s,%d): leader is %d (%s)\n", t.ndx, t.name, group, lead.ndx, lead.name)
	}
	from, shown := g.at(lead.name), lead.name
	if lead.alt >= 0 && g.c.DryRun {
		a := g.alts[lead.alt]
		from = place{a.root, lead.name, join(a.path, lead.name)}
		if l, _ := g.find(lead.ndx); l == nil {
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
	if !g.links.member(t.f) {
		return nil
	}
	var waiting []int32
	if gr := g.links.group(t.f); gr != nil {
		waiting = gr.waiting
		delete(g.links.open, t.f.X.Group)
	}
	// The name outlives its list, and would keep all that lie beside it.
	g.links.placed[t.f.X.Group] = linkLeader{name: strings.Clone(t.name), ndx: t.ndx, alt: int32(alt)}
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
	for _, ndx := range waiting {
		l, f := g.find(ndx)
		if f == nil {
			continue
		}
		wt := g.target(f, ndx, g.name(f))
		lk := &look{at: g.at(wt.name)}
		how := foundNone
		if s, err := lk.at.lstat(); err == nil {
			lk.st, how = s, found
		}
		ok := g.linkTo(wt, lk, how, from, &leader, t.name)
		g.inProg[l]--
		if ok && g.c.RemoveSource && g.c.xfers() {
			g.sendSuccess(ndx)
		}
	}
	return nil
}

// leaveToLater makes a member wait for one that comes after it and may have a
// basis to start from.
func (g *generator) leaveToLater(t *target) {
	gr := g.links.group(t.f)
	gr.waiting = append(gr.waiting, t.ndx)
	if l, _ := g.find(t.ndx); l != nil {
		g.inProg[l]++
	}
}

// skippedLink notes that a member will not be made. If others waited for it,
// or for a later one that does not exist any more, the first of them takes its
// place. rsync 3.5.0 generator.c:handle_skipped_hlink.
func (g *generator) skippedLink(f *flist.File, ndx int32) error {
	gr := g.links.group(f)
	if gr == nil {
		return nil
	}
	at := slices.IndexFunc(gr.members, func(m linkMember) bool { return m.ndx == ndx })
	if at >= 0 {
		gr.members[at].skip = true
	}
	if gr.busy >= 0 {
		if gr.busy != ndx {
			return nil // one that is being transferred will serve them
		}
		gr.busy = -1
	} else if slices.ContainsFunc(gr.members[at+1:], func(m linkMember) bool { return !m.skip }) {
		return nil
	}
	if len(gr.waiting) == 0 {
		return nil
	}
	next := gr.waiting[0]
	gr.waiting = gr.waiting[1:]
	l, nf := g.find(next)
	if l == nil {
		return nil
	}
	g.inProg[l]--
	gr.forced = next
	return g.within(l, func() error { return g.entry(nf, next, g.name(nf)) })
}
