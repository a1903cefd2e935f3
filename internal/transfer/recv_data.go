package transfer

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/delta/compress"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
)

// drop reads the data of a file that will not be written.
func (v *receiver) drop(f *flist.File) error {
	_, err := v.data(&incoming{f: f, redo: true})
	return err
}

// data receives the tokens of one file. ok tells that the result is what the
// sender has. rsync 3.5.0 receiver.c:receive_data.
func (v *receiver) data(in *incoming) (ok bool, err error) {
	c, f, w := v.c, in.f, in.w
	sized := w != nil && in.inPlace(c) // by what was there before
	head, err := readSumHead(c.R, c.Setup, v.log.Who())
	if err != nil {
		return false, err
	}
	v.stream, v.rangeSize = false, 0
	cfg := delta.ApplyConfig{Head: head, File: v.fileHash(), InPlace: in.updates, Discard: w == nil}
	if !in.redo {
		cfg.Append = c.Append
	}
	if w == nil {
		cfg.Append = delta.AppendOff
	}
	if in.basis != nil && in.size > 0 {
		if v.log.Debug(report.DebugDeltasum, 2) {
			v.log.Printf(report.Info, "recv mapped %s of size %d\n", in.at.shown, in.size)
		}
		v.window.Reset(in.basis, in.size)
		cfg.Basis = v.window
	}
	var dst io.WriterAt
	var sparse *sparseFile
	truncate := sized
	if w != nil {
		dst = w.file
		if c.Preallocate && f.Size > 0 && (!sized || f.Size > in.size) {
			if err := fsroot.Fallocate(w.file, 0, f.Size, false); err != nil {
				v.log.Syserr(report.Warning, err, "do_fallocate %s", v.full(f.Name()))
			}
			truncate = true
		}
		if c.Sparse && !(in.redo && c.Append != delta.AppendOff) {
			sparse = &sparseFile{f: w.file, punch: in.updates || c.Preallocate}
			if sized && c.WholeFile {
				w.file.Truncate(0)
			}
			dst = sparse
		} else if !sized && !in.toDevice && f.Size > chunkSize {
			v.gathered.reset(w.file)
			dst = &v.gathered
		}
	}
	ap := &v.applier
	ap.Reset(dst, cfg)
	err = v.readTokens(f, w, ap, head)
	if dst == &v.gathered {
		// Also when the rest does not come: the file may be kept as a partial one.
		if ferr := v.gathered.flush(); err == nil && ferr != nil {
			err = v.writeError(f, ferr)
		}
	}
	if err != nil {
		return false, err
	}
	s := ap.Stats()
	v.Stats.Literal += s.Literal
	v.Stats.Matched += s.Matched
	if w != nil && !in.toDevice {
		size := ap.Offset() + v.rangeSize
		// Zeros at the end keep the blocks that --preallocate has given them.
		if sparse != nil && (in.updates || sparse.to != size) {
			if err := sparse.flush(); err != nil {
				return false, v.writeError(f, err)
			}
		}
		if sparse != nil || truncate {
			if err := w.file.Truncate(size); err != nil {
				v.log.Syserr(report.ErrorXfer, err, "ftruncate failed on %s", v.full(f.Name()))
			}
		}
	}
	if p := c.Progress; p != nil {
		p.End(f.Size)
	}
	if v.log.Debug(report.DebugDeltasum, 2) {
		v.log.Printf(report.Info, "got file_sum\n")
	}
	n := c.Setup.XferSum.Len()
	mine := v.hash.Sum(v.sum[:0])
	c.R.Full(v.theirSum[:n])
	if err := c.R.Err(); err != nil {
		return false, err
	}
	if w == nil {
		return true, nil
	}
	if v.shortRange {
		v.shortRange = false
		return false, nil
	}
	return bytes.Equal(mine, v.theirSum[:n]), nil
}

func (v *receiver) fileHash() checksum.FileHash {
	if v.hash == nil {
		v.hash = v.c.blockSums().NewFile()
	}
	v.hash.Reset()
	return v.hash
}

func (v *receiver) tokenReader() (compress.Reader, error) {
	if v.tokens == nil {
		var err error
		if v.tokens, err = compress.NewReader(v.c.R, v.c.Compress); err != nil {
			return nil, err
		}
	}
	return v.tokens, nil
}

// readTokens applies the tokens of one file.
func (v *receiver) readTokens(f *flist.File, w *writing, ap *delta.Applier, head delta.SumHead) error {
	tokens, err := v.tokenReader()
	if err != nil {
		return err
	}
	p := v.c.Progress
	for {
		t, err := tokens.Next()
		if err != nil {
			if rerr := v.c.R.Err(); rerr != nil {
				return rerr
			}
			return exitcode.New(exitcode.StreamIO, "%w [%s]", err, v.log.Who())
		}
		if t.End {
			return nil
		}
		if err := v.ended(); err != nil {
			return err
		}
		if p != nil {
			p.Show(ap.Offset(), f.Size)
		}
		switch {
		case len(t.Literal) > 0:
			v.stream = true
			err = ap.Literal(t.Literal)
		case t.Block == rangeToken && v.c.Ranges != nil:
			if err := v.takeRange(w, ap); err != nil {
				return v.writeError(f, err)
			}
			continue
		default:
			var data []byte
			if data, err = ap.Block(t.Block); err == nil {
				err = tokens.Matched(data)
			}
		}
		if err != nil {
			return v.applyError(f, err, t)
		}
	}
}

// applyError tells a write error from a broken stream.
func (v *receiver) applyError(f *flist.File, err error, t compress.Token) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return v.writeError(f, err)
	}
	return exitcode.New(exitcode.Protocol, "%w [%s]", err, v.log.Who())
}

func (v *receiver) writeError(f *flist.File, err error) error {
	v.log.Syserr(report.Error, err, "write failed on %s", v.full(v.name(f)))
	return exitcode.Silent(exitcode.FileIO).Placed(exitcode.AtWriteFile)
}

// copyTo copies the file, and tells who waits for it how far it is.
func (fr fileRange) copyTo(dst *os.File) (int64, error) {
	if fr.at == nil {
		n, _, err := fsroot.CopyRange(dst, fr.file, 0, 0, fr.size)
		return n, err
	}
	done := int64(0)
	for done < fr.size {
		n, _, err := fsroot.CopyRange(dst, fr.file, done, done, min(rangeStep, fr.size-done))
		done += n
		if err != nil {
			return done, err
		}
		fr.at <- done
	}
	return done, nil
}

// takeRange copies a file that the sender handed over.
func (v *receiver) takeRange(w *writing, ap *delta.Applier) error {
	fr, ok := v.c.Ranges.pop()
	if !ok {
		return errors.New("no file was handed over")
	}
	defer fr.release()
	v.Stats.Literal += fr.size
	v.stream = true
	if w == nil {
		return nil
	}
	n, err := fr.copyTo(w.file)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		v.shortRange, err = true, nil
	}
	v.rangeSize = n
	return err
}
