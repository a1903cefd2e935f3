package daemon

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ackingPair returns both ends of a TCP connection, the second with its reader.
func ackingPair(t *testing.T) (peer, own *net.TCPConn, r io.Reader) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	own = s.(*net.TCPConn)
	return c.(*net.TCPConn), own, Acking(own)
}

func quickAck(t *testing.T, c *net.TCPConn) (mode int) {
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { mode, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK) })
	if err != nil {
		t.Fatal(err)
	}
	return mode
}

// TestAckingWaits: a reader that had to wait has told the kernel to acknowledge
// at once; one that finds data has not.
func TestAckingWaits(t *testing.T) {
	peer, own, r := ackingPair(t)
	raw, err := own.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0) })
	if err != nil {
		t.Fatal(err)
	}
	var p [8]byte
	peer.Write([]byte("here"))
	waitForData(t, own)
	if n, err := r.Read(p[:]); n != 4 || err != nil {
		t.Fatalf("read %d, %v", n, err)
	}
	if quickAck(t, own) != 0 {
		t.Error("the mode changed though nobody waited")
	}
	got := make(chan string)
	go func() {
		n, err := r.Read(p[:])
		got <- string(p[:n])
		if err != nil {
			t.Error(err)
		}
	}()
	for quickAck(t, own) == 0 {
		time.Sleep(time.Millisecond) // until the reader waits
	}
	peer.Write([]byte("later"))
	if s := <-got; s != "later" {
		t.Errorf("read %q", s)
	}
}

// waitForData waits until there is something to read, without reading it.
func waitForData(t *testing.T, c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK)
		return !errors.Is(err, unix.EAGAIN)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAckingEnds: the ends of a stream are those of the connection itself.
func TestAckingEnds(t *testing.T) {
	var p [8]byte
	peer, own, r := ackingPair(t)
	if n, err := r.Read(nil); n != 0 || err != nil {
		t.Errorf("empty read: %d, %v", n, err)
	}
	own.SetReadDeadline(time.Now().Add(-time.Second))
	if _, err := r.Read(p[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past its deadline: %v", err)
	}
	own.SetReadDeadline(time.Time{})
	peer.CloseWrite()
	if n, err := r.Read(p[:]); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	own.Close()
	if _, err := r.Read(p[:]); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}

	peer, _, r = ackingPair(t)
	peer.SetLinger(0)
	peer.Close()
	if _, err := r.Read(p[:]); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("reset: %v", err)
	}

	peer, own, _ = ackingPair(t)
	f, err := own.File()
	if err != nil {
		t.Fatal(err)
	}
	file, err := pollable(f, "own")
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	r = Acking(file)
	ended := make(chan error)
	go func() {
		_, err := r.Read(p[:])
		ended <- err
	}()
	peer.Write([]byte("x"))
	if err := <-ended; err != nil {
		t.Error(err)
	}
	go func() {
		_, err := r.Read(p[:])
		ended <- err
	}()
	file.Close()
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed file: %v", err)
	}
}
