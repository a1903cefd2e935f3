package daemon

import (
	"path"
	"sort"
	"strings"

	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/filter/wildmatch"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
)

// GlobFS is what expanding a wildcard argument asks of a module's files.
// Names are relative to the module's root; "" and "." are the root.
type GlobFS interface {
	// Names returns what a directory holds, without "." and "..".
	Names(dir string) ([]string, error)
	// IsDir reports whether the name, followed through symlinks, is a
	// directory.
	IsDir(name string) (bool, error)
}

// globber expands path arguments (rsync 3.5.0 util1.c:glob_expand).
type globber struct {
	fs GlobFS
	// excluded reports whether a name is hidden from clients; nil hides none.
	excluded func(name string, isDir bool) bool
	// sanitize keeps paths below the module's root by their text.
	sanitize bool
	hits     []string
}

// expand returns the names that a pattern matches in byte order, or the
// pattern's own path when there are none.
func (g *globber) expand(pattern string) ([]string, error) {
	pattern = tidyPath(pattern, g.sanitize)
	g.hits = nil
	if err := g.match(pattern, "", ""); err != nil {
		return nil, err
	}
	if len(g.hits) == 0 {
		return []string{pattern}, nil
	}
	return g.hits, nil
}

// match goes through the pattern from its first component on. done is what
// has been matched, filtered the same without "./" at its start.
func (g *globber) match(pattern, done, filtered string) error {
	for strings.HasPrefix(pattern, "./") {
		done, pattern = done+"./", pattern[2:]
	}
	part, rest, more := strings.Cut(pattern, "/")
	if !strings.ContainsAny(part, "*?[") {
		return g.take(part, false, rest, more, done, filtered)
	}
	names, err := g.fs.Names(done)
	if err != nil {
		return nil
	}
	sort.Strings(names)
	for _, name := range names {
		if !wildmatch.Match(part, name) {
			continue
		}
		if err := g.take(name, true, rest, more, done, filtered); err != nil {
			return err
		}
	}
	return nil
}

// take goes on with one name for a component.
func (g *globber) take(name string, found bool, rest string, more bool, done, filtered string) error {
	done, filtered = done+name, filtered+name
	if found || more && name != "" {
		isDir, err := g.fs.IsDir(done)
		if err != nil || more && !isDir {
			return nil
		}
		if g.excluded != nil && g.excluded(strings.TrimPrefix(filtered, "/"), isDir) {
			return nil
		}
	}
	if more {
		return g.match(rest, done+"/", filtered+"/")
	}
	if len(g.hits) >= maxGlobbed {
		return errTooManyHits
	}
	g.hits = append(g.hits, done)
	return nil
}

// tidyPath drops extra slashes, and takes ".." together with what is before
// it. Directories "." stay, for they mean something to -R, and so does a slash
// at the end. With below set the path is kept below the module's root by its
// text: a slash at its start and ".." beyond the root go too; else that happens
// to ".." at the start of an absolute path only
// (rsync 3.5.0 util1.c:sanitize_path and clean_fname).
func tidyPath(p string, below bool) string {
	if below {
		return flist.Sanitize(p, 0, true)
	}
	if !strings.HasPrefix(p, "/") {
		return flist.Sanitize(p, len(p), true)
	}
	if p = flist.Sanitize(p, 0, true); p == "." {
		return "/"
	}
	return "/" + p
}

// excluder asks a module's rules about names relative to its root.
func excluder(list *filter.List) func(name string, isDir bool) bool {
	walk := list.Walk(filter.Root{Who: "sender", Dir: "/"})
	return func(name string, isDir bool) bool { return walk.Check(name, isDir) == filter.Exclude }
}

// rootFS is the GlobFS of a pinned module root.
type rootFS struct{ root *fsroot.Root }

func (f rootFS) Names(dir string) ([]string, error) {
	entries, err := f.root.ReadDir(rooted(dir))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	return names, nil
}

func (f rootFS) IsDir(name string) (bool, error) {
	st, err := f.root.Stat(rooted(name))
	return err == nil && st.IsDir(), err
}

// rooted makes a name of the globber one of the root.
func rooted(name string) string {
	return path.Clean(strings.Trim(name, "/"))
}
