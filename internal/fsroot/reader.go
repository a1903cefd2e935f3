package fsroot

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reader is a file that is read from one end to the other, with none of what an
// os.File costs: a run with -c opens every file there is.
type Reader struct {
	fd    int
	local bool
	root  *Root
	name  string
}

// OpenReader is Open for a Reader.
func (r *Root) OpenReader(name string) (*Reader, error) {
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOFOLLOW
	d, leaf, err := r.leafAt(name, syscall.EISDIR)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	defer d.release()
	fd := -1
	if err = syscall.EPERM; r.policy.NoAtime { // which only the owner may ask for
		fd, err = d.open(leaf, flags|unix.O_NOATIME)
	}
	if err == syscall.EPERM {
		fd, err = d.open(leaf, flags)
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &Reader{fd: fd, local: d.local, root: r, name: name}, nil
}

// ReadAt implements io.ReaderAt.
func (f *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	pread := unix.Pread
	if f.local {
		pread = rawPread
	}
	for n < len(p) {
		m, err := pread(f.fd, p[n:], off+int64(n))
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return n, pathError("read", f.root.Full(f.name), err)
		case m == 0:
			return n, io.EOF
		default:
			n += m
		}
	}
	return n, nil
}

// Close closes the file.
func (f *Reader) Close() error {
	if f.local {
		return rawClose(f.fd)
	}
	return unix.Close(f.fd)
}
