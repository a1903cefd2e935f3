package transfer

import (
	"os"
	"strings"

	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"golang.org/x/sys/unix"
)

// backupResult is how a backup was made.
type backupResult uint8

const (
	backupFailed  backupResult = iota
	backupRenamed              // the original is gone from its place
	backupCopied               // or linked: the original is still there
	backupNothing              // there was nothing to keep
)

// backupPlace is where the backup of a name goes. It makes the directories
// that are missing in a --backup-dir.
func (r *Receiving) backupPlace(l *report.Log, name string) (place, bool) {
	c := r.c
	if c.BackupDir == "" {
		n := name + c.Suffix
		return place{r.dest, n, n}, true
	}
	dir := strings.TrimSuffix(c.BackupDir, "/")
	if err := r.backupRoot(dir); err != nil {
		l.Syserr(report.Error, err, "backup mkdir %s failed", dir)
		return place{}, false
	}
	n := name + c.Suffix
	if !r.backupDirs(l, dir, dirOf(n)) {
		return place{}, false
	}
	return place{r.backup, n, join(dir, n)}, true
}

// backupRoot opens the --backup-dir once, making it if it is missing.
func (r *Receiving) backupRoot(dir string) error {
	r.pmu.Lock()
	defer r.pmu.Unlock()
	if r.backup != nil {
		return nil
	}
	if _, err := r.c.MakePath(r.backupPath(), r.c.optionPolicy(), false); err != nil {
		return err
	}
	root, err := r.operatorDir(dir, r.c.optionPolicy())
	if err == nil {
		r.backup = root
	}
	return err
}

func (r *Receiving) backupPath() string {
	dir := strings.TrimSuffix(r.c.BackupDir, "/")
	if strings.HasPrefix(dir, "/") {
		return dir
	}
	return join(r.destPath, dir)
}

// backupDirs makes the directories above a backup, with the attributes of
// those that they stand for. rsync 3.5.0 backup.c:copy_valid_path.
func (r *Receiving) backupDirs(l *report.Log, shown, dir string) bool {
	if dir == "." {
		return true
	}
	if st, err := r.backup.Lstat(dir); err == nil && st.IsDir() {
		return true
	}
	if !r.backupDirs(l, shown, dirOf(dir)) {
		return false
	}
	st, err := r.backup.Lstat(dir)
	if err == nil && !st.IsDir() {
		// Something else is in the way of an older backup: it makes room.
		if err := r.backup.Unlink(dir); err != nil {
			l.Syserr(report.Error, err, "backup mkdir %s failed", join(shown, dir))
			return false
		}
	}
	if err := r.backup.Mkdir(dir, 0777&^r.c.Umask); err != nil && !errIs(err, unix.EEXIST) {
		l.Syserr(report.Error, err, "backup mkdir %s failed", join(shown, dir))
		return false
	}
	r.copyAttrs(l, r.at(dir), place{r.backup, dir, join(shown, dir)}, false)
	return true
}

// copyAttrs gives one entry the attributes of another, extended ones where xs
// says so: rsync leaves them out for the directories of a --backup-dir.
func (r *Receiving) copyAttrs(l *report.Log, from, to place, xs bool) {
	if want, ok := r.attrsToKeep(l, from, xs); ok {
		r.giveAttrs(l, to, want)
	}
}

// attrsToKeep are the attributes that the backup of an entry gets. Like those
// that a peer sends, their times have no fractions before protocol 31.
func (r *Receiving) attrsToKeep(l *report.Log, from place, xs bool) (meta.Attrs, bool) {
	src, err := from.root.Pin(from.name)
	if err != nil {
		l.Syserr(report.Error, err, "backup stat %s failed", r.full(from.shown))
		return meta.Attrs{}, false
	}
	defer src.Close()
	st, err := src.Stat()
	if err != nil {
		return meta.Attrs{}, false
	}
	if r.c.Privilege == meta.FakeSuper {
		meta.OverlayFakeStat(src, &st)
	}
	want := meta.AttrsOf(&st)
	if r.c.Setup.Protocol < 31 {
		want.Mtime.Nsec = 0
	}
	if r.c.ACLs {
		if a, d, err := meta.ReadACLs(src, st.Mode, r.c.Privilege); err == nil {
			a.Strip(st.Mode)
			want.Access, want.Default = &a, &d
		}
	}
	if r.c.Xattrs > 0 && xs {
		if list, err := meta.ReadXattrs(src, &r.rules.Xattrs); err == nil {
			want.Xattrs = list
			if want.Xattrs == nil {
				want.Xattrs = meta.Xattrs{}
			}
		}
	}
	return want, true
}

// giveAttrs gives a backup its attributes.
func (r *Receiving) giveAttrs(l *report.Log, to place, want meta.Attrs) {
	dst, err := to.root.Pin(to.name)
	if err != nil {
		return
	}
	defer dst.Close()
	st, err := dst.Stat()
	if err != nil {
		return
	}
	have := meta.AttrsOf(&st)
	rules := r.rules
	rules.Perms = true
	rules.Chmod = nil
	if want.Xattrs == nil {
		rules.Xattrs.Level = 0
	}
	_, err = meta.Apply(dst, &want, &have, &rules, meta.Entry{AccurateTime: true})
	r.attrErrors(l, &look{at: to}, err)
}

// makeBackup keeps what lies at a name. rsync 3.5.0 backup.c:make_backup.
func (r *Receiving) makeBackup(l *report.Log, name string, preferRename bool) backupResult {
	c := r.c
	if c.DryRun {
		return backupNothing
	}
	from := r.at(name)
	st, err := from.lstat()
	if err != nil {
		return backupNothing
	}
	to, ok := r.backupPlace(l, name)
	if !ok {
		return backupFailed
	}
	if c.Links && st.IsSymlink() && c.SafeLinks {
		link, err := from.root.Readlink(name)
		if err != nil || link == "" || UnsafeLink(link, name) {
			if l.Info(report.InfoSymsafe, 1) {
				if err != nil || link == "" {
					l.Printf(report.Info, "not backing up symlink with unreadable target \"%s\"\n", name)
				} else {
					l.Printf(report.Info, "not backing up unsafe symlink \"%s\" -> \"%s\"\n", name, link)
				}
			}
			r.backedUp(l, name, to)
			return backupCopied
		}
	}
	res, err := r.linkOrRename(from, to, &st, preferRename)
	if res == backupFailed && errIs(err, unix.EEXIST, unix.EISDIR, unix.ENOTEMPTY) {
		if bst, err := to.lstat(); err == nil {
			if !r.removeBackup(l, to, &bst) {
				return backupFailed
			}
		}
		res, err = r.linkOrRename(from, to, &st, preferRename)
	}
	if res != backupFailed {
		r.backedUp(l, name, to)
		return res
	}
	return r.copyBackup(l, from, to, &st, err)
}

func (r *Receiving) backedUp(l *report.Log, name string, to place) {
	if l.Info(report.InfoBackup, 1) {
		l.Printf(report.Info, "backed up %s to %s\n", name, to.shown)
	}
}

// removeBackup removes an older backup that is in the way, a directory with
// what is in it.
func (r *Receiving) removeBackup(l *report.Log, p place, st *fsroot.Stat) bool {
	err := error(nil)
	if st.IsDir() {
		err = removeTree(p.root, p.name)
	} else {
		err = p.root.Unlink(p.name)
	}
	if err != nil && !isMissing(err) {
		l.Syserr(report.ErrorXfer, err, "delete_file: unlink(%s) failed", p.shown)
		return false
	}
	return true
}

func removeTree(root *fsroot.Root, dir string) error {
	ents, err := root.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range ents {
		name := join(dir, e.Name)
		st, err := root.Lstat(name)
		if err != nil {
			continue
		}
		if st.IsDir() {
			err = removeTree(root, name)
		} else {
			err = root.Unlink(name)
		}
		if err != nil {
			return err
		}
	}
	return root.Rmdir(dir)
}

// linkOrRename moves or links the original. rsync 3.5.0
// backup.c:link_or_rename.
func (r *Receiving) linkOrRename(from, to place, st *fsroot.Stat, preferRename bool) (backupResult, error) {
	if !preferRename {
		err := fsroot.Link(from.root, from.name, to.root, to.name, false)
		if err == nil {
			r.debugBackup("HLINK", from)
			return backupCopied, nil
		}
		if !st.IsRegular() || errIs(err, unix.EEXIST, unix.EISDIR) {
			return backupFailed, err
		}
	}
	if err := fsroot.Rename(from.root, from.name, to.root, to.name); err != nil {
		return backupFailed, err
	}
	if st.Nlink > 1 && !st.IsDir() {
		// Renaming one link of an inode onto another does nothing.
		from.root.Unlink(from.name)
	}
	r.debugBackup("RENAME", from)
	return backupRenamed, nil
}

// copyBackup copies what can neither be linked nor moved, to another file
// system for instance.
func (r *Receiving) copyBackup(l *report.Log, from, to place, st *fsroot.Stat, cause error) backupResult {
	c := r.c
	switch {
	case st.IsDevice() && c.Devices && r.isRoot() || st.IsSpecial() && c.Specials:
		if err := meta.MakeNode(to.root, to.name, st.Mode, st.Rdev, c.Privilege); err != nil {
			l.Syserr(report.Error, err, "mknod %s failed", r.full(to.shown))
		}
	case st.IsSymlink() && c.Links:
		link, err := meta.ReadSymlink(from.root, from.name, c.Privilege)
		if err == nil {
			err = meta.MakeSymlink(to.root, link, to.name, c.Privilege)
		}
		if err != nil {
			l.Syserr(report.Error, err, "link %s -> \"%s\"", r.full(to.shown), link)
		}
	case !st.IsRegular():
		if l.Info(report.InfoNonreg, 1) {
			l.Printf(report.Info, "make_bak: skipping non-regular file %s\n", from.shown)
		}
		return backupNothing
	default:
		if err := copyFile(from, to, st.Mode); err != nil {
			l.Syserr(report.Error, err, "keep_backup failed: %s -> \"%s\"", r.full(from.shown), to.shown)
			return backupFailed
		}
	}
	r.copyAttrs(l, from, to, true)
	r.backedUp(l, from.shown, to)
	return backupCopied
}

// copyFile copies a regular file's contents.
func copyFile(from, to place, mode uint32) error {
	src, err := from.root.Open(from.name)
	if err != nil {
		return err
	}
	defer src.Close()
	st, err := fsroot.Fstat(src)
	if err != nil {
		return err
	}
	if err := to.root.Unlink(to.name); err != nil && !isMissing(err) {
		return err
	}
	dst, err := to.root.OpenFile(to.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, mode&0700|0600)
	if err != nil {
		return err
	}
	_, _, err = fsroot.CopyRange(dst, src, 0, 0, st.Size)
	if cerr := dst.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		to.root.Unlink(to.name)
	}
	return err
}

// backupFile is the backup of a file that will be overwritten in place, made
// while its block sums are computed.
type backupFile struct {
	r    *Receiving
	l    *report.Log
	from place
	to   place
	file *os.File
	size int64
	err  error
	// attrs are the original's before it was asked for: by the time the copy is
	// done, the receiver may have begun to overwrite it.
	attrs meta.Attrs
}

// backupInPlace opens the backup of a file for --inplace.
func (g *generator) backupInPlace(name string, st *fsroot.Stat) (*backupFile, error) {
	to, ok := g.backupPlace(g.log, name)
	if !ok {
		return nil, nil
	}
	attrs, ok := g.attrsToKeep(g.log, g.at(name), true)
	if !ok {
		return nil, nil
	}
	if err := to.root.Unlink(to.name); err != nil && !isMissing(err) {
		g.log.Syserr(report.ErrorXfer, err, "unlink %s", g.full(to.shown))
		return nil, err
	}
	f, err := to.root.OpenFile(to.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0600)
	if err != nil {
		g.log.Syserr(report.ErrorXfer, err, "open %s", g.full(to.shown))
		return nil, err
	}
	return &backupFile{r: g.Receiving, l: g.log, from: g.at(name), to: to, file: f, size: st.Size, attrs: attrs}, nil
}

func (b *backupFile) write(p []byte, off int64) {
	if b.err == nil {
		_, b.err = b.file.WriteAt(p, off)
	}
}

// copyAll copies the whole file at once.
func (b *backupFile) copyAll(g *generator) {
	src, err := b.from.root.Open(b.from.name)
	if err != nil {
		b.err = err
		return
	}
	defer src.Close()
	_, _, b.err = fsroot.CopyRange(b.file, src, 0, 0, b.size)
}

func (b *backupFile) close() {
	if err := b.file.Close(); b.err == nil {
		b.err = err
	}
	if b.err != nil {
		b.l.Syserr(report.ErrorXfer, b.err, "write %s failed", b.r.full(b.to.shown))
		return
	}
	b.r.giveAttrs(b.l, b.to, b.attrs)
	b.r.backedUp(b.l, b.from.shown, b.to)
}
