package options

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// The texts of popt's errors, as rsync prints them behind the word at fault.
var (
	errNoArg    = errors.New("missing argument")
	errUnwanted = errors.New("option does not take an argument")
	errUnknown  = errors.New("unknown option")
	errNumber   = errors.New("invalid numeric value")
	errOverflow = errors.New("number too large or too small")
	errTooMany  = errors.New("aliases expand to too many words")
)

const (
	maxAliasDepth = 10      // of aliases within aliases
	maxWords      = 1 << 18 // that aliases may expand to
)

// words splits a command line into options and operands as popt 1.19 does
// (poptGetNextOpt): options and operands mix, a letter's argument is the rest
// of its word with or without a "=", or the next word, even if that starts with
// a dash.
type words struct {
	table    *table
	aliases  []alias // the last one of a name counts
	posix    bool    // the first operand ends the options
	stack    []frame // stack[0] is the command line, the others aliases
	operands []string
	done     bool   // "--" or, with posix, an operand was seen
	exec     *alias // an exec line that is to be run instead
	count    int    // words that came from aliases
}

// frame is a list of words that is being read.
type frame struct {
	argv    []string
	next    int
	letters string       // rest of a word of letters
	alias   *alias       // the alias that the words come from
	taken   map[int]bool // words that were filled into an argument
	scanned int          // no word before this one can be filled in any more
}

func (f *frame) atEnd() bool { return f.letters == "" && f.next >= len(f.argv) }

func newWords(t *table, argv []string, aliases []alias, posix bool) *words {
	return &words{table: t, aliases: aliases, posix: posix, stack: []frame{{argv: argv}}}
}

func (w *words) top() *frame { return &w.stack[len(w.stack)-1] }

// popEnded leaves the aliases that have been read to their end.
func (w *words) popEnded() {
	for len(w.stack) > 1 && w.top().atEnd() {
		w.stack = w.stack[:len(w.stack)-1]
	}
}

// culprit is the word of the command line that an error is about.
func (w *words) culprit() string {
	f := &w.stack[0]
	if f.next == 0 || f.next > len(f.argv) {
		return ""
	}
	return f.argv[f.next-1]
}

// next returns the next option, its argument and, for a numeric one, its value.
// After the last option it returns a nil row.
func (w *words) next() (*row, string, int, error) {
	for {
		w.popEnded()
		f := w.top()
		if f.atEnd() {
			return nil, "", 0, nil
		}
		var r *row
		var inline string // argument behind a "="
		hasInline := false
		if f.letters == "" {
			word := f.argv[f.next]
			f.next++
			switch {
			case f.taken[f.next-1]:
				continue
			case w.done || word == "-" || !strings.HasPrefix(word, "-"):
				w.done = w.done || w.posix
				w.operands = append(w.operands, word)
				continue
			case word == "--":
				w.done = true
				continue
			}
			name, arg, eq := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
			if expanded, err := w.expandLong(name, arg); err != nil {
				return nil, "", 0, err
			} else if expanded {
				continue
			}
			if !strings.HasPrefix(word, "--") {
				f.letters = word[1:]
			} else {
				r, inline, hasInline = w.table.long[name], arg, eq
				if r == nil {
					return nil, "", 0, errUnknown
				}
			}
		}
		if r == nil {
			letter := f.letters[0]
			f.letters = f.letters[1:]
			if expanded, err := w.expandLetter(letter); err != nil {
				return nil, "", 0, err
			} else if expanded {
				continue
			}
			if r = w.table.short[letter]; r == nil {
				return nil, "", 0, errUnknown
			}
		}
		if !r.takesArg() {
			if hasInline || strings.HasPrefix(f.letters, "=") {
				return nil, "", 0, errUnwanted
			}
			return r, "", 0, nil
		}
		if !hasInline && f.letters != "" {
			inline, hasInline = strings.TrimPrefix(f.letters, "="), true
			f.letters = ""
		}
		if !hasInline {
			w.popEnded()
			if f = w.top(); f.next >= len(f.argv) {
				return nil, "", 0, errNoArg
			}
			inline = f.argv[f.next]
			f.next++
		}
		inline = w.fillIn(inline)
		if !r.opt.numeric {
			return r, inline, 0, nil
		}
		n, err := parseInt(inline)
		return r, inline, n, err
	}
}

// expandLong goes on with the words of an alias, if there is one of that name,
// or notes an exec line. An argument given with "=" follows the alias's words.
func (w *words) expandLong(name, arg string) (bool, error) {
	if cur := w.top().alias; cur != nil && cur.long == name && name != "" {
		return false, nil
	}
	return w.expand(func(a *alias) bool { return a.long != "" && a.long == name }, arg)
}

func (w *words) expandLetter(letter byte) (bool, error) {
	if cur := w.top().alias; cur != nil && cur.short == letter {
		return false, nil
	}
	return w.expand(func(a *alias) bool { return a.short == letter }, "")
}

func (w *words) expand(match func(*alias) bool, arg string) (bool, error) {
	for _, exec := range []bool{false, true} {
		for i := len(w.aliases) - 1; i >= 0; i-- {
			a := &w.aliases[i]
			if a.exec != exec || !match(a) {
				continue
			}
			if exec {
				if w.exec == nil {
					w.exec = a
				}
				return true, nil
			}
			if len(w.stack) >= maxAliasDepth {
				return true, nil // popt drops the option
			}
			argv := a.argv
			if arg != "" {
				argv = append(argv[:len(argv):len(argv)], arg)
			}
			if w.count += len(argv); w.count > maxWords {
				return false, errTooMany
			}
			w.stack = append(w.stack, frame{argv: argv, alias: a})
			return true, nil
		}
	}
	return false, nil
}

// fillIn replaces popt's "!#:+" in an argument by the next operand, which is
// used up by that.
func (w *words) fillIn(arg string) string {
	const mark = "!#:+"
	if !strings.Contains(arg, mark) {
		return arg
	}
	for i := len(w.stack) - 1; i >= 0; i-- {
		f := &w.stack[i]
		for j := max(f.next, f.scanned); j < len(f.argv); j++ {
			f.scanned = j + 1
			if strings.HasPrefix(f.argv[j], "-") {
				continue
			}
			if f.taken == nil {
				f.taken = map[int]bool{}
			}
			f.taken[j] = true
			return strings.ReplaceAll(arg, mark, f.argv[j])
		}
	}
	return arg
}

// parseInt reads an integer as C's strtoll does in base 0, within 32 bits.
// Nothing at all is 0.
func parseInt(s string) (int, error) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	if s == "" {
		return 0, nil
	}
	sign, digits := "", s
	if s[0] == '-' || s[0] == '+' {
		sign, digits = s[:1], s[1:]
	}
	if strings.ContainsAny(digits, "_bBoO") && !strings.HasPrefix(strings.ToLower(digits), "0x") ||
		strings.Contains(digits, "_") || strings.HasPrefix(digits, "+") || strings.HasPrefix(digits, "-") {
		return 0, errNumber // what Go reads and C does not
	}
	n, err := strconv.ParseInt(sign+digits, 0, 64)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && (n > math.MaxInt32 || n < math.MinInt32):
		return 0, errOverflow
	case err != nil:
		return 0, errNumber
	}
	return int(n), nil
}
