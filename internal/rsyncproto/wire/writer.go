package wire

import (
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
)

// frameSize is the largest data frame written: it fits the pipe and socket
// buffers of the peer in few system calls.
const frameSize = 32 << 10

// writeSize is how much is gathered before it is written: whole frames, as many
// as rsync reads at a time.
const writeSize = 2 * frameSize

// Writer writes one direction of a connection. One goroutine owns the data;
// Msg may be called by any goroutine and never blocks on the peer.
type Writer struct {
	// Protocol selects between the old and the new integer encodings.
	Protocol int
	// Tee receives a copy of all data before multiplexing, for --write-batch.
	Tee io.Writer

	mu  sync.Mutex // held while writing to dst and around buf
	dst io.Writer
	buf []byte // frames, the last of which is being built
	// frame is where the header of the frame being built lies, -1 for none
	frame int
	mux   bool
	err   error

	qmu   sync.Mutex
	queue []byte // finished message frames
	wake  chan struct{}

	total   atomic.Int64
	eager   atomic.Bool
	stopped atomic.Pointer[error]
	spare   []byte // for the next queue; guarded by mu
}

// NewWriter returns a Writer of the raw, not multiplexed, stream.
func NewWriter(dst io.Writer) *Writer {
	w := &Writer{dst: dst, buf: make([]byte, 0, writeSize+4096), frame: -1, wake: make(chan struct{}, 1)}
	return w
}

// StartMux flushes and switches to the multiplexed stream.
func (w *Writer) StartMux() {
	w.Flush()
	w.mu.Lock()
	w.mux = true
	w.mu.Unlock()
}

// Muxed reports whether the stream is multiplexed.
func (w *Writer) Muxed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mux
}

// Total returns the bytes written to the underlying stream, frame headers
// included. Safe for concurrent use.
func (w *Writer) Total() int64 { return w.total.Load() }

// Made is Total with what is buffered, less the header of the frame being
// built: a difference of two is what was written between.
func (w *Writer) Made() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.total.Load() + int64(len(w.buf))
	if w.frame >= 0 {
		n -= 4
	}
	return n
}

// Restart makes Total count from what is written next.
func (w *Writer) Restart() { w.total.Store(0) }

// Count adds n to Total for bytes that travelled beside the stream (a local
// copy by reference).
func (w *Writer) Count(n int64) { w.total.Add(n) }

// Err returns the first error of the stream, else what Stop said.
func (w *Writer) Err() error {
	if err := w.Lost(); err != nil {
		return err
	}
	return w.stop()
}

// Lost returns the first error of the stream underneath.
func (w *Writer) Lost() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Stop makes the owner of the data meet err where it writes next. What is
// written already goes out whole, and messages after it. It does not wait.
func (w *Writer) Stop(err error) { w.stopped.CompareAndSwap(nil, &err) }

func (w *Writer) stop() error {
	if err := w.stopped.Load(); err != nil {
		return *err
	}
	return nil
}

// SetEager tells whether the peer is known to be waiting: while it is, EndItem
// flushes.
func (w *Writer) SetEager(on bool) { w.eager.Store(on) }

// Nudge asks whoever pumps the writer to flush what lies ready, and nobody when
// there is nothing: to wake a goroutine for each read of the other direction
// would cost as much as the read.
func (w *Writer) Nudge() {
	if w.idle() {
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// idle reports that there is nothing to flush. It does not wait for a writer at
// work, who may have more.
func (w *Writer) idle() bool {
	if !w.mu.TryLock() {
		return false
	}
	defer w.mu.Unlock()
	w.qmu.Lock()
	defer w.qmu.Unlock()
	return len(w.buf) == 0 && len(w.queue) == 0
}

// StopMux flushes and goes back to the raw stream.
func (w *Writer) StopMux() {
	w.Flush()
	w.mu.Lock()
	w.mux = false
	w.mu.Unlock()
}

// EndItem marks a point where the peer can go on with what was written.
func (w *Writer) EndItem() {
	if w.eager.Load() {
		w.Flush()
	}
}

// seal fills in the header of the frame under construction. Called with mu
// held.
func (w *Writer) seal() {
	if w.frame >= 0 {
		n := len(w.buf) - w.frame - 4
		binary.LittleEndian.PutUint32(w.buf[w.frame:], uint32(mplexBase+int(MsgData))<<24|uint32(n))
		w.frame = -1
	}
}

// emit writes the queued messages and all frames built so far. Messages go
// first, as in rsync: what a generator says of an entry overtakes the requests
// that it made before. Called with mu held. rsync 3.5.0 io.c:perform_io.
func (w *Writer) emit() {
	w.seal()
	out := w.buf
	w.buf = w.buf[:0]
	if w.mux {
		w.qmu.Lock()
		q := w.queue
		if len(q) > 0 {
			w.queue, w.spare = w.spare, nil
		}
		w.qmu.Unlock()
		if len(q) > 0 {
			out = append(q, out...)
			w.spare = out[:0]
		}
	}
	if len(out) > 0 {
		w.write(out)
	}
}

func (w *Writer) write(p []byte) {
	if w.err != nil {
		return
	}
	n, err := w.dst.Write(p)
	w.total.Add(int64(n))
	if err != nil {
		w.err = err
	}
}

// Flush writes everything buffered and queued.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.emit()
	return w.err
}

// Write implements io.Writer on the data of the stream.
func (w *Writer) Write(p []byte) (int, error) {
	if err := w.stop(); err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	if w.Tee != nil {
		if _, err := w.Tee.Write(p); err != nil && w.err == nil {
			w.err = err
		}
	}
	for len(p) > 0 {
		if w.err != nil {
			return 0, w.err
		}
		if w.mux && w.frame < 0 {
			if len(w.buf)+4 >= writeSize {
				w.emit()
			}
			w.frame = len(w.buf)
			w.buf = append(w.buf, 0, 0, 0, 0)
		}
		room := writeSize - len(w.buf)
		if w.mux {
			room = min(room, w.frame+frameSize-len(w.buf))
		}
		k := min(len(p), max(0, room))
		w.buf = append(w.buf, p[:k]...)
		p = p[k:]
		if len(w.buf) >= writeSize {
			w.emit()
		} else if w.mux && len(w.buf) >= w.frame+frameSize {
			w.seal()
		}
	}
	return n, w.err
}

// MsgInOrder queues a message frame like Msg, but leaves it to the owner of the
// data to flush: the peer gets the messages of an unfinished flush in order,
// and the data after them. Only the owner of the data may call it; it may block
// like Write.
func (w *Writer) MsgInOrder(code Msg, payload []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.qmu.Lock()
	w.queue = appendMsg(w.queue, code, payload)
	n := len(w.queue)
	w.qmu.Unlock()
	if w.mux && n >= frameSize {
		w.emit()
	}
}

func appendMsg(b []byte, code Msg, payload []byte) []byte {
	for first := true; first || len(payload) > 0; first = false {
		k := min(len(payload), maxMsgSend)
		b = binary.LittleEndian.AppendUint32(b, uint32(mplexBase+int(code))<<24|uint32(k))
		b = append(b, payload[:k]...)
		payload = payload[k:]
	}
	return b
}

// Msg queues a message frame; it is sent with the next flush or by Pump.
// Before StartMux messages are kept.
func (w *Writer) Msg(code Msg, payload []byte) {
	w.qmu.Lock()
	w.queue = appendMsg(w.queue, code, payload)
	w.qmu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// MsgInt queues a message of one 32-bit integer.
func (w *Writer) MsgInt(code Msg, v int32) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(v))
	w.Msg(code, b[:])
}

// Wake returns the channel that is signalled when a message was queued.
func (w *Writer) Wake() <-chan struct{} { return w.wake }

// KeepAlive writes an empty data frame if the owner is not in the middle of a
// write to the peer (io.c:maybe_send_keepalive, protocol 31).
func (w *Writer) KeepAlive() {
	if !w.mu.TryLock() {
		return
	}
	defer w.mu.Unlock()
	if !w.mux {
		return
	}
	w.emit()
	if w.Protocol >= 31 {
		w.write([]byte{0, 0, 0, mplexBase})
	} else if w.Protocol == 30 {
		w.write([]byte{0, 0, 0, mplexBase + byte(MsgNoop)})
	}
}

// Byte writes one byte.
func (w *Writer) Byte(b byte) { w.Write([]byte{b}) }

// Short writes 16 bits, little-endian.
func (w *Writer) Short(v uint16) { w.Write([]byte{byte(v), byte(v >> 8)}) }

// Int writes 32 bits, little-endian.
func (w *Writer) Int(v int32) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(v))
	w.Write(b[:])
}

// Long writes the 64-bit integer of protocols below 30.
func (w *Writer) Long(v int64) {
	var b [12]byte
	w.Write(AppendLong(b[:0], v))
}

// Varint writes 32 bits in one to five bytes (io.c:write_varint).
func (w *Writer) Varint(v int32) {
	var b [8]byte
	w.Write(AppendVarint(b[:0], v))
}

// Varlong writes 64 bits in minBytes to nine bytes (io.c:write_varlong).
func (w *Writer) Varlong(v int64, minBytes int) {
	var b [16]byte
	w.Write(AppendVarlong(b[:0], v, minBytes))
}

// Varint30 writes a Varint, an Int below protocol 30.
func (w *Writer) Varint30(v int32) {
	if w.Protocol < 30 {
		w.Int(v)
	} else {
		w.Varint(v)
	}
}

// Varlong30 writes a Varlong, a Long below protocol 30.
func (w *Writer) Varlong30(v int64, minBytes int) {
	if w.Protocol < 30 {
		w.Long(v)
	} else {
		w.Varlong(v, minBytes)
	}
}

// Vstring writes a string with a one- or two-byte length (io.c:write_vstring).
// The string is cut at 32767 bytes, which no caller comes near.
func (w *Writer) Vstring(s string) {
	if len(s) > 0x7FFF {
		s = s[:0x7FFF]
	}
	if len(s) > 0x7F {
		w.Byte(byte(len(s)>>8) | 0x80)
	}
	w.Byte(byte(len(s)))
	io.WriteString(w, s)
}
