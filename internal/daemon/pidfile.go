package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// pidFile is the locked file that holds the process id of a listener.
type pidFile struct {
	dir  *os.File
	file *os.File
	base string
}

// maxPIDFile is the size above which a file is not taken for a pid file.
const maxPIDFile = 32

// createPIDFile writes the process id into path. The file stays open: its lock
// tells others that the listener is running. Its directory is held, so that all
// steps work on one directory, and the last component is never followed as a
// symlink (rsync 3.5.0 clientserver.c:create_pid_file).
func createPIDFile(path string) (_ *pidFile, err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("failed to open pid-file directory %q: %s", filepath.Dir(path), errText(err))
	}
	p := &pidFile{dir: dir, base: filepath.Base(path)}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	step := func(what string, err error) error {
		return fmt.Errorf("failed to %s pid file %s: %s", what, path, errText(err))
	}
	var st, named unix.Stat_t
	exists := unix.Fstatat(int(dir.Fd()), p.base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
	if exists && st.Mode&unix.S_IFMT != unix.S_IFREG {
		if err := unix.Unlinkat(int(dir.Fd()), p.base, 0); err != nil {
			return nil, step("unlink", err)
		}
	}
	fd, err := unix.Openat(int(dir.Fd()), p.base, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o664)
	if err != nil {
		return nil, step("open", err)
	}
	p.file = os.NewFile(uintptr(fd), path)
	if err := lockBytes(p.file, 0, 4); err != nil {
		return nil, step("lock", err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, step("fstat opened", err)
	}
	if err := unix.Fstatat(int(dir.Fd()), p.base, &named, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, step("lstat", err)
	}
	switch {
	case st.Size > maxPIDFile:
		return nil, step("find small", errors.New("it holds something else"))
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, step("avoid file overwrite race for", unix.EEXIST)
	case st.Dev != named.Dev || st.Ino != named.Ino:
		return nil, step("verify stat info for", unix.ESTALE)
	}
	if err := p.file.Truncate(0); err != nil {
		return nil, step("truncate", err)
	}
	if _, err := fmt.Fprintf(p.file, "%d\n", os.Getpid()); err != nil {
		return nil, step("write", err)
	}
	return p, nil
}

// remove deletes the file and gives up the lock.
func (p *pidFile) remove() {
	unix.Unlinkat(int(p.dir.Fd()), p.base, 0)
	p.close()
}

func (p *pidFile) close() {
	if p.file != nil {
		p.file.Close()
	}
	p.dir.Close()
}
