package content

import (
	"errors"
	"fmt"

	"github.com/anacrolix/torrent/bencode"
)

// ErrBadMessage is wrapped by every error of a Decode function.
var ErrBadMessage = errors.New("malformed message")

func badMessage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadMessage, fmt.Sprintf(format, args...))
}

// shape bounds a bencoded message before the decoder, which allocates as it
// goes, sees it: two bytes of input ("de") may otherwise become a struct of
// 200 bytes.
type shape struct {
	bytes  int // of the whole message
	values int // keys, strings, integers, lists and dictionaries
	depth  int // nesting of lists and dictionaries
}

// check walks the message without allocating. Besides the bounds it wants one
// dictionary with nothing behind it.
func (s shape) check(data []byte) error {
	if len(data) > s.bytes {
		return badMessage("%d bytes, the limit is %d", len(data), s.bytes)
	}
	if len(data) == 0 || data[0] != 'd' {
		return badMessage("not a dictionary")
	}
	values, depth := 0, 0
	for i := 0; i < len(data); {
		if values++; values > s.values {
			return badMessage("more than %d values", s.values)
		}
		switch c := data[i]; {
		case c == 'd' || c == 'l':
			if depth++; depth > s.depth {
				return badMessage("nested deeper than %d", s.depth)
			}
			i++
		case c == 'e':
			values--
			depth--
			i++
			if depth == 0 {
				if i != len(data) {
					return badMessage("%d bytes behind the end", len(data)-i)
				}
				return nil
			}
		case c == 'i':
			n := 1
			for i+n < len(data) && n < 24 && data[i+n] != 'e' {
				n++
			}
			if i+n >= len(data) || data[i+n] != 'e' || n == 1 {
				return badMessage("integer without an end at byte %d", i)
			}
			i += n + 1
		case c >= '0' && c <= '9':
			n, j := 0, i
			for ; j < len(data) && data[j] >= '0' && data[j] <= '9'; j++ {
				if n = 10*n + int(data[j]-'0'); n > len(data) {
					return badMessage("string at byte %d is longer than the message", i)
				}
			}
			if j >= len(data) || data[j] != ':' || n > len(data)-j-1 {
				return badMessage("string at byte %d is longer than the message", i)
			}
			i = j + 1 + n
		default:
			return badMessage("unknown type %q at byte %d", c, i)
		}
	}
	return badMessage("ends early")
}

// decode fills v from one dictionary of the given shape.
func (s shape) decode(data []byte, v any) error {
	if err := s.check(data); err != nil {
		return err
	}
	if err := bencode.Unmarshal(data, v); err != nil {
		return badMessage("%v", err)
	}
	return nil
}

// encode cannot fail for the message types of this package: they hold
// nothing but integers, strings, and lists and structs of these.
func encode(v any) []byte {
	b, err := bencode.Marshal(v)
	if err != nil {
		panic("content: " + err.Error())
	}
	return b
}
