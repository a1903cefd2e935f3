package index

import (
	"fmt"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// Locate returns for each content the pack it is in; a retired content is
// still found.
func (r *Reader) Locate(ids []content.ID) ([]Location, error) {
	unlock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	found := make([]Location, len(ids))
	for i := range ids {
		n, ok, err := r.find(&ids[i])
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		c, err := r.record(n)
		if err != nil {
			return nil, err
		}
		if c.pack == noPack {
			continue
		}
		p, err := r.packRecord(c.pack)
		if err != nil {
			return nil, err
		}
		found[i] = Location{Pack: p.hash, Offset: c.offset, Length: c.size, OK: true}
	}
	return found, nil
}

// AnswerLocate answers a decoded locate request.
func (r *Reader) AnswerLocate(q *content.LocateRequest) (*content.LocateReply, error) {
	ids := make([]content.ID, len(q.IDs)/32)
	for i := range ids {
		ids[i] = content.ID(q.IDs[32*i:])
	}
	found, err := r.Locate(ids)
	if err != nil {
		return nil, err
	}
	a := &content.LocateReply{Pack: make([]int, len(ids))}
	seen := map[content.InfoHash]int{}
	for i, l := range found {
		if !l.OK {
			a.Pack[i] = -1
			continue
		}
		n, ok := seen[l.Pack]
		if !ok {
			n = len(seen)
			seen[l.Pack] = n
			a.InfoHashes = append(a.InfoHashes, l.Pack[:]...)
		}
		a.Pack[i] = n
	}
	return a, nil
}

// AnswerLookup answers a decoded look-up request: an item matches a path in
// the tree with the same size and the same second of its mtime.
func (r *Reader) AnswerLookup(q *content.LookupRequest) (*content.LookupReply, error) {
	a := &content.LookupReply{Generation: r.Generation(), IDs: make([]byte, 32*len(q.Items))}
	unlock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	var cur *cursor
	for i, it := range q.Items {
		e, err := r.lookupNear(&cur, it.Path)
		if err != nil {
			return nil, err
		}
		if e == nil || e.retired != 0 || e.st.Size != it.Size || floorSecond(e.st.Mtime) != it.Mtime {
			continue
		}
		c, err := r.record(e.ref)
		if err != nil {
			return nil, err
		}
		copy(a.IDs[32*i:], c.id[:])
	}
	return a, nil
}

func floorSecond(ns int64) int64 { return time.Unix(0, ns).Unix() }

// lookupNear is lookup for paths that come mostly in order: it goes on from
// where the look-up before it stopped when the path is in the same block. It
// returns nil for a path that is not there.
func (r *Reader) lookupNear(cur **cursor, path string) (*entry, error) {
	for c := *cur; c != nil && c.path != nil && string(c.path) <= path; {
		if string(c.path) == path {
			return &c.entry, nil
		}
		if c.next%blockEntries == 0 {
			break
		}
		ok, err := c.advance()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		if string(c.path) > path {
			return nil, nil
		}
	}
	c, err := r.seek(path)
	if err != nil {
		return nil, err
	}
	*cur = c
	ok, err := c.advance()
	if err != nil || !ok || string(c.path) != path {
		return nil, err
	}
	return &c.entry, nil
}

// Finder looks up paths that come mostly in byte order, as a file list does,
// at less cost than Reader.Lookup. It is for one goroutine.
type Finder struct {
	r   *Reader
	cur *cursor
}

// Finder returns a Finder on the reader.
func (r *Reader) Finder() *Finder { return &Finder{r: r} }

// Lookup is Reader.Lookup, without the path in its error.
func (f *Finder) Lookup(path string) (Entry, error) {
	unlock, err := f.r.lock()
	if err != nil {
		return Entry{}, err
	}
	defer unlock()
	e, err := f.r.lookupNear(&f.cur, path)
	if err != nil {
		return Entry{}, err
	}
	if e == nil {
		return Entry{}, ErrUnknown
	}
	return f.r.public(e)
}

// Holds tells whether a path in the tree has the content.
func (r *Reader) Holds(id content.ID) bool {
	unlock, err := r.lock()
	if err != nil {
		return false
	}
	defer unlock()
	c, err := r.content(id)
	return err == nil && c.retired == 0
}

// Pack returns the pack with the info hash; the error wraps ErrUnknown when
// the generation has none.
func (r *Reader) Pack(h content.InfoHash) (*content.Pack, error) {
	unlock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	for i := uint32(0); uint64(i) < r.h.packs; i++ {
		p, err := r.packRecord(i)
		if err != nil {
			return nil, err
		}
		if p.hash != h {
			continue
		}
		b, err := r.root.ReadFile(packsDir + "/" + h.String())
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", h, err)
		}
		pack, err := content.ParseMetainfo(b)
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", h, err)
		}
		if pack.InfoHash != h {
			return nil, corrupt("pack %s has the info hash %s", h, pack.InfoHash)
		}
		return pack, nil
	}
	return nil, fmt.Errorf("pack %s: %w", h, ErrUnknown)
}
