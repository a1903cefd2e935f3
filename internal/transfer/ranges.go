package transfer

import (
	"os"
	"sync"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/delta/compress"
)

// rangeToken is the first token of a file whose data is passed by reference:
// an impossible block number.
const rangeToken = 1<<31 - 2

// Ranges hands whole files from the sender to the receiver of a local copy by
// descriptor, so that the kernel moves the data (reflink, copy_file_range).
// The stream carries one token in their place.
type Ranges struct {
	mu    sync.Mutex
	queue []fileRange
}

type fileRange struct {
	file *os.File
	size int64
}

func (r *Ranges) push(fr fileRange) {
	r.mu.Lock()
	r.queue = append(r.queue, fr)
	r.mu.Unlock()
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
	return fr, true
}

// Close closes what was handed over and not taken.
func (r *Ranges) Close() {
	for {
		fr, ok := r.pop()
		if !ok {
			return
		}
		fr.file.Close()
	}
}

// ranges hands the file to the receiver instead of its bytes. The receiver
// closes it.
func (s *Sender) ranges(file *os.File, size int64, out compress.Writer) (delta.Stats, error) {
	s.handed = true
	s.c.Ranges.push(fileRange{file, size})
	if err := out.Match(rangeToken, nil); err != nil {
		return delta.Stats{}, err
	}
	// What the plain token stream would have taken.
	s.c.W.Count(size + 4*((size+chunkSize-1)/chunkSize-1))
	return delta.Stats{Literal: size}, nil
}

// chunkSize is the longest literal token (rsync.h: CHUNK_SIZE).
const chunkSize = 32 << 10
