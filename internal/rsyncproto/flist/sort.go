package flist

import (
	"cmp"
	"slices"
	"sync"
)

// Sort sorts files by Compare; equal names stay in the order of transmission.
func Sort(files []*File, protocol int) {
	if protocol >= 29 && oneDir(files) {
		sortDir(files, protocol)
		return
	}
	slices.SortFunc(files, func(a, b *File) int { return compareSeq(a, b, protocol) })
}

func compareSeq(a, b *File, protocol int) int {
	if c := Compare(a, b, protocol); c != 0 {
		return c
	}
	return cmp.Compare(a.Seq, b.Seq)
}

func oneDir(files []*File) bool {
	for _, f := range files {
		if f.Dir != files[0].Dir {
			return false
		}
	}
	return true
}

// keyed is an entry with what decides most comparisons of it, so that sorting
// need not touch the entries.
type keyed struct {
	key uint64
	f   *File
}

var keyedLists = sync.Pool{New: func() any { return new([]keyed) }}

// sortDir sorts the entries of one directory.
func sortDir(files []*File, protocol int) {
	buf := keyedLists.Get().(*[]keyed)
	list := slices.Grow((*buf)[:0], len(files))
	skip := commonPrefix(files)
	for _, f := range files {
		list = append(list, keyed{sortKey(f, skip), f})
	}
	slices.SortFunc(list, func(a, b keyed) int {
		if a.key != b.key {
			return cmp.Compare(a.key, b.key)
		}
		return compareSeq(a.f, b.f, protocol)
	})
	for i := range list {
		files[i] = list[i].f
	}
	clear(list)
	if cap(list) <= 1<<16 {
		*buf = list[:0]
		keyedLists.Put(buf)
	}
}

// commonPrefix returns how many bytes all names begin with alike, those left
// out for which sortKey has a key of its own.
func commonPrefix(files []*File) int {
	first := ""
	n := 0
	for _, f := range files {
		name := f.Base
		switch {
		case hasNoKey(f):
			continue
		case first == "":
			first, n = name, len(name)
			continue
		}
		n = min(n, len(name))
		for i := range n {
			if name[i] != first[i] {
				n = i
				break
			}
		}
		if n == 0 {
			break
		}
	}
	return n
}

// hasNoKey tells of the entries that sort before all others.
func hasNoKey(f *File) bool { return f.Base == "." || !f.Active() }

// sortKey is lower for the lesser of two entries of one directory, or equal:
// whether it is a directory, and the start of its name as compareLast sees it,
// behind the skip bytes that all names have in common.
func sortKey(f *File, skip int) (key uint64) {
	if hasNoKey(f) {
		return 0
	}
	isDir, name := f.IsDir(), f.Base[skip:]
	for i := range 8 {
		key <<= 8
		switch {
		case i < len(name):
			key |= uint64(name[i])
		case i == len(name) && isDir:
			key |= '/'
		}
	}
	key >>= 1
	if isDir {
		key |= 1 << 63
	}
	return key
}
