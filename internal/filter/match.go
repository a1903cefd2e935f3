package filter

import (
	"strings"

	"github.com/prsync/prsync/internal/filter/wildmatch"
)

// nameKind is what a name that is being checked belongs to.
type nameKind uint8

const (
	fileName nameKind = iota
	dirName
	attrName
)

func kindOf(isDir bool) nameKind {
	if isDir {
		return dirName
	}
	return fileName
}

func (k nameKind) String() string { return [...]string{"file", "directory", "xattr"}[k] }

// matches reports whether the rule takes effect on a name. base is the
// absolute path of the directory that the name is relative to, "" or "/" for
// the root; a name that begins with a slash is absolute already.
//
// rsync 3.5.0 exclude.c:rule_matches.
func (r *rule) matches(base, name string, kind nameKind) bool {
	rel, absolute := strings.CutPrefix(name, "/")
	if rel == "" || r.has(xattrName) != (kind == attrName) {
		return false
	}
	base = strings.Trim(base, "/")
	text := rel
	switch {
	case r.slashes == 0 && !r.has(wild2):
		text = rel[strings.LastIndexByte(rel, '/')+1:]
	case r.has(absPath) && !absolute && base != "":
		text = base + "/" + rel
	case r.has(wild2Start) && !absolute:
		text = "/" + rel // "**/" matches at the start too
	}
	if kind == dirName {
		if r.has(wild3End) {
			text += "/" // "/***" matches the directory itself
		}
	} else if r.has(dirOnly) {
		return r.has(negate)
	}
	return r.matchesText(text) != r.has(negate)
}

func (r *rule) matchesText(text string) bool {
	pattern, anchored := strings.CutPrefix(r.pattern, "/")
	switch {
	case anchored || r.slashes == 0 && !r.has(wild2):
	case !r.has(wild2):
		var ok bool
		if text, ok = wildmatch.Tail(text, r.slashes+1); !ok {
			return false
		}
	case !r.has(wild2Start):
		return wildmatch.MatchAfterSlash(pattern, text)
	}
	if r.has(wild) {
		return wildmatch.Match(pattern, text)
	}
	return text == pattern
}
