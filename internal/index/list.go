package index

import (
	"bytes"
	"strings"
)

// DirEntry is one name in a directory of a generation.
type DirEntry struct {
	Name string
	Dir  bool
	Stat // of a file
}

// MaxList bounds the names that List returns.
const MaxList = 100000

// List returns the names in a directory ("" for the module's root) of the
// tree, in byte order of the paths below. The error wraps ErrUnknown when
// there is no such directory or nothing is in it. Directories without a file
// somewhere below are not known.
func (r *Reader) List(dir string) ([]DirEntry, error) { return r.list(dir, MaxList) }

// IsDir tells whether there is a file below the path.
func (r *Reader) IsDir(path string) bool {
	l, err := r.list(path, 1)
	return err == nil && len(l) > 0
}

func (r *Reader) list(dir string, limit int) ([]DirEntry, error) {
	unlock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	prefix := dir
	if prefix != "" {
		prefix += "/"
	}
	var list []DirEntry
	c, err := r.seek(prefix)
	for err == nil && len(list) < limit {
		var ok bool
		if ok, err = c.advance(); err != nil || !ok || !bytes.HasPrefix(c.path, []byte(prefix)) {
			break
		}
		if c.retired != 0 {
			continue
		}
		name, _, below := strings.Cut(string(c.path[len(prefix):]), "/")
		if !below {
			list = append(list, DirEntry{Name: name, Stat: c.st})
			continue
		}
		list = append(list, DirEntry{Name: name, Dir: true})
		// The first path that can come after all those below the name.
		c, err = r.seek(prefix + name + string(rune('/'+1)))
	}
	if err == nil && len(list) == 0 {
		err = ErrUnknown
	}
	return list, err
}
