package flist

import (
	"sort"
	"strings"
)

// List is one file list of a transfer.
type List struct {
	// Start is the index of Files[0].
	Start int32
	// Num is the list's own number: the first one's is its Start.
	Num int32
	// Parent is the directory number whose contents these are, -1 for the
	// first list unless its first entry is ".".
	Parent int32
	// Files is in the order of indexes: sorted, unless names are converted
	// (--iconv), when it stays in the order of transmission.
	Files []*File
	// Sorted is in name order; the same slice as Files where that is sorted.
	Sorted []*File
	// IOErrors is what the sender could not read, of this list and those before
	// it: bits as on the wire.
	IOErrors int32
	// InProgress and Redo count what the receiver still owes of this list.
	InProgress, ToRedo int
}

// Find returns the entry with the index ndx, nil if it lies in another list.
func (l *List) Find(ndx int32) *File {
	if i := ndx - l.Start; i >= 0 && int(i) < len(l.Files) {
		return l.Files[i]
	}
	return nil
}

// End returns the index after the last.
func (l *List) End() int32 { return l.Start + int32(len(l.Files)) }

// Compare orders two entries as rsync does: parents before what is in them,
// and from protocol 29 on the plain files of a directory before its
// subdirectories, whose names compare as if they ended in a slash.
// rsync 3.5.0 flist.c:f_name_cmp.
func Compare(a, b *File, protocol int) int {
	if !a.Active() || !b.Active() {
		switch {
		case a.Active():
			return 1
		case b.Active():
			return -1
		}
		return 0
	}
	if protocol < 29 {
		if a.Dir == b.Dir {
			return strings.Compare(a.Base, b.Base)
		}
		return strings.Compare(a.Name(), b.Name())
	}
	if a.Dir == b.Dir {
		return compareLast(a.Base, b.Base, a.IsDir(), b.IsDir())
	}
	an, bn := a.Name(), b.Name()
	for {
		ac, ar, aMore := strings.Cut(an, "/")
		bc, br, bMore := strings.Cut(bn, "/")
		if !aMore && !bMore {
			return compareLast(ac, bc, a.IsDir(), b.IsDir())
		}
		aPath := aMore || a.IsDir() && ac != "."
		bPath := bMore || b.IsDir() && bc != "."
		if aPath != bPath {
			if aPath {
				return 1
			}
			return -1
		}
		if c := compareSlash(ac, bc); c != 0 {
			return c
		}
		if !aMore {
			return -1
		}
		if !bMore {
			return 1
		}
		an, bn = ar, br
	}
}

// compareLast compares two last components.
func compareLast(a, b string, aDir, bDir bool) int {
	if aDir && a == "." {
		a, aDir = "", false
	}
	if bDir && b == "." {
		b, bDir = "", false
	}
	if aDir != bDir {
		if aDir {
			return 1
		}
		return -1
	}
	if aDir {
		return compareSlash(a, b)
	}
	return strings.Compare(a, b)
}

// compareSlash compares a and b as if both ended in a slash.
func compareSlash(a, b string) int {
	n := min(len(a), len(b))
	if c := strings.Compare(a[:n], b[:n]); c != 0 || len(a) == len(b) {
		return c
	}
	if len(a) < len(b) {
		if c := int('/') - int(b[n]); c != 0 {
			return c
		}
		return -1
	}
	if c := int(a[n]) - int('/'); c != 0 {
		return c
	}
	return 1
}

// Search returns the position in the sorted files of an active entry that
// compares equal to f, or -1.
func Search(files []*File, f *File, protocol int) int {
	i := sort.Search(len(files), func(i int) bool { return Compare(files[i], f, protocol) >= 0 })
	if i < len(files) && files[i].Active() && Compare(files[i], f, protocol) == 0 {
		return i
	}
	return -1
}

// MarkDuplicates flags, on the sending side with incremental recursion, every
// directory that repeats the one before it.
func MarkDuplicates(sorted []*File, protocol int) {
	for i := 1; i < len(sorted); i++ {
		if sorted[i].IsDir() && Compare(sorted[i-1], sorted[i], protocol) == 0 {
			sorted[i].Flags |= Duplicate
		}
	}
}

// RemoveDuplicates clears, on the receiving side, all but one of the entries
// with one name: a directory wins over anything else (it may have contents),
// otherwise the first. rsync 3.5.0 flist.c:flist_sort_and_clean.
func RemoveDuplicates(sorted []*File, protocol int, dropped func(*File)) {
	drop := func(f *File) {
		if dropped != nil {
			dropped(f)
		}
		f.Clear()
	}
	var prev *File
	for i, f := range sorted {
		if !f.Active() {
			continue
		}
		if prev != nil && Compare(prev, f, protocol) == 0 {
			switch {
			case f.IsDir() && !prev.IsDir():
				drop(prev)
				prev = f
				continue
			case f.IsDir():
				prev.Flags |= f.Flags & (TopDir | ContentDir)
				prev.Flags &= f.Flags | ^ImpliedDir
			}
			drop(f)
			continue
		}
		if protocol >= 29 && f.IsDir() {
			probe := File{Dir: f.Dir, Base: f.Base, Mode: f.Mode&07777 | 0100000}
			if j := SearchActive(sorted[:i], &probe, protocol); j >= 0 {
				drop(sorted[j])
			}
		}
		prev = f
	}
}

// SearchActive is Search over entries of which some were cleared in place
// after sorting.
func SearchActive(files []*File, f *File, protocol int) int {
	lo, hi := 0, len(files)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		m := mid
		for m < hi && !files[m].Active() {
			m++
		}
		if m == hi {
			hi = mid
			continue
		}
		c := Compare(files[m], f, protocol)
		switch {
		case c == 0:
			return m
		case c < 0:
			lo = m + 1
		default:
			hi = mid
		}
	}
	return -1
}

// StripRoot takes the leading slashes off the names, which --relative sends
// and which count in sorting only.
func StripRoot(files []*File) {
	for _, f := range files {
		if strings.HasPrefix(f.Dir, "/") {
			f.Dir = strings.TrimLeft(f.Dir, "/")
		}
	}
}

// PruneEmpty clears the directories below the top that hold nothing but
// directories (--prune-empty-dirs). A directory for which keep reports true
// stays, with its parents. files must be complete and sorted.
func PruneEmpty(files []*File, keep func(dir string) bool) {
	type open struct {
		f    *File
		name string
		kept bool
	}
	var stack []open
	keepAll := func() {
		for i := len(stack) - 1; i >= 0 && !stack[i].kept; i-- {
			stack[i].kept = true
		}
	}
	pop := func(to int) {
		for len(stack) > to {
			if top := stack[len(stack)-1]; !top.kept {
				top.f.Clear()
			}
			stack = stack[:len(stack)-1]
		}
	}
	for _, f := range files {
		if !f.Active() {
			continue
		}
		name := f.Name()
		n := len(stack)
		for n > 0 && !(strings.HasPrefix(name, stack[n-1].name) && len(name) > len(stack[n-1].name) && name[len(stack[n-1].name)] == '/') {
			n--
		}
		pop(n)
		if !f.IsDir() {
			keepAll()
			continue
		}
		if f.Base == "." && f.Dir == "" {
			continue
		}
		stack = append(stack, open{f: f, name: name})
		if keep != nil && keep(name) {
			keepAll()
		}
	}
	pop(0)
}
