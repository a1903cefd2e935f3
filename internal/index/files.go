package index

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// The state directory of a module:
//
//	CURRENT          the number of the current generation and a newline
//	lock             held by the process that writes
//	gen-N            generation N
//	data-N           signatures and kept bytes that generation N added
//	delta-N          contents that came and went with generation N
//	packs/HASH       metainfo of the pack with that info hash
//	learned          journal of Learn
//	*.tmp            being made; removed by Open
//
// All but CURRENT, lock and learned never change once they have their names.
const (
	currentName = "CURRENT"
	lockName    = "lock"
	learnedName = "learned"
	packsDir    = "packs"
)

func generationName(n int64) string { return fmt.Sprintf("gen-%08d", n) }
func dataName(n uint32) string      { return fmt.Sprintf("data-%08d", n) }
func deltaName(n int64) string      { return fmt.Sprintf("delta-%08d", n) }

// numbered returns the number of a name made by one of the functions above.
func numbered(name, prefix string) (int64, bool) {
	s, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n > 0
}

// readCurrent returns the number in CURRENT; 0 and an error that wraps
// fs.ErrNotExist when there is none.
func readCurrent(root *os.Root) (int64, error) {
	b, err := root.ReadFile(currentName)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(string(b), "\n"), 10, 64)
	if err != nil || n <= 0 {
		return 0, corrupt("%s holds %.20q", currentName, b)
	}
	return n, nil
}

// readDir returns the names in the directory, none when it does not exist.
func readDir(root *os.Root, name string) ([]string, error) {
	d, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
