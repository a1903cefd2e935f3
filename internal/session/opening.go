package session

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/transfer"
)

// openDir opens a directory that an operand or option names.
func (s *side) openDir(dir string, p fsroot.Policy) (*fsroot.Root, error) {
	p.InsecureLinks = p.InsecureLinks || s.insecureLinks()
	if m := s.p.Module; m != nil {
		return fsroot.OpenAt(m.Root, s.modulePath(dir), p)
	}
	return fsroot.Open(s.absolute(dir), p)
}

// insecureLinks reports whether the defences against planted links are given
// up: of a module only its own configuration decides that, whatever the client
// asks for. rsync 3.5.0 syscall.c:symlink_optout_allowed.
func (s *side) insecureLinks() bool {
	if m := s.p.Module; m != nil {
		return m.InsecureLinks
	}
	return s.o.InsecureLinks
}

// modulePath makes a path, absolute as the engine sees it, one below the
// module's root. Where nothing else holds ".." back, it is resolved by name.
func (s *side) modulePath(p string) string {
	if s.p.Module.Sanitize {
		p = path.Clean("/" + p)
	}
	p = strings.TrimLeft(p, "/")
	if p == "" {
		return "."
	}
	return p
}

func (s *side) absolute(p string) string {
	if path.IsAbs(p) {
		return p
	}
	if s.p.Env.Cwd == "/" {
		return "/" + p
	}
	return s.p.Env.Cwd + "/" + p
}

// openParent opens the directory that holds what a path names.
func (s *side) openParent(p string, pol fsroot.Policy) (*fsroot.Root, string, error) {
	clean := strings.TrimRight(p, "/")
	dir, leaf := ".", clean
	if i := strings.LastIndexByte(clean, '/'); i >= 0 {
		dir, leaf = clean[:i], clean[i+1:]
		if i == 0 {
			dir = "/"
		}
	}
	if clean == "" {
		dir, leaf = "/", ""
		if p == "" {
			dir = "."
		}
	}
	if leaf == "." || leaf == ".." {
		dir, leaf = clean, ""
	}
	root, err := s.openDir(dir, pol)
	return root, leaf, err
}

// makePath makes a directory and its parents, as mkdir -p does.
func (s *side) makePath(dir string, p fsroot.Policy, dry bool) (made int, err error) {
	abs := s.absolute(dir)
	if s.p.Module != nil {
		abs = path.Join("/", dir)
	}
	var missing []string
	at := abs
	for {
		root, err := s.openDir(at, p)
		if err == nil {
			defer root.Close()
			if dry {
				return len(missing), nil
			}
			name := ""
			for i := len(missing) - 1; i >= 0; i-- {
				name = path.Join(name, missing[i])
				if err := root.Mkdir(name, 0777); err != nil {
					return made, err
				}
				made++
			}
			return made, nil
		}
		if !isNotExist(err) || at == "/" {
			return 0, err
		}
		missing = append(missing, filepath.Base(at))
		at = path.Dir(at)
	}
}

func isNotExist(err error) bool { return err != nil && errors.Is(err, fs.ErrNotExist) }

// openOperator opens a file that the user names, by the ownership walk.
func (s *side) openOperator(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(s.p.Env.Stdin), nil
	}
	pol := fsroot.Policy{InsecureLinks: s.insecureLinks()}
	if m := s.p.Module; m != nil {
		pol.Confine = m.Confine
		f, err := fsroot.OwnerOpenAt(m.Root, s.modulePath(name), os.O_RDONLY, 0, pol)
		if err != nil {
			return nil, err
		}
		return f, nil
	}
	pol.ConfineRoot = s.o.ConfineRoot
	f, err := fsroot.OwnerOpen(s.absolute(name), os.O_RDONLY, 0, pol)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (s *side) openFilter(name string) (io.ReadCloser, error) {
	if s.moduleExcludes(name) {
		return nil, fs.ErrNotExist
	}
	return s.openOperator(name)
}

// sanitizeDir keeps the ".." of a relative directory from climbing.
// rsync 3.5.0 options.c:parse_arguments.
func sanitizeDir(dir string) string {
	if dir == "" || path.IsAbs(dir) {
		return dir
	}
	return flist.Sanitize(dir, 0, false)
}

// moduleExcludes reports whether the rules of the module hide a path, absolute
// as the engine sees it, or a directory on the way. It goes by names: the path
// is not resolved.
func (s *side) moduleExcludes(name string) bool {
	m := s.p.Module
	if m == nil || m.Filters == nil {
		return false
	}
	w := m.Filters.Walk(filter.Root{Who: "server", Dir: "/"})
	return w.PathExcluded(strings.TrimPrefix(path.Join("/", name), "/"))
}

// rejected ends the request of a client that names what its module hides.
func rejected() error {
	return exitcode.New(exitcode.Syntax, "Your options have been rejected by the server.")
}

// openNames opens --files-from on the side that sends.
func (s *side) openNames() error {
	f, err := s.openNamesFile()
	if err != nil {
		return err
	}
	s.c.FilesFrom = filter.NewNames(f, s.o.From0, false)
	return nil
}

// openNamesFile opens the file of --files-from.
func (s *side) openNamesFile() (io.ReadCloser, error) {
	if s.p.names != nil {
		return s.p.names, nil
	}
	if s.moduleExcludes(s.o.FilesFrom) {
		return nil, rejected()
	}
	f, err := s.openOperator(s.o.FilesFrom)
	if err != nil {
		return nil, exitcode.New(exitcode.Syntax, "rsync: failed to open files-from file %s: %s", s.o.FilesFrom, report.ErrorText(err))
	}
	return f, nil
}

// Prepare opens what a client's options name, so that a mistake there is met
// before anything is connected. rsync 3.5.0 options.c:parse_arguments.
func (p *Params) Prepare() error {
	if p.Opts.Batch == options.BatchRead {
		return nil // the rules are in the batch
	}
	s := &side{p: p, o: p.Opts}
	s.log = s.newLog()
	c := &transfer.Config{Cwd: p.Env.Cwd}
	if err := s.filters(c); err != nil {
		return err
	}
	p.rules = c.Filters
	if p.Opts.FilesFrom == "" || p.Opts.FilesFromRemote {
		return nil
	}
	var err error
	p.names, err = s.openNamesFile()
	return err
}

// checkDestOptions checks the directories that a client names against the
// module's rules, as it writes them (rsync 3.5.0 options.c:parse_arguments,
// main.c:do_server_recv) and, unlike there, as they count from the destination.
func (s *side) checkDestOptions(dest string) error {
	m := s.p.Module
	if m == nil || m.Filters == nil {
		return nil
	}
	dirs := append([]string{s.c.BackupDir}, s.c.AltDests...)
	if path.IsAbs(s.c.PartialDir) {
		dirs = append(dirs, s.c.PartialDir)
	}
	if s.c.TempDir != m.TempDir {
		dirs = append(dirs, s.c.TempDir)
	}
	for _, d := range dirs {
		if d != "" && (s.moduleExcludes(d) || !path.IsAbs(d) && s.moduleExcludes(path.Join(dest, d))) {
			return rejected()
		}
	}
	return nil
}
