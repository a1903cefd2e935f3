// Package wildmatch matches names against rsync's wildcard patterns.
//
// The language, as rsync(1) gives it under PATTERN MATCHING RULES and rsync
// 3.5.0 lib/wildmatch.c fixes it:
//
//	?      one byte, not a slash
//	*      any run of bytes without a slash
//	**     any run of bytes (so does every longer run of stars)
//	[…]    one byte of the set, never a slash: ranges, [:class:] names,
//	       ! or ^ first inverts, ] first is an ordinary member
//	\x     x itself, also inside a set
//
// A pattern that ends inside a set, or names an unknown class, matches
// nothing. Bytes are compared as they are: only ASCII has letter case and
// classes.
//
// Matching takes time bounded by the product of the two lengths (times the
// length of a set), whatever the pattern: the usual backtracking runs on a
// budget, and a pattern that exhausts it is decided by a table instead.
package wildmatch

import "strings"

// Match reports whether pattern matches all of text.
func Match(pattern, text string) bool { return match(pattern, text, false, false) }

// MatchFold is Match without regard to ASCII letter case in either string.
func MatchFold(pattern, text string) bool { return match(pattern, text, true, false) }

// MatchAfterSlash reports whether pattern matches all of text, or all that
// follows any one slash in it. An unanchored pattern with a "**" in its
// middle is matched so.
func MatchAfterSlash(pattern, text string) bool { return match(pattern, text, false, true) }

// Tail returns the last n slash-separated elements of text, and false when
// it has fewer. An unanchored pattern with n-1 slashes is matched against it.
//
// rsync 3.5.0 lib/wildmatch.c:trailing_N_elements.
func Tail(text string, n int) (string, bool) {
	for i := len(text); i > 0; i-- {
		if text[i-1] == '/' {
			if n--; n == 0 {
				return text[i:], true
			}
		}
	}
	return text, n == 1
}

// budget is the number of backtracking steps after which the table takes
// over. Ordinary names and patterns need a few hundred.
const budget = 4096

type outcome int8

const (
	no     outcome = iota
	yes            // matched
	never          // no match here, nor on any suffix of this text
	gaveUp         // the budget is spent
)

func match(pattern, text string, fold, afterSlash bool) bool {
	steps := budget
	for start := 0; ; {
		switch backtrack(pattern, text[start:], fold, &steps) {
		case yes:
			return true
		case never:
			return false
		case gaveUp:
			return table(pattern, text, fold, afterSlash)
		}
		if !afterSlash {
			return false
		}
		i := strings.IndexByte(text[start:], '/')
		if i < 0 {
			return false
		}
		start += i + 1
	}
}

// backtrack is the common case. Only the latest "**" and the latest "*" after
// it need be retried: whatever an earlier one could give up, a later one of
// its kind can take as well, since a lone "*" never crosses a slash and the
// text between two of them then cannot contain one that moves.
func backtrack(pattern, text string, fold bool, steps *int) outcome {
	type retry struct{ p, t int } // pattern after the star, text it resumes at
	var star, deep retry
	star.p, deep.p = -1, -1
	for p, t := 0, 0; ; {
		if *steps--; *steps < 0 {
			return gaveUp
		}
		if p < len(pattern) && pattern[p] == '*' {
			stars := p
			for p < len(pattern) && pattern[p] == '*' {
				p++
			}
			if p-stars > 1 {
				if p == len(pattern) {
					return yes
				}
				deep, star.p = retry{p, t}, -1
			} else {
				star = retry{p, t}
			}
			continue
		}
		if p == len(pattern) {
			if t == len(text) {
				return yes
			}
		} else {
			if t == len(text) {
				return never // every token left needs a byte
			}
			ok, next := one(pattern, p, text[t], fold)
			if next < 0 {
				return never
			}
			if ok {
				p, t = next, t+1
				continue
			}
		}
		switch {
		case star.p >= 0 && text[star.t] != '/':
			star.t++
			p, t = star.p, star.t
		case deep.p >= 0:
			deep.t++
			p, t, star.p = deep.p, deep.t, -1
		default:
			return no
		}
	}
}

// table decides the same question in bounded time: after each token, at
// marks where in the text the pattern so far can end.
func table(pattern, text string, fold, afterSlash bool) bool {
	at := make([]bool, len(text)+1)
	at[0] = true
	if afterSlash {
		for i := range len(text) {
			at[i+1] = text[i] == '/'
		}
	}
	for p := 0; p < len(pattern); {
		if pattern[p] == '*' {
			stars := p
			for p < len(pattern) && pattern[p] == '*' {
				p++
			}
			deep := p-stars > 1
			for i := range len(text) {
				if at[i] && (deep || text[i] != '/') {
					at[i+1] = true
				}
			}
			continue
		}
		next := len(pattern)
		any := false
		for i := len(text); i > 0; i-- {
			at[i] = at[i-1]
			if at[i] {
				at[i], next = one(pattern, p, text[i-1], fold)
				if next < 0 {
					return false
				}
				any = any || at[i]
			}
		}
		at[0] = false
		if !any {
			return false
		}
		p = next
	}
	return at[len(text)]
}

// one matches a byte against the token at pattern[p], which is not a star,
// and returns where the next token begins; negative when the token is
// malformed, so that the pattern matches nothing.
func one(pattern string, p int, c byte, fold bool) (bool, int) {
	if fold {
		c = lower(c)
	}
	switch pattern[p] {
	case '?':
		return c != '/', p + 1
	case '[':
		return set(pattern, p+1, c, fold)
	case '\\':
		if p++; p == len(pattern) {
			return false, -1
		}
	}
	k := pattern[p]
	if fold {
		k = lower(k)
	}
	return c == k, p + 1
}

// set matches a byte against the set whose "[" ends before pattern[p].
func set(pattern string, p int, c byte, fold bool) (bool, int) {
	literal := func() (byte, bool) { // a member, perhaps escaped; p on its last byte
		if pattern[p] == '\\' {
			if p++; p == len(pattern) {
				return 0, false
			}
		}
		if fold {
			return lower(pattern[p]), true
		}
		return pattern[p], true
	}
	invert := p < len(pattern) && (pattern[p] == '!' || pattern[p] == '^')
	if invert {
		p++
	}
	found := false
	low := byte(0) // the member before this one, if it can open a range
	for first := true; ; first, p = false, p+1 {
		if p >= len(pattern) {
			return false, -1
		}
		switch b := pattern[p]; {
		case b == ']' && !first:
			return found != invert && c != '/', p + 1
		case b == '-' && low != 0 && p+1 < len(pattern) && pattern[p+1] != ']':
			p++
			high, ok := literal()
			if !ok {
				return false, -1
			}
			found = found || low <= c && c <= high
			low = 0
		case b == '[' && p+1 < len(pattern) && pattern[p+1] == ':':
			end := strings.IndexByte(pattern[p+2:], ']')
			if end < 0 {
				return false, -1
			}
			name, ok := strings.CutSuffix(pattern[p+2:p+2+end], ":")
			if !ok { // no ":]": the bracket is a member like any other
				found = found || c == '['
				low = '['
				continue
			}
			in, ok := classes[name]
			if !ok {
				return false, -1
			}
			found = found || in(c)
			p += 2 + end
			low = 0
		default:
			m, ok := literal()
			if !ok {
				return false, -1
			}
			found = found || c == m
			low = m
		}
	}
}

var classes = map[string]func(byte) bool{
	"alnum":  func(c byte) bool { return isAlpha(c) || isDigit(c) },
	"alpha":  isAlpha,
	"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
	"cntrl":  func(c byte) bool { return c < 0x20 || c == 0x7f },
	"digit":  isDigit,
	"graph":  isGraph,
	"lower":  func(c byte) bool { return 'a' <= c && c <= 'z' },
	"print":  func(c byte) bool { return c == ' ' || isGraph(c) },
	"punct":  func(c byte) bool { return isGraph(c) && !isAlpha(c) && !isDigit(c) },
	"space":  func(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' },
	"upper":  func(c byte) bool { return 'A' <= c && c <= 'Z' },
	"xdigit": func(c byte) bool { return isDigit(c) || 'a' <= lower(c) && lower(c) <= 'f' },
}

func isAlpha(c byte) bool { return 'a' <= lower(c) && lower(c) <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isGraph(c byte) bool { return 0x20 < c && c < 0x7f }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
