package compress

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow is the largest window that a peer may ask for: what
// `zstd --ultra` uses and libzstd accepts by default.
const maxZstdWindow = 128 << 20

// zstdBlock is the most data that a zstd block decodes to.
const zstdBlock = 128 << 10

// zstdWriter writes one frame that is never ended. The literals before a token
// end in a flush.
// rsync 3.5.0 token.c:send_zstd_token
type zstdWriter struct {
	run   runWriter
	out   chunker
	z     *zstd.Encoder
	dirty bool
}

func newZstdWriter(w io.Writer, cfg Config) (*zstdWriter, error) {
	z := &zstdWriter{}
	z.run.w = w
	z.out = chunker{runWriter: &z.run}
	window := 2 << 20
	if cfg.Level >= 10 {
		window = 8 << 20
	}
	// The encoder's thrifty mode would have no room behind the window, and move
	// all of that for each block.
	enc, err := zstd.NewWriter(&z.out,
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(cfg.Level)),
		zstd.WithEncoderConcurrency(min(max(cfg.Threads, 1), 8)),
		zstd.WithWindowSize(window),
		zstd.WithEncoderCRC(false),
		zstd.WithLowerEncoderMem(false),
	)
	if err != nil {
		return nil, fmt.Errorf("compression init failed: %w", err)
	}
	z.z = enc
	return z, nil
}

func (z *zstdWriter) Literal(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if err := z.run.flushRun(); err != nil {
		return err
	}
	z.dirty = true
	_, err := z.z.Write(p)
	return err
}

func (z *zstdWriter) flush() error {
	if !z.dirty {
		return nil
	}
	z.dirty = false
	if err := z.z.Flush(); err != nil {
		return err
	}
	return z.out.emit(0)
}

func (z *zstdWriter) Match(block int32, _ []byte) error {
	if err := z.flush(); err != nil {
		return err
	}
	return z.run.match(block)
}

func (z *zstdWriter) End() error {
	if err := z.flush(); err != nil {
		return err
	}
	return z.run.end()
}

// zstdReader reads that frame. rsync 3.5.0 token.c:recv_zstd_token
type zstdReader struct {
	tokenReader
	z     *zstd.Decoder
	chunk []byte // of the data item, not yet decoded
	flag  byte   // a flag read ahead
	ahead bool   // flag is valid
	// out has room for more than the largest block, so that one Read empties
	// the decoder and never makes it look for another block.
	out [zstdBlock + 1]byte
}

func newZstdReader(r io.Reader) (*zstdReader, error) {
	z := &zstdReader{tokenReader: newTokenReader(r)}
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxZstdWindow),
		zstd.IgnoreChecksum(true),
	)
	if err == nil {
		err = dec.Reset(zstdFeed{z})
	}
	if err != nil {
		return nil, fmt.Errorf("decompression init failed: %w", err)
	}
	z.z = dec
	return z, nil
}

// zstdFeed gives the decoder the data items; it is asked only while the
// decoder stands inside a block, or when there is data.
type zstdFeed struct{ z *zstdReader }

func (f zstdFeed) Read(p []byte) (int, error) {
	z := f.z
	for len(z.chunk) == 0 {
		if !z.ahead {
			flag, err := z.byte()
			if err != nil {
				return 0, err
			}
			z.flag, z.ahead = flag, true
		}
		if !isData(z.flag) {
			return 0, errors.New("compressed data ends inside a block")
		}
		z.ahead = false
		var err error
		if z.chunk, err = z.tokenReader.chunk(z.flag); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.chunk)
	z.chunk = z.chunk[n:]
	return n, nil
}

func (z *zstdReader) Next() (Token, error) {
	if t, ok := z.continued(); ok {
		return t, nil
	}
	if len(z.chunk) == 0 {
		if !z.ahead {
			flag, err := z.byte()
			if err != nil {
				return Token{}, err
			}
			z.flag, z.ahead = flag, true
		}
		if !isData(z.flag) {
			z.ahead = false
			return z.other(z.flag)
		}
	}
	n, err := z.z.Read(z.out[:])
	if err == nil && n == 0 {
		err = io.ErrNoProgress
	}
	if err != nil {
		return Token{}, fmt.Errorf("zstd data of a literal is damaged: %w", noEOF(err))
	}
	return Token{Literal: z.out[:n]}, nil
}

func (z *zstdReader) Matched([]byte) error { return nil }
