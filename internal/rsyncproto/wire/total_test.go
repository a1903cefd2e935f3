package wire

import (
	"bytes"
	"strings"
	"testing"
)

// After Restart, Total counts what is read or written from then on, what the
// Reader holds already included.
func TestRestart(t *testing.T) {
	r := NewReader(strings.NewReader("\x01\x00\x00\x00abcdef"))
	r.Int()
	if r.Total() != 10 {
		t.Errorf("a reader took %d bytes, want 10", r.Total())
	}
	r.Restart()
	if r.Total() != 6 {
		t.Errorf("a restarted reader counts %d bytes, want 6", r.Total())
	}
	before := r.Taken()
	r.Byte()
	if n := r.Taken() - before; n != 1 {
		t.Errorf("a reader gave %d bytes, want 1", n)
	}
	w := NewWriter(new(bytes.Buffer))
	w.Int(1)
	w.Flush()
	w.Restart()
	w.Byte(1)
	w.Flush()
	if w.Total() != 1 {
		t.Errorf("a restarted writer counts %d bytes, want 1", w.Total())
	}
	w.StartMux()
	before = w.Made()
	w.Int(1)
	if n := w.Made() - before; n != 4 {
		t.Errorf("a writer made %d bytes of an integer in a frame, want 4", n)
	}
}
