package index

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reserveContents makes room for as many new contents as there are files to
// read. It lies outside the garbage collector's heap, which else would grow to
// twice its size; what is not used costs no memory.
func (s *scan) reserveContents() error {
	size := s.todo * int(unsafe.Sizeof(record{}))
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("%d bytes for the contents of %d files: %w", size, s.todo, err)
	}
	s.memory = b
	// A record has no pointers, and a mapping is aligned to pages.
	s.contents = unsafe.Slice((*record)(unsafe.Pointer(&b[0])), s.todo)[:0]
	return nil
}

// discardContents gives the room back; contents are not used any more.
func (s *scan) discardContents() {
	s.contents = nil
	if s.memory != nil {
		unix.Munmap(s.memory)
		s.memory = nil
	}
}
