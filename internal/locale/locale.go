// Package locale reads what the C library's locale says of numbers, since
// rsync prints them by it: "1.234,56" in a German one. The C library itself is
// not asked, as a static program has none.
package locale

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Where glibc looks for locales (locale/findlocale.c), when LOCPATH is not set.
const (
	archiveFile = "/usr/lib/locale/locale-archive"
	localeDir   = "/usr/lib/locale"
)

// numericCategory is LC_NUMERIC.
const numericCategory = 1

// maxNumeric bounds what is read of a locale's LC_NUMERIC, which has 54 bytes.
const maxNumeric = 4096

var errFormat = errors.New("not a locale of the GNU C library")

// DecimalPoint returns what stands before the fraction of a number in the
// locale that the environment names, "." for the C locale and for one that is
// not installed, as after setlocale(LC_NUMERIC, "").
func DecimalPoint(getenv func(string) string) string {
	name := Name(getenv, "LC_NUMERIC")
	if name == "" || name == "C" || name == "POSIX" {
		return "."
	}
	point, err := decimalPoint(name, getenv("LOCPATH"))
	if err != nil || point == "" {
		return "."
	}
	return point
}

// Name returns the locale that the environment names for a category, such as
// "LC_CTYPE"; "" for none.
func Name(getenv func(string) string, category string) string {
	for _, v := range []string{"LC_ALL", category, "LANG"} {
		if name := getenv(v); name != "" {
			return name
		}
	}
	return ""
}

// decimalPoint looks into the archive, then for a directory of the locale.
func decimalPoint(name, locpath string) (string, error) {
	if strings.Contains(name, "/") {
		return "", errFormat // a path: glibc takes it, nobody uses it
	}
	names := []string{name}
	if short := normalized(name); short != name {
		names = []string{short, name}
	}
	dirs := []string{localeDir}
	if locpath != "" {
		dirs = filepath.SplitList(locpath)
	} else if f, err := os.Open(archiveFile); err == nil {
		defer f.Close()
		for _, n := range names {
			if b, err := fromArchive(f, n); err == nil {
				return point(b)
			}
		}
	}
	for _, dir := range dirs {
		for _, n := range names {
			b, err := readFile(filepath.Join(dir, n, "LC_NUMERIC"))
			if err == nil {
				return point(b)
			}
		}
	}
	return "", os.ErrNotExist
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxNumeric))
}

// normalized spells the character set of a locale's name as the archive does:
// "de_DE.UTF-8@x" is "de_DE.utf8@x". glibc intl/l10nflist.c.
func normalized(name string) string {
	base, set, ok := strings.Cut(name, ".")
	if !ok {
		return name
	}
	set, modifier, hasModifier := strings.Cut(set, "@")
	var b strings.Builder
	digits := true
	for _, c := range []byte(strings.ToLower(set)) {
		letter := 'a' <= c && c <= 'z'
		if letter || '0' <= c && c <= '9' {
			digits = digits && !letter
			b.WriteByte(c)
		}
	}
	set = b.String()
	if digits && set != "" {
		set = "iso" + set
	}
	if hasModifier {
		set += "@" + modifier
	}
	return base + "." + set
}

// point returns the decimal point of an LC_NUMERIC file: a magic number, the
// number of strings, the offset of each, the strings. glibc locale/loadlocale.c.
func point(b []byte) (string, error) {
	const magic = 0x20031115 ^ numericCategory
	if len(b) < 12 || binary.NativeEndian.Uint32(b) != magic || binary.NativeEndian.Uint32(b[4:]) == 0 {
		return "", errFormat
	}
	at := binary.NativeEndian.Uint32(b[8:])
	if uint64(at) >= uint64(len(b)) {
		return "", errFormat
	}
	s, _, ok := strings.Cut(string(b[at:]), "\x00")
	if !ok || len(s) > 8 {
		return "", errFormat
	}
	return s, nil
}

// fromArchive returns the LC_NUMERIC of a locale in the archive, which is a hash
// table of names with double hashing. glibc locale/loadarchive.c.
func fromArchive(r io.ReaderAt, name string) ([]byte, error) {
	const (
		magic     = 0xde020109
		entrySize = 12 // hash, offset of the name, offset of the record
	)
	words := func(off int64, n int) ([]uint32, error) {
		b := make([]byte, 4*n)
		if _, err := r.ReadAt(b, off); err != nil {
			return nil, err
		}
		out := make([]uint32, n)
		for i := range out {
			out[i] = binary.NativeEndian.Uint32(b[4*i:])
		}
		return out, nil
	}
	head, err := words(0, 5) // magic, serial, the table's offset, used and size
	if err != nil {
		return nil, err
	}
	table, size := int64(head[2]), head[4]
	if head[0] != magic || size < 3 {
		return nil, errFormat
	}
	hash := archiveHash(name)
	at, step := hash%size, 1+hash%(size-2)
	for range size {
		e, err := words(table+entrySize*int64(at), 3)
		if err != nil {
			return nil, err
		}
		if e[1] == 0 {
			break
		}
		if e[0] == hash {
			b := make([]byte, len(name)+1)
			if _, err := r.ReadAt(b, int64(e[1])); err == nil && string(b) == name+"\x00" {
				// How many use it, then offset and length of each category.
				where, err := words(int64(e[2])+4+8*numericCategory, 2)
				if err != nil {
					return nil, err
				}
				b := make([]byte, min(where[1], maxNumeric))
				_, err = r.ReadAt(b, int64(where[0]))
				return b, err
			}
		}
		if at += step; at >= size {
			at -= size
		}
	}
	return nil, os.ErrNotExist
}

// archiveHash is glibc's locale/hashval.h.
func archiveHash(name string) uint32 {
	h := uint32(len(name))
	for i := range len(name) {
		h = h<<9 | h>>23
		h += uint32(name[i])
	}
	if h == 0 {
		return ^uint32(0)
	}
	return h
}
