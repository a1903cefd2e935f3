package filter

import (
	"bufio"
	"io"
)

// Names reads the names in a --files-from list, one at a time.
type Names struct {
	// Convert, if not nil, converts each name (--iconv).
	Convert func(name string) string
	// Comments says that lines which look like comments are names.
	Comments bool

	in     *bufio.Reader
	nulls  bool
	remote bool
}

// NewNames returns a reader of a list whose names end with a NUL (--from0,
// and any list on the wire) or else with a line end of any kind. Empty lines
// and those that begin with "#" or ";" are no names; except in a list that
// is read remotely, from the other end's file: that one has no comments, and
// an empty name ends it.
//
// rsync 3.5.0 io.c:read_line, flist.c:send_file_list.
func NewNames(r io.Reader, nulls, remote bool) *Names {
	return &Names{in: bufio.NewReader(r), nulls: nulls || remote, remote: remote}
}

// Next returns the next name, as it is written; io.EOF at the end. What is
// too long for a path is cut off.
func (n *Names) Next() (string, error) {
	var name []byte
	for {
		c, err := n.in.ReadByte()
		switch {
		case err != nil && (err != io.EOF || len(name) == 0):
			return "", err
		case err == nil && !n.ends(c):
			if len(name) < maxPath-1 {
				name = append(name, c)
			}
			continue
		case n.remote && len(name) == 0:
			return "", io.EOF
		case n.remote || len(name) > 0 && (n.Comments || name[0] != '#' && name[0] != ';'):
			if n.Convert != nil {
				return n.Convert(string(name)), nil
			}
			return string(name), nil
		}
		name = name[:0]
	}
}

func (n *Names) ends(c byte) bool {
	if n.nulls {
		return c == 0
	}
	return c == '\n' || c == '\r'
}
