package compress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// The compressed streams share one framing, whose every item starts with a
// flag byte. rsync 3.5.0 token.c
const (
	endFlag      = 0x00 // the file is complete
	tokenLong    = 0x20 // int32 block index
	tokenRunLong = 0x21 // int32 block index, uint16 further blocks
	deflatedData = 0x40 // + 6 high bits of a length; its low byte, the data
	tokenRel     = 0x80 // + 6-bit distance from the last block
	tokenRunRel  = 0xc0 // ditto, uint16 further blocks

	maxData  = 1<<14 - 1      // bytes in one deflatedData
	maxIndex = 0x7ffffffe     // highest block index
	maxRun   = math.MaxUint16 // blocks in a run after the first
)

var errBlockIndex = errors.New("invalid token number in compressed stream")

// runWriter writes the framing and joins consecutive blocks into runs.
type runWriter struct {
	w       io.Writer
	pending bool  // a run is waiting
	start   int32 // first block of the run
	last    int32 // last block of the run
	prevEnd int32 // last block of the run before; 0 at the start of a file
	buf     [7]byte
	data    [2 + maxData]byte
}

// match adds a block to the waiting run, or sends that and starts another.
func (t *runWriter) match(block int32) error {
	if block < 0 || block > maxIndex {
		return fmt.Errorf("cannot send block index %d", block)
	}
	if t.pending && block == t.last+1 && block-t.start <= maxRun {
		t.last = block
		return nil
	}
	if err := t.flushRun(); err != nil {
		return err
	}
	t.pending, t.start, t.last = true, block, block
	return nil
}

// flushRun sends the waiting run, which literal data must not overtake.
func (t *runWriter) flushRun() error {
	if !t.pending {
		return nil
	}
	rel, more := int64(t.start)-int64(t.prevEnd), t.last-t.start
	b := t.buf[:0]
	switch {
	case rel >= 0 && rel <= 63 && more == 0:
		b = append(b, tokenRel+byte(rel))
	case rel >= 0 && rel <= 63:
		b = append(b, tokenRunRel+byte(rel))
	case more == 0:
		b = append(b, tokenLong)
		b = binary.LittleEndian.AppendUint32(b, uint32(t.start))
	default:
		b = append(b, tokenRunLong)
		b = binary.LittleEndian.AppendUint32(b, uint32(t.start))
	}
	if more != 0 {
		b = binary.LittleEndian.AppendUint16(b, uint16(more))
	}
	t.pending, t.prevEnd = false, t.last
	_, err := t.w.Write(b)
	return err
}

// end sends the waiting run and closes the file.
func (t *runWriter) end() error {
	if err := t.flushRun(); err != nil {
		return err
	}
	t.prevEnd = 0
	t.buf[0] = endFlag
	_, err := t.w.Write(t.buf[:1])
	return err
}

// send sends the n bytes of compressed data that the caller has put at
// data[2:].
func (t *runWriter) send(n int) error {
	t.data[0], t.data[1] = deflatedData|byte(n>>8), byte(n)
	_, err := t.w.Write(t.data[:2+n])
	return err
}

// chunker cuts what a compressor writes into deflatedData items. It keeps the
// last hold bytes back until flush.
type chunker struct {
	*runWriter
	n    int // bytes waiting at data[2:]
	hold int
	drop bool // throw the bytes away
}

func (c *chunker) Write(p []byte) (int, error) {
	total := len(p)
	if c.drop {
		return total, nil
	}
	for len(p) > 0 {
		if c.n == maxData {
			if err := c.emit(c.hold); err != nil {
				return 0, err
			}
		}
		m := copy(c.data[2+c.n:], p)
		c.n += m
		p = p[m:]
	}
	return total, nil
}

// emit sends all waiting bytes but the last keep, which stay waiting.
func (c *chunker) emit(keep int) error {
	var kept [4]byte
	n := c.n - keep
	copy(kept[:], c.data[2+n:2+c.n])
	c.n = copy(c.data[2:], kept[:0])
	if n > 0 {
		if err := c.send(n); err != nil {
			return err
		}
	}
	c.n = copy(c.data[2:], kept[:keep])
	return nil
}

// tokenReader reads the framing.
type tokenReader struct {
	r     io.Reader
	br    io.ByteReader // r, when it is one
	token int32
	run   int // blocks still to come of the current run
	buf   [maxData]byte
}

func newTokenReader(r io.Reader) tokenReader {
	br, _ := r.(io.ByteReader)
	return tokenReader{r: r, br: br}
}

func (t *tokenReader) byte() (byte, error) {
	if t.br != nil {
		b, err := t.br.ReadByte()
		return b, noEOF(err)
	}
	_, err := io.ReadFull(t.r, t.buf[:1])
	return t.buf[0], noEOF(err)
}

// chunk reads the compressed data that a deflatedData flag announces. It is
// valid until the next read.
func (t *tokenReader) chunk(flag byte) ([]byte, error) {
	low, err := t.byte()
	if err != nil {
		return nil, err
	}
	b := t.buf[:int(flag&0x3f)<<8|int(low)]
	_, err = io.ReadFull(t.r, b)
	return b, noEOF(err)
}

// continued returns the next block of a run.
func (t *tokenReader) continued() (Token, bool) {
	if t.run == 0 {
		return Token{}, false
	}
	t.run--
	t.token++
	return Token{Block: t.token}, true
}

// other decodes any flag that is not deflatedData.
func (t *tokenReader) other(flag byte) (Token, error) {
	switch {
	case flag == endFlag:
		t.token = 0
		return Token{End: true}, nil
	case flag&tokenRel != 0:
		rel := int32(flag & 0x3f)
		if t.token > maxIndex-rel {
			return Token{}, errBlockIndex
		}
		t.token += rel
		flag >>= 6
	default:
		v, err := readInt32(t.r, t.buf[:])
		if err != nil {
			return Token{}, err
		}
		if v < 0 || v > maxIndex {
			return Token{}, errBlockIndex
		}
		t.token = v
	}
	if flag&1 != 0 {
		if _, err := io.ReadFull(t.r, t.buf[:2]); err != nil {
			return Token{}, noEOF(err)
		}
		t.run = int(binary.LittleEndian.Uint16(t.buf[:]))
		if t.run == 0 || int64(t.token)+int64(t.run) > maxIndex {
			return Token{}, errBlockIndex
		}
	}
	return Token{Block: t.token}, nil
}

func isData(flag byte) bool { return flag&0xc0 == deflatedData }
