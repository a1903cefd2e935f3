package filter

import (
	"fmt"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
)

// mode says how rule text is read, beyond what the rule that named its file says.
type mode uint8

const (
	fatal       mode = 1 << iota // a file that cannot be read ends the run
	oldPrefixes                  // only "- ", "+ " and "!" are prefixes
	anchorToDir                  // a leading slash means the file's directory
	absIfSlash                   // … and so does any other slash mean the root
	dirToWild3                   // an excluded "dir/" covers what is below it
)

// kinds are the rule prefixes by their long and short names.
var kinds = []struct {
	long  string
	short byte
	flags flags
	sided bool // names a side, so that no modifier may
}{
	{"clear", '!', clearList, false},
	{"dir-merge", ':', mergeFile | perDir, false},
	{"exclude", '-', 0, false},
	{"hide", 'H', senderSide, true},
	{"include", '+', include, false},
	{"merge", '.', mergeFile, false},
	{"protect", 'P', receiverSide, true},
	{"risk", 'R', receiverSide | include, true},
	{"show", 'S', senderSide | include, true},
}

// token takes the next rule off text and returns it with its pattern (not
// yet stored in the rule) and what follows; a nil rule at the end.
//
// rsync 3.5.0 exclude.c:parse_rule_tok.
func (p *parser) token(text string, container *rule, m mode) (r *rule, pattern, rest string, err error) {
	words := container.has(wordSplit)
	if words {
		text = strings.TrimLeft(text, spaces)
	}
	if text == "" {
		return nil, "", "", nil
	}
	r = &rule{flags: container.flags & fromContainer}
	if p.src.inFile {
		r.flags |= fromFile
	}

	body := text
	tentative := false // "!" clears only when nothing follows it
	switch {
	case container.has(noPrefixes):
		tentative = text[0] == '!' && container.has(cvsIgnore)
	case m&oldPrefixes != 0:
		if b, ok := strings.CutPrefix(text, "- "); ok {
			r.flags &^= include
			body = b
		} else if b, ok := strings.CutPrefix(text, "+ "); ok {
			r.flags |= include
			body = b
		} else {
			tentative = text[0] == '!'
		}
	default:
		if body, err = p.prefix(r, text, words); err != nil {
			return nil, "", "", err
		}
	}

	if container.has(sides) {
		if r.has(sides) {
			// One side of a one-sided dir-merge cannot be given up again.
			return nil, "", "", p.syntax("specified-side merge file contains specified-side filter", text)
		}
		r.flags |= container.flags & sides
	}

	pattern = body
	if words {
		if i := strings.IndexAny(body, spaces); i >= 0 {
			pattern = body[:i]
		}
	}
	rest = body[len(pattern):]
	switch {
	case tentative && len(pattern) == 1:
		r.flags |= clearList
	case r.has(clearList) && pattern != "":
		return nil, "", "", p.syntax("'!' rule has trailing characters", text)
	case pattern == "" && !r.has(clearList|cvsIgnore):
		return nil, "", "", p.syntax("unexpected end of filter rule", text)
	}
	if p.list.cfg.DeleteExcluded && !r.has(sides|mergeFile) {
		// --delete-excluded turns an unmodified rule into a sender's rule.
		r.flags |= senderSide
	}
	return r, pattern, rest, nil
}

// prefix reads the rule's name and modifiers into r and returns what follows
// the separator.
func (p *parser) prefix(r *rule, text string, words bool) (string, error) {
	at, sided := -1, false // at is the last byte of the name
	for _, k := range kinds {
		if after, ok := strings.CutPrefix(text, k.long); ok {
			switch {
			case after == "" || after[0] == '_' || strings.IndexByte(spaces, after[0]) >= 0:
				at = len(k.long) - 1
			case after[0] == ',':
				at = len(k.long)
			default:
				continue
			}
		} else if text[0] == k.short {
			if at = 0; len(text) > 1 && text[1] == ',' {
				at = 1
			}
		} else {
			continue
		}
		r.flags |= k.flags
		sided = k.sided
		break
	}
	if at < 0 {
		return "", p.syntax("Unknown filter rule", text)
	}
	if r.has(perDir) {
		p.list.sawPerDir.Store(true)
	}
	at++
	if r.has(clearList) {
		return text[at:], nil
	}
	for ; at < len(text) && text[at] != ' ' && text[at] != '_'; at++ {
		if words && strings.IndexByte(spaces, text[at]) >= 0 {
			return text[at:], nil
		}
		if !p.modifier(r, text[at], sided) {
			about := fmt.Sprintf(" '%c' at position %d", text[at], at)
			return "", exitcode.New(exitcode.Syntax, "invalid modifier%s in filter rule: %s",
				p.src.detail(nil, about), p.src.show(nil, text))
		}
	}
	return text[min(at+1, len(text)):], nil
}

// modifier applies one modifier and reports whether the rule may have it.
func (p *parser) modifier(r *rule, c byte, sided bool) bool {
	merge := r.has(mergeFile)
	switch c {
	case '-', '+':
		if !merge || r.has(noPrefixes) {
			return false
		}
		r.flags |= noPrefixes
		if c == '+' {
			r.flags |= include
		}
	case '/':
		r.flags |= absPath
	case '!':
		r.flags |= negate
		return !merge // negation goes with a pattern
	case 'C':
		if r.has(noPrefixes) || sided {
			return false
		}
		r.flags |= noPrefixes | wordSplit | noInherit | cvsIgnore
	case 'e':
		r.flags |= excludeSelf
		return merge
	case 'n':
		r.flags |= noInherit
		return merge
	case 'p':
		r.flags |= perishable
	case 'r':
		r.flags |= receiverSide
		return !sided
	case 's':
		r.flags |= senderSide
		return !sided
	case 'w':
		r.flags |= wordSplit
		return merge
	case 'x':
		r.flags |= xattrName
		p.list.sawXattr.Store(true)
	default:
		return false
	}
	return true
}

// spaces are the bytes that C's isspace accepts.
const spaces = " \t\n\v\f\r"

func (p *parser) syntax(what, text string) error {
	return exitcode.New(exitcode.Syntax, "%s: %s", what, p.src.show(nil, text))
}
