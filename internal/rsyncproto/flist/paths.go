package flist

import "strings"

// namesLen is how many bytes of names share an allocation.
const namesLen = 8 << 10

// Paths makes the paths of many entries with few allocations. Each path keeps
// those made at about the same time in memory: for what outlives its list, a
// directory, it is to be cloned.
type Paths struct{ b strings.Builder }

// Join returns dir/base; "" and "." are the root of the transfer.
func (p *Paths) Join(dir string, base []byte) string {
	at := p.room(len(dir) + len("/") + len(base))
	switch dir {
	case "", ".":
	case "/":
		p.b.WriteString("/")
	default:
		p.b.WriteString(dir)
		p.b.WriteByte('/')
	}
	p.b.Write(base)
	return p.b.String()[at:]
}

// Bytes returns a path as a string.
func (p *Paths) Bytes(path []byte) string {
	at := p.room(len(path))
	p.b.Write(path)
	return p.b.String()[at:]
}

// room makes room for so many bytes, and returns where they will begin.
func (p *Paths) room(size int) int {
	if p.b.Len()+size > p.b.Cap() {
		p.b.Reset() // earlier paths keep the memory they lie in
		p.b.Grow(max(size, namesLen))
	}
	return p.b.Len()
}

// Slab makes many entries with few allocations, and again of those that are
// given back. An entry keeps those made at about the same time in memory, so
// that directories, which outlive their list, have a Slab of their own.
type Slab struct {
	files, dirs []File
	used        []*File   // given back, zero
	extras      []*Extra  // of entries that were given back, as they were
	lists       [][]*File // given back, empty
}

// What a Slab keeps of what is given back: the lists in work at any time have
// some thousand entries, unless a directory is larger than that.
const (
	maxUsedFiles = 16 << 10
	maxUsedLists = 16
)

// File returns the zero entry that the next call returns too, unless Keep is
// called: whether it is one for a directory may come out late.
func (s *Slab) File() *File {
	if n := len(s.used); n > 0 {
		return s.used[n-1]
	}
	if len(s.files) == 0 {
		s.files = make([]File, 128)
	}
	return &s.files[0]
}

// Keep makes f, which File returned, an entry of its own and returns it: a
// directory in another place.
func (s *Slab) Keep(f *File) *File {
	if !f.IsDir() {
		if n := len(s.used); n > 0 {
			s.used = s.used[:n-1]
		} else {
			s.files = s.files[1:]
		}
		return f
	}
	if len(s.dirs) == 0 {
		s.dirs = make([]File, 16)
	}
	d := &s.dirs[0]
	s.dirs = s.dirs[1:]
	*d, *f = *f, File{}
	d.SetName(strings.Clone(d.Name()))
	return d
}

// Ext is f.Ext, which takes what is left of entries that were given back.
func (s *Slab) Ext(f *File) *Extra {
	if n := len(s.extras); f.X == nil && n > 0 {
		f.X, s.extras = s.extras[n-1], s.extras[:n-1]
		*f.X = Extra{DirNdx: -1}
	}
	return f.Ext()
}

// Files returns an empty slice for the entries of a list.
func (s *Slab) Files() []*File {
	n := len(s.lists)
	if n == 0 {
		return nil
	}
	files := s.lists[n-1]
	s.lists = s.lists[:n-1]
	return files
}

// GiveBack takes the entries of a list that nobody looks at any more. It leaves
// alone the directories, which others may hold on to; what was cleared may be one
// of them.
func (s *Slab) GiveBack(l *List) {
	for _, f := range l.Files {
		if len(s.used) == maxUsedFiles {
			break
		}
		if f.Active() && !f.IsDir() {
			if f.X != nil {
				s.extras = append(s.extras, f.X)
			}
			*f = File{}
			s.used = append(s.used, f)
		}
	}
	if cap(l.Files) <= maxUsedFiles && len(s.lists) < maxUsedLists {
		s.lists = append(s.lists, l.Files[:0])
	}
}
