package index

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	gopath "path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
	"golang.org/x/sys/unix"
)

// Config tells what is indexed, and how. Only Root is required.
type Config struct {
	// Root is the module's path.
	Root string
	// Name starts the names of packs; the state directory's name if empty.
	Name string
	// KeepBelow is the size in bytes below which a file's bytes are kept with
	// the generation ("redirect min size"); 0 keeps those that KeepName names.
	KeepBelow int64
	// KeepName tells of the last element of a path whether the file's bytes are
	// kept whatever its size, up to MaxKept; IsIndexFile if nil.
	KeepName func(name string) bool
	// SignFrom is the size from which contents get a signature; 16 KiB if 0.
	// Below it a plain transfer costs no more than the signature does.
	SignFrom int64
	// PackSize is about how many bytes of contents a pack gets; 1 GiB if 0.
	PackSize int64
	// Grace is how long, at least, paths and contents that left the tree stay
	// in the index as retired; 72 hours if 0. Without publishing there is none.
	Grace time.Duration
	// Workers is how many files are read at once; the number of CPUs, at most
	// 4, if 0.
	Workers int
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Hide tells of a path, with the mode, user and group of stat(2), whether
	// the index must not know it, nor what is below it; nil hides nothing. One
	// goroutine at a time calls it.
	Hide func(path string, dir bool, mode, uid, gid uint32) bool
	// Watch tunes Index.Watch.
	Watch WatchConfig

	// tiny is how many small packs, and small data files, there may be before
	// they are joined; 64 if 0. Tests need not make that many.
	tiny int
}

func (c *Config) setDefaults(dir string) {
	if c.Name == "" {
		c.Name = filepath.Base(dir)
	}
	c.Name = strings.Map(func(r rune) rune {
		if r <= ' ' || r == '/' || r == 0x7f {
			return '_'
		}
		return r
	}, c.Name[:min(len(c.Name), 100)])
	if c.KeepName == nil {
		c.KeepName = IsIndexFile
	}
	if c.SignFrom == 0 {
		c.SignFrom = 16 << 10
	}
	if c.PackSize <= 0 {
		c.PackSize = 1 << 30
	}
	if c.Grace == 0 {
		c.Grace = 72 * time.Hour
	}
	if c.Workers <= 0 {
		c.Workers = min(4, runtime.GOMAXPROCS(0))
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.tiny == 0 {
		c.tiny = 64
	}
	c.Watch.setDefaults()
}

// IsIndexFile tells whether a file of that name describes the state of a
// package repository, so that it must agree with others of its generation:
// those of apt, rpm, pacman, apk and opkg.
func IsIndexFile(name string) bool {
	switch name {
	case "InRelease", "Release", "Release.gpg", "repomd.xml", "repomd.xml.asc", "repomd.xml.key",
		"APKINDEX.tar.gz", "TRANSLATIONS":
		return true
	}
	if strings.HasPrefix(name, "Packages") || strings.HasPrefix(name, "Sources") {
		return true
	}
	for _, ext := range []string{".db", ".files", ".db.sig", ".files.sig", ".db.tar.gz", ".files.tar.gz", ".db.tar.zst", ".files.tar.zst"} {
		if strings.HasSuffix(name, ext) {
			return true
		}
	}
	return false
}

// keeps tells whether the bytes of a file are to be kept.
func (c *Config) keeps(path string, size int64) bool {
	return size < c.KeepBelow && size <= MaxKept || size <= MaxKept && c.KeepName(gopath.Base(path))
}

// Index writes the index of one module. It may be used by several goroutines;
// only one Index at a time may be open on a state directory.
type Index struct {
	dir  string
	cfg  Config
	root *os.Root
	lock *os.File

	writing sync.Mutex // held by Scan

	mu      sync.RWMutex
	current *Reader // nil before the first generation
	closed  bool

	// step is called before each step of a commit; tests make it fail there,
	// as a crash would.
	step func(name string) error
}

// Open opens or creates the index in the state directory dir of a module. It
// fails when another process has it open for writing.
func Open(dir string, cfg Config) (*Index, error) {
	cfg.setDefaults(dir)
	if err := os.MkdirAll(filepath.Join(dir, packsDir), 0o755); err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	x := &Index{dir: dir, cfg: cfg, root: root, step: func(string) error { return nil }}
	if err := x.open(); err != nil {
		x.Close()
		return nil, fmt.Errorf("open index in %s: %w", dir, err)
	}
	return x, nil
}

func (x *Index) open() error {
	var err error
	if x.lock, err = x.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	if err := unix.Flock(int(x.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("lock: %w; another process writes this index", err)
	}
	r, err := OpenReader(x.dir)
	switch {
	case err == nil:
		x.current = r
	case !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		// No CURRENT is a new index; CURRENT without its file is damage.
		if n, _ := readCurrent(x.root); n != 0 {
			return corrupt("%s is missing", generationName(n))
		}
	}
	return x.collect(nil)
}

// Close releases the index. Readers it gave out stay open.
func (x *Index) Close() error {
	x.writing.Lock()
	defer x.writing.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil
	}
	x.closed = true
	if x.current != nil {
		x.current.Close()
	}
	if x.lock != nil {
		x.lock.Close()
	}
	return x.root.Close()
}

// Reader opens the current generation; the caller closes it. The error wraps
// fs.ErrNotExist before the first generation.
func (x *Index) Reader() (*Reader, error) { return OpenReader(x.dir) }

// view runs f on the current generation, which f does not keep.
func (x *Index) view(f func(*Reader) error) error {
	x.mu.RLock()
	r := x.current
	if r == nil || x.closed {
		x.mu.RUnlock()
		return fmt.Errorf("index in %s has no generation yet: %w", x.dir, fs.ErrNotExist)
	}
	unlock, err := r.lock()
	x.mu.RUnlock()
	if err != nil {
		return err
	}
	defer unlock()
	return f(r)
}

// Generation returns the number of the current generation, 0 before the first.
func (x *Index) Generation() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.current == nil {
		return 0
	}
	return x.current.Generation()
}

// Location is where a content is shared.
type Location struct {
	Pack   content.InfoHash
	Offset int64
	Length int64
	OK     bool // false for a content that is in no pack
}

// Locate returns for each content the pack it is in; a retired content is
// still found.
func (x *Index) Locate(ids []content.ID) (found []Location, err error) {
	err = x.view(func(r *Reader) error {
		found, err = r.Locate(ids)
		return err
	})
	return found, err
}

// Pack returns the pack with the info hash; the error wraps ErrUnknown when
// the current generation has none.
func (x *Index) Pack(h content.InfoHash) (p *content.Pack, err error) {
	err = x.view(func(r *Reader) error {
		p, err = r.Pack(h)
		return err
	})
	return p, err
}
