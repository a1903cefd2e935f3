package transfer

import (
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// nameKind is how an operand names its directory.
type nameKind uint8

const (
	normalName nameKind = iota
	slashName           // ends in a slash (--relative)
	dotName             // names a directory's contents
	missingName
)

// relName is the rest of a --relative operand, to be sent when the list of
// the directory in front of it is.
type relName struct {
	kind nameKind
	name string
}

// dirNode places a directory in the order in which its list is sent.
type dirNode struct {
	f                   *flist.File
	parent, next, child int32
	rel                 []relName
}

// curList is the list that entries are being added to.
type curList struct {
	*flist.List
	dirs int // directories among them
}

// flistErr ends a run because of the operands.
func (s *Sender) syntax(format string, args ...any) error {
	return exitcode.New(exitcode.Syntax, format, args...)
}

// SendList builds and sends the first file list: all of it, or, with
// incremental recursion, the operands and the contents of those that name
// them. rsync 3.5.0 flist.c:send_file_list.
func (s *Sender) SendList(args []string) error {
	s.log.Printf(report.LogFile, "building file list\n")
	s.listProgress("building file list", "sending incremental file list")
	start := s.c.W.Total()
	began := s.c.Now()
	inc := s.c.Setup.IncRecurse
	l := s.newList()
	flags := flist.Flags(0)
	if s.c.Recurse {
		flags = flist.ContentDir
	}
	var err error
	if s.c.FilesFrom != nil {
		err = s.listFilesFrom(l, args, flags)
	} else {
		implied := 0
		for _, a := range args {
			if s.c.Sanitize {
				a = flist.Sanitize(a, 0, s.c.Relative)
			}
			if err = s.operand(l, a, "", flags, &implied); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = s.fatal
	}
	if err != nil {
		return err
	}
	s.Stats.FlistBuild = max(1, s.c.Now().Sub(began).Milliseconds())
	mid := s.c.Now()
	s.endList(s.c.IgnoreErrors)
	if inc {
		s.sortList(l)
		flist.MarkDuplicates(l.Sorted, s.c.Setup.Protocol)
	} else {
		s.enc.Forget()
	}
	if s.listShown {
		s.log.ListEnd(len(l.Files))
	}
	s.Stats.FlistXfer = s.c.Now().Sub(mid).Milliseconds()
	if !inc {
		s.sortList(l)
		if !s.c.NumericIDs {
			s.enc.IDLists()
		}
	}
	if s.c.Setup.Protocol < 30 {
		e := s.io.Get()
		if s.c.IgnoreErrors {
			e = 0
		}
		s.c.W.Int(e)
	} else if !s.c.Setup.SafeErrors && s.io.Get() != 0 && !s.c.IgnoreErrors {
		s.c.W.MsgInt(wire.MsgIOError, s.io.Get())
	}
	s.Stats.FlistSize = s.c.W.Total() - start
	if s.log.Debug(report.DebugFlist, 2) {
		s.log.Printf(report.Info, "send_file_list done\n")
	}
	s.lists = append(s.lists, l.List)
	s.total += len(l.Files)
	s.held, s.oldTotal = len(l.Files), len(l.Files)
	s.cur = l.List
	if !inc {
		s.eof = true
		return s.c.W.Flush()
	}
	s.nextDir = -1
	s.addDirs(-1, l.List)
	if len(l.Files) == 0 || l.Sorted[0].Base != "." {
		l.Parent = -1
	}
	if s.nextDir < 0 {
		s.c.W.WriteNdx(&s.ndxOut, wire.NdxFlistEOF)
		s.eof = true
	} else if s.total == 1 {
		if err := s.sendMore(1); err != nil {
			return err
		}
	}
	if !s.c.Server && s.c.Setup.Protocol == 30 {
		// What is told of errors in later lists overtakes what has not gone
		// out, and must not overtake this one (rsync 3.5.0 main.c:client_run).
		return s.c.W.Flush()
	}
	// What nobody waits for yet goes out with what follows: a receiving side
	// counts what comes at once as one list (--stats).
	return s.c.W.Err()
}

// listProgress announces the work on the list.
func (s *Sender) listProgress(full, incremental string) {
	if s.c.Server || !s.log.Info(report.InfoFlist, 1) {
		return
	}
	switch {
	case s.c.Setup.IncRecurse:
		s.log.Printf(report.Client, "%s\n", incremental)
	case s.c.Dirs:
		s.log.ListBegin(full)
		s.listShown = true
	}
}

// Files returns how many files the lists have so far.
func (s *Sender) Files() int { return s.total }

func (s *Sender) newList() *curList {
	l := &flist.List{Files: s.slab.Files()}
	switch n := len(s.lists); {
	case n > 0:
		l.Start, l.Num = s.lists[n-1].End()+1, s.lists[n-1].Num+1
	case s.started:
		l.Start, l.Num = s.nextStart, s.nextNum
	case s.c.Setup.IncRecurse:
		l.Start, l.Num = 1, 1
	}
	s.started = true
	return &curList{List: l}
}

func (s *Sender) sortList(l *curList) {
	if s.c.Unsorted {
		l.Sorted = append([]*flist.File(nil), l.Files...)
	} else {
		l.Sorted = l.Files
	}
	flist.Sort(l.Sorted, s.c.Setup.Protocol)
}

// endList writes the end of a list with the I/O errors so far.
func (s *Sender) endList(quiet bool) {
	e := s.io.Get()
	if quiet {
		e = 0
	}
	s.enc.End(e)
}

// listFilesFrom takes the names from --files-from; args may name the
// directory that they are in.
func (s *Sender) listFilesFrom(l *curList, args []string, flags flist.Flags) error {
	base := ""
	if len(args) > 0 {
		base = args[0]
	}
	if base != "" {
		if _, err := s.openSource(base, false); err != nil {
			s.log.Syserr(report.ErrorXfer, err, "change_dir %s failed", s.c.fullName(s.c.Cwd, base))
			return exitcode.Silent(exitcode.FileSelect).Placed(exitcode.AtChangeSource)
		}
	}
	implied := 0
	for {
		name, err := s.c.FilesFrom.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return exitcode.New(exitcode.FileIO, "reading the names of --files-from: %w", err)
		}
		if err := s.operand(l, flist.Sanitize(name, 0, s.c.Relative), base, flags, &implied); err != nil {
			return err
		}
	}
}

// operand adds what one operand or --files-from name stands for.
func (s *Sender) operand(l *curList, arg, base string, flags flist.Flags, implied *int) error {
	kind := normalName
	dir, name := "", arg
	hasDir := false
	if !s.c.Relative {
		name, kind = dotted(name)
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			dir, hasDir = name[:i], true
			if i == 0 {
				dir = "/"
			}
			name = name[i+1:]
		}
	} else {
		if i := strings.Index(name, "/./"); i >= 0 {
			dir, hasDir = name[:i], true
			if i == 0 {
				dir = "/"
			} else {
				dir, _ = flist.CleanName(dir)
			}
			name = strings.TrimLeft(name[i+3:], "/")
		}
		if strings.HasPrefix(name, "./") && len(name) > 2 && *implied == 0 {
			*implied = -1
		}
		name, kind = relativeName(name)
		for _, p := range strings.Split(name, "/") {
			if p == ".." {
				return s.syntax("found \"..\" dir in relative path: %s", name)
			}
		}
	}
	if name == "" {
		name, kind = ".", dotName
	}
	if base != "" {
		if hasDir && !strings.HasPrefix(dir, "/") {
			dir = join(base, dir)
		} else if !hasDir {
			dir, hasDir = base, true
		}
	}
	top := strings.HasPrefix(name, "/")
	si, err := s.openSource(dir, top)
	if err != nil {
		s.io.Set(ioGeneral)
		s.log.Syserr(report.ErrorXfer, err, "change_dir %s failed", s.c.fullName(s.c.Cwd, dir))
		if *implied < 0 {
			*implied = 0
		}
		return nil
	}
	if *implied < 0 {
		*implied = 1
		s.sendName(l, si, ".", nil, (flags|flist.ImpliedDir)&^flist.ContentDir, allFilters)
	}
	src := s.sources[si]
	s.chdir(src)
	st, err := s.linkStat(src, name, s.c.CopyDirlinks || kind != normalName)
	if err == nil && (kind != dotName && s.excluded(src, name, st.IsDir(), false) ||
		s.c.Relative && src.dwalk != nil && src.dwalk.ParentExcluded(src.rel(name))) {
		err = &fs.PathError{Op: "stat", Path: name, Err: errNoEntry}
	}
	if err != nil {
		missing := errors.Is(err, fs.ErrNotExist)
		switch {
		case !missing || s.c.MissingArgs == 0:
			if !missing {
				s.io.Set(ioGeneral)
			}
			s.log.Syserr(report.ErrorXfer, err, "link_stat %s failed", s.full(src, name))
			return nil
		case s.c.MissingArgs == 1:
			return nil
		}
		st = fsroot.Stat{}
	}
	if kind != dotName && st.Mode != 0 && s.excluded(src, name, st.IsDir(), true) {
		return nil
	}
	if st.IsDir() && !s.c.Dirs {
		s.log.Printf(report.Info, "skipping directory %s\n", name)
		return nil
	}
	if done := s.parents(l, si, name, &st, kind, flags); done {
		return nil
	}
	if s.c.OneFileSystem > 0 {
		s.dev = st.Dev
	}
	if !s.c.Recurse && !(s.c.Dirs && kind != normalName) {
		s.sendName(l, si, name, &st, flags, noFilters)
		return nil
	}
	f := s.sendName(l, si, name, &st, flags|flist.TopDir|flist.ContentDir, noFilters)
	if f == nil {
		return nil
	}
	if !s.c.Setup.IncRecurse {
		if f.IsDir() && f.Flags&flist.MountDir == 0 {
			s.sendTree(l, si, f.Name(), flags)
		}
	} else if kind == dotName {
		s.scan(l, si, name, flags)
	}
	return nil
}

// dotted puts a name that stands for a directory's contents into the form
// "dir/.". rsync 3.5.0 flist.c:send_file_list.
func dotted(name string) (string, nameKind) {
	switch {
	case name == "./":
		return ".", dotName
	case name == "" || strings.HasSuffix(name, "/"):
		return name + ".", dotName
	case name == ".." || strings.HasSuffix(name, "/.."):
		return name + "/.", dotName
	case name == "." || strings.HasSuffix(name, "/."):
		return name, dotName
	}
	return name, normalName
}

// relativeName cleans a --relative name, keeping what its end says.
func relativeName(name string) (string, nameKind) {
	trailing := strings.HasSuffix(name, "/") || strings.HasSuffix(name, "/.") || name == "."
	clean, _ := flist.CleanName(name)
	switch {
	case name == "":
		return "", normalName
	case clean == "/" || clean == "/.":
		return "/.", dotName
	case clean == ".":
		return ".", dotName
	case trailing:
		return clean, slashName
	}
	return clean, normalName
}

// parents sends the directories in front of a --relative name. With
// incremental recursion all but the first level wait for that directory's
// list; done tells that the name itself waits too.
func (s *Sender) parents(l *curList, si int32, name string, st *fsroot.Stat, kind nameKind, flags flist.Flags) (done bool) {
	if s.c.Setup.IncRecurse && s.c.Relative {
		i := strings.IndexByte(name[1:], '/') + 1
		if i <= 0 {
			return false
		}
		whole := true
		if i == 1 && name[0] == '.' {
			if j := strings.IndexByte(name[2:], '/'); j >= 0 {
				i = j + 2
			} else {
				whole = false
			}
		}
		if st.Mode == 0 {
			kind = missingName
		}
		s.impliedInc(l, si, name, 0, i, flags, kind)
		return whole
	}
	if !s.c.impliedDirs() {
		return false
	}
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		s.impliedAll(l, si, name[:i], flags)
	}
	return false
}

// impliedDirs: from protocol 30 on the implied directories are always sent,
// flagged as such.
func (c *Config) impliedDirs() bool {
	return c.Relative && (c.ImpliedDirs || c.Setup.Protocol >= 30)
}

// impliedAll sends every directory of a path that the one before, of whatever
// source, did not pass through. Its last directory does not count, and is sent
// once more: the other side drops it.
//
// rsync 3.5.0 flist.c:send_implied_dirs.
func (s *Sender) impliedAll(l *curList, si int32, dir string, flags flist.Flags) {
	last := s.lastImplied
	other := s.lastImpliedSrc != si
	s.lastImpliedSrc = si
	at := 0 // where what both have in common ends
	if last == dir || strings.HasPrefix(last, dir+"/") {
		at = len(dir)
	} else {
		s.lastImplied = dir
		for i := 0; i < len(dir) && i < len(last) && dir[i] == last[i]; i++ {
			if dir[i] == '/' {
				at = i
			}
		}
	}
	flags = (flags | flist.ImpliedDir) &^ (flist.TopDir | flist.ContentDir)
	for end := range ends(dir) {
		if end > at {
			s.sendImplied(l, si, dir[:end], flags)
		}
		if end > at || other {
			s.enter(si, dir[:end])
		}
	}
}

// ends yields where the components of a path end.
func ends(p string) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := 1; i < len(p); i++ {
			if p[i] == '/' && !yield(i) {
				return
			}
		}
		yield(len(p))
	}
}

// impliedInc sends the first directory of a path and keeps the rest of the
// name for that directory's own list.
//
// rsync 3.5.0 flist.c:send_implied_dirs.
func (s *Sender) impliedInc(l *curList, si int32, name string, start, limit int, flags flist.Flags, kind nameKind) {
	flags = (flags | flist.ImpliedDir) &^ (flist.TopDir | flist.ContentDir)
	dir := name[:limit]
	if s.impliedFile == nil || s.impliedFile.Src != si || s.lastImplied != dir {
		var f *flist.File
		for i := start; ; {
			j := strings.IndexByte(dir[min(i+1, len(dir)):], '/')
			if j < 0 {
				break
			}
			i += 1 + j
			s.sendImplied(l, si, dir[:i], flags)
		}
		f = s.sendImplied(l, si, dir, flags)
		if f != nil && !f.IsDir() {
			f = nil
		}
		s.impliedFile, s.lastImplied = f, dir
	}
	if s.impliedFile == nil {
		return // it has vanished
	}
	s.relNames[s.impliedFile] = append(s.relNames[s.impliedFile], relName{kind, name[limit+1:]})
}

// sendImplied sends an implied directory: unfiltered, links followed.
func (s *Sender) sendImplied(l *curList, si int32, dir string, flags flist.Flags) *flist.File {
	src := s.sources[si]
	st, err := src.root.Stat(src.rel(dir))
	if err != nil {
		s.lostFile(src, dir, noFilters, err)
		return nil
	}
	return s.sendName(l, si, dir, &st, flags, noFilters)
}

// enter makes a directory the one whose entries are checked next.
func (s *Sender) enter(si int32, dir string) {
	src := s.sources[si]
	if src.walk != nil {
		if err := src.walk.Enter(src.rel(dir)); err != nil && s.fatal == nil {
			s.fatal = err
		}
	}
}
