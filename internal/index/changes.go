package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/prsync/prsync/internal/content"
	"github.com/zeebo/xxh3"
)

// A delta file: 8 bytes XXH3-64 of the rest, 8 bytes count of the contents
// added, their ids, the ids of the contents dropped.

func encodeDelta(added, dropped []content.ID) []byte {
	b := make([]byte, 16, 16+32*(len(added)+len(dropped)))
	binary.LittleEndian.PutUint64(b[8:], uint64(len(added)))
	for i := range added {
		b = append(b, added[i][:]...)
	}
	for i := range dropped {
		b = append(b, dropped[i][:]...)
	}
	binary.LittleEndian.PutUint64(b, xxh3.Hash(b[8:]))
	return b
}

func decodeDelta(b []byte) (added, dropped []content.ID, err error) {
	if len(b) < 16 || (len(b)-16)%32 != 0 || binary.LittleEndian.Uint64(b) != xxh3.Hash(b[8:]) {
		return nil, nil, corrupt("delta of %d bytes", len(b))
	}
	n := binary.LittleEndian.Uint64(b[8:])
	b = b[16:]
	if n > uint64(len(b)/32) {
		return nil, nil, corrupt("delta of %d contents", n)
	}
	ids := make([]content.ID, len(b)/32)
	for i := range ids {
		ids[i] = content.ID(b[32*i:])
	}
	return ids[:n:n], ids[n:], nil
}

// Changes is what came and went between two versions of what a module holds.
type Changes struct {
	// Since is the version the change applies to, 0 for nothing at all; it is
	// the asked one or, when that is too old or unknown, 0.
	Since   int64
	Version int64
	Added   []content.ID
	Dropped []content.ID
}

// Changes returns what changed since a version, which is the number of a
// generation: 0 for everything there is. Every content is in one of the lists
// at most once.
func (x *Index) Changes(since int64) (ch Changes, err error) {
	err = x.view(func(r *Reader) error {
		ch, err = x.changes(r, since)
		return err
	})
	return ch, err
}

func (x *Index) changes(r *Reader, since int64) (Changes, error) {
	ch := Changes{Since: since, Version: r.Generation()}
	if since > 0 && since <= ch.Version {
		state := map[content.ID]bool{}
		err := x.replay(since, ch.Version, state)
		if err == nil {
			for id, added := range state {
				if added {
					ch.Added = append(ch.Added, id)
				} else {
					ch.Dropped = append(ch.Dropped, id)
				}
			}
			return ch, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrCorrupt) {
			return Changes{}, err
		}
	}
	ch.Since = 0
	for id, err := range r.IDs() {
		if err != nil {
			return Changes{}, err
		}
		ch.Added = append(ch.Added, id)
	}
	return ch, nil
}

// replay merges the deltas after since: a content that came and went again is
// not in state.
func (x *Index) replay(since, version int64, state map[content.ID]bool) error {
	for n := since + 1; n <= version; n++ {
		b, err := x.root.ReadFile(deltaName(n))
		if err != nil {
			return err
		}
		added, dropped, err := decodeDelta(b)
		if err != nil {
			return fmt.Errorf("%s: %w", deltaName(n), err)
		}
		for i, ids := range [][]content.ID{added, dropped} {
			for _, id := range ids {
				if was, ok := state[id]; ok && was != (i == 0) {
					delete(state, id)
				} else {
					state[id] = i == 0
				}
			}
		}
	}
	return nil
}
