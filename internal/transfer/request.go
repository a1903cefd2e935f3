package transfer

import (
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// request is what the generator asks of one file, and what the sender repeats before
// its answer.
type request struct {
	ndx     int32
	flags   int
	basis   byte
	xname   string
	hasName bool
	rescue  *rescue // receiving side: what the swarm left of the file
}

// readAttrs reads what follows an index.
func readAttrs(r *wire.Reader, protocol int, rq *request) {
	rq.flags = report.ItemTransfer | report.ItemMissingData
	if protocol >= 29 {
		rq.flags = int(r.Short())
	}
	if rq.flags&report.ItemBasisTypeFollows != 0 {
		rq.basis = r.Byte()
	}
	if rq.flags&report.ItemXnameFollows != 0 {
		rq.hasName = true
		rq.xname = r.Vstring(flist.MaxPath - 1)
		if rq.basis >= basisFuzzy {
			rq.xname = flist.Sanitize(rq.xname, 0, false)
		}
	}
}

// xattrsFollow tells that extended attributes, or requests for them, follow.
func (c *Config) xattrsFollow(flags int) bool {
	const local = report.ItemXnameFollows | report.ItemLocalChange
	return c.Xattrs > 0 && flags&report.ItemReportXattr != 0 && c.xfers() &&
		!(c.Setup.XattrOptim && flags&local == local)
}

// keepsAlive tells that a request is the keep-alive of protocol 29: an index
// behind the end of the list.
func (rq request) keepsAlive(protocol int, lists []*flist.List) bool {
	return protocol < 30 && len(lists) > 0 && rq.ndx == int32(len(lists[0].Files)) && rq.flags == report.ItemIsNew
}

// check refuses what no correct peer asks for or sends: f and l are the entry
// and list of the index. rsync 3.5.0 rsync.c:read_ndx_and_attrs,
// sender.c:send_files and receiver.c:recv_files.
func (rq request) check(f *flist.File, l *flist.List, phase int, who string) error {
	if !f.Active() {
		return exitcode.New(exitcode.Protocol, "rsync: refusing transfer of cleared file index %d", rq.ndx)
	}
	if rq.flags&report.ItemTransfer == 0 {
		return nil
	}
	if !f.IsRegular() || rq.ndx < l.Start {
		return exitcode.New(exitcode.Protocol, "received request to transfer non-regular file: %d [%s]", rq.ndx, who)
	}
	if phase == 2 {
		return exitcode.New(exitcode.Protocol, "got transfer request in phase 2 [%s]", who)
	}
	return nil
}

// lastPhase is the last one in which files are asked for: the second is for
// those that failed their verification, the third for what was delayed.
func (c *Config) lastPhase() int {
	if c.Setup.Protocol >= 29 {
		return 2
	}
	return 1
}

// endsProgress tells that the total of --info=progress2 is shown when a list
// is done.
func (c *Config) endsProgress(log *report.Log, lists []*flist.List) bool {
	return log.Info(report.InfoProgress, 2) && (len(lists) > 0 || !c.Setup.IncRecurse)
}

// listOf returns which list has an index, as one of its entries or, the one
// before them, of its directory; -1 for none.
func listOf(lists []*flist.List, ndx int32) int {
	for i, l := range lists {
		if ndx >= l.Start-1 && ndx < l.End() {
			return i
		}
	}
	return -1
}

// noSuchIndex is the error over an index that no list has.
func noSuchIndex(lists []*flist.List, ndx int32, who string) error {
	first, last := int32(0), int32(-1)
	if n := len(lists); n > 0 {
		first, last = lists[0].Start-1, lists[n-1].End()-1
	}
	return exitcode.New(exitcode.Protocol, "File-list index %d not in %d - %d (%s) [%s]", ndx, first, last, "read_ndx_and_attrs", who)
}

// invalidIndex is the error over an index that stands for nothing.
func invalidIndex(lists []*flist.List, ndx int32, who string) error {
	last := int32(-1)
	if n := len(lists); n > 0 {
		last = lists[n-1].End() - 1
	}
	return exitcode.New(exitcode.Protocol, "Invalid file index: %d (%d - %d) [%s]", ndx, wire.NdxDone, last, who).Placed(exitcode.AtFileIndex)
}
