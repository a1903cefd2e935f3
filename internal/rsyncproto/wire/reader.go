package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// Msg is the tag of a multiplexed frame, MPLEX_BASE taken off (rsync.h:enum msgcode).
type Msg uint8

// The messages that may appear on the connection.
const (
	MsgData        Msg = 0
	MsgErrorXfer   Msg = 1
	MsgInfo        Msg = 2
	MsgError       Msg = 3 // protocol 30
	MsgWarning     Msg = 4 // protocol 30
	MsgErrorSocket Msg = 5
	MsgLog         Msg = 6
	MsgClient      Msg = 7
	MsgErrorUTF8   Msg = 8
	MsgRedo        Msg = 9
	MsgStats       Msg = 10
	MsgIOError     Msg = 22
	MsgIOTimeout   Msg = 33
	MsgNoop        Msg = 42 // protocol 30 only
	MsgErrorExit   Msg = 86 // protocol 31
	MsgSuccess     Msg = 100
	MsgDeleted     Msg = 101
	MsgNoSend      Msg = 102
)

const (
	mplexBase   = 7
	maxFrameLen = 0xFFFFFF
	readBufSize = 64 << 10
	// maxMsgLen bounds what is kept of one message.
	maxMsgLen = 64 << 10
	// maxMsgSend is the longest message that rsync takes: its buffer is
	// BIGPATHBUFLEN = 4096+1024 bytes (io.c:read_a_msg).
	maxMsgSend = 4096 + 1024 - 1
	// maxEmptyReads bounds how often a stream may return nothing and no error.
	maxEmptyReads = 100
)

// ErrMuxTag is wrapped by the error for a frame with an unknown tag.
var ErrMuxTag = errors.New("unexpected tag")

// ErrOverflow is wrapped by the error for an integer that its type cannot hold.
var ErrOverflow = errors.New("Overflow")

// ProtocolError is a value that no honest peer sends; rsync ends with its
// code for a protocol incompatibility.
type ProtocolError struct{ Text string }

func (e *ProtocolError) Error() string { return e.Text }

// Reader reads one direction of a connection. One goroutine owns it.
type Reader struct {
	src io.Reader
	buf []byte
	lo  int // next unread byte of buf
	hi  int // end of the bytes in buf

	mux  bool
	left int // data bytes left in the current frame
	msg  []byte

	// Protocol selects between the old and the new integer encodings.
	Protocol int
	// OnMsg is called, in the reader's goroutine, for every frame that is not
	// data. An error ends the stream.
	OnMsg func(code Msg, payload []byte) error
	// BeforeBlock and AfterBlock surround every read of the underlying
	// stream: the place to flush what the peer may be waiting for.
	BeforeBlock, AfterBlock func()
	// Tee receives a copy of all demultiplexed data, for --write-batch.
	Tee io.Writer

	total  atomic.Int64
	err    error
	broken bool // err is the stream's own, not that of who decodes it
	small  [16]byte
}

// NewReader returns a Reader of the raw, not multiplexed, stream.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, readBufSize)}
}

// StartMux switches to the multiplexed stream: bytes buffered already are
// taken as frames.
func (r *Reader) StartMux() { r.mux, r.left = true, 0 }

// Muxed reports whether the stream is multiplexed.
func (r *Reader) Muxed() bool { return r.mux }

// StopMux switches back to the raw stream.
func (r *Reader) StopMux() { r.mux = false }

// Total returns the bytes taken from the underlying stream, frame headers and
// what is still buffered included. Safe for concurrent use.
func (r *Reader) Total() int64 { return r.total.Load() }

// Taken is Total without what is still buffered: a difference of two is what
// was read between. For the reader's goroutine.
func (r *Reader) Taken() int64 { return r.total.Load() - int64(r.hi-r.lo) }

// Restart makes Total count from what comes next.
func (r *Reader) Restart() { r.total.Store(int64(r.hi - r.lo)) }

// Err returns the error that ended the stream, io.ErrUnexpectedEOF if the
// peer closed it.
func (r *Reader) Err() error { return r.err }

// Fail makes err the reader's error unless it has one already.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// Broken reports whether nothing more can be read: the connection or its frames
// came to an end, or a message said so, whereas after the error of a decoder the
// frames go on.
func (r *Reader) Broken() bool { return r.broken }

// end is Fail for what ends the stream itself.
func (r *Reader) end(err error) {
	r.Fail(err)
	r.broken = true
}

// Resume forgets the error of a read that a deadline has ended.
func (r *Reader) Resume() {
	if errors.Is(r.err, os.ErrDeadlineExceeded) {
		r.err, r.broken = nil, false
	}
}

// Drain drops what comes until the stream is broken. The error of a decoder
// does not keep it from that, and stays the reader's.
func (r *Reader) Drain() {
	err := r.err
	if r.broken {
		return
	}
	r.err, r.Tee = nil, nil
	for n := r.avail(); n > 0; n = r.avail() {
		r.take(n)
	}
	if err != nil {
		r.err = err
	}
}

// Failf is Fail with a formatted error.
func (r *Reader) Failf(format string, args ...any) { r.Fail(fmt.Errorf(format, args...)) }

// fill reads once from the underlying stream into the free end of buf.
func (r *Reader) fill() bool {
	if r.err != nil {
		return false
	}
	if r.lo == r.hi {
		r.lo, r.hi = 0, 0
	} else if r.hi == len(r.buf) {
		r.hi = copy(r.buf, r.buf[r.lo:r.hi])
		r.lo = 0
	}
	if r.BeforeBlock != nil {
		r.BeforeBlock()
	}
	n, err := r.src.Read(r.buf[r.hi:])
	for tries := 1; n == 0 && err == nil; tries++ {
		if tries == maxEmptyReads {
			err = io.ErrNoProgress
			break
		}
		n, err = r.src.Read(r.buf[r.hi:])
	}
	if r.AfterBlock != nil {
		r.AfterBlock()
	}
	r.hi += n
	r.total.Add(int64(n))
	if n > 0 {
		return true
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	r.end(err)
	return false
}

// rawFull fills p from the underlying stream, frames ignored.
func (r *Reader) rawFull(p []byte) bool {
	for len(p) > 0 {
		if r.lo == r.hi && !r.fill() {
			return false
		}
		n := copy(p, r.buf[r.lo:r.hi])
		r.lo += n
		p = p[n:]
	}
	return true
}

// frame reads frame headers, and handles messages, until data is available.
func (r *Reader) frame() bool {
	for r.left == 0 {
		var h [4]byte
		if !r.rawFull(h[:]) {
			return false
		}
		v := binary.LittleEndian.Uint32(h[:])
		n, tag := int(v&maxFrameLen), int(v>>24)-mplexBase
		if tag == int(MsgData) {
			r.left = n
			continue
		}
		if tag < 0 || tag > int(MsgNoSend) {
			r.end(fmt.Errorf("%w %d", ErrMuxTag, tag))
			return false
		}
		if n > maxMsgLen {
			r.end(fmt.Errorf("message %d of %d bytes exceeds the limit of %d", tag, n, maxMsgLen))
			return false
		}
		if cap(r.msg) < n {
			r.msg = make([]byte, n)
		}
		m := r.msg[:n]
		if !r.rawFull(m) {
			return false
		}
		if r.OnMsg != nil {
			if err := r.OnMsg(Msg(tag), m); err != nil {
				r.end(err)
				return false
			}
		}
	}
	return true
}

// avail makes at least one data byte available and returns how many are
// contiguous in buf, 0 after an error.
func (r *Reader) avail() int {
	if r.err != nil {
		return 0
	}
	if r.mux && r.left == 0 && !r.frame() {
		return 0
	}
	for r.lo == r.hi {
		if !r.fill() {
			return 0
		}
	}
	n := r.hi - r.lo
	if r.mux {
		n = min(n, r.left)
	}
	return n
}

// take consumes n data bytes that avail has shown to be there.
func (r *Reader) take(n int) []byte {
	p := r.buf[r.lo : r.lo+n]
	r.lo += n
	if r.mux {
		r.left -= n
	}
	if r.Tee != nil {
		if _, err := r.Tee.Write(p); err != nil {
			r.Fail(err)
		}
	}
	return p
}

// Read implements io.Reader on the demultiplexed data.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n := r.avail()
	if n == 0 {
		return 0, r.err
	}
	return copy(p, r.take(min(n, len(p)))), r.err
}

// Full fills p; p is zeroed from where an error struck.
func (r *Reader) Full(p []byte) {
	for len(p) > 0 {
		n := r.avail()
		if n == 0 {
			clear(p)
			return
		}
		p = p[copy(p, r.take(min(n, len(p)))):]
	}
}

// next returns the next n bytes, n at most 16, valid until the next call.
func (r *Reader) next(n int) []byte {
	if r.avail() >= n {
		return r.take(n)
	}
	b := r.small[:n]
	r.Full(b)
	return b
}

// Bytes returns the next n bytes in a slice of its own.
func (r *Reader) Bytes(n int) []byte {
	b := make([]byte, n)
	r.Full(b)
	return b
}

// Discard skips n bytes.
func (r *Reader) Discard(n int64) {
	for n > 0 {
		a := r.avail()
		if a == 0 {
			return
		}
		n -= int64(len(r.take(int(min(int64(a), n)))))
	}
}

// Byte reads one byte.
func (r *Reader) Byte() byte { return r.next(1)[0] }

// Short reads 16 bits, little-endian.
func (r *Reader) Short() uint16 { return binary.LittleEndian.Uint16(r.next(2)) }

// Int reads 32 bits, little-endian, signed.
func (r *Reader) Int() int32 { return int32(binary.LittleEndian.Uint32(r.next(4))) }

// Long reads the 64-bit integer of protocols below 30: 32 bits, or
// 0xFFFFFFFF and then 64.
func (r *Reader) Long() int64 {
	if v := r.Int(); v != -1 {
		return int64(v)
	}
	return int64(binary.LittleEndian.Uint64(r.next(8)))
}

// extraBytes returns how many bytes follow the first byte of a varint,
// beyond the minimum: the count of leading one bits, at most 6.
func extraBytes(first byte) int {
	n := 0
	for first&0x80 != 0 && n < 6 {
		first <<= 1
		n++
	}
	return n
}

// Varint reads 32 bits in one to five bytes (io.c:read_varint).
func (r *Reader) Varint() int32 {
	var b [8]byte
	first := r.Byte()
	extra := extraBytes(first)
	if extra == 0 {
		return int32(first)
	}
	if extra > 4 {
		r.Failf("%w in read_varint()", ErrOverflow)
		return 0
	}
	copy(b[:], r.next(extra))
	b[extra] = first & (1<<(8-extra) - 1)
	if b[4] != 0 {
		r.Failf("%w in read_varint()", ErrOverflow)
		return 0
	}
	return int32(binary.LittleEndian.Uint32(b[:]))
}

// Varlong reads 64 bits in minBytes to nine bytes (io.c:read_varlong).
func (r *Reader) Varlong(minBytes int) int64 {
	var b [16]byte
	p := r.next(minBytes)
	first := p[0]
	copy(b[:], p[1:])
	extra := extraBytes(first)
	if minBytes-1+extra > 8 {
		r.Failf("%w in read_varlong()", ErrOverflow)
		return 0
	}
	if extra > 0 {
		copy(b[minBytes-1:], r.next(extra))
		b[minBytes-1+extra] = first & (1<<(8-extra) - 1)
	} else {
		b[minBytes-1] = first
	}
	if b[8] != 0 {
		r.Failf("%w in read_varlong()", ErrOverflow)
		return 0
	}
	return int64(binary.LittleEndian.Uint64(b[:]))
}

// Varint30 reads a Varint, an Int below protocol 30.
func (r *Reader) Varint30() int32 {
	if r.Protocol < 30 {
		return r.Int()
	}
	return r.Varint()
}

// Varlong30 reads a Varlong, a Long below protocol 30.
func (r *Reader) Varlong30(minBytes int) int64 {
	if r.Protocol < 30 {
		return r.Long()
	}
	return r.Varlong(minBytes)
}

// VarintMax reads a Varint that must lie in 0..limit; what names it in the
// error (io.c:read_varint_bounded).
func (r *Reader) VarintMax(limit int32, what string) int32 {
	v := r.Varint()
	if v < 0 || v > limit {
		r.Fail(&ProtocolError{fmt.Sprintf("wire value %s out of range: %d not in [0,%d]", what, v, limit)})
		return 0
	}
	return v
}

// Vstring reads a string of at most limit bytes with a one- or two-byte
// length (io.c:read_vstring).
func (r *Reader) Vstring(limit int) string {
	n := int(r.Byte())
	if n&0x80 != 0 {
		n = (n&^0x80)<<8 | int(r.Byte())
	}
	if n > limit {
		r.Failf("over-long vstring received (%d > %d)", n, limit)
		return ""
	}
	return string(r.Bytes(n))
}
