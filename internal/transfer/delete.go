package transfer

import (
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"

	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
	"golang.org/x/sys/unix"
)

// delFlags say how and why something is deleted (rsync.h: DEL_…).
type delFlags uint16

const (
	delNoWrite delFlags = 1 << iota // ours, but without write permission
	delRecurse                      // a directory with its contents
	delEmpty                        // the directory is known to be empty
	delForFile                      // to make room for a regular file, …
	delForDir
	delForLink
	delForDevice
	delForSpecial
	delForBackup
)

const delMakeRoom = delForFile | delForDir | delForLink | delForDevice | delForSpecial

// delResult is how a deletion ended.
type delResult uint8

const (
	delOK delResult = iota
	delFailed
	delAtLimit
	delNotEmpty
)

// delayedDelete is what --delete-delay has found.
type delayedDelete struct {
	name  string
	mode  uint32
	flags delFlags
}

// openMerge opens a per-directory filter file of the destination.
func (r *Receiving) openMerge(dir, name string) (io.ReadCloser, error) {
	return openMerge(r.c, r.dest, r.destPath, dir, name)
}

// enterFilters makes a directory's own filter rules count.
func (g *generator) enterFilters(dir string) {
	if g.walk == nil {
		return
	}
	if err := g.walk.Enter(dir); err != nil && g.ended == nil {
		g.ended = err
	}
}

// localEntry is a file of the destination as deletion sees it. A directory may
// have a million of them.
type localEntry struct {
	name      string // below the destination
	mode, uid uint32
	mount     bool
}

func (e *localEntry) isDir() bool { return e.mode&unix.S_IFMT == unix.S_IFDIR }

// localList lists a directory of the destination by the rules: what they
// protect is left out. protected reports that something was.
// rsync 3.5.0 flist.c:get_dirlist.
func (g *generator) localList(dir string) (list []localEntry, protected bool) {
	var dwalk *filter.Walk
	if g.c.DaemonFilters != nil {
		dwalk = g.c.DaemonFilters.Walk(filter.Root{Who: "generator", Dir: g.destPath})
	}
	err := g.dest.EachEntry(dir, func(base []byte, _ uint32, _ uint64) bool {
		name := join(dir, string(base))
		lk := look{at: g.at(name)}
		st, err := lk.at.lstat()
		if err != nil {
			return true
		}
		lk.st = st
		g.overlay(&lk)
		e := localEntry{name: name, mode: lk.st.Mode, uid: lk.st.UID}
		isDir := st.IsDir()
		if g.log.Debug(report.DebugFlist, 2) {
			g.log.Printf(report.Info, "[%s] make_file(%s,*,%d)\n", g.log.Who(), name, allFilters)
		}
		if dwalk != nil && dwalk.Check(name, isDir) == filter.Exclude || g.walk != nil && g.walk.Check(name, isDir) == filter.Exclude {
			protected = true
			return true
		}
		if isDir && g.c.OneFileSystem > 0 && st.Dev != g.curDev {
			if g.c.OneFileSystem > 1 {
				return true
			}
			e.mount = true
		}
		if g.counting {
			g.log.ListCount(g.listed + len(list))
		}
		list = append(list, e)
		return true
	})
	if err != nil {
		// Nothing is deleted behind a link that -K keeps and that leads out.
		if !isMissing(err) && !(g.c.KeepDirlinks && errors.Is(err, syscall.ELOOP)) {
			g.io.Set(ioGeneral)
			g.log.Syserr(report.ErrorXfer, err, "opendir %s failed", g.full(dir))
		}
		return nil, false
	}
	if g.counting && g.log.Info(report.InfoProgress, 1) {
		g.listed += len(list)
	}
	sortLocal(list, g.c.Setup.Protocol)
	return list, protected
}

// sortLocal orders a local listing like a file list.
func sortLocal(list []localEntry, protocol int) {
	var x, y flist.File
	slices.SortFunc(list, func(a, b localEntry) int {
		x.Dir, x.Base = flist.Split(a.name)
		y.Dir, y.Base = flist.Split(b.name)
		x.Mode, y.Mode = a.mode, b.mode
		return flist.Compare(&x, &y, protocol)
	})
}

// ioErrors are the errors up to the list that is being worked on.
func (g *generator) ioErrors() int32 {
	if g.cur < len(g.lists) {
		return g.io.Get() | g.lists[g.cur].IOErrors
	}
	return g.io.Get() | g.listIO.Get()
}

// deleteIn deletes what a directory of the transfer has and the file list has
// not. rsync 3.5.0 generator.c:delete_in_dir.
func (g *generator) deleteIn(dir string, f *flist.File, dev uint64) {
	if g.log.Debug(report.DebugDel, 2) {
		g.log.Printf(report.Info, "delete_in_dir(%s)\n", dir)
	}
	if g.ioErrors()&ioGeneral != 0 && !g.c.IgnoreErrors {
		if !g.delWarned {
			g.log.Printf(report.Info, "IO error encountered -- skipping file deletion\n")
			g.delWarned = true
		}
		return
	}
	if g.enterFilters(dir); g.ended != nil {
		return // what the rules would protect is not known
	}
	if g.c.OneFileSystem > 0 {
		if f.Flags&flist.TopDir != 0 {
			g.topDevs[dev] = true
		} else if g.curDev != dev && !g.topDevs[dev] {
			return
		}
		g.curDev = dev
	}
	list, _ := g.localList(dir)
	for i := len(list) - 1; i >= 0; i-- {
		e := &list[i]
		if e.mount {
			if g.log.Info(report.InfoMount, 1) {
				g.log.Printf(report.Info, "cannot delete mount point: %s\n", e.name)
			}
			continue
		}
		if g.ended != nil {
			return
		}
		if g.inList(e.name) {
			continue
		}
		flags := delRecurse
		if e.mode&unix.S_IWUSR == 0 && !g.isRoot() && e.uid == g.c.EUID {
			flags |= delNoWrite
		}
		if g.c.Delete == DeleteDelay {
			g.delayed = append(g.delayed, delayedDelete{e.name, e.mode, flags})
		} else {
			g.deleteItem(e.name, e.mode, flags)
		}
	}
}

// inList reports whether the current list has an entry of the name, of
// whatever type.
func (g *generator) inList(name string) bool {
	sorted := g.lists[g.cur].Sorted
	probe := flist.File{Mode: unix.S_IFREG}
	probe.Dir, probe.Base = flist.Split(name)
	if flist.SearchActive(sorted, &probe, g.c.Setup.Protocol) >= 0 {
		return true
	}
	probe.Mode = unix.S_IFDIR
	return flist.SearchActive(sorted, &probe, g.c.Setup.Protocol) >= 0
}

// deletePass deletes before or after the transfer.
// rsync 3.5.0 generator.c:do_delete_pass.
func (g *generator) deletePass() error {
	if g.missing || g.c.ListOnly {
		return nil
	}
	cur := g.cur
	defer func() { g.cur = cur }()
	g.cur = 0
	// Only what is deleted in advance is counted, like a list.
	g.counting = g.c.Delete == DeleteBefore && !g.c.Server && g.c.Dirs && !g.c.Setup.IncRecurse
	defer func() { g.counting = false }()
	for _, f := range g.lists[0].Sorted {
		if !f.Active() {
			continue
		}
		name := f.Name()
		if f.Flags&flist.ContentDir == 0 {
			if f.IsDir() {
				if g.enterFilters(name); g.ended != nil {
					return g.ended
				}
			}
			continue
		}
		if g.log.Debug(report.DebugDel, 1) && f.Flags&flist.TopDir != 0 {
			g.log.Printf(report.Info, "deleting in %s\n", name)
		}
		st, err := g.statDir(name)
		if err != nil || !st.IsDir() {
			continue
		}
		g.deleteIn(name, f, st.Dev)
		if g.ended != nil {
			return g.ended
		}
	}
	if g.counting && g.log.Info(report.InfoFlist, 2) {
		g.log.Printf(report.Info, "                    \r") // over the count
	}
	return nil
}

func (g *generator) deleteDelayed() {
	for _, d := range g.delayed {
		g.deleteItem(d.name, d.mode, d.flags|delRecurse)
	}
	g.delayed = nil
}

// deleteItem deletes one thing. rsync 3.5.0 delete.c:delete_item.
func (g *generator) deleteItem(name string, mode uint32, flags delFlags) delResult {
	if g.log.Debug(report.DebugDel, 2) {
		g.log.Printf(report.Info, "delete_item(%s) mode=%o flags=%d\n", name, mode, flags)
	}
	isDir := fileType(mode) == unix.S_IFDIR
	if flags&delNoWrite != 0 {
		g.makeWritable(name, mode)
	}
	result := delOK
	if isDir && flags&delEmpty == 0 {
		if g.walk != nil {
			g.walk.Dying = true
		}
		result = g.deleteContents(name, flags)
		if g.walk != nil {
			g.walk.Dying = false
		}
	}
	if g.ended != nil {
		return result
	}
	if result == delNotEmpty || result == delAtLimit {
		return g.noRoom(name, flags, result)
	}
	if flags&delMakeRoom == 0 && g.c.MaxDelete >= 0 && g.deleted.Total >= g.c.MaxDelete {
		g.skipped++
		return delAtLimit
	}
	what, err := "unlink", error(nil)
	g.keepForSwarm(name, mode)
	switch {
	case isDir:
		what = "rmdir"
		if !g.c.DryRun {
			err = g.dest.Rmdir(name)
		}
	case g.c.Backup && !g.again && flags&delForBackup == 0 && (g.c.BackupDir != "" || !g.isBackup(name)):
		what = "make_backup"
		switch g.makeBackup(g.log, name, true) {
		case backupFailed:
			err = errNoBackup
		case backupCopied:
			what = "unlink"
			if !g.c.DryRun {
				err = g.dest.Unlink(name)
			}
		}
	default:
		if !g.c.DryRun {
			err = g.dest.Unlink(name)
		}
	}
	switch {
	case err == nil:
		if flags&delMakeRoom == 0 {
			g.logDelete(name, mode)
			g.deleted.Add(isDir, fileType(mode) == unix.S_IFLNK, flist.IsDevice(mode), flist.IsSpecial(mode))
		}
		return delOK
	case isDir && errIs(err, unix.ENOTEMPTY):
		g.log.Printf(report.Info, "cannot delete non-empty directory: %s\n", name)
		result = delNotEmpty
	case isMissing(err):
		return delOK
	default:
		if err != errNoBackup {
			g.log.Syserr(report.ErrorXfer, err, "delete_file: %s(%s) failed", what, name)
		}
		result = delFailed
	}
	return g.noRoom(name, flags, result)
}

var errNoBackup = errors.New("no backup")

// noRoom reports that something in the way could not be removed.
func (g *generator) noRoom(name string, flags delFlags, result delResult) delResult {
	desc := ""
	switch flags & delMakeRoom {
	case delForFile:
		desc = "regular file"
	case delForDir:
		desc = "directory"
	case delForLink:
		desc = "symlink"
	case delForDevice:
		desc = "device file"
	case delForSpecial:
		desc = "special file"
	default:
		return result
	}
	kind := "new"
	if flags&delForBackup != 0 {
		kind = "backup"
	}
	g.log.Printf(report.ErrorXfer, "could not make way for %s %s: %s\n", kind, desc, name)
	return result
}

// makeWritable gives us write permission to what we own.
func (g *generator) makeWritable(name string, mode uint32) {
	if g.c.DryRun || fileType(mode) == unix.S_IFLNK {
		return
	}
	if pin, err := g.dest.Pin(name); err == nil {
		pin.Chmod(mode | unix.S_IWUSR)
		pin.Close()
	}
}

// deleteContents empties a directory. rsync 3.5.0
// delete.c:delete_dir_contents.
func (g *generator) deleteContents(dir string, flags delFlags) delResult {
	if g.enterFilters(dir); g.ended != nil {
		return delNotEmpty
	}
	list, protected := g.localList(dir)
	if g.walk != nil {
		defer g.walk.Leave(dir)
	}
	result := delOK
	if protected {
		result = delNotEmpty
	}
	if len(list) > 0 && flags&delRecurse == 0 {
		result = delNotEmpty
		list = nil
	}
	flags = flags&^(delRecurse|delMakeRoom|delNoWrite) | delEmpty
	for i := len(list) - 1; i >= 0; i-- {
		e := &list[i]
		if e.mount {
			if g.log.Debug(report.DebugDel, 1) {
				g.log.Printf(report.Info, "mount point, %s, pins parent directory\n", e.name)
			}
			result = delNotEmpty
			continue
		}
		if e.mode&unix.S_IWUSR == 0 && !g.isRoot() && e.uid == g.c.EUID {
			g.makeWritable(e.name, e.mode)
		}
		if e.isDir() && g.deleteContents(e.name, flags|delRecurse) != delOK {
			result = delNotEmpty
		}
		if g.deleteItem(e.name, e.mode, flags) != delOK {
			result = delNotEmpty
		}
	}
	if result == delNotEmpty {
		g.log.Printf(report.Info, "cannot delete non-empty directory: %s\n", dir)
	}
	return result
}

// isBackup reports whether a name ends in the backup suffix.
func (g *generator) isBackup(name string) bool {
	return g.c.Suffix != "" && len(baseOf(name)) > len(g.c.Suffix) && strings.HasSuffix(name, g.c.Suffix)
}

// logDelete tells of a deletion: a server tells the client.
// rsync 3.5.0 log.c:log_delete.
func (g *generator) logDelete(name string, mode uint32) {
	if g.c.Server && g.c.Setup.Protocol >= 29 {
		b := []byte(name)
		if fileType(mode) == unix.S_IFDIR {
			b = append(b, 0)
		}
		g.c.W.MsgInOrder(wire.MsgDeleted, b)
	}
	g.c.LogDeleted(g.log, name, g.logged(name), mode)
}
