package fsroot

import (
	"io/fs"
	"os"
	"path/filepath"
)

// TempSuffix is behind the name of a state file that is being written: what a
// killed program left of one may be removed.
const TempSuffix = ".tmp"

// ReplaceFile puts data under a name in a directory, for files of our own state:
// written beside it, and on disk before it has the name. That the name is on
// disk too, SyncDir sees to.
func ReplaceFile(dir *os.Root, name string, data []byte, mode fs.FileMode) error {
	tmp := name + TempSuffix
	f, err := dir.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = dir.Rename(tmp, name)
	}
	if err != nil {
		dir.Remove(tmp)
	}
	return err
}

// SyncDir makes renames in a directory durable.
func SyncDir(dir *os.Root, name string) error {
	d, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// ReplacePath is ReplaceFile for a path of our own, durable when it returns.
func ReplacePath(path string, data []byte, mode fs.FileMode) error {
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := ReplaceFile(dir, filepath.Base(path), data, mode); err != nil {
		return err
	}
	return SyncDir(dir, ".")
}
