package filter

import (
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
)

// ImpliedConfig is what decides which names a request implies.
type ImpliedConfig struct {
	Relative bool // --relative, which --files-from turns on
	Recurse  bool // --recursive
	Dirs     bool // --dirs
	// Trust lets every name pass: --trust-sender, --old-args, a remote
	// --files-from, a local transfer, a batch.
	Trust bool
	// Debug gets what is added, at level 3 of --debug=FILTER; may be nil.
	Debug func(format string, args ...any)
}

// Implied holds the names that a client asked a remote sender for. The
// receiver checks the sender's file list against them, so that a sender can
// not slip in files nobody asked for. Without any Add everything passes.
type Implied struct {
	cfg ImpliedConfig
	// Arguments without wildcards are kept by name, as --files-from may give
	// a great many; the names have no leading slash.
	leaves  map[string]bool // asked for
	parents map[string]bool // directories on the way to one, with --relative
	trees   map[string]bool // directories whose contents are asked for
	wild    []*rule         // those with wildcards
	seen    map[string]bool // their patterns
}

// NewImplied returns an Implied to which nothing has been added.
func NewImplied(cfg ImpliedConfig) *Implied {
	return &Implied{
		cfg: cfg, leaves: map[string]bool{}, parents: map[string]bool{}, trees: map[string]bool{},
		seen: map[string]bool{},
	}
}

// Add notes one source argument, or one name from --files-from, as it is sent
// to the other side: without host. module says that it begins with the name
// of a daemon's module.
//
// rsync 3.5.0 exclude.c:add_implied_include.
func (im *Implied) Add(arg string, module bool) {
	if im.cfg.Trust {
		return
	}
	if module {
		_, arg, _ = strings.Cut(arg, "/")
	}
	if im.cfg.Relative {
		if _, after, ok := strings.Cut(arg, "/./"); ok {
			arg = after
		}
	} else {
		arg = arg[strings.LastIndexByte(arg, '/')+1:]
	}
	name := requested(arg)
	isWild := strings.ContainsAny(name, "*[?")
	if isWild {
		name = escape(name)
	} else {
		name = strings.ReplaceAll(name, `\]`, `]`)
	}
	if name != "" {
		im.note(im.leaves, name, isWild, 0, "")
		if im.cfg.Relative {
			im.addParents(name, isWild)
		}
	}
	switch {
	case im.cfg.Recurse:
		im.note(im.trees, name, isWild, 0, "/**")
	case im.cfg.Dirs:
		im.note(im.trees, name, isWild, 0, "/*")
	}
}

// addParents notes the directories above name, up to one noted before.
func (im *Implied) addParents(name string, isWild bool) {
	for {
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return
		}
		name = name[:i]
		if im.leaves[name] || im.parents[name] {
			return
		}
		im.note(im.parents, name, isWild && strings.ContainsAny(name, `*[?\`), dirOnly, "")
	}
}

// note adds a name to a set, or as a rule if it has wildcards. There the
// shell at the other end may also have failed to match a "[", which then
// stands for itself.
func (im *Implied) note(set map[string]bool, name string, isWild bool, f flags, suffix string) {
	if !isWild {
		shown := name
		if suffix != "" {
			shown = strings.ReplaceAll(name, `\`, `\\`)
		}
		im.debug(shown+suffix, f)
		set[name] = true
		return
	}
	for _, n := range []string{name, literalBrackets(name)} {
		if n == "" {
			continue
		}
		r := &rule{flags: f | include}
		r.setPattern("/" + n + suffix)
		r.flags |= wild
		if key := r.pattern + r.slash(); !im.seen[key] {
			im.seen[key] = true
			im.wild = append(im.wild, r)
			im.debug(n+suffix, f)
		}
	}
}

func (im *Implied) debug(pattern string, f flags) {
	if im.cfg.Debug != nil {
		im.cfg.Debug("[Receiver] add_implied_include(/%s%s)", strings.TrimPrefix(pattern, "/"), (&rule{flags: f}).slash())
	}
}

// requested drops the empty and "." elements of an argument.
func requested(arg string) string {
	var kept []string
	for _, e := range strings.Split(arg, "/") {
		if e != "" && e != "." {
			kept = append(kept, e)
		}
	}
	return strings.Join(kept, "/")
}

// escape doubles the backslashes of a pattern that would otherwise escape
// what is no wildcard: the other side takes those literally.
func escape(pattern string) string {
	var b strings.Builder
	for i := range len(pattern) {
		b.WriteByte(pattern[i])
		if pattern[i] == '\\' && (i+1 == len(pattern) || strings.IndexByte("*[?]", pattern[i+1]) < 0) {
			b.WriteByte('\\')
		}
	}
	return b.String()
}

// literalBrackets returns the pattern with every live "[" escaped; "" if it
// has none.
//
// rsync 3.5.0 exclude.c:maybe_add_literal_brackets_rule.
func literalBrackets(pattern string) string {
	var b strings.Builder
	live := false
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\' && i+1 < len(pattern):
			b.WriteByte(c)
			i++
		case c == '[':
			live = true
			b.WriteByte('\\')
		}
		b.WriteByte(pattern[i])
	}
	if !live {
		return ""
	}
	return b.String()
}

// Check returns a fatal error for a name in the sender's file list that was
// not asked for.
//
// rsync 3.5.0 flist.c:recv_file_entry.
func (im *Implied) Check(name string, isDir bool) error {
	if im.empty() || isRoot(name) {
		return nil
	}
	if asked, parent := im.find(strings.TrimPrefix(name, "/"), isDir); !asked && !parent {
		return exitcode.New(exitcode.Unsupported, "ERROR: rejecting unrequested file-list name: %s", name)
	}
	return nil
}

// IsParent reports whether a directory in the sender's file list is only on
// the way to what was asked for, so that nothing in it may be deleted.
//
// rsync 3.5.0 exclude.c:is_implied_parent_dir.
func (im *Implied) IsParent(dir string) bool {
	if im.empty() {
		return false
	}
	if isRoot(dir) {
		for _, r := range im.wild {
			if r.pattern == "/*" || r.pattern == "/**" {
				return false
			}
		}
		return !im.trees[""]
	}
	asked, parent := im.find(strings.TrimPrefix(dir, "/"), true)
	return parent && !asked
}

func (im *Implied) empty() bool {
	return im == nil || len(im.leaves)+len(im.parents)+len(im.trees)+len(im.wild) == 0
}

// find reports whether a name was asked for, and whether it is a parent.
func (im *Implied) find(name string, isDir bool) (asked, parent bool) {
	if name == "" {
		return false, false
	}
	asked = im.leaves[name] || im.inTree(name)
	parent = isDir && im.parents[name]
	for _, r := range im.wild {
		switch {
		case asked:
			return asked, parent
		case !r.matches("", name, kindOf(isDir)):
		case r.has(dirOnly):
			parent = true
		default:
			asked = true
		}
	}
	return asked, parent
}

// inTree reports whether name is below a tree: anywhere with --recursive,
// else directly.
func (im *Implied) inTree(name string) bool {
	for {
		i := strings.LastIndexByte(name, '/')
		name = name[:max(i, 0)]
		switch {
		case im.trees[name]:
			return true
		case i < 0 || !im.cfg.Recurse:
			return false
		}
	}
}
