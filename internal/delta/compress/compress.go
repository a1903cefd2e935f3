// Package compress holds the token streams of the rsync protocol: how the
// literal data and the block references of one file travel, plain or under one
// of the negotiated compressions.
//
// A stream belongs to one connection and carries file after file, each closed
// by End. Writer and Reader work on the demultiplexed bytes and never read or
// write past the token they stand on. All of it is fixed by rsync 3.5.0
// token.c.
package compress

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// Choice names a compression as it is negotiated. The zero Choice is None.
type Choice uint8

const (
	// None sends literals as they are.
	None Choice = iota
	// Zlib is deflate with the matched blocks in its window.
	Zlib
	// Zlibx is deflate over the literals alone.
	Zlibx
	// LZ4 compresses each chunk by itself.
	LZ4
	// Zstd is one zstd frame that lasts as long as the connection.
	Zstd
)

var choiceNames = [...]string{None: "none", Zlib: "zlib", Zlibx: "zlibx", LZ4: "lz4", Zstd: "zstd"}

// Names lists the compressions in the order in which rsync advertises them,
// most preferred first.
func Names() []string { return []string{"zstd", "lz4", "zlibx", "zlib", "none"} }

// ByName returns the compression of that name, in any case of letters.
func ByName(name string) (Choice, bool) {
	for c, n := range choiceNames {
		if strings.EqualFold(n, name) {
			return Choice(c), true
		}
	}
	return None, false
}

// Name returns the name under which c is negotiated.
func (c Choice) Name() string {
	if int(c) >= len(choiceNames) {
		return "invalid"
	}
	return choiceNames[c]
}

// String returns Name.
func (c Choice) String() string { return c.Name() }

// LevelUnset asks Resolve for the default level of the choice.
const LevelUnset = math.MinInt32

// Resolve returns what --compress-choice and --compress-level come to: the
// level forced into the range of the choice, or None when the level is the one
// that turns the choice off. Levels out of range are no error in rsync.
// rsync 3.5.0 token.c:init_compression_level
func (c Choice) Resolve(level int) (Choice, int) {
	lo, hi, def := 0, 0, 0
	switch c {
	case Zlib, Zlibx:
		if level == 0 {
			return None, 0
		}
		lo, hi, def = 1, 9, 6
		if level == -1 {
			level = def
		}
	case Zstd:
		lo, hi, def = -(1 << 17), 22, 3
		if level == 0 {
			level = def
		}
	}
	if level == LevelUnset {
		level = def
	}
	return c, min(max(level, lo), hi)
}

// Config says how one connection compresses.
type Config struct {
	Choice Choice
	// Level is the compression level as Resolve returned it; only writers
	// look at it.
	Level int
	// Threads is --compress-threads: how many blocks zstd compresses at once.
	// 0 and 1 compress in the caller's goroutine.
	Threads int
	// Protocol is the negotiated protocol version. Below 31 the Zlib window
	// repeats part of a block longer than 65535 bytes.
	Protocol int
}

// Writer sends the tokens of one file after another. An error is final.
type Writer interface {
	// Literal sends bytes that the receiver lacks. It may keep them back until
	// the next token.
	Literal(p []byte) error
	// Match says that the block with that index, 0 or more, comes next. data
	// holds the bytes of the block; every choice but Zlib ignores it.
	Match(block int32, data []byte) error
	// End closes the file and leaves the Writer ready for the next one.
	End() error
}

// Token is one step of a file. Exactly one of the three holds: End, Literal
// is not empty, or the token names Block.
type Token struct {
	// Literal holds bytes to append; they are valid until the next call of
	// Next.
	Literal []byte
	// Block is the index of a block of the basis. It is not checked against
	// the number of blocks that the basis has.
	Block int32
	// End says that the file is complete.
	End bool
}

// Reader receives the tokens of one file after another. An error is final.
type Reader interface {
	Next() (Token, error)
	// Matched must be told the bytes of each block that Next named, before the
	// following Next; every choice but Zlib ignores them. A caller that
	// discards the file because it has no basis may leave it out, as rsync
	// does.
	Matched(data []byte) error
}

// NewWriter returns the Writer for cfg over w. A Writer hands over whole
// tokens in a few small writes, so w should be buffered.
func NewWriter(w io.Writer, cfg Config) (Writer, error) {
	switch cfg.Choice {
	case None:
		return &plainWriter{w: w}, nil
	case Zlib, Zlibx:
		return newDeflateWriter(w, cfg)
	case LZ4:
		return newLZ4Writer(w), nil
	case Zstd:
		return newZstdWriter(w, cfg)
	}
	return nil, fmt.Errorf("unknown compression choice %d", cfg.Choice)
}

// NewReader returns the Reader for cfg over r, which should be buffered: flags
// and lengths are read byte by byte.
func NewReader(r io.Reader, cfg Config) (Reader, error) {
	switch cfg.Choice {
	case None:
		return &plainReader{r: r}, nil
	case Zlib, Zlibx:
		return newDeflateReader(r, cfg), nil
	case LZ4:
		return newLZ4Reader(r), nil
	case Zstd:
		return newZstdReader(r)
	}
	return nil, fmt.Errorf("unknown compression choice %d", cfg.Choice)
}
