package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/prsync/prsync/internal/content"
	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"
)

// The journal "learned" in a module's state directory tells an index without
// packs the contents of files that a transfer has just written and verified,
// so that they need not be read again. Any process that may write the file may
// append to it, holding an exclusive flock(2) on it. A record is, numbers
// little-endian:
//
//	4 bytes   length of the body
//	8 bytes   XXH3-64 of the body
//	32 bytes  content id, where the body starts
//	8 bytes   size, mtime, ctime and inode each, times in nanoseconds
//	          path relative to the module, up to the end of the body
//
// Reading stops at the first damaged record: what follows is lost, and costs
// no more than reading those files. The index empties the journal after each
// generation.
const (
	learnedHead = 4 + 8
	learnedBody = 32 + 4*8
	// maxLearned bounds the journal; Learn fails beyond it.
	maxLearned = 512 << 20
)

// ErrJournalFull says that the journal grew to its limit because no scan
// emptied it.
var ErrJournalFull = errors.New("journal of learned contents is full: its index needs a scan")

// Learned is one file whose content is known. The Stat is what the file has
// once it has its final name and attributes: a rename changes the ctime.
type Learned struct {
	Path string
	Stat
	ID content.ID
}

// Learn appends to the journal in the state directory of a module. It needs no
// Index, and may run in any process at any time.
func Learn(dir string, files []Learned) error {
	f, err := os.OpenFile(filepath.Join(dir, learnedName), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	defer f.Close()
	if err := flock(f); err != nil {
		return fmt.Errorf("learn: lock %s: %w", f.Name(), err)
	}
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	var b []byte
	for i := range files {
		b = appendLearned(b, &files[i])
	}
	if fi.Size()+int64(len(b)) > maxLearned {
		return fmt.Errorf("learn: %s: %w", f.Name(), ErrJournalFull)
	}
	if _, err := f.Write(b); err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	return nil
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			return err
		}
	}
}

func appendLearned(b []byte, l *Learned) []byte {
	if len(l.Path) == 0 || len(l.Path) >= maxPath {
		return b
	}
	le := binary.LittleEndian
	start := len(b)
	b = append(b, make([]byte, learnedHead)...)
	b = append(b, l.ID[:]...)
	for _, v := range [...]uint64{uint64(l.Size), uint64(l.Mtime), uint64(l.Ctime), l.Inode} {
		b = le.AppendUint64(b, v)
	}
	b = append(b, l.Path...)
	body := b[start+learnedHead:]
	le.PutUint32(b[start:], uint32(len(body)))
	le.PutUint64(b[start+4:], xxh3.Hash(body))
	return b
}

// parseLearned returns the first record and its length, 0 if it is damaged.
func parseLearned(b []byte) (Learned, int) {
	le := binary.LittleEndian
	if len(b) < learnedHead {
		return Learned{}, 0
	}
	n := int64(le.Uint32(b))
	if n <= learnedBody || n >= learnedBody+maxPath || n > int64(len(b)-learnedHead) {
		return Learned{}, 0
	}
	body := b[learnedHead : learnedHead+n]
	if le.Uint64(b[4:]) != xxh3.Hash(body) {
		return Learned{}, 0
	}
	return Learned{
		ID: content.ID(body[:32]),
		Stat: Stat{
			Size: int64(le.Uint64(body[32:])), Mtime: int64(le.Uint64(body[40:])),
			Ctime: int64(le.Uint64(body[48:])), Inode: le.Uint64(body[56:]),
		},
		Path: string(body[learnedBody:]),
	}, learnedHead + int(n)
}

// learned is what the journal held when a scan started.
type learned struct {
	entries map[string]Learned
	size    int64
}

// readLearned reads the journal. Another process may append meanwhile.
func readLearned(root *os.Root) (*learned, error) {
	l := &learned{entries: map[string]Learned{}}
	f, err := root.Open(learnedName)
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := flock(f); err != nil {
		return nil, fmt.Errorf("lock %s: %w", learnedName, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxLearned))
	if err != nil {
		return nil, err
	}
	l.size = int64(len(b))
	for len(b) > 0 {
		e, n := parseLearned(b)
		if n == 0 {
			break
		}
		l.entries[e.Path] = e
		b = b[n:]
	}
	return l, nil
}

// forget drops what was read from the journal, and keeps what was appended
// since.
func (l *learned) forget(root *os.Root) error {
	if l.size == 0 {
		return nil
	}
	f, err := root.OpenFile(learnedName, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := flock(f); err != nil {
		return fmt.Errorf("lock %s: %w", learnedName, err)
	}
	rest, err := io.ReadAll(io.NewSectionReader(f, l.size, maxLearned))
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(rest, 0)
	return err
}

// Absorb takes in what the journal tells, without walking the tree: each path
// is looked at and, when it is as the journal says, entered. Other paths are
// taken to be unchanged. Before the first generation it scans everything.
func (x *Index) Absorb(ctx context.Context) (*Generation, error) {
	l, err := readLearned(x.root)
	if err != nil {
		return nil, fmt.Errorf("index of %s: %w", x.cfg.Root, err)
	}
	paths := make([]string, 0, len(l.entries))
	for p := range l.entries {
		paths = append(paths, p)
	}
	publish := false
	if err := x.view(func(r *Reader) error { publish = r.Publishes(); return nil }); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return x.Rescan(ctx, publish, paths)
}

// Journaled returns the size in bytes of the journal in the state directory of
// a module; 0 when nothing was learned that is not in a generation yet.
func Journaled(dir string) int64 {
	fi, err := os.Stat(filepath.Join(dir, learnedName))
	if err != nil {
		return 0
	}
	return fi.Size()
}
