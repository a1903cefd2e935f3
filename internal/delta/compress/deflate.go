package compress

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
)

// A deflate stream starts anew with each file. The literals before a token end
// in a sync flush whose last four bytes, always 00 00 ff ff, are not sent. In
// Zlib mode both windows also take in the matched blocks, as if they had been
// sent; in Zlibx mode they hold the literals alone.
// rsync 3.5.0 token.c:send_deflated_token, recv_deflated_token, see_deflate_token

const (
	windowSize = 32 << 10
	// insertPiece is how Zlib mode cuts a matched block; below protocol 31
	// every piece is taken from the start of the block.
	insertPiece = 0xffff
	// reloadAt is how much matched data it takes until loading a whole window
	// is cheaper than compressing the data and dropping the result.
	reloadAt = windowSize / 2
)

var syncMarker = []byte{0, 0, 0xff, 0xff}

// window keeps the last windowSize bytes of what went through a stream.
type window struct{ buf []byte }

func (w *window) add(p []byte) {
	if len(p) >= windowSize {
		w.buf = append(w.buf[:0], p[len(p)-windowSize:]...)
		return
	}
	if len(w.buf)+len(p) > 4*windowSize {
		n := copy(w.buf, w.buf[len(w.buf)-windowSize:])
		w.buf = w.buf[:n]
	}
	w.buf = append(w.buf, p...)
}

// addMatched adds a matched block the way both ends of that protocol do.
func (w *window) addMatched(p []byte, protocol int) (added int) {
	if protocol >= 31 {
		w.add(p)
		return len(p)
	}
	for n := len(p); n > 0; n -= insertPiece {
		w.add(p[:min(n, insertPiece)])
	}
	return len(p)
}

// tail returns the last n bytes, or all that are there.
func (w *window) tail(n int) []byte {
	return w.buf[max(len(w.buf)-n, 0):]
}

func (w *window) reset() { w.buf = w.buf[:0] }

type deflateWriter struct {
	run      runWriter
	out      chunker
	z        *flate.Writer
	other    *flate.Writer // the one of the other effort; nil until Skip
	skip     bool
	insert   bool // Zlib: matched blocks enter the window
	protocol int
	win      window // only with insert
	inserted int    // matched bytes at the end of win that z has not seen
	dirty    bool   // literals since the last flush
	used     bool   // z has seen data of this file
}

// effort is the library's level for one of zlib's: from 5 on its own are quicker
// and find less. These come closest to zlib's sizes in less time than zlib takes.
func effort(level int) int {
	switch level {
	case 5:
		return 7
	case 6, 7:
		return 8
	case 8:
		return 9
	}
	return level
}

func newDeflateWriter(w io.Writer, cfg Config) (*deflateWriter, error) {
	d := &deflateWriter{insert: cfg.Choice == Zlib, protocol: cfg.Protocol}
	d.run.w = w
	d.out = chunker{runWriter: &d.run, hold: len(syncMarker)}
	z, err := flate.NewWriter(&d.out, effort(cfg.Level))
	if err != nil {
		return nil, fmt.Errorf("compression init failed: %w", err)
	}
	d.z = z
	return d, nil
}

func (d *deflateWriter) Literal(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if err := d.run.flushRun(); err != nil {
		return err
	}
	if err := d.catchUp(); err != nil {
		return err
	}
	if d.insert {
		d.win.add(p)
	}
	d.dirty, d.used = true, true
	_, err := d.z.Write(p)
	return err
}

// catchUp makes z see the matched blocks since the last literals. z stands on
// a byte boundary with nothing outstanding: it has just been flushed or reset.
func (d *deflateWriter) catchUp() error {
	n := d.inserted
	d.inserted = 0
	if n == 0 {
		return nil
	}
	if n > reloadAt {
		d.z.ResetDict(&d.out, d.win.tail(windowSize))
		return nil
	}
	d.out.drop = true
	defer func() { d.out.drop = false }()
	if _, err := d.z.Write(d.win.tail(n)); err != nil {
		return err
	}
	return d.z.Flush()
}

// flush sends what the literals since the last token come to.
func (d *deflateWriter) flush() error {
	if !d.dirty {
		return nil
	}
	d.dirty = false
	if err := d.z.Flush(); err != nil {
		return err
	}
	waiting := d.out.data[2 : 2+d.out.n]
	if !bytes.HasSuffix(waiting, syncMarker) {
		return errors.New("deflate: flush did not end in a sync marker")
	}
	d.out.n -= len(syncMarker)
	return d.out.emit(0)
}

func (d *deflateWriter) Match(block int32, data []byte) error {
	if err := d.flush(); err != nil {
		return err
	}
	if d.insert {
		d.inserted = min(d.inserted+d.win.addMatched(data, d.protocol), windowSize)
		d.used = true
	}
	return d.run.match(block)
}

func (d *deflateWriter) End() error {
	if err := d.flush(); err != nil {
		return err
	}
	if d.used {
		d.z.ResetDict(&d.out, nil)
		d.win.reset()
		d.used, d.inserted = false, 0
	}
	return d.run.end()
}

// Skip sends the next files as stored blocks, or no longer.
func (d *deflateWriter) Skip(skip bool) {
	if skip == d.skip {
		return
	}
	if d.other == nil {
		// The only error is that of a level out of range.
		d.other, _ = flate.NewWriter(&d.out, flate.NoCompression)
	}
	d.z, d.other, d.skip = d.other, d.z, skip
}

// errPaused stops the inflater at the end of the literals before a token.
var errPaused = errors.New("no more compressed data")

type deflateReader struct {
	tokenReader
	insert   bool
	protocol int
	z        io.ReadCloser
	in       *bufio.Reader // what z reads; filled by feed
	feed     inflateFeed
	win      window
	running  bool // within the literals before a token
	reload   bool // z must be set up again from win
	out      [windowSize]byte
}

// inflateFeed gives the inflater the data items up to the next other flag, and
// then the sync marker that was not sent.
type inflateFeed struct {
	t      *tokenReader
	chunk  []byte
	flag   byte // the flag after the data
	ended  bool // flag is valid
	marker []byte
}

func (f *inflateFeed) Read(p []byte) (int, error) {
	for len(f.chunk) == 0 && !f.ended {
		flag, err := f.t.byte()
		if err != nil {
			return 0, err
		}
		if isData(flag) {
			if f.chunk, err = f.t.chunk(flag); err != nil {
				return 0, err
			}
			continue
		}
		f.flag, f.ended, f.marker = flag, true, syncMarker
	}
	if len(f.chunk) > 0 {
		n := copy(p, f.chunk)
		f.chunk = f.chunk[n:]
		return n, nil
	}
	if len(f.marker) > 0 {
		n := copy(p, f.marker)
		f.marker = f.marker[n:]
		return n, nil
	}
	return 0, errPaused
}

func newDeflateReader(r io.Reader, cfg Config) *deflateReader {
	d := &deflateReader{
		tokenReader: newTokenReader(r),
		insert:      cfg.Choice == Zlib,
		protocol:    cfg.Protocol,
	}
	d.feed.t = &d.tokenReader
	d.in = bufio.NewReaderSize(&d.feed, maxData)
	d.z = flate.NewReader(d.in)
	return d
}

func (d *deflateReader) Next() (Token, error) {
	if t, ok := d.continued(); ok {
		return t, nil
	}
	if !d.running {
		flag, err := d.byte()
		if err != nil {
			return Token{}, err
		}
		if !isData(flag) {
			return d.finish(flag)
		}
		if d.feed.chunk, err = d.chunk(flag); err != nil {
			return Token{}, err
		}
		d.running, d.feed.ended = true, false
		if d.reload {
			if err := d.reset(d.win.tail(windowSize)); err != nil {
				return Token{}, err
			}
		}
	}
	for d.inflating() {
		n, err := d.z.Read(d.out[:])
		if err == errPaused {
			d.reload, err = true, nil
		}
		if err == io.EOF {
			err = errors.New("decompressor lost sync")
		}
		if err != nil {
			return Token{}, fmt.Errorf("deflated data of a literal is damaged: %w", err)
		}
		if n > 0 {
			d.win.add(d.out[:n])
			return Token{Literal: d.out[:n]}, nil
		}
	}
	d.running = false
	return d.finish(d.feed.flag)
}

// inflating reports whether z may have data to give before the next token.
func (d *deflateReader) inflating() bool {
	return !d.reload && (!d.feed.ended || len(d.feed.marker) > 0 || d.in.Buffered() > 0)
}

// finish decodes the flag after the literals.
func (d *deflateReader) finish(flag byte) (Token, error) {
	t, err := d.other(flag)
	if t.End {
		d.win.reset()
		d.reload = true
	}
	return t, err
}

func (d *deflateReader) reset(history []byte) error {
	d.in.Reset(&d.feed)
	d.reload = false
	return d.z.(flate.Resetter).Reset(d.in, history)
}

func (d *deflateReader) Matched(data []byte) error {
	if d.insert && len(data) > 0 {
		d.win.addMatched(data, d.protocol)
		d.reload = true
	}
	return nil
}
