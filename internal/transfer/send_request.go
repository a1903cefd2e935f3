package transfer

import (
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// request is what the generator asks of one file.
type request struct {
	ndx     int32
	flags   int
	basis   byte
	xname   string
	hasName bool
	rescue  *rescue // receiving side: what the swarm left of the file
}

// read reads the next request. rsync 3.5.0 rsync.c:read_ndx_and_attrs.
func (s *Sender) read() (request, error) {
	r := s.c.R
	for {
		ndx := r.ReadNdx(&s.ndxIn)
		if err := r.Err(); err != nil {
			return request{}, err
		}
		switch {
		case ndx == wire.NdxDone:
			return request{ndx: ndx}, nil
		case ndx == wire.NdxDelStats:
			readDelStats(r, &s.Stats.Deleted)
			if s.c.Server {
				s.writeDelStats()
			}
			continue
		case ndx < 0:
			last := int32(-1)
			if n := len(s.lists); n > 0 {
				last = s.lists[n-1].End() - 1
			}
			return request{}, exitcode.New(exitcode.Protocol, "Invalid file index: %d (%d - %d) [%s]", ndx, wire.NdxDone, last, s.log.Who()).Placed(exitcode.AtFileIndex)
		}
		rq := request{ndx: ndx, basis: basisFile}
		readAttrs(r, s.c.Setup.Protocol, &rq)
		if err := r.Err(); err != nil {
			return request{}, err
		}
		if s.c.Setup.Protocol < 30 && len(s.lists) > 0 && ndx == int32(len(s.lists[0].Files)) && rq.flags == report.ItemIsNew {
			// The keep-alive of protocol 29.
			s.c.W.KeepAlive()
			continue
		}
		return rq, nil
	}
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

// writeAttrs echoes an index and what follows it.
func (s *Sender) writeAttrs(rq request, f *flist.File, src *source) {
	w := s.c.W
	w.WriteNdx(&s.ndxOut, rq.ndx)
	if s.c.Setup.Protocol < 29 {
		return
	}
	w.Short(uint16(rq.flags))
	if rq.flags&report.ItemBasisTypeFollows != 0 {
		w.Byte(rq.basis)
	}
	if rq.flags&report.ItemXnameFollows != 0 {
		w.Vstring(rq.xname)
	}
	if s.wantsXattrs(rq.flags) {
		s.sendXattrs(f, src)
	}
}

// wantsXattrs tells that requests for extended attributes follow.
func (c *Config) xattrsFollow(flags int) bool {
	const local = report.ItemXnameFollows | report.ItemLocalChange
	return c.Xattrs > 0 && flags&report.ItemReportXattr != 0 && c.xfers() &&
		!(c.Setup.XattrOptim && flags&local == local)
}

func (s *Sender) wantsXattrs(flags int) bool { return s.c.xattrsFollow(flags) }

// sendXattrs sends the values that were asked for.
func (s *Sender) sendXattrs(f *flist.File, src *source) {
	l := f.Xattrs()
	prior := int32(0)
	if l != nil {
		var pin *fsroot.Pin
		for i := range l.Items {
			it := &l.Items[i]
			if !it.Wanted {
				continue
			}
			it.Wanted = false
			var v []byte
			var err error
			if pin == nil {
				pin, err = s.pin(src, f)
			}
			if err == nil {
				v, err = pin.Getxattr(it.Source)
			}
			if err != nil {
				s.log.Printf(report.ErrorXfer, "failed to re-read xattr %s for %s\n", it.Name, f.Name())
				v = nil
			}
			flist.WriteXattrValue(s.c.W, it, prior, v)
			prior = it.Num
		}
		if pin != nil {
			pin.Close()
		}
	}
	s.c.W.Byte(0)
}

// file finds the entry of an index.
func (s *Sender) file(ndx int32) (*flist.File, error) {
	for i, l := range s.lists {
		if ndx < l.Start-1 || ndx >= l.End() {
			continue
		}
		if l != s.cur {
			s.cur = l
			s.oldTotal = 0
			for _, p := range s.lists[:i+1] {
				s.oldTotal += len(p.Files)
			}
		}
		if ndx == l.Start-1 {
			if l.Parent < 0 || int(l.Parent) >= len(s.dirs) {
				break
			}
			return s.dirs[l.Parent].f, nil
		}
		return l.Files[ndx-l.Start], nil
	}
	first, last := int32(0), int32(-1)
	if n := len(s.lists); n > 0 {
		first, last = s.lists[0].Start-1, s.lists[n-1].End()-1
	}
	return nil, exitcode.New(exitcode.Protocol, "File-list index %d not in %d - %d (%s) [%s]", ndx, first, last, "read_ndx_and_attrs", s.log.Who())
}
