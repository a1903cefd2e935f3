package statedir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/fsroot"
)

func tokenKey(dir string) string { return filepath.Join(dir, string(Central), "token.key") }

// TokenKey returns the key of a central host's tokens (content.NewToken). Only
// the host, and its daemon before it gives up its rights, may read it.
func TokenKey(dir string) ([]byte, error) {
	b, err := os.ReadFile(tokenKey(dir))
	if err == nil && len(b) != content.TokenKeyLen {
		err = fmt.Errorf("%s: %d bytes are no key", tokenKey(dir), len(b))
	}
	return b, err
}

// MakeTokenKey returns the key as TokenKey does, and makes it where there is
// none.
func MakeTokenKey(dir string) ([]byte, error) {
	if b, err := TokenKey(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	b := make([]byte, content.TokenKeyLen)
	rand.Read(b)
	return b, fsroot.ReplacePath(tokenKey(dir), b, 0o600)
}
