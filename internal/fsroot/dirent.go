package fsroot

import (
	"bytes"
	"encoding/binary"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dirent is an entry of a directory. Type is the S_IFMT bits as the file system
// reports them, 0 if it does not.
type Dirent struct {
	Name string
	Type uint32
	Ino  uint64
}

// getdents64: u64 ino, s64 offset, u16 length, u8 type, name and a NUL.
const (
	direntLen  = 16
	direntType = 18
	direntName = 19
)

var direntBufs = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

// ReadDir lists a directory in the order of the file system, without "." and
// "..". Under FollowDirLinks a symlink to a directory may be named.
func (r *Root) ReadDir(name string) ([]Dirent, error) {
	fd, err := r.openForList(name)
	if err != nil {
		return nil, pathError("opendir", name, err)
	}
	defer unix.Close(fd)
	buf := direntBufs.Get().(*[]byte)
	defer direntBufs.Put(buf)
	var list []Dirent
	for {
		n, err := unix.Getdents(fd, *buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			// What was read so far is returned: rsync sends it, and flags an I/O error.
			return list, pathError("readdir", name, err)
		}
		if n <= 0 {
			return list, nil
		}
		list = appendDirents(list, (*buf)[:n])
	}
}

func (r *Root) openForList(name string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NONBLOCK
	d, leaf, err := r.at(name)
	if err != nil {
		return -1, err
	}
	defer d.release()
	if leaf == "" {
		leaf = "."
	}
	// A real directory is listed even if it cannot be searched (mode 0444).
	fd, err := openat(d.fd, leaf, flags|unix.O_NOFOLLOW, 0)
	if r.policy.FollowDirLinks && (err == syscall.ENOTDIR || err == syscall.ELOOP) {
		return r.resolveLeaf(d, leaf, name, flags)
	}
	return fd, err
}

func appendDirents(list []Dirent, buf []byte) []Dirent {
	all := string(buf) // one allocation for all names
	for len(buf) >= direntName {
		size := int(binary.NativeEndian.Uint16(buf[direntLen:]))
		if size < direntName || size > len(buf) {
			break
		}
		name := buf[direntName:size]
		if i := bytes.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
		ino := binary.NativeEndian.Uint64(buf)
		typ := uint32(buf[direntType]) << 12 // DT_x is S_IFx >> 12
		at := len(all) - len(buf) + direntName
		buf = buf[size:]
		if s := all[at : at+len(name)]; s != "." && s != ".." {
			list = append(list, Dirent{Name: s, Type: typ, Ino: ino})
		}
	}
	return list
}
