// Package charset converts file names and messages between a character set of
// this side and UTF-8, which is what --iconv puts on the wire.
//
// Strict conversion fails where a byte or a character has no counterpart, as a
// file name may not change its meaning; lossy conversion keeps such bytes as
// they are, for messages and arguments. rsync 3.5.0 rsync.c:iconvbufs.
package charset

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/ianaindex"
)

// Errors of strict conversion, in the C library's words.
var (
	ErrInvalid    = errors.New("Invalid or incomplete multibyte or wide character") // EILSEQ
	ErrIncomplete = errors.New("Invalid argument")                                  // EINVAL: cut off in a character
)

// Set is one character set. Its methods may be used by many goroutines.
type Set struct {
	name  string
	enc   encoding.Encoding // nil for UTF-8 and ASCII
	ascii bool
	plain bool // ASCII text is itself
}

// Lookup finds a character set by its name; case, hyphens and underscores do
// not matter.
func Lookup(name string) (*Set, error) {
	base, _, _ := strings.Cut(name, "//")
	s := &Set{name: name, plain: true}
	switch squeeze(base) {
	case "utf8":
		return s, nil
	case "ascii", "usascii", "ansix3.41968", "646", "c", "posix":
		s.ascii = true
		return s, nil
	}
	s.enc = find(base)
	if s.enc == nil {
		return nil, fmt.Errorf("unknown character set %q", name)
	}
	s.plain = keepsASCII(s.enc)
	return s, nil
}

func squeeze(name string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(name))
}

// find asks the IANA registry, with the spellings that iconv knows besides.
func find(name string) encoding.Encoding {
	short := squeeze(name)
	spellings := []string{name, strings.ReplaceAll(name, "_", "-")}
	if n, ok := strings.CutPrefix(short, "cp"); ok {
		spellings = append(spellings, "windows-"+n, "IBM"+n, "ibm-"+n)
	}
	if n, ok := strings.CutPrefix(short, "iso8859"); ok {
		spellings = append(spellings, "ISO-8859-"+n)
	}
	switch short {
	case "sjis", "shiftjis":
		spellings = append(spellings, "Shift_JIS")
	case "eucjp", "euckr", "koi8r", "koi8u":
		spellings = append(spellings, short[:len(short)-2]+"-"+short[len(short)-2:], short[:4]+"-"+short[4:])
	case "gb2312", "euccn":
		spellings = append(spellings, "GBK")
	case "macintosh", "mac":
		return charmap.Macintosh
	}
	for _, n := range spellings {
		if e, err := ianaindex.IANA.Encoding(n); err == nil && e != nil {
			return e
		}
	}
	return nil
}

func keepsASCII(e encoding.Encoding) bool {
	var b [0x7F - ' ']byte
	for i := range b {
		b[i] = ' ' + byte(i)
	}
	out, err := e.NewDecoder().Bytes(b[:])
	return err == nil && string(out) == string(b[:])
}

// Name returns the name that Lookup was given.
func (s *Set) Name() string { return s.name }

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 || text[i] == 0x1B {
			return false
		}
	}
	return true
}

// checkUTF8 tells whether text is whole UTF-8.
func checkUTF8(text string) error {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && n <= 1 {
			if !utf8.FullRuneInString(text[i:]) {
				return ErrIncomplete
			}
			return ErrInvalid
		}
		i += n
	}
	return nil
}

// ToUTF8 converts text of the set; it fails where a byte means nothing.
func (s *Set) ToUTF8(text string) (string, error) {
	switch {
	case s.plain && isASCII(text):
		return text, nil
	case s.ascii:
		return "", ErrInvalid
	case s.enc == nil:
		return text, checkUTF8(text)
	}
	out, err := s.enc.NewDecoder().String(text)
	if err != nil || strings.ContainsRune(out, utf8.RuneError) {
		return "", ErrInvalid
	}
	return out, nil
}

// FromUTF8 converts UTF-8 to the set; it fails for what is no UTF-8 and for a
// character that the set lacks.
func (s *Set) FromUTF8(text string) (string, error) {
	if s.plain && isASCII(text) {
		return text, nil
	}
	if err := checkUTF8(text); err != nil {
		return "", err
	}
	switch {
	case s.ascii:
		return "", ErrInvalid
	case s.enc == nil:
		return text, nil
	}
	out, err := s.enc.NewEncoder().String(text)
	if err != nil {
		return "", ErrInvalid
	}
	return out, nil
}

// maxChar is the longest character of a set, in bytes.
const maxChar = 4

// Decode is ToUTF8 that keeps bytes without a meaning as they are.
func (s *Set) Decode(text string) string { return keepBad(text, s.ToUTF8) }

// Encode is FromUTF8 that keeps what it cannot convert as it is.
func (s *Set) Encode(text string) string { return keepBad(text, s.FromUTF8) }

// keepBad converts text as a whole or else character by character, each of
// which is the shortest run of bytes that converts.
func keepBad(text string, conv func(string) (string, error)) string {
	if out, err := conv(text); err == nil {
		return out
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		n := 1
		out := text[i : i+1]
		for k := 1; k <= maxChar && i+k <= len(text); k++ {
			if c, err := conv(text[i : i+k]); err == nil {
				out, n = c, k
				break
			}
		}
		b.WriteString(out)
		i += n
	}
	return b.String()
}
