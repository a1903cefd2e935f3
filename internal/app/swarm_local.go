package app

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/host/statedir"
	"github.com/prsync/prsync/internal/index"
	"github.com/prsync/prsync/internal/transfer"
)

// localContents is what services of this machine know of the files here: a
// transfer takes what they hold, and tells a volunteer what it wrote.
type localContents struct {
	modules []*localModule

	mu      sync.Mutex
	learned map[string][]index.Learned // by index directory
	last    time.Time
	dirs    map[string]string // of the destination, without links
}

type localModule struct {
	statedir.Module
	journal bool // a volunteer's: it learns
	open    sync.Once
	reader  *index.Reader // nil before the first generation
}

func (m *localModule) index() *index.Reader {
	m.open.Do(func() { m.reader, _ = index.OpenReader(m.Index) })
	return m.reader
}

// openLocalContents opens the indexes of this machine's services. There may
// be none.
func openLocalContents(dirs []string) *localContents {
	l := &localContents{learned: map[string][]index.Learned{}, dirs: map[string]string{}}
	for _, dir := range dirs {
		for _, role := range []statedir.Role{statedir.Volunteer, statedir.Central} {
			reg, err := statedir.Read(dir, role)
			if err != nil {
				continue
			}
			for _, m := range reg.Modules {
				l.modules = append(l.modules, &localModule{Module: m, journal: role == statedir.Volunteer})
			}
		}
	}
	return l
}

// held opens a file that has the content as far as an index tells: it has not
// changed since it was read.
func (l *localContents) held(id content.ID) *os.File {
	for _, m := range l.modules {
		r := m.index()
		if r == nil {
			continue
		}
		names, err := r.Names(id, 4)
		if err != nil {
			continue
		}
		for _, e := range names {
			if !e.Retired.IsZero() {
				continue
			}
			f, err := os.Open(filepath.Join(m.Path, e.Path))
			if err != nil {
				continue
			}
			if fi, err := f.Stat(); err == nil {
				if st, ok := index.StatOf(fi); ok && st == e.Stat {
					return f
				}
			}
			f.Close()
		}
	}
	return nil
}

const (
	learnBatch = 64
	learnDelay = time.Second
)

// teach returns what a transfer tells of the files that it puts in place, nil
// when no volunteer of this machine would listen.
func (l *localContents) teach() *transfer.Learn {
	for _, m := range l.modules {
		if m.journal {
			return &transfer.Learn{Wants: l.wants, Note: l.learn}
		}
	}
	return nil
}

// wants reports whether a directory lies in a volunteer's module.
func (l *localContents) wants(dir string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.modules {
		if _, in := m.below(l.real(dir)); in && m.journal {
			return true
		}
	}
	return false
}

// below returns a directory as seen from the module.
func (m *localModule) below(dir string) (rel string, in bool) {
	rest, in := strings.CutPrefix(dir+"/", strings.TrimSuffix(m.Path, "/")+"/")
	return strings.TrimSuffix(rest, "/"), in
}

// real returns a directory without links. l.mu is held.
func (l *localContents) real(dir string) string {
	if real, ok := l.dirs[dir]; ok {
		return real
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		real = dir
	}
	if len(l.dirs) >= maxRealDirs {
		clear(l.dirs)
	}
	l.dirs[dir] = real
	return real
}

const maxRealDirs = 1024

// learn tells a volunteer of a file, together with others.
func (l *localContents) learn(name string, st fsroot.Stat, id content.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, m := range l.modules {
		dir, in := m.below(l.real(path.Dir(name)))
		if !m.journal || !in {
			continue
		}
		rel := path.Join(dir, path.Base(name))
		ns := func(t fsroot.Timespec) int64 { return t.Sec*1e9 + int64(t.Nsec) }
		l.learned[m.Index] = append(l.learned[m.Index], index.Learned{
			Path: rel, Stat: index.Stat{Size: st.Size, Mtime: ns(st.Mtime), Ctime: ns(st.Ctime), Inode: st.Ino}, ID: id,
		})
		n = max(n, len(l.learned[m.Index]))
	}
	if n >= learnBatch || n > 0 && time.Since(l.last) > learnDelay {
		l.flush()
	}
}

// flush writes the journals. That one cannot be written, or is full, costs the
// volunteer a scan and nobody a word. l.mu is held.
func (l *localContents) flush() {
	for dir, files := range l.learned {
		index.Learn(dir, files)
		delete(l.learned, dir)
	}
	l.last = time.Now()
}

func (l *localContents) close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	l.flush()
	l.mu.Unlock()
	for _, m := range l.modules {
		if m.reader != nil {
			m.reader.Close()
		}
	}
}
