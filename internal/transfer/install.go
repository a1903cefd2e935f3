package transfer

import (
	"os"

	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"golang.org/x/sys/unix"
)

// writing is a file being written: a temporary one, or, in place, the file
// itself.
type writing struct {
	at      place
	file    *os.File
	inPlace bool
}

// discard closes the file and removes it, unless it is the original.
func (w *writing) discard() {
	w.file.Close()
	if !w.inPlace {
		w.at.root.Unlink(w.at.name)
	}
}

// newTemp makes the temporary file for a name. Its mode lets nobody do more
// than in the end. rsync 3.5.0 receiver.c:open_tmpfile.
func (r *Receiving) newTemp(name string, mode uint32) (*writing, error) {
	perm := mode&0777 & ^uint32(077) | 0600
	if r.temp != nil {
		f, n, err := r.temp.CreateTempPlain("", baseOf(name), perm)
		if err != nil {
			return nil, err
		}
		return &writing{at: place{r.temp, n, join(r.c.TempDir, n)}, file: f}, nil
	}
	dir := dirOf(name)
	f, n, err := r.dest.CreateTemp(dir, baseOf(name), perm)
	if err != nil && isMissing(err) && r.c.Relative && !r.c.ImpliedDirs {
		if _, merr := r.dest.MkdirAll(dir, newDirMode); merr == nil {
			f, n, err = r.dest.CreateTemp(dir, baseOf(name), perm)
		}
	}
	if err != nil {
		return nil, err
	}
	return &writing{at: r.at(n), file: f}, nil
}

// openInPlace opens a file of the destination to be overwritten.
func (r *Receiving) openInPlace(name string) (*writing, error) { return openInPlace(r.at(name)) }

func openInPlace(at place) (*writing, error) {
	f, err := at.root.OpenFile(at.name, unix.O_RDWR|unix.O_CREAT, 0600)
	if err != nil && errIs(err, unix.EACCES) {
		// fs.protected_regular refuses O_CREAT in a sticky directory.
		if g, err2 := at.root.OpenFile(at.name, unix.O_WRONLY, 0600); err2 == nil {
			return &writing{at: at, file: g, inPlace: true}, nil
		}
		f, err = openReadOnly(at)
	}
	if err != nil {
		return nil, err
	}
	return &writing{at: at, file: f, inPlace: true}, nil
}

// openReadOnly opens our own read-only file for writing: write permission is
// given for the moment of opening only. rsync 3.5.0
// receiver.c:open_readonly_inplace.
func openReadOnly(at place) (*os.File, error) {
	pin, err := at.root.Pin(at.name)
	if err != nil {
		return nil, err
	}
	defer pin.Close()
	st, err := pin.Stat()
	if err != nil {
		return nil, err
	}
	if !st.IsRegular() || st.Mode&unix.S_IWUSR != 0 {
		return nil, &os.PathError{Op: "open", Path: at.shown, Err: unix.EACCES}
	}
	if err := pin.Chmod(st.Mode | unix.S_IWUSR); err != nil {
		return nil, err
	}
	f, err := at.root.OpenFile(at.name, unix.O_RDWR, 0600)
	if cerr := pin.Chmod(st.Mode); cerr != nil && err == nil {
		f.Close()
		return nil, cerr
	}
	return f, err
}

// installCall says how a finished file is put in place.
type installCall struct {
	attrs   attrCall
	backup  bool   // keep what it replaces
	partial *place // where to keep it if it cannot be put in place
}

// installed is how putting a file in place ended.
type installed uint8

const (
	notInstalled installed = iota // and why was reported
	isInstalled
	noBackup // what it would have replaced could not be kept
)

// install gives a written file its attributes and its name. The file is
// closed. rsync 3.5.0 rsync.c:finish_transfer.
func (r *Receiving) install(l *report.Log, w *writing, f *flist.File, name string, mode uint32, call installCall) installed {
	return r.installAt(l, w, f, r.at(name), mode, call)
}

func (r *Receiving) installAt(l *report.Log, w *writing, f *flist.File, to place, mode uint32, call installCall) installed {
	if !w.inPlace && call.backup && r.makeBackup(l, to.name, false) == backupFailed {
		w.discard()
		return noBackup
	}
	if w.inPlace {
		r.debugRecv(l, "finishing %s", to.shown)
	}
	r.setOnFile(l, w.file, to.shown, f, mode, call.attrs)
	if r.c.Fsync {
		if err := w.file.Sync(); err != nil {
			l.Syserr(report.Error, err, "fsync failed on %s", r.full(to.shown))
		}
	}
	if err := w.file.Close(); err != nil {
		l.Syserr(report.Error, err, "close failed on %s", r.full(w.at.shown))
		if !w.inPlace {
			w.at.root.Unlink(w.at.name)
		}
		return notInstalled
	}
	if w.inPlace {
		return isInstalled
	}
	if l.Debug(report.DebugRecv, 1) {
		r.debugRecv(l, "renaming %s to %s", w.at.shown, to.shown)
	}
	err := r.rename(w.at, to)
	if err == nil {
		return isInstalled
	}
	if errIs(err, unix.EXDEV) {
		return r.installCopy(l, w, f, to, mode, call)
	}
	l.Syserr(report.ErrorXfer, err, "rename %s -> \"%s\"", r.full(w.at.shown), to.shown)
	if call.partial == nil || call.partial.root == nil || r.rename(w.at, *call.partial) != nil {
		w.at.root.Unlink(w.at.name)
	}
	return notInstalled
}

// rename moves a file, even onto a running program.
func (r *Receiving) rename(from, to place) error {
	err := fsroot.Rename(from.root, from.name, to.root, to.name)
	if errIs(err, unix.ETXTBSY) && to.root.Unlink(to.name) == nil {
		err = fsroot.Rename(from.root, from.name, to.root, to.name)
	}
	return err
}

// installCopy puts a file in place from another file system (--temp-dir): it
// is copied beside its place first.
func (r *Receiving) installCopy(l *report.Log, w *writing, f *flist.File, to place, mode uint32, call installCall) installed {
	defer w.at.root.Unlink(w.at.name)
	src, err := w.at.root.Open(w.at.name)
	if err == nil {
		defer src.Close()
		var dst *os.File
		var n string
		if dst, n, err = to.root.CreateTemp(dirOf(to.name), baseOf(to.name), 0600); err == nil {
			var st fsroot.Stat
			if st, err = fsroot.Fstat(src); err == nil {
				_, _, err = fsroot.CopyRange(dst, src, 0, 0, st.Size)
			}
			at := place{to.root, n, n}
			if err != nil {
				dst.Close()
			} else {
				r.setOnFile(l, dst, to.shown, f, mode, call.attrs)
				if err = dst.Close(); err == nil {
					err = r.rename(at, to)
				}
			}
			if err == nil {
				return isInstalled
			}
			to.root.Unlink(n)
		}
	}
	l.Syserr(report.ErrorXfer, err, "copy %s -> \"%s\"", r.full(w.at.shown), to.shown)
	return notInstalled
}
