package fsroot

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
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

// direntBuf is the buffer of the last listing for the next one, nil while it is
// in use. A sync.Pool loses what it holds with every second collection.
var direntBuf atomic.Pointer[[direntBufLen]byte]

const direntBufLen = 128 << 10

// ReadDir lists a directory in the order of the file system, without "." and
// "..". Under FollowDirLinks a symlink to a directory may be named. With an
// error it returns what was read so far: rsync sends it, and flags an I/O error.
func (r *Root) ReadDir(name string) ([]Dirent, error) {
	var list []Dirent
	err := r.EachEntry(name, func(name []byte, typ uint32, ino uint64) bool {
		list = append(list, Dirent{Name: string(name), Type: typ, Ino: ino})
		return true
	})
	return list, err
}

// EachEntry is ReadDir that hands over one entry after the other, until each
// returns false. A name is valid during the call only; the other values are
// those of a Dirent.
func (r *Root) EachEntry(name string, each func(name []byte, typ uint32, ino uint64) bool) error {
	fd, err := r.openForList(name)
	if err != nil {
		return pathError("opendir", name, err)
	}
	defer unix.Close(fd)
	buf := direntBuf.Swap(nil)
	if buf == nil {
		buf = new([direntBufLen]byte)
	}
	defer direntBuf.Store(buf)
	for {
		n, err := unix.Getdents(fd, buf[:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return pathError("readdir", name, err)
		}
		if n <= 0 || !eachDirent(buf[:n], each) {
			return nil
		}
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
	// A real directory is listed even if it cannot be searched (mode 0444), unless
	// the policy has it otherwise; root can.
	fd, err := openat(d.fd, leaf, flags|unix.O_NOFOLLOW, 0)
	if r.policy.FollowDirLinks && (err == syscall.ENOTDIR || err == syscall.ELOOP) {
		return r.resolveLeaf(d, leaf, name, flags)
	}
	if err == nil && r.policy.Search && unix.Geteuid() != 0 {
		var st unix.Stat_t
		if err = unix.Fstatat(fd, ".", &st, 0); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, err
}

// Searchable returns the error of whoever may not search the root itself, and
// could not have it as a working directory: a descriptor is to be had without.
func (r *Root) Searchable() error {
	if unix.Geteuid() == 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(r.Fd()), ".", &st, 0); err != nil {
		return pathError("chdir", ".", err)
	}
	return nil
}

func eachDirent(buf []byte, each func(name []byte, typ uint32, ino uint64) bool) bool {
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
		buf = buf[size:]
		if s := string(name); s == "." || s == ".." {
			continue
		}
		if !each(name, typ, ino) {
			return false
		}
	}
	return true
}
