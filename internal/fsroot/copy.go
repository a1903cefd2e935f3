package fsroot

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// CopyMethod is how CopyRange moved the bytes.
type CopyMethod uint8

// In order of cost: shared extents, a copy inside the kernel, a copy by us.
const (
	CopiedNothing CopyMethod = iota
	CopiedReflink
	CopiedInKernel
	CopiedByRead
)

func (m CopyMethod) String() string {
	switch m {
	case CopiedReflink:
		return "reflink"
	case CopiedInKernel:
		return "copy_file_range"
	case CopiedByRead:
		return "read and write"
	}
	return "nothing"
}

const (
	copyBuffer = 256 << 10
	// maxKernelCopy bounds one copy_file_range, which a signal cannot interrupt.
	maxKernelCopy = 64 << 20
)

// CopyRange copies n bytes at srcOff of src to dstOff of dst by the cheapest
// way that works, and reports how many and how; the file offsets do not move.
// A src that ends early gives io.ErrUnexpectedEOF. The method is the last used.
func CopyRange(dst, src *os.File, srcOff, dstOff, n int64) (int64, CopyMethod, error) {
	if n <= 0 {
		return 0, CopiedNothing, nil
	}
	// Sharing works in whole blocks, or up to the end of src.
	if err := retry(func() error {
		return unix.IoctlFileCloneRange(int(dst.Fd()), &unix.FileCloneRange{
			Src_fd: int64(src.Fd()), Src_offset: uint64(srcOff), Src_length: uint64(n), Dest_offset: uint64(dstOff),
		})
	}); err == nil {
		return n, CopiedReflink, nil
	}
	done, err := copyInKernel(dst, src, srcOff, dstOff, n)
	if done == n {
		return done, CopiedInKernel, nil
	}
	if err == io.ErrUnexpectedEOF || err == syscall.ENOSPC || err == syscall.EIO || err == syscall.EDQUOT || err == syscall.EFBIG {
		return done, CopiedInKernel, pathError("copy", dst.Name(), err)
	}
	more, err := copyByRead(dst, src, srcOff+done, dstOff+done, n-done)
	return done + more, CopiedByRead, err
}

func copyInKernel(dst, src *os.File, srcOff, dstOff, n int64) (done int64, err error) {
	for done < n {
		so, do := srcOff+done, dstOff+done
		m, err := unix.CopyFileRange(int(src.Fd()), &so, int(dst.Fd()), &do, int(min(n-done, maxKernelCopy)), 0)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return done, err
		case m == 0:
			// The end, or a file system such as proc that answers 0 for everything.
			var st unix.Stat_t
			if err := fstatEmpty(int(src.Fd()), &st); err == nil && so >= st.Size && st.Size > 0 {
				return done, io.ErrUnexpectedEOF
			}
			return done, syscall.EOPNOTSUPP
		}
		done += int64(max(m, 0))
	}
	return done, nil
}

func copyByRead(dst, src *os.File, srcOff, dstOff, n int64) (int64, error) {
	buf := make([]byte, min(n, copyBuffer))
	m, err := io.CopyBuffer(
		struct{ io.Writer }{io.NewOffsetWriter(dst, dstOff)},
		struct{ io.Reader }{io.NewSectionReader(src, srcOff, n)}, buf)
	if err == nil && m < n {
		err = io.ErrUnexpectedEOF
	}
	return m, err
}

// Reflink makes dst share all data of src (FICLONE). It fails with EOPNOTSUPP,
// EXDEV or EINVAL where the file system cannot.
func Reflink(dst, src *os.File) error {
	return pathError("clone", dst.Name(), retry(func() error {
		return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
	}))
}

// Fallocate reserves space for n bytes at off. keepSize leaves the length of the
// file as it is (--preallocate).
func Fallocate(f *os.File, off, n int64, keepSize bool) error {
	if n <= 0 {
		return nil
	}
	mode := uint32(0)
	if keepSize {
		mode = unix.FALLOC_FL_KEEP_SIZE
	}
	return pathError("fallocate", f.Name(), retry(func() error {
		return unix.Fallocate(int(f.Fd()), mode, off, n)
	}))
}

// PunchHole makes n bytes at off read as zeros, as a hole where the file system
// can, else by writing zeros (rsync 3.5.0 syscall.c:do_punch_hole). The length
// of the file does not shrink.
func PunchHole(f *os.File, off, n int64) error {
	if n <= 0 {
		return nil
	}
	for _, mode := range []uint32{unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE} {
		err := retry(func() error { return unix.Fallocate(int(f.Fd()), mode, off, n) })
		if err == nil {
			return nil
		}
		if err != syscall.EOPNOTSUPP && err != syscall.ENOSYS && err != syscall.EINVAL {
			return pathError("fallocate", f.Name(), err)
		}
	}
	return writeZeros(f, off, n)
}

func writeZeros(f *os.File, off, n int64) error {
	zeros := make([]byte, min(n, copyBuffer))
	for n > 0 {
		m, err := f.WriteAt(zeros[:min(n, copyBuffer)], off)
		if err != nil {
			return err
		}
		off += int64(m)
		n -= int64(m)
	}
	return nil
}

// Sync forces a file to the disk (--fsync).
func Sync(f *os.File) error { return f.Sync() }

// SyncDir forces the entries of a directory to the disk.
func (r *Root) SyncDir(name string) error {
	fd, err := r.openForList(name)
	if err == nil {
		err = retry(func() error { return unix.Fsync(fd) })
		unix.Close(fd)
	}
	return pathError("fsync", name, err)
}
