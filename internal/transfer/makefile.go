package transfer

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"golang.org/x/sys/unix"
)

// level says which filter rules apply to a name.
type level uint8

const (
	noFilters level = iota
	serverFilters
	allFilters
)

// makeFile looks at a name and makes its entry. st is given for what was
// looked at already. nil means that the name is left out, for a reason that
// was reported. rsync 3.5.0 flist.c:make_file.
func (s *Sender) makeFile(si int32, name string, given *fsroot.Stat, flags flist.Flags, lv level) *flist.File {
	src := s.sources[si]
	if len(name) >= flist.MaxPath {
		s.io.Set(ioGeneral)
		s.log.Printf(report.ErrorXfer, "skipping overly long name: %s\n", name)
		return nil
	}
	name, _ = flist.CleanName(name)
	if s.c.Sanitize && !src.top {
		name = flist.Sanitize(name, 0, false)
	}
	var st fsroot.Stat
	var link string
	if given != nil && (given.IsDir() || given.Mode == 0) {
		st = *given
	} else {
		var err error
		if st, link, err = s.readStat(src, name); err != nil {
			s.lostFile(src, name, lv, err)
			return nil
		}
		if st.Mode == 0 {
			s.io.Set(ioGeneral)
			s.log.Printf(report.Info, "skipping file with bogus (zero) st_mode: %s\n", s.full(src, name))
			return nil
		}
	}
	if lv != noFilters {
		if st.IsDir() {
			if !s.c.Dirs {
				s.log.Printf(report.Info, "skipping directory %s\n", name)
				return nil
			}
			if s.c.OneFileSystem > 0 && st.Dev != s.dev && flags&(flist.ContentDir|flist.TopDir) == flist.ContentDir {
				if s.c.OneFileSystem > 1 {
					if s.log.Info(report.InfoMount, 1) {
						s.log.Printf(report.Info, "[%s] skipping mount-point dir %s\n", s.log.Who(), name)
					}
					return nil
				}
				flags = (flags | flist.MountDir) &^ flist.ContentDir
			}
		} else {
			flags &^= flist.ContentDir
		}
		if s.excluded(src, name, st.IsDir(), lv == allFilters) {
			return nil
		}
		if s.c.IgnoreNonreadable && !st.IsSymlink() && !s.readable(src, name, &st) {
			return nil
		}
	}
	f := s.slab.File()
	f.Mode = st.Mode
	f.SetName(name)
	f = s.slab.Keep(f)
	if !st.IsDir() {
		if f.Dir == s.lastDir {
			f.Dir = s.lastDir
		} else {
			s.lastDir = f.Dir
		}
	}
	f.Src = si
	f.Flags = flags
	f.Size, f.Mtime, f.UID, f.GID = st.Size, st.Mtime.Sec, st.UID, st.GID
	if s.c.Setup.Protocol >= 31 && st.Mtime.Nsec <= meta.MaxNsec {
		f.Nsec = st.Mtime.Nsec
	}
	switch {
	case st.IsDevice() && s.c.CopyDevices:
		if f.Size == 0 {
			f.Size = s.deviceSize(src, name)
		}
		f.Mode = unix.S_IFREG | st.Mode&0777
		f.Mtime = s.c.Now().Unix() // the nanoseconds stay the device's, as in rsync
	case st.IsDevice():
		x := s.slab.Ext(f)
		x.Major, x.Minor = meta.DeviceNumbers(st.Rdev)
		f.Size = 0
	case st.IsSpecial():
		f.Size = 0
	case st.IsSymlink():
		s.slab.Ext(f).Link = link
	}
	if s.c.Atimes && !st.IsDir() {
		s.slab.Ext(f).Atime = st.Atime.Sec
	}
	if s.c.HardLinks && (s.c.Setup.Protocol >= 28 && !st.IsDir() && st.Nlink > 1 || s.c.Setup.Protocol < 28 && f.IsRegular()) {
		f.Flags |= flist.Linked
		x := s.slab.Ext(f)
		x.Dev, x.Ino = st.Dev, st.Ino
	}
	if s.c.Checksum && f.IsRegular() {
		s.slab.Ext(f).Sum = s.fileSum(src, name, f.Size)
	}
	return f
}

// lostFile reports why a name cannot be looked at, unless it is excluded.
func (s *Sender) lostFile(src *source, name string, lv level, err error) {
	if lv != noFilters && (s.excluded(src, name, false, lv == allFilters) || s.excluded(src, name, true, lv == allFilters)) {
		return
	}
	if !errors.Is(err, fs.ErrNotExist) {
		s.io.Set(ioGeneral)
		s.log.Syserr(report.ErrorXfer, err, "readlink_stat(%s) failed", s.full(src, name))
		return
	}
	if s.c.follows() {
		if st, err := src.root.Lstat(src.rel(name)); err == nil && st.IsSymlink() {
			s.io.Set(ioGeneral)
			s.log.Printf(report.ErrorXfer, "symlink has no referent: %s\n", s.full(src, name))
			return
		}
	}
	code := report.Warning
	if s.c.Daemon && s.c.Setup.Protocol < 28 {
		code = report.Error
	}
	s.io.Set(ioVanished)
	s.log.Printf(code, "file has vanished: %s\n", s.full(src, name))
}

// openFile opens a source file for reading.
func (s *Sender) openFile(src *source, name string) (*os.File, error) {
	if s.c.follows() {
		return src.root.OpenFollow(src.rel(name))
	}
	return src.root.Open(src.rel(name))
}

func (s *Sender) deviceSize(src *source, name string) int64 {
	f, err := s.openFile(src, name)
	if err != nil {
		return 0
	}
	defer f.Close()
	return deviceSize(f)
}

// deviceSize finds the length of a device by seeking to its end.
func deviceSize(f *os.File) int64 {
	n, err := f.Seek(0, 2)
	if err != nil {
		return 0
	}
	f.Seek(0, 0)
	return n
}

// readable reports whether the process may read an entry
// ("ignore nonreadable").
func (s *Sender) readable(src *source, name string, st *fsroot.Stat) bool {
	if st.IsRegular() || st.IsDir() {
		f, err := s.openFile(src, name)
		if err != nil {
			return !errors.Is(err, fs.ErrPermission)
		}
		f.Close()
	}
	return true
}

// fileSum is the -c checksum of a source file: zeros when it cannot be read.
func (s *Sender) fileSum(src *source, name string, size int64) []byte {
	var f interface {
		io.ReaderAt
		io.Closer
	}
	var err error
	if s.c.follows() {
		f, err = src.root.OpenFollow(src.rel(name))
	} else {
		f, err = src.root.OpenReader(src.rel(name))
	}
	if err != nil {
		return make([]byte, s.c.Setup.FileSum.Len())
	}
	defer f.Close()
	return s.summer.sum(f, size, s.c.Setup.FileSum)
}

// fileSummer computes pre-transfer checksums; it keeps its memory from file to
// file.
type fileSummer struct {
	window *delta.Window
	hash   checksum.FileHash
}

// sum returns the checksum of size bytes of a file.
func (s *fileSummer) sum(f io.ReaderAt, size int64, kind checksum.Kind) []byte {
	if s.hash == nil {
		s.hash, s.window = checksum.New(kind), delta.NewWindow(nil, 0)
	}
	s.hash.Reset()
	s.window.Reset(f, size)
	for off := int64(0); off < size; {
		n := int(min(size-off, 256<<10))
		s.hash.Write(s.window.Bytes(off, n))
		off += int64(n)
	}
	return s.hash.Sum(nil)
}
