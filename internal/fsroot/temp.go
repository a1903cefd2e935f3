package fsroot

import (
	"crypto/rand"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	tempSuffixLen = len(".XXXXXX")
	nameMax       = 255
	maxTempTries  = 100
	tempLetters   = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
)

// TempPrefix returns the temporary name of base up to its random suffix, cut so
// that the whole fits in NAME_MAX. hidden puts a dot in front: every temporary
// file beside its final place has one, those in a --temp-dir do not
// (rsync 3.5.0 receiver.c:get_tmpname).
func TempPrefix(base string, hidden bool) string {
	base = base[strings.LastIndexByte(base, '/')+1:]
	dot := ""
	if hidden {
		base = strings.TrimPrefix(base, ".")
		dot = "."
	}
	if limit := nameMax - 2 - tempSuffixLen; len(base) > limit {
		cut := limit
		if base[cut] >= 0x80 { // perhaps amid a multi-byte character: drop all of it
			for cut > 0 && base[cut-1] >= 0x80 {
				cut--
			}
		}
		base = base[:cut]
	}
	return strings.TrimSuffix(dot+base, ".")
}

// CreateTemp creates and opens for reading and writing a new file .NAME.XXXXXX
// in the directory dir for the final name base. perm are its permission bits
// before the umask; 0 means 0600. It returns the name below the root.
func (r *Root) CreateTemp(dir, base string, perm uint32) (*os.File, string, error) {
	return r.createTemp(dir, TempPrefix(base, true), perm)
}

// CreateTempPlain is CreateTemp without the leading dot, for a --temp-dir.
func (r *Root) CreateTempPlain(dir, base string, perm uint32) (*os.File, string, error) {
	return r.createTemp(dir, TempPrefix(base, false), perm)
}

func (r *Root) createTemp(dir, prefix string, perm uint32) (f *os.File, name string, err error) {
	if perm == 0 {
		perm = 0600
	}
	name, err = r.unique(dir, prefix, func(name string) error {
		f, err = r.OpenFile(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, perm)
		return err
	})
	return f, name, err
}

// CreateUnique calls create with fresh temporary names for base in dir until it
// does not fail with EEXIST: for the symlink, device or hard link that is
// renamed over its final name afterwards.
func (r *Root) CreateUnique(dir, base string, create func(name string) error) (string, error) {
	return r.unique(dir, TempPrefix(base, true), create)
}

func (r *Root) unique(dir, prefix string, create func(name string) error) (string, error) {
	if dir == "." {
		dir = ""
	}
	for try := 1; ; try++ {
		leaf := prefix + "." + randomLetters(tempSuffixLen-1)
		name := leaf
		if dir != "" {
			name = joinPath(dir, leaf)
		}
		err := create(name)
		if err == nil {
			return name, nil
		}
		if !isErrno(err, syscall.EEXIST) || try >= maxTempTries {
			return "", err
		}
	}
}

func randomLetters(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	for i := range b {
		b[i] = tempLetters[int(b[i])%len(tempLetters)]
	}
	return string(b)
}
