package app

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/host/statedir"
	"github.com/prsync/prsync/internal/index"
)

// localContents is what services of this machine know of the files here: a
// transfer takes what they hold, and tells a volunteer what it wrote.
type localContents struct {
	modules []localModule
	learned map[string][]index.Learned // by index directory
	last    time.Time
}

type localModule struct {
	statedir.Module
	journal bool // a volunteer's: it learns
	reader  *index.Reader
}

// openLocalContents opens the indexes of this machine's services. There may
// be none.
func openLocalContents(dirs []string) *localContents {
	l := &localContents{learned: map[string][]index.Learned{}}
	for _, dir := range dirs {
		for _, role := range []statedir.Role{statedir.Volunteer, statedir.Central} {
			reg, err := statedir.Read(dir, role)
			if err != nil {
				continue
			}
			for _, m := range reg.Modules {
				lm := localModule{Module: m, journal: role == statedir.Volunteer}
				lm.reader, _ = index.OpenReader(m.Index) // nil before the first generation
				l.modules = append(l.modules, lm)
			}
		}
	}
	return l
}

// held opens a file that has the content as far as an index tells: it has not
// changed since it was read.
func (l *localContents) held(id content.ID) *os.File {
	for _, m := range l.modules {
		if m.reader == nil {
			continue
		}
		names, err := m.reader.Names(id, 4)
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

// learn tells a volunteer of a file, together with others.
func (l *localContents) learn(path string, st fsroot.Stat, id content.ID) {
	n := 0
	for _, m := range l.modules {
		rel, in := strings.CutPrefix(path, strings.TrimSuffix(m.Path, "/")+"/")
		if !m.journal || !in {
			continue
		}
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
// volunteer a scan and nobody a word.
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
	l.flush()
	for _, m := range l.modules {
		if m.reader != nil {
			m.reader.Close()
		}
	}
}
