package transfer

import (
	"io"
	"os"
	"sync"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/delta/compress"
)

// rangeStep is after how many bytes a sender that shows progress hears of it.
const rangeStep = 16 << 20

// rangeToken is the first token of a file whose data is passed by reference:
// an impossible block number.
const rangeToken = 1<<31 - 2

// maxHanded bounds the files that are open between sender and receiver: a
// process may have few descriptors (ulimit -n).
const maxHanded = 64

// Ranges hands whole files from the sender to the receiver of a local copy by
// descriptor, so that the kernel moves the data (reflink, copy_file_range).
// The stream carries one token in their place.
type Ranges struct {
	mu     sync.Mutex
	queue  []fileRange
	room   sync.Cond // of mu, once full was met
	closed bool
}

type fileRange struct {
	file *os.File
	size int64
	// at takes how far the receiver has come, for a sender that waits; closed
	// at the end. Otherwise nil.
	at chan int64
}

// release ends a range that was copied, or will not be.
func (fr fileRange) release() {
	fr.file.Close()
	if fr.at != nil {
		close(fr.at)
	}
}

// push hands a file over and waits, at the bound, until the receiver has taken
// half of them; before it waits it calls flush, so that the receiver has all
// that it needs. It reports false when nobody will take the file.
func (r *Ranges) push(fr fileRange, flush func() error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) >= maxHanded {
		r.mu.Unlock()
		err := flush()
		r.mu.Lock()
		r.room.L = &r.mu
		for err == nil && len(r.queue) > maxHanded/2 && !r.closed {
			r.room.Wait()
		}
	}
	if r.closed {
		return false
	}
	r.queue = append(r.queue, fr)
	return true
}

func (r *Ranges) pop() (fileRange, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return fileRange{}, false
	}
	fr := r.queue[0]
	r.queue[0] = fileRange{}
	r.queue = r.queue[1:]
	if len(r.queue) == maxHanded/2 {
		r.room.Broadcast()
	}
	return fr, true
}

// Close closes what was handed over and not taken; nothing can be handed over
// from then on. The receiver's end, or who comes after it, calls it.
func (r *Ranges) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.room.Broadcast()
	for _, fr := range r.queue {
		fr.release()
	}
	r.queue = nil
}

// ranges hands the file to the receiver instead of its bytes. The receiver
// closes it.
func (s *Sender) ranges(file *os.File, size int64, out compress.Writer) (delta.Stats, error) {
	fr := fileRange{file: file, size: size}
	if p := s.c.Progress; p != nil && p.Shown() && size >= rangeStep {
		fr.at = make(chan int64)
	}
	if s.handed = s.c.Ranges.push(fr, s.c.W.Flush); !s.handed {
		return delta.Stats{}, io.ErrClosedPipe
	}
	if err := out.Match(rangeToken, nil); err != nil {
		return delta.Stats{}, err
	}
	if fr.at != nil {
		// The user watches: the next file is not begun before this one is copied.
		if err := s.c.W.Flush(); err != nil {
			return delta.Stats{}, err
		}
		for off := range fr.at {
			s.c.Progress.Show(off, size)
		}
	} else if s.c.Progress != nil {
		s.c.Progress.Show(size, size)
	}
	// What the plain token stream would have taken.
	s.c.W.Count(size + 4*((size+chunkSize-1)/chunkSize-1))
	return delta.Stats{Literal: size}, nil
}

// chunkSize is the longest literal token (rsync.h: CHUNK_SIZE).
const chunkSize = 32 << 10
