package delta

import (
	"errors"
	"fmt"
	"io"

	"github.com/prsync/prsync/internal/delta/checksum"
)

// ApplyConfig is how one file is rebuilt.
type ApplyConfig struct {
	// Head describes the basis as the sender saw it.
	Head SumHead
	// Basis is the old file; nil when there is none or it cannot be read.
	Basis *Window
	// File takes in the bytes of the file, those before the start of an
	// AppendTail excepted. nil computes no sum.
	File checksum.FileHash
	// InPlace says that the new file overwrites the basis.
	InPlace bool
	Append  Append
	// Discard drops the file: nothing is written, and a missing Basis is no
	// error.
	Discard bool
}

// Skipper is a destination that wants to see the bytes which are in place
// already, for instance to punch holes.
type Skipper interface {
	SkipAt(p []byte, off int64) error
}

// Applier rebuilds one file token by token.
// rsync 3.5.0 receiver.c:receive_data
type Applier struct {
	cfg   ApplyConfig
	dst   io.WriterAt
	skip  Skipper // dst, when it is one
	off   int64
	stats Stats
}

// NewApplier returns an Applier that writes to dst, which is not used with
// Discard. For an append it reads the prefix and starts behind it.
func NewApplier(dst io.WriterAt, cfg ApplyConfig) *Applier {
	a := new(Applier)
	a.Reset(dst, cfg)
	return a
}

// Reset makes a what NewApplier returns.
func (a *Applier) Reset(dst io.WriterAt, cfg ApplyConfig) {
	*a = Applier{cfg: cfg, dst: dst}
	a.skip, _ = dst.(Skipper)
	if cfg.Append != AppendOff {
		a.off = cfg.Head.FileLen()
		if cfg.Append == AppendVerify && cfg.Basis != nil && cfg.File != nil {
			for off := int64(0); off < a.off; {
				b := cfg.Basis.Bytes(off, int(min(windowLen, a.off-off)))
				cfg.File.Write(b)
				off += int64(len(b))
			}
		}
	}
}

// Offset returns how many bytes of the new file are done: its length, once the
// last token is in.
func (a *Applier) Offset() int64 { return a.off }

// Stats returns the bytes taken as literals and as matches so far.
func (a *Applier) Stats() Stats { return a.stats }

// Literal appends p.
func (a *Applier) Literal(p []byte) error {
	a.stats.Literal += int64(len(p))
	if a.cfg.File != nil {
		a.cfg.File.Write(p)
	}
	return a.write(p)
}

var errNoBasis = errors.New("got a block match with no basis file")

// Block appends block i of the basis and returns its bytes, which are valid
// until the next call; nil when a discarded file has no basis.
func (a *Applier) Block(i int32) ([]byte, error) {
	if i < 0 || i >= a.cfg.Head.Count {
		return nil, fmt.Errorf("Invalid block index %d (count=%d)", i, a.cfg.Head.Count) //nolint:staticcheck // rsync's wording
	}
	from, n := a.cfg.Head.Block(i)
	a.stats.Matches++
	a.stats.Matched += int64(n)
	if a.cfg.Basis == nil {
		if !a.cfg.Discard {
			return nil, errNoBasis
		}
		a.off += int64(n)
		return nil, nil
	}
	b := a.cfg.Basis.Bytes(from, n)
	if a.cfg.File != nil {
		a.cfg.File.Write(b)
	}
	if a.cfg.InPlace && from == a.off {
		if a.skip != nil && !a.cfg.Discard {
			if err := a.skip.SkipAt(b, a.off); err != nil {
				return nil, err
			}
		}
		a.off += int64(n)
		return b, nil
	}
	return b, a.write(b)
}

// Match appends a block; with it an Applier is an Output.
func (a *Applier) Match(block int32, _ []byte) error {
	_, err := a.Block(block)
	return err
}

func (a *Applier) write(p []byte) error {
	off := a.off
	a.off += int64(len(p))
	if a.cfg.Discard {
		return nil
	}
	_, err := a.dst.WriteAt(p, off)
	return err
}
