package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/ipc"
)

// progressInterval is how long progress of a want waits for more of it.
const progressInterval = 50 * time.Millisecond

// maxLogFrames bounds the log lines that wait; a client that does not read
// loses the others.
const maxLogFrames = 1000

// outbox writes to a client from a goroutine of its own, so that the engine
// never waits for one. Progress of one want is added up until it is sent.
type outbox struct {
	conn *ipc.Conn

	mu       sync.Mutex
	frames   []outFrame
	logs     int
	progress map[uint64]*ipc.Event
	wake     chan struct{}
	stop     chan struct{}
	once     sync.Once
}

type outFrame struct {
	t    ipc.Type
	body []byte
}

func newOutbox(conn *ipc.Conn) *outbox {
	return &outbox{
		conn: conn, progress: map[uint64]*ipc.Event{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
}

func (o *outbox) frame(t ipc.Type, body []byte) {
	o.mu.Lock()
	if t == ipc.TypeLog {
		if o.logs >= maxLogFrames {
			o.mu.Unlock()
			return
		}
		o.logs++
	}
	o.frames = append(o.frames, outFrame{t, body})
	o.mu.Unlock()
	o.poke()
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) event(ev content.Event) {
	o.mu.Lock()
	m := o.progress[ev.Tag]
	if m == nil {
		m = &ipc.Event{Tag: ev.Tag}
		o.progress[ev.Tag] = m
	}
	for i, n := range ev.Bytes {
		m.Bytes[i] += n
	}
	m.Wasted += ev.Wasted
	if ev.Done {
		m.Done, m.Valid = true, ev.Valid
		if ev.Err != nil {
			m.Failure = ev.Err.Error()
		}
		delete(o.progress, ev.Tag)
		o.frames = append(o.frames, outFrame{ipc.TypeEvent, m.Encode()})
	}
	o.mu.Unlock()
	if ev.Done {
		o.poke()
	}
}

func (o *outbox) close() { o.once.Do(func() { close(o.stop) }) }

func (o *outbox) run() {
	t := time.NewTicker(progressInterval)
	defer t.Stop()
	for {
		progress := false
		select {
		case <-o.stop:
			return
		case <-o.wake:
		case <-t.C:
			progress = true
		}
		o.mu.Lock()
		if progress {
			for tag, m := range o.progress {
				o.frames = append(o.frames, outFrame{ipc.TypeEvent, m.Encode()})
				delete(o.progress, tag)
			}
		}
		frames := o.frames
		o.frames, o.logs = nil, 0
		o.mu.Unlock()
		for _, f := range frames {
			if err := o.conn.Send(f.t, f.body, nil); err != nil {
				o.conn.Close() // the reader notices and ends the session
				return
			}
		}
	}
}

func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// logHandler sends log records to the client.
type logHandler struct {
	out   *outbox
	attrs []slog.Attr
}

func (h *logHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		b.WriteString(" " + a.Key + "=" + a.Value.String())
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	m := ipc.Log{Level: int64(r.Level), Text: b.String()}
	h.out.frame(ipc.TypeLog, m.Encode())
	return nil
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.out, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

func (h *logHandler) WithGroup(string) slog.Handler { return h }
