package transfer

import (
	"os"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/fsroot"
	"golang.org/x/sys/unix"
)

// sparseFile writes with holes in place of zeros (--sparse). It also counts
// for --inplace: matched zeros are punched out.
type sparseFile struct {
	f     *os.File
	punch bool // the file has blocks already: old contents, or --preallocate
	// A run of zeros that is not yet punched: only whole blocks give room back,
	// so that it has to be taken at once.
	from, to int64
}

const sparseUnit = 1024 // rsync.h: SPARSE_WRITE_SIZE

// WriteAt writes p, leaving out runs of zeros at the start and the end of each
// unit as rsync 3.5.0 fileio.c:write_sparse does.
func (s *sparseFile) WriteAt(p []byte, off int64) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), sparseUnit)
		if err := s.unit(p[:k], off, true); err != nil {
			return 0, err
		}
		p, off = p[k:], off+int64(k)
	}
	return n, nil
}

// SkipAt sees bytes that are in place already.
func (s *sparseFile) SkipAt(p []byte, off int64) error {
	for len(p) > 0 {
		k := min(len(p), sparseUnit)
		if err := s.unit(p[:k], off, false); err != nil {
			return err
		}
		p, off = p[k:], off+int64(k)
	}
	return nil
}

func (s *sparseFile) unit(p []byte, off int64, write bool) error {
	lead := 0
	for lead < len(p) && p[lead] == 0 {
		lead++
	}
	end := len(p)
	for end > lead && p[end-1] == 0 {
		end--
	}
	if err := s.zeros(off, off+int64(lead)); err != nil || lead == end {
		return err
	}
	if write {
		if _, err := s.f.WriteAt(p[lead:end], off+int64(lead)); err != nil {
			return err
		}
	}
	return s.zeros(off+int64(end), off+int64(len(p)))
}

// zeros notes that there are zeros up to an offset.
func (s *sparseFile) zeros(from, to int64) error {
	if !s.punch || from == to {
		return nil
	}
	if s.to != from {
		if err := s.flush(); err != nil {
			return err
		}
		s.from = from
	}
	s.to = to
	return nil
}

// flush punches the run of zeros that is still to be. It belongs at the end of
// the file.
func (s *sparseFile) flush() error {
	from, to := s.from, s.to
	s.from, s.to = 0, 0
	if from == to {
		return nil
	}
	err := fsroot.PunchHole(s.f, from, to-from)
	if err == nil || !errIs(err, unix.EOPNOTSUPP, unix.ENOSYS) {
		return err
	}
	zero := make([]byte, min(to-from, chunkSize))
	for from < to {
		n, err := s.f.WriteAt(zero[:min(to-from, chunkSize)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

var _ delta.Skipper = (*sparseFile)(nil)
