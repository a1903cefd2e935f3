// Package ipc is the protocol between the users of a swarm engine (transfers,
// a volunteer's host) and the engine process, over a unix stream socket.
//
// A frame is
//
//	4 bytes  length of the body, big-endian, at most MaxBody
//	1 byte   type
//	1 byte   number of file descriptors that travel with the header: 0 or 1
//	body
//
// Integers in bodies are big-endian; strings and byte strings are preceded by
// their length in 4 bytes. The side that connects speaks first, with Hello and
// Setup; the engine answers with Hello. From then on:
//
//	client → engine                          engine → client
//	Offer   where contents are to be found   Event   progress or end of a Want
//	Want    one content, with its file       Stats   at least every HeartbeatInterval
//	Cancel  a Want
//	Seed    a pack the client holds          Open    asks for a content of a Seed
//	Opened  the answer to Open, with a file
//	Unseed  the opposite of Seed
//	Announce, what goes with the next one    Announced, what came back
//	                                         Log     a line for the client's log
//	                                         Unknown a Seed that the host does not publish
//
// Either side ends by closing the socket. A peer that breaks the rules, or
// runs under another user (root excepted), is disconnected.
package ipc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Version is the version of the protocol; both sides must agree.
const Version = 2

// MaxBody bounds the body of a frame.
const MaxBody = 1 << 20

// HeartbeatInterval is how often an engine sends Stats even when nothing
// changes; a client that hears nothing for HeartbeatLoss gives it up.
const (
	HeartbeatInterval = time.Second
	HeartbeatLoss     = 20 * time.Second
)

// writeTimeout bounds how long a frame may wait for the other side to read.
const writeTimeout = 20 * time.Second

const headerLen = 6

// ErrProtocol is wrapped by every error about what the other side sent.
var ErrProtocol = errors.New("engine protocol")

func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// Frame is one message. File is the receiver's to close.
type Frame struct {
	Type Type
	Body []byte
	File *os.File
}

// Close closes the frame's file, if it has one.
func (f *Frame) Close() {
	if f.File != nil {
		f.File.Close()
		f.File = nil
	}
}

// Conn sends and receives frames. Send may be called by several goroutines,
// Receive by one.
type Conn struct {
	c *net.UnixConn

	mu  sync.Mutex // held while a frame is written
	buf []byte
}

// NewConn wraps a connected stream socket.
func NewConn(c *net.UnixConn) *Conn { return &Conn{c: c} }

// FileConn wraps the socket that the process inherited as f, and closes f.
func FileConn(f *os.File) (*Conn, error) {
	defer f.Close()
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("engine socket: %w", err)
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		nc.Close()
		return nil, fmt.Errorf("engine socket: %T, want a unix socket", nc)
	}
	return NewConn(uc), nil
}

// Close ends the connection; a blocked Send or Receive fails.
func (c *Conn) Close() error { return c.c.Close() }

// CheckPeer fails unless the process at the other end runs as the same user
// or as root.
func (c *Conn) CheckPeer() error {
	raw, err := c.c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return fmt.Errorf("SO_PEERCRED: %w", credErr)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Getuid() {
		return protocolError("refused: the other side runs as uid %d", cred.Uid)
	}
	return nil
}

// Send writes one frame; file may be nil and stays the caller's.
func (c *Conn) Send(t Type, body []byte, file *os.File) error {
	if len(body) > MaxBody {
		return protocolError("frame of type %d has %d bytes, the limit is %d", t, len(body), MaxBody)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = binary.BigEndian.AppendUint32(c.buf[:0], uint32(len(body)))
	c.buf = append(c.buf, byte(t), 0)
	c.c.SetWriteDeadline(time.Now().Add(writeTimeout))
	if file == nil {
		c.buf = append(c.buf, body...)
		_, err := c.c.Write(c.buf)
		return err
	}
	c.buf[headerLen-1] = 1
	if err := c.sendHeader(file); err != nil {
		return err
	}
	_, err := c.c.Write(body)
	return err
}

// sendHeader writes the header in c.buf together with the descriptor. The
// kernel bounds how many descriptors may be in flight (ETOOMANYREFS): the
// other side is about to take some out.
func (c *Conn) sendHeader(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(writeTimeout)
	for {
		var n int
		var sendErr error
		if err := raw.Control(func(fd uintptr) {
			n, _, sendErr = c.c.WriteMsgUnix(c.buf, syscall.UnixRights(int(fd)), nil)
		}); err != nil {
			return err
		}
		if errors.Is(sendErr, syscall.ETOOMANYREFS) && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
			continue
		}
		if sendErr == nil && n < len(c.buf) {
			_, sendErr = c.c.Write(c.buf[n:])
		}
		return sendErr
	}
}

// Receive reads one frame. It returns io.EOF when the other side closed the
// socket between two frames.
func (c *Conn) Receive() (Frame, error) { return receive(c.c) }

// messageReader is the part of net.UnixConn that receive needs.
type messageReader interface {
	io.Reader
	ReadMsgUnix(b, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error)
}

func receive(r messageReader) (f Frame, err error) {
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	var header [headerLen]byte
	var oob [64]byte
	for got := 0; got < headerLen; {
		n, oobn, flags, _, err := r.ReadMsgUnix(header[got:], oob[:])
		if oobn > 0 {
			file, err := oneFile(oob[:oobn])
			if err != nil {
				return f, err
			}
			if f.File != nil {
				file.Close()
				return f, protocolError("more than one file with a frame")
			}
			f.File = file
		}
		if err == nil && n == 0 {
			err = io.EOF
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.EOF
				if got > 0 {
					err = io.ErrUnexpectedEOF
				}
			}
			return f, err
		}
		if flags&unix.MSG_CTRUNC != 0 {
			return f, protocolError("file descriptors were lost (is the limit on open files too low?)")
		}
		got += n
	}
	size := binary.BigEndian.Uint32(header[:])
	if size > MaxBody {
		return f, protocolError("frame of %d bytes, the limit is %d", size, MaxBody)
	}
	f.Type = Type(header[4])
	if files := header[5]; files > 1 || (files == 1) != (f.File != nil) {
		return f, protocolError("frame of type %d announces %d files", f.Type, files)
	}
	f.Body = make([]byte, size)
	if _, err := io.ReadFull(r, f.Body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return f, err
	}
	return f, nil
}

// oneFile takes the descriptor out of a control message.
func oneFile(oob []byte) (*os.File, error) {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, protocolError("control message: %v", err)
	}
	var fds []int
	for i := range messages {
		got, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		fds = append(fds, got...)
	}
	if len(fds) != 1 {
		for _, fd := range fds {
			syscall.Close(fd)
		}
		return nil, protocolError("%d files with a frame", len(fds))
	}
	return os.NewFile(uintptr(fds[0]), "want"), nil
}
