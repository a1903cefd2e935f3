package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// Entry is a path of a generation.
type Entry struct {
	Path string // relative to the module, raw bytes
	Stat
	ID content.ID
	// Retired is when the path left the tree; zero while it is there.
	Retired time.Time
}

// Content is what a generation knows about one content.
type Content struct {
	ID     content.ID
	Length int64
	// Pack and Offset tell where it is shared; InPack is false for an empty
	// content and in an index that does not publish.
	InPack bool
	Pack   content.InfoHash
	Offset int64
	// Signed and Kept tell whether Signature and Kept will find something.
	Signed, Kept bool
	// Retired is when the last path with this content left the tree; zero
	// while there is one.
	Retired time.Time
}

// PackInfo summarizes a pack of a generation.
type PackInfo struct {
	InfoHash   content.InfoHash
	Length     int64 // of the blob
	Bytes      int64 // of its contents
	LiveBytes  int64 // of its contents that still have a path
	Contents   int
	Live       int
	Generation int64 // that made it
}

// public completes a cursor's entry.
func (r *Reader) public(e *entry) (Entry, error) {
	c, err := r.record(e.ref)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Path: string(e.path), Stat: e.st, ID: c.id, Retired: seconds(e.retired)}, nil
}

func seconds(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0)
}

// Lookup returns the entry of a path, a retired one too. The error wraps
// ErrUnknown when the generation does not have it.
func (r *Reader) Lookup(path string) (Entry, error) {
	unlock, err := r.lock()
	if err != nil {
		return Entry{}, err
	}
	defer unlock()
	e, err := r.lookup(path)
	if err != nil {
		return Entry{}, err
	}
	return r.public(e)
}

func (r *Reader) lookup(path string) (*entry, error) {
	c, err := r.seek(path)
	if err != nil {
		return nil, err
	}
	ok, err := c.advance()
	if err != nil {
		return nil, err
	}
	if !ok || string(c.path) != path {
		return nil, fmt.Errorf("path %q: %w", path, ErrUnknown)
	}
	return &c.entry, nil
}

// Entries iterates over the paths in the tree below dir ("" for all), in byte
// order, without the retired ones. It yields at most one error, as the last.
func (r *Reader) Entries(dir string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		unlock, err := r.lock()
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer unlock()
		prefix := dir
		if prefix != "" {
			prefix += "/"
		}
		c, err := r.seek(prefix)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for {
			ok, err := c.advance()
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if !ok || !bytes.HasPrefix(c.path, []byte(prefix)) {
				return
			}
			if c.retired != 0 {
				continue
			}
			e, err := r.public(&c.entry)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Content returns what is known about a content, a retired one too; the error
// wraps ErrUnknown when that is nothing.
func (r *Reader) Content(id content.ID) (Content, error) {
	unlock, err := r.lock()
	if err != nil {
		return Content{}, err
	}
	defer unlock()
	c, err := r.content(id)
	if err != nil {
		return Content{}, err
	}
	return r.describe(&c)
}

func (r *Reader) content(id content.ID) (record, error) {
	i, ok, err := r.find(&id)
	if err != nil {
		return record{}, err
	}
	if !ok {
		return record{}, fmt.Errorf("content %s: %w", id, ErrUnknown)
	}
	return r.record(i)
}

func (r *Reader) describe(c *record) (Content, error) {
	d := Content{
		ID: c.id, Length: c.size, Retired: seconds(c.retired),
		Signed: c.flags&flagSignature != 0, Kept: c.flags&flagKept != 0,
	}
	if c.pack != noPack {
		p, err := r.packRecord(c.pack)
		if err != nil {
			return Content{}, err
		}
		d.InPack, d.Pack, d.Offset = true, p.hash, c.offset
	}
	return d, nil
}

// Names returns the paths in the tree that have the content, at most limit of
// them if limit is positive, in byte order.
func (r *Reader) Names(id content.ID, limit int) ([]Entry, error) {
	unlock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	i, ok, err := r.find(&id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("content %s: %w", id, ErrUnknown)
	}
	c, err := r.record(i)
	if err != nil {
		return nil, err
	}
	end := r.h.names
	if uint64(i)+1 < r.h.contents {
		after, err := r.record(i + 1)
		if err != nil {
			return nil, err
		}
		end = uint64(after.names)
	}
	if uint64(c.names) > end || end > r.h.names {
		return nil, corrupt("names of content %d", i)
	}
	n := end - uint64(c.names)
	if limit > 0 {
		n = min(n, uint64(limit))
	}
	b, err := r.bytes(r.h.namesAt+4*uint64(c.names), 4*n)
	if err != nil {
		return nil, err
	}
	names := make([]Entry, 0, n)
	for ; len(b) > 0; b = b[4:] {
		ordinal := uint64(binary.LittleEndian.Uint32(b))
		cur := cursor{r: r, next: ordinal &^ (blockEntries - 1)}
		for cur.next <= ordinal {
			ok, err := cur.advance()
			if err != nil {
				return nil, err
			}
			if !ok {
				return nil, corrupt("name %d of %d", ordinal, r.h.entries)
			}
		}
		if cur.ref != i {
			return nil, corrupt("name %d is not of content %d", ordinal, i)
		}
		names = append(names, Entry{Path: string(cur.path), Stat: cur.st, ID: id, Retired: seconds(cur.retired)})
	}
	return names, nil
}

// Packs returns all packs that contents of the generation are in.
func (r *Reader) Packs() ([]PackInfo, error) {
	unlock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	packs := make([]PackInfo, r.h.packs)
	for i := range packs {
		p, err := r.packRecord(uint32(i))
		if err != nil {
			return nil, err
		}
		packs[i] = PackInfo{
			InfoHash: p.hash, Length: p.length, Bytes: p.bytes, LiveBytes: p.liveBytes,
			Contents: int(p.contents), Live: int(p.live), Generation: p.generation,
		}
	}
	return packs, nil
}

// IDs iterates over the contents that have a path, in ascending order.
func (r *Reader) IDs() iter.Seq2[content.ID, error] {
	return func(yield func(content.ID, error) bool) {
		unlock, err := r.lock()
		if err != nil {
			yield(content.ID{}, err)
			return
		}
		defer unlock()
		for i := uint64(0); i < r.h.contents; i++ {
			c, err := r.record(uint32(i))
			if err != nil {
				yield(content.ID{}, err)
				return
			}
			if c.retired == 0 && !yield(c.id, nil) {
				return
			}
		}
	}
}
