package host

import (
	"errors"
	"io/fs"
	"path"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/index"
	"github.com/prsync/prsync/internal/tracker"
)

// catalog answers the tracker's questions from the indexes of the modules.
type catalog struct{ ms *modules }

var _ tracker.Catalog = catalog{}

func (c catalog) Modules() []tracker.Module {
	all := c.ms.all()
	list := make([]tracker.Module, len(all))
	for i, m := range all {
		list[i] = describe(m)
	}
	return list
}

func (c catalog) Module(name string) (tracker.Module, bool) {
	m := c.ms.get(name)
	if m == nil {
		return tracker.Module{}, false
	}
	return describe(m), true
}

func describe(m *module) tracker.Module {
	d := tracker.Module{
		Name: m.name, Comment: m.conf.Comment, Indexing: m.isIndexing(), Redirect: m.conf.RedirectEnabled(),
	}
	if v := m.view.Load(); v != nil {
		n, bytes := v.Contents()
		d.Generation, d.Published, d.Files = v.Generation(), v.Created(), int64(v.Len())
		d.Contents, d.Bytes, d.Packs = int64(n), bytes, len(v.packs)
	}
	return d
}

// look runs f on the module's current generation, and again on the next one
// should the first have been closed meanwhile.
func (c catalog) look(name string, f func(*module, *view) error) error {
	for try := 0; ; try++ {
		m := c.ms.get(name)
		if m == nil {
			return fs.ErrNotExist
		}
		v := m.view.Load()
		if v == nil {
			return errNotYet
		}
		if err := f(m, v); err == nil || try == 2 || c.ms.get(name) == m && m.view.Load() == v {
			return err
		}
	}
}

// errNotYet says that a module's first scan has not ended.
var errNotYet = errors.New("the module is being indexed for the first time")

func (c catalog) File(name, p string) (pub tracker.Published, err error) {
	err = c.look(name, func(m *module, v *view) error {
		e, err := v.Lookup(p)
		if errors.Is(err, index.ErrUnknown) || err == nil && !e.Retired.IsZero() && v.IsDir(p) {
			if v.IsDir(p) {
				return tracker.ErrIsDir
			}
			return fs.ErrNotExist
		}
		if err != nil {
			return err
		}
		pub = tracker.Published{
			ID: e.ID, Size: e.Size, Mtime: time.Unix(0, e.Mtime), Generation: v.Generation(), Gone: !e.Retired.IsZero(),
			FromHost: e.Size < m.conf.RedirectMinSize || index.IsIndexFile(path.Base(p)),
		}
		return nil
	})
	return pub, err
}

func (c catalog) List(name, dir string) (list []tracker.Entry, err error) {
	err = c.look(name, func(m *module, v *view) error {
		names, err := v.List(dir)
		if errors.Is(err, index.ErrUnknown) {
			if dir == "" {
				return nil
			}
			return fs.ErrNotExist
		}
		list = make([]tracker.Entry, len(names))
		for i := range names {
			n := &names[i]
			list[i] = tracker.Entry{Name: n.Name, Dir: n.Dir, Size: n.Size}
			if !n.Dir {
				list[i].Mtime = time.Unix(0, n.Mtime)
			}
		}
		return err
	})
	return list, err
}

func (c catalog) Pack(h content.InfoHash) (string, bool) {
	for _, m := range c.ms.all() {
		if v := m.view.Load(); v != nil && v.packs[h] && m.conf.SwarmEnabled() {
			return m.name, true
		}
	}
	return "", false
}

func (c catalog) PackOf(name string, id content.ID) (h content.InfoHash, ok bool) {
	c.look(name, func(m *module, v *view) error {
		d, err := v.Content(id)
		h, ok = d.Pack, err == nil && d.InPack && m.conf.SwarmEnabled()
		return nil
	})
	return h, ok
}

func (c catalog) Contents() (n int64) {
	for _, m := range c.ms.all() {
		if v := m.view.Load(); v != nil {
			k, _ := v.Contents()
			n += int64(k)
		}
	}
	return n
}
