package transfer

import (
	"errors"
	"os"
	"slices"
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

// A sender that shows progress hears how far the copy is, and is let go when the
// receiver ends.
func TestRangeTellsHowFarItIs(t *testing.T) {
	dir := t.TempDir()
	const size = 2*rangeStep + 5
	src, err := os.Create(dir + "/src")
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Truncate(size); err != nil {
		t.Fatal(err)
	}
	dst, err := os.Create(dir + "/dst")
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	fr := fileRange{file: src, size: size, at: make(chan int64)}
	go func() {
		if n, err := fr.copyTo(dst); n != size || err != nil {
			t.Errorf("%d bytes copied, %v", n, err)
		}
		fr.release()
	}()
	var seen []int64
	for off := range fr.at {
		seen = append(seen, off)
	}
	if !slices.Equal(seen, []int64{rangeStep, 2 * rangeStep, size}) {
		t.Errorf("told %v", seen)
	}
	if st, err := dst.Stat(); err != nil || st.Size() != size {
		t.Errorf("%v, %v", st, err)
	}

	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	var r Ranges
	fr = fileRange{file: null, at: make(chan int64)}
	if !r.push(fr, nil) {
		t.Fatal("not taken")
	}
	r.Close()
	if _, open := <-fr.at; open {
		t.Error("a range that nobody copies has an end")
	}
}
