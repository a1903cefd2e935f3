package compress

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// chunkSize is the most literal data that one plain token carries when rsync
// sends it. rsync 3.5.0 rsync.h:CHUNK_SIZE
const chunkSize = 32 << 10

// The plain stream is a sequence of little-endian int32: a positive one is the
// length of the literal data that follows it, -(i+1) is a match of block i,
// and 0 is the end.
// rsync 3.5.0 token.c:simple_send_token, simple_recv_token

type plainWriter struct {
	w   io.Writer
	buf [4]byte
}

func (p *plainWriter) int32(v int32) error {
	binary.LittleEndian.PutUint32(p.buf[:], uint32(v))
	_, err := p.w.Write(p.buf[:])
	return err
}

func (p *plainWriter) Literal(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), chunkSize)
		if err := p.int32(int32(n)); err != nil {
			return err
		}
		if _, err := p.w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (p *plainWriter) Match(block int32, _ []byte) error {
	if block < 0 || block == math.MaxInt32 {
		return fmt.Errorf("cannot send block index %d", block)
	}
	return p.int32(-(block + 1))
}

func (p *plainWriter) End() error { return p.int32(0) }

type plainReader struct {
	r    io.Reader
	left int32 // of the current literal
	buf  []byte
}

func (p *plainReader) Next() (Token, error) {
	if p.buf == nil {
		p.buf = make([]byte, chunkSize)
	}
	if p.left == 0 {
		v, err := readInt32(p.r, p.buf)
		switch {
		case err != nil:
			return Token{}, err
		case v == 0:
			return Token{End: true}, nil
		case v < 0:
			return Token{Block: -(v + 1)}, nil
		}
		// Some senders use longer literals than rsync; they are handed on in
		// pieces.
		p.left = v
	}
	b := p.buf[:min(p.left, chunkSize)]
	if _, err := io.ReadFull(p.r, b); err != nil {
		return Token{}, noEOF(err)
	}
	p.left -= int32(len(b))
	return Token{Literal: b}, nil
}

func (p *plainReader) Matched([]byte) error { return nil }

// readInt32 reads four bytes, using buf as its scratch space.
func readInt32(r io.Reader, buf []byte) (int32, error) {
	if _, err := io.ReadFull(r, buf[:4]); err != nil {
		return 0, noEOF(err)
	}
	return int32(binary.LittleEndian.Uint32(buf)), nil
}

// noEOF turns the end of the input, which is never where a file ends, into an
// error that says so.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
