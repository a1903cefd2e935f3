package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/fsroot"
)

// commit makes generation number, whose files but delta and CURRENT are
// complete, the current one. Whatever instant the machine stops at, CURRENT
// names a generation all of whose files are on disk.
func (x *Index) commit(number int64, added, dropped []content.ID) error {
	name := generationName(number)
	steps := []struct {
		name string
		run  func() error
	}{
		{"rename generation", func() error { return x.root.Rename(name+fsroot.TempSuffix, name) }},
		{"write delta", func() error {
			if number == 1 {
				return nil // a change from nothing is everything
			}
			return fsroot.ReplaceFile(x.root, deltaName(number), encodeDelta(added, dropped), 0o644)
		}},
		{"sync packs", func() error { return fsroot.SyncDir(x.root, packsDir) }},
		{"sync generation", func() error { return fsroot.SyncDir(x.root, ".") }},
		{"write current", func() error { return fsroot.ReplaceFile(x.root, currentName, fmt.Appendf(nil, "%d\n", number), 0o644) }},
		{"sync current", func() error { return fsroot.SyncDir(x.root, ".") }},
	}
	for _, s := range steps {
		if err := x.step(s.name); err != nil {
			return err
		}
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	before, err := x.refresh()
	if err != nil {
		return err
	}
	if before != nil {
		defer before.Close()
	}
	if err := x.step("collect"); err != nil {
		return err
	}
	return x.collect(before)
}

// refresh makes the generation that CURRENT names the current one, and returns
// the one that was, if it changed, for the caller to close.
func (x *Index) refresh() (before *Reader, err error) {
	n, err := readCurrent(x.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || x.current != nil && x.current.Generation() == n {
		return nil, err
	}
	r, err := OpenReader(x.dir)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	before, x.current = x.current, r
	return before, nil
}

// keptDeltas is how many generations back Changes can tell what changed.
const keptDeltas = 512

// collect removes what neither the current generation nor the one before,
// which other processes may still be opening, refer to. before is opened here
// when it is nil.
func (x *Index) collect(before *Reader) error {
	keep := map[string]bool{currentName: true, lockName: true, learnedName: true, packsDir: true}
	last := int64(0)
	for _, r := range []*Reader{x.current, before} {
		if r == nil {
			continue
		}
		if err := r.refersTo(keep); err != nil {
			return err
		}
		last = max(last, r.Generation())
	}
	if before == nil && last > 1 {
		if r, err := x.openBefore(last - 1); err == nil {
			err = r.refersTo(keep)
			r.Close()
			if err != nil {
				return err
			}
		}
	}
	names, err := readDir(x.root, ".")
	if err != nil {
		return err
	}
	for _, name := range names {
		if n, ok := numbered(name, "delta-"); ok && n <= last && n > last-keptDeltas {
			continue
		}
		if !keep[name] && ours(name) {
			if err := x.root.Remove(name); err != nil {
				return err
			}
		}
	}
	if names, err = readDir(x.root, packsDir); err != nil {
		return err
	}
	for _, name := range names {
		if !keep[packsDir+"/"+name] {
			if err := x.root.Remove(packsDir + "/" + name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *Index) openBefore(n int64) (*Reader, error) {
	root, err := x.root.OpenRoot(".")
	if err != nil {
		return nil, err
	}
	r, err := openGeneration(root, n)
	if err != nil {
		root.Close()
	}
	return r, err
}

// ours tells whether a name in the state directory is one that we make: a
// stranger's file is left alone.
func ours(name string) bool {
	name, tmp := strings.CutSuffix(name, fsroot.TempSuffix)
	if tmp && (name == currentName || name == learnedName || name+fsroot.TempSuffix == stageName) {
		return true
	}
	for _, prefix := range []string{"gen-", "data-", "delta-"} {
		if _, ok := numbered(name, prefix); ok {
			return true
		}
	}
	return false
}

// refersTo enters the names of all files of the generation.
func (r *Reader) refersTo(keep map[string]bool) error {
	unlock, err := r.lock()
	if err != nil {
		return err
	}
	defer unlock()
	keep[generationName(r.Generation())] = true
	for i := uint32(0); uint64(i) < r.h.packs; i++ {
		p, err := r.packRecord(i)
		if err != nil {
			return err
		}
		keep[packsDir+"/"+p.hash.String()] = true
	}
	b, err := r.bytes(r.h.datasAt, dataSize*r.h.datas)
	if err != nil {
		return err
	}
	for ; len(b) > 0; b = b[dataSize:] {
		keep[dataName(binary.LittleEndian.Uint32(b))] = true
	}
	return nil
}
