package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// spill holds the parts of pieces that no client asked for: a piece has to be
// whole to be verified and passed on. It is a nameless sparse file with the
// layout of the blob, made when it is first written to.
type spill struct {
	dir string

	mu sync.Mutex
	f  *os.File
}

func (s *spill) file(create bool) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f != nil || !create {
		return s.f, nil
	}
	dir := s.dir
	if dir == "" {
		dir = os.TempDir()
	}
	f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if err != nil { // a file system without O_TMPFILE
		if f, err = os.CreateTemp(dir, ".prsync-spill-*"); err == nil {
			err = os.Remove(f.Name())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("temporary file for pieces: %w", err)
	}
	s.f = f
	return f, nil
}

func (s *spill) readAt(b []byte, off int64) error {
	f, _ := s.file(false)
	if f == nil {
		return io.ErrUnexpectedEOF
	}
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (s *spill) writeAt(b []byte, off int64) error {
	f, err := s.file(true)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, off)
	return err
}

func (s *spill) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f != nil {
		s.f.Close()
		s.f = nil
	}
}

// has reports whether the range may be in the spill: it reaches that far.
func (s *spill) has(off, n int64) bool {
	f, _ := s.file(false)
	if f == nil {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Size() >= off+n
}
