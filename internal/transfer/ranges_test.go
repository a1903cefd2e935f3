package transfer

import (
	"errors"
	"os"
	"testing"
)

// The sender of a local copy is not to hold more files open than a process may
// have, however far it is ahead of the receiver.
func TestRangesAreBounded(t *testing.T) {
	open := func() fileRange {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		return fileRange{file: f}
	}
	var r Ranges
	flushed := make(chan struct{}, 1)
	flush := func() error { flushed <- struct{}{}; return nil }
	for range maxHanded {
		if !r.push(open(), flush) {
			t.Fatal("not taken")
		}
	}
	done := make(chan bool)
	push := func() { done <- r.push(open(), flush) }
	go push()
	<-flushed // it is about to wait: the receiver can go on
	for range maxHanded / 2 {
		select {
		case <-done:
			t.Fatal("one more than the bound was taken")
		default:
		}
		fr, ok := r.pop()
		if !ok {
			t.Fatal("nothing there")
		}
		fr.file.Close()
	}
	if !<-done {
		t.Error("not taken, though there is room")
	}

	for len(r.queue) < maxHanded {
		r.push(open(), flush)
	}
	last := open()
	go func() { done <- r.push(last, flush) }()
	<-flushed
	r.Close() // the receiver is gone
	if <-done {
		t.Error("taken by nobody")
	}
	if _, ok := r.pop(); ok {
		t.Error("something is left")
	}
	if err := last.file.Close(); err != nil {
		t.Error("the file is not its owner's any more:", err)
	}
	failing := errors.New("flush")
	late := open()
	defer late.file.Close()
	if r.push(late, func() error { return failing }) {
		t.Error("taken after the end")
	}
}
