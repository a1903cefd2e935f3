package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/daemon"
	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/index"
)

// tree is a module's directory with its index, kept current.
type tree struct {
	name    string
	root    string // absolute, symlinks resolved as far as it exists
	dir     string // state directory of the index
	key     string // what of the configuration is in force
	publish bool
	cfg     index.Config
	log     *slog.Logger
	newer   func() // called after each new generation

	idx  atomic.Pointer[index.Index]
	view atomic.Pointer[view] // nil before the first generation

	mu       sync.Mutex
	before   *view         // kept open for those who still read it
	changed  chan struct{} // closed by the next generation
	indexing string        // why a scan is running, "" when none is
	blind    bool          // changes are found by rescanning only
	scanning bool          // by poke
	poked    time.Time
	ctx      context.Context // of watch; nil before
	cancel   context.CancelFunc

	wg sync.WaitGroup
}

// view is one generation as it is served.
type view struct {
	*index.Reader
	packs map[content.InfoHash]bool
}

// treeKey is what an index depends on in the configuration.
func treeKey(m *conf.Module) string {
	return fmt.Sprintf("%q", []any{m.Path, m.RedirectMinSize, m.RescanInterval, m.Filter, m.Include, m.IncludeFrom, m.Exclude, m.ExcludeFrom, m.UID, m.GID})
}

// openTree opens the index of a module; watch then keeps it current.
func openTree(m *conf.Module, dir string, publish bool, gate *daemon.Gate, o *Options) (*tree, error) {
	hide, err := gate.Hidden(m)
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs(m.Path)
	if err != nil {
		return nil, err
	}
	if r, err := filepath.EvalSymlinks(root); err == nil {
		root = r
	}
	t := &tree{
		name: m.Name, root: root, dir: dir, key: treeKey(m), publish: publish, changed: make(chan struct{}),
		log: o.Log.With("module", m.Name), newer: func() {},
		cfg: index.Config{Root: root, Name: m.Name, Hide: hide, Watch: index.WatchConfig{Settle: o.Timing.Settle, Interval: m.RescanInterval}},
	}
	if publish {
		t.cfg.KeepBelow = m.RedirectMinSize
	}
	if m.RescanInterval == 0 {
		t.cfg.Watch.Interval = -1
	}
	if err := t.open(); err != nil {
		return nil, fmt.Errorf("module %s: %w", m.Name, err)
	}
	return t, nil
}

// open opens the index, a new one in the place of one that is damaged.
func (t *tree) open() error {
	x, err := index.Open(t.dir, t.cfg)
	if errors.Is(err, index.ErrCorrupt) {
		t.log.Error("the index is damaged and will be built again", "error", err)
		if err := os.RemoveAll(t.dir); err != nil {
			return err
		}
		x, err = index.Open(t.dir, t.cfg)
	}
	if err != nil {
		return err
	}
	t.idx.Store(x)
	return t.refresh()
}

// refresh makes the index's current generation the one that is served.
func (t *tree) refresh() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.view.Load()
	if old != nil && old.Generation() == t.idx.Load().Generation() {
		return nil
	}
	r, err := t.idx.Load().Reader()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	infos, err := r.Packs()
	if err != nil {
		r.Close()
		return err
	}
	v := &view{Reader: r, packs: make(map[content.InfoHash]bool, len(infos))}
	for _, p := range infos {
		v.packs[p.InfoHash] = true
	}
	t.view.Store(v)
	if t.before != nil {
		t.before.Close()
	}
	t.before = old
	close(t.changed)
	t.changed = make(chan struct{})
	t.newer()
	return nil
}

// watch starts keeping the index current, until halt.
func (t *tree) watch(ctx context.Context) {
	t.ctx, t.cancel = context.WithCancel(ctx)
	t.wg.Go(func() {
		for t.awaitRoot(t.ctx) {
			t.follow(t.ctx)
		}
	})
}

// halt ends watching and closes the index, which can be opened again then.
// What was served can be served on until close.
func (t *tree) halt() {
	t.mu.Lock()
	if t.cancel != nil {
		t.cancel()
	}
	t.mu.Unlock()
	t.wg.Wait()
	t.idx.Load().Close()
}

// close ends serving.
func (t *tree) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range []*view{t.before, t.view.Load()} {
		if v != nil {
			v.Close()
		}
	}
}

// awaitRoot waits for the module's directory, false when ctx has ended.
func (t *tree) awaitRoot(ctx context.Context) bool {
	for told := false; ; told = true {
		_, err := os.ReadDir(t.root)
		if err == nil || ctx.Err() != nil {
			return ctx.Err() == nil
		}
		if !told {
			t.log.Error("the module's directory cannot be read; trying again until it can", "error", err)
			t.setIndexing("its directory cannot be read")
		}
		if !sleep(ctx, 5*time.Second) {
			return false
		}
	}
}

// follow watches the tree until ctx ends or the index has to be built anew.
func (t *tree) follow(ctx context.Context) {
	watching, end := context.WithCancelCause(ctx)
	defer end(nil)
	t.setIndexing("first scan since the start")
	err := t.idx.Load().Watch(watching, t.publish, func(g *index.Generation, err error) {
		t.setIndexing("")
		t.report(g, err)
		if errors.Is(err, index.ErrCorrupt) {
			end(err)
		}
	})
	if !errors.Is(context.Cause(watching), index.ErrCorrupt) {
		if ctx.Err() == nil {
			t.log.Error("watching ended", "error", err)
			sleep(ctx, 5*time.Second)
		}
		return
	}
	t.idx.Load().Close()
	t.drop()
	if err := os.RemoveAll(t.dir); err != nil {
		t.log.Error("the damaged index cannot be removed", "error", err)
		sleep(ctx, time.Minute)
	}
	if err := t.open(); err != nil {
		t.log.Error("the index cannot be built again", "error", err)
		sleep(ctx, time.Minute)
	}
}

// drop stops serving: generations are going to be counted from 1 again.
func (t *tree) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.before != nil {
		t.before.Close()
	}
	t.before = t.view.Swap(nil)
}

func (t *tree) setIndexing(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.indexing = why
}

func (t *tree) isIndexing() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.indexing
}

// report takes over what a scan did.
func (t *tree) report(g *index.Generation, err error) {
	if errors.Is(err, index.ErrWatchLimit) {
		t.mu.Lock()
		t.blind = true
		t.mu.Unlock()
		t.log.Warn("changes are found at the rescan interval only", "error", err)
		return
	}
	if err != nil {
		t.log.Error("indexing failed; the generation before stays", "error", err)
		return
	}
	for i, s := range g.Skipped {
		if i == 10 {
			t.log.Warn("more paths could not be indexed", "paths", g.NumSkipped-i)
			break
		}
		t.log.Warn("a path could not be indexed", "path", s.Path, "error", s.Err)
	}
	if !g.Changed {
		return
	}
	t.log.Info("new generation", "generation", g.Number, "files", g.Entries, "contents", g.Contents, "bytes", g.Bytes,
		"added", g.Added, "dropped", g.Dropped, "read_bytes", g.ReadBytes)
	if err := t.refresh(); err != nil {
		t.log.Error("the new generation cannot be read", "error", err)
	}
}

// scan looks at the whole tree now and returns when what it found is visible.
func (t *tree) scan(ctx context.Context) (*index.Generation, error) {
	t.setIndexing("publishing")
	defer t.setIndexing("")
	g, err := t.idx.Load().Scan(ctx, t.publish)
	if err != nil {
		return nil, err
	}
	t.report(g, nil)
	return g, t.refresh()
}

// absorb takes in what transfers of this machine learned.
func (t *tree) absorb(ctx context.Context) {
	if g, err := t.idx.Load().Absorb(ctx); ctx.Err() == nil {
		t.report(g, err)
	}
}

// generation is the number of the generation that is served, 0 for none.
func (t *tree) generation() int64 {
	if v := t.view.Load(); v != nil {
		return v.Generation()
	}
	return 0
}

// await waits for a generation after the given one.
func (t *tree) await(ctx context.Context, than int64, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		t.mu.Lock()
		changed := t.changed
		t.mu.Unlock()
		if t.generation() > than {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

// pokeEvery is the least time between scans that were asked for because a
// change was met that nobody watches for.
const pokeEvery = 10 * time.Second

// poke says that a file was found to differ from the index.
func (t *tree) poke() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.blind || t.scanning || time.Since(t.poked) < pokeEvery || t.ctx == nil || t.ctx.Err() != nil {
		return
	}
	t.scanning, t.poked = true, time.Now()
	t.wg.Go(func() {
		if _, err := t.scan(t.ctx); err != nil && t.ctx.Err() == nil {
			t.log.Error("indexing failed", "error", err)
		}
		t.mu.Lock()
		t.scanning = false
		t.mu.Unlock()
	})
}
