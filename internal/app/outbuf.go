package app

import (
	"bufio"
	"io"
	"sync"

	"github.com/prsync/prsync/internal/options"
)

// buffered is standard output with --outbuf=Block: many goroutines print.
type buffered struct {
	mu sync.Mutex
	w  *bufio.Writer
}

func (b *buffered) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.w.Write(p)
}

// outbuf returns standard output as --outbuf wants it, and what to call at the
// end. Lines are written one by one unless blocks are asked for.
func outbuf(w io.Writer, mode options.OutbufMode) (io.Writer, func()) {
	if mode != options.OutbufBlock {
		return w, func() {}
	}
	b := &buffered{w: bufio.NewWriterSize(w, 64<<10)}
	return b, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.w.Flush()
	}
}
