package tracker

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/prsync/prsync/internal/content"
)

// Secrets are the volunteers' names and secrets. The zero value has none.
type Secrets struct {
	file string
	m    atomic.Pointer[map[string][sha256.Size]byte]
}

// maxSecretsFile bounds the file of secrets.
const maxSecretsFile = 1 << 20

// LoadSecrets reads lines NAME:SECRET; "#" starts a comment line. A file that
// others may read is refused, as rsync does with its own.
func LoadSecrets(file string) (*Secrets, error) {
	s := &Secrets{file: file}
	return s, s.Reload()
}

// Reload reads the file again; after an error the old secrets stay valid.
func (s *Secrets) Reload() error {
	if s.file == "" {
		return nil
	}
	f, err := os.Open(s.file)
	if err != nil {
		return fmt.Errorf("volunteer secrets file: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return fmt.Errorf("volunteer secrets file: %w", err)
	} else if st.Size() > maxSecretsFile {
		return fmt.Errorf("volunteer secrets file %s is larger than %d bytes", s.file, maxSecretsFile)
	} else if st.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("volunteer secrets file %s must not be accessible by others (try chmod o-rwx)", s.file)
	}
	m, err := parseSecrets(io.LimitReader(f, maxSecretsFile))
	if err != nil {
		return fmt.Errorf("volunteer secrets file %s: %w", s.file, err)
	}
	s.m.Store(&m)
	return nil
}

func parseSecrets(r io.Reader) (map[string][sha256.Size]byte, error) {
	m := map[string][sha256.Size]byte{}
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, secret, ok := strings.Cut(line, ":")
		if !ok || name == "" || secret == "" || len(name) > content.MaxAnnounceNameLen || strings.ContainsFunc(name, isControl) {
			return nil, fmt.Errorf("line %d: want NAME:SECRET", n)
		}
		m[name] = content.PassKey(secret)
	}
	if errors.Is(sc.Err(), bufio.ErrTooLong) {
		return nil, errors.New("a line is longer than 64 KiB")
	}
	return m, sc.Err()
}

// Check tells whether the secret is the named volunteer's, in a time that
// depends on neither.
func (s *Secrets) Check(name, secret string) bool {
	var want [sha256.Size]byte
	known := false
	if m := s.m.Load(); m != nil {
		want, known = (*m)[name]
	}
	got := content.PassKey(secret)
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && known
}

// passKey returns the key of the named volunteer's passes, false when its
// secret is not known here.
func (s *Secrets) passKey(name string) (key [sha256.Size]byte, ok bool) {
	if m := s.m.Load(); m != nil {
		key, ok = (*m)[name]
	}
	return key, ok
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }
