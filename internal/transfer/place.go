package transfer

import (
	"errors"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"golang.org/x/sys/unix"
)

// place is a name below one of the directories that the receiving side works
// in.
type place struct {
	root *fsroot.Root
	name string
	// shown is how messages call it.
	shown string
}

func (p place) lstat() (fsroot.Stat, error) {
	if p.root == nil {
		return fsroot.Stat{}, &os.PathError{Op: "lstat", Path: p.shown, Err: os.ErrNotExist}
	}
	return p.root.Lstat(p.name)
}

// at is a name in the destination.
func (r *Receiving) at(name string) place { return place{r.dest, name, name} }

// destPolicy is how names below the destination are resolved: a link that
// stands for a directory is passed through while it stays in the tree, not with
// -K alone. (A directory that is transferred replaces the link first, unless
// --ignore-existing keeps it.)
func (c *Config) destPolicy() fsroot.Policy {
	return fsroot.Policy{FollowDirLinks: true, Confine: !c.InsecureLinks, InsecureLinks: c.InsecureLinks, NoAtime: c.OpenNoatime}
}

// startsWithTop reports whether a list begins with the top directory, which is
// told as new then. In lists that keep the order of transmission (--iconv)
// rsync looks at the entry whose index is that of the first valid one in
// sorting order: behind names that could not be converted it misses the top.
func startsWithTop(l *flist.List) bool {
	for i, f := range l.Sorted {
		if f.Active() {
			return l.Files[i].Base == "."
		}
	}
	return false
}

// optionPolicy is how directories that options name are opened.
func (c *Config) optionPolicy() fsroot.Policy {
	return fsroot.Policy{Confine: c.Confine, Owner: true, InsecureLinks: c.InsecureLinks, ConfineRoot: c.ConfineRoot}
}

// Destination finds or makes what the destination operand names: a directory
// to fill, or, for a single file, the file itself. rsync 3.5.0
// main.c:get_local_name.
func (r *Receiving) Destination(arg string) error {
	c := r.c
	if c.ListOnly {
		return nil
	}
	r.debugRecv(r.log, "get_local_name count=%d %s", r.total, arg)
	if arg == "" {
		arg = "."
	}
	if shown, hides := r.hidesDest(arg); hides {
		r.log.Printf(report.Error, "ERROR: daemon has excluded destination \"%s\"\n", shown)
		return exitcode.Silent(exitcode.FileSelect).Placed(exitcode.AtHiddenDest)
	}
	fail := func(code exitcode.Code, err error, format string, args ...any) error {
		r.log.Syserr(report.Error, err, format, args...)
		e := exitcode.Silent(code).Placed(exitcode.AtStatDest)
		if code == exitcode.FileIO {
			e.At = exitcode.AtMakeDest
		}
		return e
	}
	trailing := strings.HasSuffix(arg, "/")
	parent := c.OpenParent
	root, leaf, err := parent(arg, fsroot.Policy{Confine: c.Confine})
	var st fsroot.Stat
	if err == nil {
		st, err = root.Stat(leaf)
		if leaf == "." || leaf == "" {
			st, err = root.Lstat("")
		}
	}
	if err == nil && trailing && !st.IsDir() {
		err = syscall.ENOTDIR // as stat says of a name with a slash
	}
	slash := strings.LastIndexByte(arg, '/') >= 0
	if c.Mkpath && err != nil && (slash || r.total > 1) {
		made, merr := r.mkpath(arg, r.total > 1 && !trailing)
		if errors.Is(merr, syscall.ENOTDIR) {
			merr = syscall.EEXIST // what is in the way, to rsync
		}
		if merr != nil {
			return fail(exitcode.FileIO, merr, "mkdir %s failed", c.fullName(c.Cwd, arg))
		}
		if made > 0 {
			if r.log.Info(report.InfoName, 1) || c.OutItemize > 0 {
				shown := arg
				if slash && (r.total == 1 || trailing) {
					shown = arg[:strings.LastIndexByte(arg, '/')]
				}
				plural := "ies"
				if made == 1 {
					plural = "y"
				}
				r.log.Printf(report.Info, "created %d director%s for %s\n", made, plural, shown)
			}
			if !c.DryRun {
				if root != nil {
					root.Close()
				}
				if root, leaf, err = parent(arg, fsroot.Policy{Confine: c.Confine}); err == nil {
					st, err = root.Stat(leaf)
				}
			}
		}
	}
	if root != nil {
		defer root.Close()
	}
	if err == nil {
		if st.IsDir() {
			return r.enter(arg)
		}
		if r.total > 1 {
			r.log.Printf(report.Error, "ERROR: destination must be a directory when copying more than 1 file\n")
			return exitcode.Silent(exitcode.FileSelect).Placed(exitcode.AtNotDir)
		}
		if r.total == 1 && r.lists[0].Files[0].IsDir() {
			r.log.Printf(report.Error, "ERROR: cannot overwrite non-directory with a directory\n")
			return exitcode.Silent(exitcode.FileSelect).Placed(exitcode.AtOverDir)
		}
	} else if !isMissing(err) {
		return fail(exitcode.FileSelect, err, "ERROR: cannot stat destination %s", c.fullName(c.Cwd, arg))
	}
	if r.total > 1 || trailing {
		if err == nil {
			r.log.Printf(report.Error, "ERROR: destination path is not a directory\n")
			return exitcode.Silent(exitcode.Syntax).Placed(exitcode.AtDestNotDir)
		}
		dir := strings.TrimRight(arg, "/")
		if !c.DryRun {
			if root == nil {
				return fail(exitcode.FileIO, err, "mkdir %s failed", c.fullName(c.Cwd, dir))
			}
			if merr := root.Mkdir(leaf, newDirMode); merr != nil {
				return fail(exitcode.FileIO, merr, "mkdir %s failed", c.fullName(c.Cwd, dir))
			}
		}
		r.made = startsWithTop(r.lists[0])
		if r.log.Info(report.InfoName, 1) || c.OutItemize > 0 {
			r.log.Printf(report.Info, "created directory %s\n", dir)
		}
		if c.DryRun {
			r.missing = true
			r.destPath = c.abs(dir)
			return nil
		}
		return r.enter(dir)
	}
	// One file: the operand names it.
	dir, name := path.Split(arg)
	if dir == "" {
		dir = "."
	}
	r.solo = name
	if root == nil {
		if c.DryRun && c.Mkpath {
			r.missing = true
			r.destPath = c.abs(dir)
			return nil
		}
		return fail(exitcode.FileSelect, err, "change_dir#3 %s failed", c.fullName(c.Cwd, strings.TrimRight(dir, "/")))
	}
	return r.enter(dir)
}

// mkpath makes the directories of a path (--mkpath); the last component too
// when whole is set or the path ends in a slash.
func (r *Receiving) mkpath(arg string, whole bool) (made int, err error) {
	dir := strings.TrimRight(arg, "/")
	if !whole && !strings.HasSuffix(arg, "/") {
		dir = path.Dir(dir)
	}
	return r.c.MakePath(dir, fsroot.Policy{}, r.c.DryRun)
}

// enter makes a directory the destination.
func (r *Receiving) enter(dir string) error {
	root, err := r.c.OpenDir(dir, r.c.destPolicy())
	if err != nil {
		r.log.Syserr(report.Error, err, "change_dir#1 %s failed", r.c.fullName(r.c.Cwd, dir))
		return exitcode.Silent(exitcode.FileSelect).Placed(exitcode.AtEnterDest)
	}
	r.dest, r.destPath = root, r.c.abs(dir)
	if r.log.Debug(report.DebugChdir, 1) {
		r.log.Printf(report.Info, "[%s] change_dir(%s)\n", r.log.Who(), r.destPath)
	}
	return nil
}

// operatorDir opens a directory that an option names, relative to the
// destination.
func (r *Receiving) operatorDir(dir string, p fsroot.Policy) (*fsroot.Root, error) {
	if !strings.HasPrefix(dir, "/") {
		dir = path.Join(r.destPath, dir)
	}
	return r.c.OpenDir(dir, p)
}

// workDir is operatorDir where no destination may have been entered: the name is
// relative to where we are, then.
func (r *Receiving) workDir(dir string) (*fsroot.Root, error) {
	if r.dest == nil && !strings.HasPrefix(dir, "/") {
		dir = r.c.abs(dir)
	}
	return r.operatorDir(dir, r.c.optionPolicy())
}

// openAlts opens the alternate destinations. rsync 3.5.0
// main.c:check_alt_basis_dirs.
func (r *Receiving) openAlts() {
	for _, d := range r.c.AltDests {
		if len(d) > 1 {
			d = strings.TrimSuffix(d, "/")
		}
		shown := r.c.shownDir(d)
		if !strings.HasPrefix(d, "/") && (!r.c.Sanitize || r.missing) {
			up, ok := strings.CutPrefix(d, "../")
			switch {
			case r.c.ListOnly: // no destination has been entered
				shown = join(r.c.Cwd, d)
			case r.missing && ok:
				shown = r.c.shownDir(join(path.Dir(r.destPath), up))
			default:
				shown = r.c.shownDir(join(r.destPath, d))
			}
		}
		a := altDir{path: shown}
		policy := r.c.destPolicy()
		policy.ConfineRoot = r.c.ConfineRoot
		root, err := r.operatorDir(d, policy)
		switch {
		case err == nil:
			a.root = root
		case errors.Is(err, syscall.ENOTDIR):
			r.log.Printf(report.Warning, "%s arg is not a dir: %s\n", r.c.altOption(), shown)
		default:
			r.log.Printf(report.Warning, "%s arg does not exist: %s\n", r.c.altOption(), shown)
		}
		r.alts = append(r.alts, a)
	}
}

func (c *Config) altOption() string {
	switch c.AltKind {
	case CopyDest:
		return "--copy-dest"
	case LinkDest:
		return "--link-dest"
	}
	return "--compare-dest"
}

// openDirs opens what --backup-dir, --temp-dir and an absolute --partial-dir
// name. rsync 3.5.0 main.c:do_recv.
func (r *Receiving) openDirs() error {
	c := r.c
	if c.BackupDir != "" {
		dir := strings.TrimSuffix(c.BackupDir, "/")
		root, err := r.workDir(dir)
		switch {
		case err == nil:
			r.backup = root
			if r.log.Info(report.InfoBackup, 1) {
				r.log.Printf(report.Info, "backup_dir is %s\n", dir)
			}
		case errors.Is(err, syscall.ENOTDIR):
			r.log.Printf(report.Error, "The backup-dir is not a directory: %s\n", dir)
			return exitcode.Silent(exitcode.Syntax).Placed(exitcode.AtBackupNotDir)
		case !isMissing(err):
			r.log.Printf(report.Error, "Failed to stat %s: %s\n", dir, report.Reason(err))
			return exitcode.Silent(exitcode.FileIO).Placed(exitcode.AtBackupStat)
		default:
			if r.log.Info(report.InfoBackup, 1) {
				r.log.Printf(report.Info, "(new) backup_dir is %s\n", dir)
			}
		}
	}
	if c.TempDir != "" {
		root, err := r.workDir(c.TempDir)
		switch {
		case err == nil:
			r.temp = root
		case errors.Is(err, syscall.ENOTDIR):
			r.log.Printf(report.Error, "The temp-dir is not a directory: %s\n", c.shownDir(c.TempDir))
			return exitcode.Silent(exitcode.Syntax).Placed(exitcode.AtTempNotDir)
		case isMissing(err):
			r.log.Printf(report.Error, "The temp-dir does not exist: %s\n", c.shownDir(c.TempDir))
			return exitcode.Silent(exitcode.Syntax).Placed(exitcode.AtTempMissing)
		default:
			r.log.Printf(report.Error, "Failed to stat temp-dir %s: %s\n", c.shownDir(c.TempDir), report.Reason(err))
			return exitcode.Silent(exitcode.FileIO).Placed(exitcode.AtTempStat)
		}
	}
	return nil
}

// partialPlace is where a partial transfer of name is kept: in the
// --partial-dir of the file's directory, in an absolute one, or as the file
// itself. The root is nil while an absolute one does not exist or is refused.
// rsync 3.5.0 util1.c:partial_dir_fname.
func (r *Receiving) partialPlace(name string) (place, bool) {
	c := r.c
	if c.PartialDir == "" {
		return place{}, false
	}
	if strings.HasPrefix(c.PartialDir, "/") {
		base := baseOf(name)
		root, _ := r.partialRoot(false)
		return place{root, base, join(c.PartialDir, base)}, true
	}
	dir := join(dirOf(name), c.PartialDir)
	if dirOf(name) == "." {
		dir = c.PartialDir
	}
	n := join(dir, baseOf(name))
	if r.daemonExcluded(dir, true) || r.daemonExcluded(n, false) {
		return place{}, false
	}
	return place{r.dest, n, n}, true
}

// partialRoot opens an absolute --partial-dir once, and with create makes it.
func (r *Receiving) partialRoot(create bool) (*fsroot.Root, error) {
	c := r.c
	r.pmu.Lock()
	defer r.pmu.Unlock()
	if r.partial != nil {
		return r.partial, nil
	}
	root, err := c.OpenDir(c.PartialDir, c.optionPolicy())
	if err != nil && create {
		above, leaf, perr := c.OpenParent(c.PartialDir, c.optionPolicy())
		if perr != nil {
			return nil, perr
		}
		defer above.Close()
		if st, serr := above.Lstat(leaf); serr == nil && !st.IsDir() {
			above.Unlink(leaf)
		}
		if err = above.Mkdir(leaf, 0700); err == nil {
			root, err = c.OpenDir(c.PartialDir, c.optionPolicy())
		}
	}
	if err != nil {
		return nil, err
	}
	r.partial = root
	return root, nil
}

// partialRefused reports whether an absolute --partial-dir is there and may not
// be used.
func (r *Receiving) partialRefused() bool {
	if !strings.HasPrefix(r.c.PartialDir, "/") {
		return false
	}
	_, err := r.partialRoot(false)
	return err != nil && !isMissing(err) && !errors.Is(err, syscall.ENOTDIR)
}

// makePartialDir makes the directory of a partial file.
// rsync 3.5.0 util1.c:handle_partial_dir.
func (r *Receiving) makePartialDir(p *place) bool {
	if strings.HasPrefix(r.c.PartialDir, "/") {
		root, err := r.partialRoot(true)
		p.root = root
		return err == nil
	}
	dir := dirOf(p.name)
	st, err := p.root.Lstat(dir)
	if err == nil && !st.IsDir() {
		if p.root.Unlink(dir) != nil {
			return false
		}
		err = os.ErrNotExist
	}
	if err != nil {
		// What comes by the swarm may have made it meanwhile.
		err := p.root.Mkdir(dir, 0700)
		return err == nil || errIs(err, unix.EEXIST)
	}
	return true
}

// dropPartialDir removes the directory of a partial file if it is empty.
func (r *Receiving) dropPartialDir(p place) {
	if !strings.HasPrefix(r.c.PartialDir, "/") {
		p.root.Rmdir(dirOf(p.name))
	}
}

// defaultPerms returns the permissions that new entries of a directory get at
// most (without --perms). Each role asks, and tells its user what is in the way,
// when it comes to another directory. rsync 3.5.0 acls.c:default_perms_for_dir.
func (r *Receiving) defaultPerms(log *report.Log, dir string) uint32 {
	perms := uint32(0777) &^ r.c.Umask
	if r.dest == nil {
		return perms
	}
	pin, err := r.dest.Pin(dir)
	if err == nil {
		defer pin.Close()
		var st fsroot.Stat
		if st, err = pin.Stat(); err == nil && st.IsSymlink() {
			st, err = r.dest.Stat(dir)
		}
		switch {
		case err != nil:
		case st.IsDir():
			perms, err = meta.DefaultPerms(pin, r.c.Umask)
		default:
			err = syscall.EACCES // as libacl says of what has no default list
		}
	}
	if err != nil && !(r.c.DryRun && isMissing(err)) {
		log.Printf(report.Warning, "default_perms_for_dir: sys_acl_get_file(%s, ACL_TYPE_DEFAULT): %s, falling back on umask\n", dir, report.ErrorText(err))
	}
	return perms
}

// newDirMode is the mode of directories that are not in the file list: the
// kernel takes the umask away, or, where the parent has one, applies its default
// ACL in place of the umask. rsync 3.5.0 util1.c:mkdir_defmode.
const newDirMode = 0777

// fileType is the type part of a mode.
func fileType(mode uint32) uint32 { return mode & unix.S_IFMT }
