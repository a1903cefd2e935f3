package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/daemon"
	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/host/statedir"
)

// module is a module as configured, with its tree.
type module struct {
	*tree
	conf *conf.Module
}

// moduleSet are the modules of one configuration; it never changes.
type moduleSet struct {
	file   *conf.File
	gate   *daemon.Gate
	byName map[string]*module
	names  []string // sorted
	// restricted are those of the names that not everybody may read.
	restricted []string
}

// modules are those that a service publishes or mirrors.
type modules struct {
	role  statedir.Role
	state string
	o     *Options
	newer func()
	set   atomic.Pointer[moduleSet]
}

// lingering is how long requests that were under way at a reload can go on
// with what a module was before.
const lingering = 30 * time.Second

// wanted reports whether the service has to do with the module.
func (ms *modules) wanted(m *conf.Module) bool {
	return m.Path != "" && m.Name != "" && (m.SwarmEnabled() || m.RedirectEnabled())
}

// apply makes the modules of a configuration those of the service: new ones
// are opened and watched, those that are gone or changed are closed. Modules
// that cannot be opened are left out; the error tells of them.
func (ms *modules) apply(ctx context.Context, f *conf.File) error {
	gate := daemon.NewGate(ms.o.daemonConfig(), f)
	next := &moduleSet{file: f, gate: gate, byName: map[string]*module{}}
	old := ms.set.Load()
	reused := map[*tree]bool{}
	var todo []*conf.Module
	var problems []error
	for _, raw := range f.Modules {
		if raw.Path == "" {
			problems = append(problems, fmt.Errorf("module %s has no path", raw.Name))
		}
		if !ms.wanted(raw) {
			continue
		}
		m, err := gate.Module(raw.Name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if old != nil {
			if was := old.byName[m.Name]; was != nil && was.key == treeKey(m) {
				reused[was.tree] = true
				next.byName[m.Name] = &module{was.tree, m}
				continue
			}
		}
		todo = append(todo, m)
	}
	// An index can be opened again only after it was closed; customers get
	// what it had meanwhile.
	var gone []*module
	if old != nil {
		for _, m := range old.byName {
			if !reused[m.tree] {
				m.halt()
				gone = append(gone, m)
			}
		}
	}
	for _, m := range todo {
		tr, err := openTree(m, statedir.Index(ms.state, ms.role, m.Name), ms.role == statedir.Central, gate, ms.o)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		tr.newer = ms.newer
		tr.watch(ctx)
		next.byName[m.Name] = &module{tr, m}
	}
	for n := range next.byName {
		next.names = append(next.names, n)
	}
	slices.Sort(next.names)
	for _, n := range next.names {
		if !next.byName[n].conf.PublicByDefault() && len(next.restricted) < content.MaxRestricted {
			next.restricted = append(next.restricted, n)
		}
	}
	if len(next.names) == 0 && len(problems) == 0 {
		problems = append(problems, fmt.Errorf("%s has no module that anyone may read or that says \"swarm = yes\"", f.Path))
	}
	ms.set.Store(next)
	if old != nil {
		old.gate.Close()
	}
	time.AfterFunc(lingering, func() {
		for _, m := range gone {
			m.close()
		}
	})
	return errors.Join(problems...)
}

// get returns the module, nil when the service does not have it.
func (ms *modules) get(name string) *module {
	if s := ms.set.Load(); s != nil {
		return s.byName[name]
	}
	return nil
}

// all returns the modules by name.
func (ms *modules) all() []*module {
	s := ms.set.Load()
	if s == nil {
		return nil
	}
	list := make([]*module, len(s.names))
	for i, n := range s.names {
		list[i] = s.byName[n]
	}
	return list
}

// stop closes every module.
func (ms *modules) stop() {
	s := ms.set.Load()
	if s == nil {
		return
	}
	ms.set.Store(&moduleSet{file: s.file, gate: s.gate, byName: map[string]*module{}})
	for _, m := range s.byName {
		m.halt()
		m.close()
	}
	s.gate.Close()
}

// register tells the machine's other processes about the modules.
func (ms *modules) register(url string) error {
	r := &statedir.Registry{URL: url, Modules: []statedir.Module{}}
	for _, m := range ms.all() {
		if ms.role == statedir.Central && !m.conf.SwarmEnabled() {
			continue
		}
		restricted := !m.conf.PublicByDefault()
		mode := os.FileMode(0o755)
		if restricted {
			mode = 0o700
		}
		if err := os.Chmod(m.dir, mode); err != nil {
			return exitcode.New(exitcode.FileIO, "state dir: %w", err)
		}
		r.Modules = append(r.Modules, statedir.Module{Name: m.name, Path: m.root, Index: m.dir, Restricted: restricted})
	}
	if err := statedir.Write(ms.state, ms.role, r); err != nil {
		return exitcode.New(exitcode.FileIO, "state dir: %w", Hint(err))
	}
	return nil
}

// forget removes the indexes of modules that the configuration has no more.
func (ms *modules) forget() {
	keep := map[string]bool{}
	for _, m := range ms.set.Load().file.Modules {
		keep[filepath.Base(statedir.Index(ms.state, ms.role, m.Name))] = true
	}
	dir := filepath.Join(ms.state, string(ms.role), "index")
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if !keep[e.Name()] && e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err == nil {
				ms.o.Log.Info("removed the index of a module that is no more", "directory", filepath.Join(dir, e.Name()))
			}
		}
	}
}
