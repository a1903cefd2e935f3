package filter

import "strings"

// Limits of rsync 3.5.0 on Linux: a pattern is shorter than maxPath
// (MAXPATHLEN), a line or a rule on the wire shorter than maxLine
// (BIGPATHBUFLEN), and merge files nest maxMergeDepth deep.
const (
	maxPath       = 4096
	maxLine       = maxPath + 1024
	maxMergeDepth = 32
)

// flags are what a rule's prefix, its modifiers and its pattern say of it.
type flags uint32

const (
	wild         flags = 1 << iota // the pattern has "*", "?" or "["
	wild2                          // … and "**"
	wild2Start                     // … at its start
	wild3End                       // … and ends in "***"
	absPath                        // "/": matched against the absolute path
	include                        // include, show or risk
	dirOnly                        // had a trailing slash
	wordSplit                      // "w": the file holds words, not lines
	noInherit                      // "n": not for subdirectories
	noPrefixes                     // "-" or "+": the file holds bare patterns
	mergeFile                      // merge or dir-merge
	perDir                         // dir-merge
	excludeSelf                    // "e": exclude the merge file as well
	negate                         // "!": takes effect where the pattern fails
	cvsIgnore                      // "C"
	senderSide                     // "s", hide, show
	receiverSide                   // "r", protect, risk
	clearList                      // the "!" rule
	perishable                     // "p": ignored in a directory being deleted
	xattrName                      // "x": matches xattr names only
	fromFile                       // read from a file: its text is not for messages
)

const (
	sides         = senderSide | receiverSide
	fromContainer = absPath | include | dirOnly | negate | perishable
)

// elision says which end of the transfer a rule is for, once that is known.
type elision uint8

const (
	bothEnds   elision = iota
	localOnly          // not for the peer
	remoteOnly         // not for us
)

type rule struct {
	flags
	pattern string
	slashes int
	elide   elision
	merge   *merge // of a dir-merge rule
}

func (r *rule) has(f flags) bool { return r.flags&f != 0 }

// verdict is what the rule does to a name that it matches.
func (r *rule) verdict() Verdict {
	if r.has(include) {
		return Include
	}
	return Exclude
}

// slash is what a directory-only pattern lost when it was parsed.
func (r *rule) slash() string {
	if r.has(dirOnly) {
		return "/"
	}
	return ""
}

// setPattern stores the pattern and what follows from its shape.
//
// rsync 3.5.0 exclude.c:add_rule.
func (r *rule) setPattern(pattern string) {
	r.pattern = pattern
	r.slashes = strings.Count(pattern, "/")
	if !strings.ContainsAny(pattern, "*[?") {
		return
	}
	r.flags |= wild
	at := strings.Index(pattern, "**")
	if at < 0 {
		return
	}
	r.flags |= wild2
	if at == 0 {
		r.flags |= wild2Start
	}
	if strings.HasSuffix(pattern, "***") {
		r.flags |= wild3End
	}
}

// prefix is the rule's prefix in its canonical spelling, for messages and
// batch scripts.
//
// rsync 3.5.0 exclude.c:get_rule_prefix with for_xfer unset.
func (r *rule) prefix() string {
	p, _ := r.spell(prefixStyle{sides: true, perishable: true, spelled: true}, r.pattern)
	return p
}

// prefixStyle is what the reader of a rule understands.
type prefixStyle struct {
	sides      bool // "s" and "r"
	receiver   bool // "r" at least, although it will be refused
	perishable bool // "p"
	dropPerish bool // … and where it does not, leaving it out is right
	spelled    bool // any prefix at all, not just "+ " and "- "
}

// spell returns the prefix with its separating space, and false when the
// reader does not understand the rule.
func (r *rule) spell(style prefixStyle, pattern string) (string, bool) {
	var b strings.Builder
	bare := false
	switch {
	case r.has(perDir):
		if !style.spelled {
			return "", false
		}
		b.WriteByte(':')
	case r.has(include):
		b.WriteByte('+')
	case style.spelled || strings.HasPrefix(pattern, "- ") || strings.HasPrefix(pattern, "+ "):
		b.WriteByte('-')
	default:
		bare = true
	}
	add := func(when bool, c byte) {
		if when {
			b.WriteByte(c)
		}
	}
	add(r.has(absPath), '/')
	add(r.has(negate), '!')
	if r.has(cvsIgnore) {
		b.WriteByte('C')
	} else {
		add(r.has(noInherit), 'n')
		add(r.has(wordSplit), 'w')
		if r.has(noPrefixes) {
			add(r.has(include), '+')
			add(!r.has(include), '-')
		}
	}
	add(r.has(excludeSelf), 'e')
	add(r.has(xattrName), 'x')
	add(r.has(senderSide) && style.sides, 's')
	add(r.has(receiverSide) && (style.sides || style.receiver), 'r')
	if r.has(perishable) {
		if !style.perishable && !style.dropPerish {
			return "", false
		}
		add(style.perishable, 'p')
	}
	switch {
	case bare:
		return "", b.Len() == 0
	case !style.spelled && b.Len() > 1:
		return "", false
	}
	return b.String() + " ", true
}
