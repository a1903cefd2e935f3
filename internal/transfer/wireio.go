package transfer

import (
	"io"
	"syscall"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// What a file is compared with (rsync.h: FNAMECMP_…); smaller numbers are
// indexes of alternate destinations, larger than basisFuzzy those of alternate
// destinations where a similar name was found.
const (
	basisDirHigh = 0x7F
	basisFile    = 0x80
	basisPartial = 0x81
	basisBackup  = 0x82
	basisFuzzy   = 0x83
)

var (
	errNoData     error = syscall.ENODATA
	errNotRegular error = syscall.ELOOP
)

// maxDelStat bounds each count of deletions (rsync.h: MAX_WIRE_DEL_STAT).
const maxDelStat = 1 << 28

func readDelStats(r *wire.Reader, c *report.Counts) {
	reg := int(r.VarintMax(maxDelStat, "deleted_files"))
	c.Dirs = int(r.VarintMax(maxDelStat, "deleted_dirs"))
	c.Links = int(r.VarintMax(maxDelStat, "deleted_symlinks"))
	c.Devices = int(r.VarintMax(maxDelStat, "deleted_devices"))
	c.Specials = int(r.VarintMax(maxDelStat, "deleted_specials"))
	c.Total = reg + c.Dirs + c.Links + c.Devices + c.Specials
}

func writeDelStats(w *wire.Writer, c *report.Counts) {
	w.Varint(int32(c.Total - c.Dirs - c.Links - c.Devices - c.Specials))
	w.Varint(int32(c.Dirs))
	w.Varint(int32(c.Links))
	w.Varint(int32(c.Devices))
	w.Varint(int32(c.Specials))
}

// readSumHead reads and checks the head of a file's block sums.
// rsync 3.5.0 io.c:read_sum_head.
func readSumHead(r *wire.Reader, s *rsyncproto.Setup, who string) (delta.SumHead, error) {
	h := delta.SumHead{Count: r.Int(), BlockLen: r.Int(), S2Len: r.Int(), Remainder: r.Int()}
	if err := r.Err(); err != nil {
		return h, err
	}
	if err := h.Check(s.Protocol, s.XferSum.Len()); err != nil {
		return h, exitcode.New(exitcode.Protocol, "%w [%s]", err, who)
	}
	return h, nil
}

func writeSumHead(w io.Writer, h delta.SumHead) error {
	var b [16]byte
	out := wire.AppendInt(b[:0], h.Count)
	out = wire.AppendInt(out, h.BlockLen)
	out = wire.AppendInt(out, h.S2Len)
	out = wire.AppendInt(out, h.Remainder)
	_, err := w.Write(out)
	return err
}

// checkAlloc keeps a table of n entries of a size within --max-alloc.
// rsync 3.5.0 util2.c:my_alloc.
func (c *Config) checkAlloc(who string, n, size int64) error {
	if c.MaxAlloc > 0 && n > c.MaxAlloc/size {
		return exitcode.New(exitcode.Malloc, "[%s] exceeded --max-alloc=%d setting", who, c.MaxAlloc)
	}
	return nil
}

// What rsync keeps of one block and of one entry of a list, in bytes.
const (
	blockCost = 24
	entryCost = 8
)
