package transfer

import (
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

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
			return request{}, invalidIndex(s.lists, ndx, s.log.Who())
		}
		rq := request{ndx: ndx, basis: basisFile}
		readAttrs(r, s.c.Setup.Protocol, &rq)
		if err := r.Err(); err != nil {
			return request{}, err
		}
		if rq.keepsAlive(s.c.Setup.Protocol, s.lists) {
			s.c.W.KeepAlive()
			continue
		}
		return rq, nil
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

// wantsXattrs tells that a request for extended attributes follows.
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
	i := listOf(s.lists, ndx)
	if i < 0 {
		return nil, noSuchIndex(s.lists, ndx, s.log.Who())
	}
	l := s.lists[i]
	if l != s.cur {
		s.cur = l
		s.oldTotal = 0
		for _, p := range s.lists[:i+1] {
			s.oldTotal += len(p.Files)
		}
	}
	if ndx >= l.Start {
		return l.Files[ndx-l.Start], nil
	}
	if l.Parent < 0 || int(l.Parent) >= len(s.dirs) {
		return nil, noSuchIndex(s.lists, ndx, s.log.Who())
	}
	return s.dirs[l.Parent].f, nil
}
