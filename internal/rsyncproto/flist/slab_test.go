package flist

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestGiveBack: entries of a list that is done with serve again, but for those
// that somebody may still hold.
func TestGiveBack(t *testing.T) {
	var s Slab
	add := func(name string, mode uint32, flags Flags) *File {
		f := s.File()
		f.Mode, f.Flags = mode, flags
		f.SetName(name)
		return s.Keep(f)
	}
	l := &List{Start: 1, Files: s.Files()}
	file := add("a/file", unix.S_IFREG, Sent)
	extra := s.Ext(file)
	extra.Link = "x"
	dir := add("a/dir", unix.S_IFDIR, ContentDir)
	linked := add("a/linked", unix.S_IFREG, Linked)
	cleared := add("a/cleared", unix.S_IFDIR, 0)
	cleared.Clear()
	l.Files = append(l.Files, file, dir, linked, cleared)
	s.GiveBack(l)
	if dir.Name() != "a/dir" {
		t.Errorf("an entry that is held has changed: %q", dir.Name())
	}
	if len(l.Files) != 4 || l.End() != 5 {
		t.Errorf("the list has changed: %d entries, end %d", len(l.Files), l.End())
	}
	next := s.Files()
	if len(next) != 0 || cap(next) < 4 {
		t.Errorf("the slice did not come back: %d of %d", len(next), cap(next))
	}
	if f := add("e", unix.S_IFREG, 0); f != linked {
		t.Error("a member of a hard-link group did not come back")
	}
	again := s.File()
	if again != file {
		t.Fatal("the entry did not come back")
	}
	if *again != (File{}) {
		t.Errorf("it is not zero: %+v", *again)
	}
	if x := s.Ext(again); x != extra || x.Link != "" || x.DirNdx != -1 {
		t.Errorf("what few entries have: %p, want %p: %+v", x, extra, x)
	}
	if x := s.Ext(again); x != extra {
		t.Error("an entry has it twice")
	}
	*again = File{}
	again.Mode = unix.S_IFDIR
	again.SetName("b")
	if d := s.Keep(again); d == file || d.Name() != "b" || *file != (File{}) {
		t.Errorf("a directory in a used entry: %+v, %+v", d, file)
	}
	if f := add("c", unix.S_IFREG, 0); f != file {
		t.Error("the used entry was lost")
	}
	if f := add("d", unix.S_IFREG, 0); f == file || f == dir || f == linked || f == cleared {
		t.Error("an entry serves twice")
	}
}

// TestGiveBackBounded: a directory of any size leaves a bounded number of
// entries behind.
func TestGiveBackBounded(t *testing.T) {
	var s Slab
	l := &List{}
	for range 2 * maxUsedFiles {
		f := s.File()
		f.Mode, f.Base = unix.S_IFREG, "f"
		l.Files = append(l.Files, s.Keep(f))
	}
	s.GiveBack(l)
	if len(s.used) != maxUsedFiles || len(s.lists) != 0 {
		t.Errorf("%d entries and %d lists are kept", len(s.used), len(s.lists))
	}
}
