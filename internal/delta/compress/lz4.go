package compress

import (
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
)

const (
	// lz4Chunk is the most data in one block. rsync takes 16383 bytes and
	// halves them when the result does not fit maxData; with this many it
	// always fits, also for data that does not compress.
	lz4Chunk = 16303
	// lz4Max is the most data that a peer may put into one block: the bound
	// of chunkSize. rsync 3.5.0 token.c:recv_compressed_token
	lz4Max = chunkSize + chunkSize/255 + 16
)

// lz4Writer compresses each chunk of literals as a block by itself.
// rsync 3.5.0 token.c:send_compressed_token
type lz4Writer struct {
	runWriter
	c   lz4.Compressor
	buf []byte // literals waiting, less than lz4Chunk
	raw bool   // do not look for repetitions
}

func newLZ4Writer(w io.Writer) *lz4Writer {
	return &lz4Writer{runWriter: runWriter{w: w}, buf: make([]byte, 0, lz4Chunk)}
}

func (z *lz4Writer) Literal(p []byte) error {
	if err := z.flushRun(); err != nil {
		return err
	}
	for len(p) > 0 {
		if len(z.buf) == 0 && len(p) >= lz4Chunk {
			if err := z.compress(p[:lz4Chunk]); err != nil {
				return err
			}
			p = p[lz4Chunk:]
			continue
		}
		n := min(len(p), lz4Chunk-len(z.buf))
		z.buf = append(z.buf, p[:n]...)
		p = p[n:]
		if len(z.buf) == lz4Chunk {
			if err := z.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (z *lz4Writer) flush() error {
	if len(z.buf) == 0 {
		return nil
	}
	err := z.compress(z.buf)
	z.buf = z.buf[:0]
	return err
}

// Skip sends the next files as blocks of literals, or no longer.
func (z *lz4Writer) Skip(skip bool) { z.raw = skip }

// stored makes p a block of the one sequence that has nothing but literals.
func (z *lz4Writer) stored(p []byte) error {
	b := z.data[2:2]
	if len(p) < 15 {
		b = append(b, byte(len(p))<<4)
	} else {
		b = append(b, 0xf0)
		n := len(p) - 15
		for ; n >= 255; n -= 255 {
			b = append(b, 255)
		}
		b = append(b, byte(n))
	}
	return z.send(len(append(b, p...)))
}

func (z *lz4Writer) compress(p []byte) error {
	if z.raw {
		return z.stored(p)
	}
	n, err := z.c.CompressBlock(p, z.data[2:])
	if err != nil || n == 0 {
		return fmt.Errorf("lz4 compression of %d bytes failed: %w", len(p), err)
	}
	return z.send(n)
}

func (z *lz4Writer) Match(block int32, _ []byte) error {
	if err := z.flush(); err != nil {
		return err
	}
	return z.match(block)
}

func (z *lz4Writer) End() error {
	if err := z.flush(); err != nil {
		return err
	}
	return z.end()
}

// rsync 3.5.0 token.c:recv_compressed_token
type lz4Reader struct {
	tokenReader
	out [lz4Max]byte
}

func newLZ4Reader(r io.Reader) *lz4Reader {
	return &lz4Reader{tokenReader: newTokenReader(r)}
}

func (z *lz4Reader) Next() (Token, error) {
	if t, ok := z.continued(); ok {
		return t, nil
	}
	for {
		flag, err := z.byte()
		if err != nil {
			return Token{}, err
		}
		if !isData(flag) {
			return z.other(flag)
		}
		b, err := z.chunk(flag)
		if err != nil {
			return Token{}, err
		}
		n, err := lz4.UncompressBlock(b, z.out[:])
		if err != nil {
			return Token{}, fmt.Errorf("lz4 data of a literal is damaged: %w", err)
		}
		if n > 0 {
			return Token{Literal: z.out[:n]}, nil
		}
	}
}

func (z *lz4Reader) Matched([]byte) error { return nil }
