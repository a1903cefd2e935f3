package daemon

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// stream is a connection that can be waited for: *net.TCPConn or *os.File.
type stream interface {
	io.Reader
	syscall.Conn
}

// Acking returns a reader of a TCP connection that acknowledges what has come
// before it waits for more. A stock rsync writes the words of its exchanges one
// by one and leaves Nagle's algorithm on: its second word stays behind until
// the first is acknowledged, which the kernel puts off for 40 ms when there is
// nothing to answer yet. One goroutine at a time may read.
func Acking(s stream) io.Reader {
	raw, err := s.SyscallConn()
	if err != nil {
		return s
	}
	return &acking{stream: s, raw: raw}
}

type acking struct {
	stream
	raw syscall.RawConn
}

func (a *acking) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	var failed error
	err = a.raw.Read(func(fd uintptr) bool {
		for {
			n, failed = unix.Read(int(fd), p)
			switch {
			case failed == nil:
				return true
			case errors.Is(failed, unix.EINTR):
				continue
			case !errors.Is(failed, unix.EAGAIN):
				return true
			}
			// The mode lasts until the kernel sees a reason to leave it: it is
			// set for every wait. What is no TCP socket need not have it.
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
			return false
		}
	})
	switch {
	case err != nil: // closed, or too late: in the stream's own words
		return a.stream.Read(p)
	case failed != nil:
		return 0, os.NewSyscallError("read", failed)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
