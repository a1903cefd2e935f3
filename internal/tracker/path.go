package tracker

import (
	"errors"
	"net/url"
	"strings"
)

// errPath is the answer to a path that no honest client sends.
var errPath = errors.New("malformed path")

// parsePath splits an escaped URL path into module and path below it, both
// unescaped. Repeated slashes count as one. dir is set by a trailing slash.
// An escaped slash, a "." or ".." element in whatever spelling, and control
// characters are errors.
func parsePath(escaped string) (module, path string, dir bool, err error) {
	if escaped == "" || escaped[0] != '/' || len(escaped) > 3*4096 {
		return "", "", false, errPath
	}
	dir = escaped[len(escaped)-1] == '/'
	var b strings.Builder
	for elem := range strings.SplitSeq(escaped, "/") {
		if elem == "" {
			continue
		}
		e := elem
		if strings.IndexByte(elem, '%') >= 0 {
			if e, err = url.PathUnescape(elem); err != nil {
				return "", "", false, errPath
			}
		}
		if e == "." || e == ".." || strings.IndexByte(e, '/') >= 0 {
			return "", "", false, errPath
		}
		for i := 0; i < len(e); i++ {
			if e[i] < 0x20 || e[i] == 0x7f {
				return "", "", false, errPath
			}
		}
		if module == "" {
			module = e
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('/')
		}
		b.WriteString(e)
	}
	return module, b.String(), dir, nil
}

// escapePath escapes every byte but unreserved ones (RFC 3986), sub-delimiters
// that customers' tools expect bare in package names, and slashes.
func escapePath(dst []byte, path string) []byte {
	const hexDigits = "0123456789ABCDEF"
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			strings.IndexByte("-._~/+@:=,", c) >= 0:
			dst = append(dst, c)
		default:
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return dst
}
