package transfer

import (
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// policy is what is refused of, and done to, the entries that arrive.
func (r *Receiving) policy() flist.Policy {
	c := r.c
	p := flist.Policy{
		Who: "Receiver", MissingArgs: c.MissingArgs == 2, Recurse: c.Recurse, Sanitize: c.Sanitize, MaxAlloc: c.MaxAlloc,
	}
	if c.NameFromWire != nil {
		p.Name = r.localName
	}
	if len(c.Chmod) > 0 && !c.Local { // there the sender has done it
		p.Chmod = c.Chmod.Apply
	}
	root := c.Privilege.IsRoot()
	named := !c.NumericIDs
	p.UserID = r.ids.User
	p.GroupID = r.ids.Group
	r.debugIDs(&p)
	p.MapUserNow = c.Setup.IncRecurse && root && (named || c.IDs.UserMap != "")
	p.MapGroupNow = c.Setup.IncRecurse && (!root || named || c.IDs.GroupMap != "")
	p.Link = func(name, target string, depth int) (string, error) {
		if c.LinkIconv && c.NameFromWire != nil {
			t, err := c.NameFromWire(target)
			if err != nil {
				r.listIO.Set(ioGeneral)
				r.log.Printf(report.ErrorXfer, "[%s] cannot convert symlink data for: %s (%s)\n", r.log.Who(), r.c.fullName(r.c.Cwd, name), err)
				return "", err
			}
			target = t
		}
		switch {
		case c.MungeLinks:
			return mungePrefix + target, nil
		case c.Sanitize && target != "":
			return flist.Sanitize(target, depth, false), nil
		}
		return target, nil
	}
	p.Check = func(name string, isDir bool) error {
		if !c.TrustFilter && c.Filters != nil && !c.Filters.HasPerDir() {
			if err := c.Filters.CheckSender(name, isDir); err != nil {
				return err
			}
		}
		if c.Implied != nil {
			return c.Implied.Check(name, isDir)
		}
		return nil
	}
	if c.Implied != nil {
		p.ImpliedParent = c.Implied.IsParent
	}
	rules := r.rules.Xattrs
	p.XattrName = rules.Received
	return p
}

// localName converts a name that has arrived. An entry whose name has no
// counterpart here is reported and left out.
func (r *Receiving) localName(name string) (string, error) {
	local, err := r.c.NameFromWire(name)
	if err != nil {
		r.listIO.Set(ioGeneral)
		r.log.Printf(report.ErrorUTF8, "[%s] cannot convert filename: %s (%s)\n", r.log.Who(), name, err)
	}
	return local, err
}

// ReadList reads the first file list, and one more where it has a single
// entry. rsync 3.5.0 flist.c:recv_file_list.
func (r *Receiving) ReadList() error {
	shown := false
	if !r.c.Server && r.log.Info(report.InfoFlist, 1) {
		switch {
		case r.c.Setup.IncRecurse:
			r.log.Printf(report.Client, "receiving incremental file list\n")
		case r.c.Dirs:
			r.log.ListBegin("receiving file list")
			shown = true
		}
	}
	r.log.Printf(report.LogFile, "receiving file list\n")
	if err := r.readList(-1, shown); err != nil {
		return err
	}
	if r.c.Setup.IncRecurse && r.total == 1 {
		return r.moreLists(&r.in, r.c.R.ReadNdx(&r.in), 3)
	}
	return nil
}

// moreLists takes an index that announces a list, or the end of them, which
// --debug=FLIST tells from a level on.
func (r *Receiving) moreLists(st *wire.NdxState, ndx int32, level uint8) error {
	if err := r.c.R.Err(); err != nil {
		return err
	}
	if ndx == wire.NdxFlistEOF {
		r.eof = true
		r.events.put(event{kind: evEOF})
		return nil
	}
	dir := wire.NdxFlistOffset - ndx
	if dir < 0 || int(dir) >= len(r.dirs) {
		return exitcode.New(exitcode.Protocol, "[%s] Invalid dir index: %d (%d - %d)", r.log.Who(), ndx, wire.NdxFlistOffset, wire.NdxFlistOffset-len(r.dirs)+1)
	}
	if r.log.Debug(report.DebugFlist, level) {
		r.log.Printf(report.Info, "[%s] receiving flist for dir %d\n", r.log.Who(), dir)
	}
	return r.readList(dir, false)
}

func (r *Receiving) readList(dir int32, shown bool) error {
	c := r.c
	inc := c.Setup.IncRecurse
	l := &flist.List{Parent: dir}
	if inc && dir >= 0 {
		if len(r.lists) == 0 {
			return exitcode.New(exitcode.Protocol, "rsync: refusing sub-flist after final flist was freed")
		}
		d := r.dirs[dir]
		if !d.Active() {
			return exitcode.New(exitcode.Protocol, "rsync: refusing flist for cleared dir_ndx %d", dir).Placed(exitcode.AtClearedDir)
		}
		if d.X != nil && d.X.GotList {
			return exitcode.New(exitcode.Protocol, "rsync: refusing malicious duplicate flist for dir %d", dir)
		}
		d.Ext().GotList = true
	}
	switch n := len(r.lists); {
	case n > 0:
		l.Start, l.Num = r.lists[n-1].End()+1, r.lists[n-1].Num+1
	case inc:
		l.Start, l.Num = 1, 1
	}
	start := c.R.Total()
	want := ""
	if dir >= 0 {
		want = r.dirs[dir].Name()
	}
	var newDirs []*flist.File
	bits, err := r.dec.List(l, func(f *flist.File) error {
		if err := c.checkAlloc(r.log.Who(), int64(len(l.Files)), entryCost); err != nil {
			return err
		}
		if inc { // a name that could not be converted is in no directory but the top
			at := f.Dir
			if c.Relative {
				at = strings.TrimPrefix(at, "/")
			}
			if at != want && !(want == "." && at == "") {
				return flist.BadListError(f)
			}
		}
		if inc && f.IsDir() {
			newDirs = append(newDirs, f)
		}
		r.c.debugEntry(r.log, f, l.Start)
		// A missing argument has no type, and counts as rsync counts it here.
		r.Stats.Files.Add(f.IsDir(), f.IsSymlink(), f.IsDevice(), f.IsSpecial() || f.Mode == 0)
		if shown {
			r.log.ListCount(r.Stats.Files.Total)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !c.IgnoreErrors {
		r.listIO.Set(bits)
	}
	r.total += len(l.Files)
	if r.log.Debug(report.DebugFlist, 2) {
		r.log.Printf(report.Info, "received %d names\n", len(l.Files))
	}
	if shown {
		r.log.ListEnd(len(l.Files))
	}
	r.numberDirs(newDirs)
	if !inc {
		if err := r.dec.IDLists(); err != nil {
			return err
		}
		r.mapIDs(l)
		r.eof = true
	}
	r.clean(l)
	if c.Setup.Protocol < 30 {
		bits := c.R.Int()
		if !c.IgnoreErrors {
			r.listIO.Set(bits)
		}
	} else if inc && l.Start == 1 {
		l.Parent = 0
		first := firstActive(l.Sorted)
		if first == nil || len(r.dirs) == 0 || first.Base != "." {
			l.Parent = -1
		}
	}
	r.Stats.FlistSize += c.R.Total() - start
	if err := c.R.Err(); err != nil {
		return err
	}
	l.IOErrors = r.listIO.Get()
	r.swarm.noteTops(r.c, l)
	if r.log.Debug(report.DebugFlist, 2) {
		r.log.Printf(report.Info, "recv_file_list done\n")
	}
	r.lists = append(r.lists, l)
	r.events.put(event{kind: evList, list: l, dirs: r.dirs})
	if r.eof {
		r.events.put(event{kind: evEOF})
	}
	return nil
}

func firstActive(files []*flist.File) *flist.File {
	for _, f := range files {
		if f.Active() {
			return f
		}
	}
	return nil
}

// numberDirs gives the directories of a list their numbers: sorted, unless
// names were converted.
func (r *Receiving) numberDirs(dirs []*flist.File) {
	if !r.c.Unsorted {
		flist.Sort(dirs, r.c.Setup.Protocol)
	}
	for _, d := range dirs {
		d.Ext().DirNdx = int32(len(r.dirs))
		r.dirs = append(r.dirs, d)
	}
}

// mapIDs turns the sender's ids into ours, after a complete list.
// rsync 3.5.0 uidlist.c:recv_id_list.
func (r *Receiving) mapIDs(l *flist.List) {
	c := r.c
	root := c.Privilege.IsRoot()
	if c.ACLs && (!c.NumericIDs || c.IDs.UserMap != "" || c.IDs.GroupMap != "") {
		r.dec.MapACLs()
	}
	users := root && c.Owner && (!c.NumericIDs || c.IDs.UserMap != "")
	groups := c.Group && (!root || !c.NumericIDs || c.IDs.GroupMap != "")
	for _, f := range l.Files {
		if users {
			f.UID = r.ids.UID(f.UID)
		}
		if groups {
			gid, skip := r.ids.GID(f.GID)
			f.GID = gid
			if skip {
				f.Flags |= flist.SkipGroup
			} else {
				f.Flags &^= flist.SkipGroup
			}
		}
	}
}

// clean sorts a list and drops what it has twice.
func (r *Receiving) clean(l *flist.List) {
	l.Sorted = l.Files
	if r.c.Unsorted {
		l.Sorted = append([]*flist.File(nil), l.Files...)
	}
	flist.Sort(l.Sorted, r.c.Setup.Protocol)
	flist.RemoveDuplicates(l.Sorted, r.c.Setup.Protocol, func(f *flist.File) {
		if r.log.Debug(report.DebugDup, 1) {
			r.log.Printf(report.Info, "removing duplicate name %s from file list (%d)\n", f.Name(), f.Seq)
		}
	})
	if r.c.Relative {
		flist.StripRoot(l.Sorted)
	}
	if r.c.PruneEmptyDirs {
		var w *filter.Walk
		if r.c.Filters != nil {
			w = r.c.Filters.Walk(filter.Root{Who: "receiver", Dir: r.c.Cwd})
		}
		flist.PruneEmpty(l.Sorted, func(dir string) bool { return w != nil && w.Check(dir, true) == filter.Exclude })
	}
}
