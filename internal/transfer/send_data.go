package transfer

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/delta/compress"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// open opens a file that is asked for. When it cannot be sent, that is
// reported to the user and to the receiving side.
func (s *Sender) open(f *flist.File, src *source, ndx int32, redo bool) (*os.File, fsroot.Stat, bool) {
	noSend := func() {
		if s.c.Setup.Protocol >= 30 {
			s.c.W.MsgInt(wire.MsgNoSend, ndx)
		}
	}
	file, err := s.openFile(src, f.Name())
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			code := report.Warning
			if s.c.Daemon && s.c.Setup.Protocol < 28 {
				code = report.Error
			}
			s.io.Set(ioVanished)
			s.log.Printf(code, "file has vanished: %s\n", s.full(src, f.Name()))
		} else {
			s.io.Set(ioGeneral)
			s.log.Syserr(report.ErrorXfer, err, "send_files failed to open %s", s.full(src, f.Name()))
		}
		noSend()
		return nil, fsroot.Stat{}, false
	}
	st, err := fsroot.Fstat(file)
	if err == nil && st.IsDevice() {
		if !s.c.CopyDevices {
			err = errors.New("attempt to copy device contents without --copy-devices")
		} else if st.Size == 0 {
			st.Size = deviceSize(file)
		}
	} else if err == nil && !st.IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		file.Close()
		s.io.Set(ioGeneral)
		s.log.Syserr(report.ErrorXfer, err, "send_files failed to open %s", s.full(src, f.Name()))
		noSend()
		return nil, st, false
	}
	if s.c.Append != delta.AppendOff && !redo && st.Size < f.Size {
		file.Close()
		s.log.Printf(report.Warning, "skipped diminished file: %s\n", s.full(src, f.Name()))
		noSend()
		return nil, st, false
	}
	return file, st, true
}

// readError gives a file that ended early the error number that rsync reports.
func readError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errNoData
	}
	return err
}

// sums reads the sums of the basis.
func (s *Sender) sums(redo bool) (delta.SumHead, *delta.Signature, error) {
	head, err := readSumHead(s.c.R, s.c.Setup, s.log.Who())
	if err != nil {
		return head, nil, err
	}
	if s.c.Append != delta.AppendOff && !redo {
		return head, &delta.Signature{Head: head}, nil
	}
	if head.Count == 0 {
		return head, nil, nil
	}
	if err := s.c.checkAlloc(s.log.Who(), int64(head.Count), blockCost); err != nil {
		return head, nil, err
	}
	sig, err := delta.ReadSignature(s.c.R, head)
	return head, sig, err
}

// data sends the tokens of one file and its sum.
func (s *Sender) data(f *flist.File, file *os.File, size int64, rq request, sig *delta.Signature, redo bool) error {
	c := s.c
	s.window.Reset(file, size)
	cfg := delta.SearchConfig{Sums: c.blockSums(), File: s.fileHash(), InPlace: s.updatesBasis(rq, redo)}
	if !redo {
		cfg.Append = c.Append
	}
	cfg.Progress = s.inMotion(size)
	s.debugSearch(&cfg, sig, size)
	out, err := s.tokenWriter(f.Name())
	if err != nil {
		return err
	}
	var st delta.Stats
	if c.Ranges != nil && sig == nil && !redo && size > 0 {
		st, err = s.ranges(file, size, out)
	} else {
		st, err = s.search.Search(s.window, sig, cfg, out)
	}
	if err != nil {
		return err
	}
	if s.log.Debug(report.DebugDeltasum, 2) {
		if cfg.Matched != nil {
			s.log.Printf(report.Info, "done hash search\n")
		}
		s.log.Printf(report.Info, "sending file_sum\n")
		s.log.Printf(report.Info, "false_alarms=%d hash_hits=%d matches=%d\n", st.FalseAlarms, st.HashHits, st.Matches)
	}
	s.blocks.Add(st)
	s.Stats.Literal += st.Literal
	s.Stats.Matched += st.Matched
	if err := out.End(); err != nil {
		return err
	}
	sum := s.hash.Sum(s.sumBuf[:0])
	if s.window.Err() != nil {
		delta.SpoilSum(sum)
	}
	w := io.Writer(c.W)
	if c.OnlyBatch && c.Batch != nil {
		w = c.Batch
	}
	_, err = w.Write(sum)
	return err
}

// motion is how much of a file is searched before what was found is sent off,
// though it may be only a few block numbers: the receiver then rebuilds one
// stretch while the next is searched.
const motion = 4 << 20

// inMotion is called as the search of a file goes on.
func (s *Sender) inMotion(size int64) func(off int64) {
	p, sent := s.c.Progress, int64(0)
	if p != nil && !p.Shown() {
		p = nil
	}
	if p == nil && size < 2*motion {
		return nil
	}
	return func(off int64) {
		if p != nil {
			p.Show(off, size)
		}
		if off-sent >= motion {
			sent = off
			s.c.W.Flush()
		}
	}
}

func (s *Sender) fileHash() checksum.FileHash {
	if s.hash == nil {
		s.hash = s.c.blockSums().NewFile()
	}
	s.hash.Reset()
	return s.hash
}

// blockSums is how blocks and transferred files are summed.
func (c *Config) blockSums() checksum.Config {
	// Below protocol 30 there is no MD5 but by name, and rsync's library hashes
	// the seed first then, as the flag says it above.
	seedFirst := c.Setup.ProperSeed || c.Setup.Protocol < 30
	return checksum.Config{Kind: c.Setup.XferSum, Seed: c.Setup.Seed, ProperSeedOrder: seedFirst, Protocol: c.Setup.Protocol}
}

// updatesBasis tells that the receiver overwrites the basis while it reads it.
func (s *Sender) updatesBasis(rq request, redo bool) bool {
	c := s.c
	if c.Setup.InplacePartial && rq.basis == basisPartial {
		return true
	}
	if !c.Inplace {
		return false
	}
	if c.Setup.Protocol >= 29 {
		return rq.basis == basisFile
	}
	return !c.Backup || redo
}

// tokenWriter returns the token stream, which is one for the connection.
func (s *Sender) tokenWriter(name string) (compress.Writer, error) {
	if s.tokens == nil {
		w := io.Writer(s.c.W)
		if s.c.OnlyBatch && s.c.Batch != nil {
			w = s.c.Batch
		}
		var err error
		if s.tokens, err = compress.NewWriter(w, s.c.Compress); err != nil {
			return nil, err
		}
	}
	if k, ok := s.tokens.(compress.Skipper); ok && s.c.SkipCompress != nil {
		k.Skip(s.c.SkipCompress(name))
	}
	return s.tokens, nil
}
