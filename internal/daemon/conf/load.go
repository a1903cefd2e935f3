package conf

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Options says how Load reaches the outside. Its zero value reads plain files
// and sees no environment.
type Options struct {
	// Open opens a file for reading; nil is os.Open. Programs that run
	// with more rights than the writers of their configuration pass an
	// opener that follows only links owned by those they trust.
	Open func(path string) (io.ReadCloser, error)
	// Lookup finds the variables of %VAR% references.
	Lookup LookupFunc
	// Dparams are NAME=VALUE settings that override the globals and
	// defaults in force where the first module starts (--dparam).
	Dparams []string
}

// Limits on what a configuration may hold. They only stop accidents, such as
// a file that includes itself.
const (
	maxDepth    = 32
	maxFileSize = 64 << 20
	maxModules  = 1 << 20
)

// Error is a mistake in a configuration file.
type Error struct {
	File string
	Line int // from 1; 0 when the whole file is meant
	Err  error
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Load reads the configuration in the file at path and in all that it
// includes. Every error is an *Error, which wraps what Open returned.
func Load(path string, o Options) (*File, error) {
	if o.Open == nil {
		o.Open = func(path string) (io.ReadCloser, error) { return os.Open(path) }
	}
	l := &loader{Options: o, file: &File{Path: path}, now: defaults(), byName: map[string]*values{}}
	if err := l.read(path, 0); err != nil {
		return nil, err
	}
	if len(l.modules) == 0 {
		if err := l.applyDparams(); err != nil {
			return nil, err
		}
	}
	return l.finish()
}

// loader is one run of Load.
type loader struct {
	Options
	file    *File
	now     *values // globals, and defaults for the modules to come
	current *values // the module that the section is in, nil for globals
	modules []*values
	byName  map[string]*values
	// outer are the globals and defaults that the &include directives
	// being read will go back to, outermost first.
	outer []*values
}

func (l *loader) read(path string, depth int) error {
	if depth > maxDepth {
		return &Error{File: path, Err: fmt.Errorf("included more than %d files deep: does it include itself?", maxDepth)}
	}
	f, err := l.Open(path)
	if err != nil {
		return &Error{File: path, Err: fmt.Errorf("cannot open the configuration file: %w", err)}
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return &Error{File: path, Err: fmt.Errorf("cannot read the configuration file: %w", err)}
	}
	if len(src) > maxFileSize {
		return &Error{File: path, Err: fmt.Errorf("the configuration file is larger than %d bytes", maxFileSize)}
	}
	l.file.Sources = append(l.file.Sources, path)
	for s := newScanner(src); ; {
		st := s.statement()
		if st.kind == endOfFile {
			return nil
		}
		warning, err := l.statement(st, depth)
		if warning != "" {
			l.file.Warnings = append(l.file.Warnings, fmt.Sprintf("%s:%d: %s", path, st.line, warning))
		}
		if _, located := err.(*Error); err != nil && !located {
			err = &Error{File: path, Line: st.line, Err: err}
		}
		if err != nil {
			return err
		}
	}
}

func (l *loader) statement(st statement, depth int) (warning string, err error) {
	switch st.kind {
	case section:
		return "", l.section(st.name)
	case directive:
		return "", l.directive(st.name, st.value, depth)
	case malformed:
		if strings.HasPrefix(st.name, "[") {
			return "", fmt.Errorf("badly formed section %q: a closing bracket is missing", st.name)
		}
		return fmt.Sprintf("ignoring badly formed line %q: an equals sign is missing", st.name), nil
	}
	if st.name == "" {
		return "", fmt.Errorf("a parameter name is missing before the equals sign")
	}
	return l.parameter(st.name, st.value)
}

// applyDparams sets the --dparam values in what is in force now. An included
// file that holds the first module does not keep them to itself: they reach
// the globals and defaults around it too.
func (l *loader) applyDparams() error {
	for _, d := range l.Dparams {
		name, value, ok := strings.Cut(d, "=")
		p := byKey()[fold(name)]
		if !ok || p == nil {
			return &Error{File: "--dparam", Err: unknown(name)}
		}
		value = strings.TrimLeft(value, " \t\n\v\f\r")
		for _, v := range append(l.outer[:len(l.outer):len(l.outer)], l.now) {
			warning, err := p.assign(v, value, l.Lookup)
			if err != nil {
				return &Error{File: "--dparam", Err: fmt.Errorf("%s: %w", p.name, err)}
			}
			if warning != "" && v == l.now {
				l.file.Warnings = append(l.file.Warnings, fmt.Sprintf("--dparam: %s: %s", p.name, warning))
			}
		}
	}
	return nil
}

func (l *loader) parameter(name, value string) (warning string, err error) {
	p := byKey()[fold(name)]
	if p == nil {
		return "", unknown(name)
	}
	to := l.now
	if l.current != nil {
		if p.scope == global {
			return fmt.Sprintf("ignoring global parameter %q in a module: put it before the first [module]", p.name), nil
		}
		to = l.current
	}
	before := to.module.Name
	warning, err = p.assign(to, value, l.Lookup)
	if to == l.current && to.module.Name != before {
		delete(l.byName, fold(before))
		l.byName[fold(to.module.Name)] = to
	}
	if warning != "" {
		warning = p.name + ": " + warning
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", p.name, err)
	}
	return warning, err
}

func unknown(name string) error {
	near, distance := "", 3
	for _, p := range table {
		if d := editDistance(fold(name), fold(p.name)); d < distance {
			near, distance = p.name, d
		}
	}
	if near == "" {
		return fmt.Errorf("unknown parameter %q", name)
	}
	return fmt.Errorf("unknown parameter %q: did you mean %q?", name, near)
}

// editDistance counts the insertions, deletions and replacements between two
// names; it gives up (with a large number) on long ones.
func editDistance(a, b string) int {
	if len(a) > 40 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// section starts or reopens a module, or goes back to the globals.
func (l *loader) section(name string) error {
	if name == "" {
		return fmt.Errorf("empty section name")
	}
	if fold(name) == "GLOBAL" {
		l.current = nil
		return nil
	}
	if strings.Contains(name, "/") {
		return fmt.Errorf("invalid module name %q: it holds a slash", name)
	}
	if l.current == nil && len(l.modules) == 0 {
		if err := l.applyDparams(); err != nil {
			return err
		}
	}
	if m := l.byName[fold(name)]; m != nil {
		l.current = m
		return nil
	}
	if len(l.modules) >= maxModules {
		return fmt.Errorf("more than %d modules", maxModules)
	}
	l.current = l.now.clone()
	l.current.module.Name = name
	l.modules = append(l.modules, l.current)
	l.byName[fold(name)] = l.current
	return nil
}

func (v *values) clone() *values {
	c := *v
	c.set = maps.Clone(v.set)
	return &c
}

// directive reads the files that an &include or &merge names. An &include
// leaves the globals and defaults as they were before it, and the section
// after it is the globals (rsync 3.5.0 params.c:include_config).
func (l *loader) directive(name, value string, depth int) error {
	var suffix string
	switch strings.ToLower(name) {
	case "&include":
		suffix = ".conf"
	case "&merge":
		suffix = ".inc"
	default:
		return fmt.Errorf("unknown directive %q: there are &include and &merge", name)
	}
	files, err := l.includes(value, suffix)
	if err != nil {
		return err
	}
	own := strings.EqualFold(name, "&include")
	before := l.now
	if own {
		l.outer = append(l.outer, before)
		defer func() { l.outer = l.outer[:len(l.outer)-1] }()
	}
	for _, f := range files {
		if own {
			l.current, l.now = nil, before.clone()
		}
		if err := l.read(f, depth+1); err != nil {
			return err
		}
	}
	if own && len(files) > 0 {
		l.current, l.now = nil, before
	}
	return nil
}

// includes returns the file itself, or the matching files of a directory in
// byte order.
func (l *loader) includes(path, suffix string) ([]string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("unable to stat config file: %w", err)
	}
	if st.Mode().IsRegular() {
		return []string{path}, nil
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("%s is neither a file nor a directory", path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("unable to open config dir: %w", err)
	}
	l.file.Sources = append(l.file.Sources, path)
	var files []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	sort.Strings(files)
	return files, nil
}

// finish gives unset text parameters of the modules the default in force at
// the end of the file, as rsync does on every use of one, and resolves the
// references in their names.
func (l *loader) finish() (*File, error) {
	f := l.file
	f.Global = l.now.global
	if err := f.Global.expand(l.Lookup); err != nil {
		return nil, &Error{File: f.Path, Err: err}
	}
	f.Defaults = &l.now.module
	for _, v := range l.modules {
		for _, p := range table {
			if p.scope == global || v.set[p] || !l.now.set[p] || p.name == "name" {
				continue
			}
			if s, ok := p.field(v).(*string); ok {
				*s = *p.field(l.now).(*string)
			}
		}
		name, err := Expand(v.module.Name, l.Lookup)
		if err != nil {
			return nil, &Error{File: f.Path, Err: fmt.Errorf("section %q: %w", v.module.Name, err)}
		}
		v.module.Name = name
		f.Modules = append(f.Modules, &v.module)
	}
	return f, nil
}
