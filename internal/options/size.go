package options

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/prsync/prsync/internal/report"
)

// SizeLimits bound a size and say how it is read.
type SizeLimits struct {
	Unit          byte  // the suffix that a bare number has: 'b', 'K', …
	Min           int64 // smallest value
	Max           int64 // largest value; negative: no limit
	ZeroUnlimited bool  // 0 is allowed below Min
	// Numbers are the locale's: how a fraction is read and limits are shown. One
	// behind a "." that is not its point is skipped, as C's strtod stops there.
	Numbers report.Numbers
}

// ParseSize reads a size as rsync(1) describes it under --max-size: a number
// with an optional fraction, a suffix (B, K, M, G, T, P; KiB the same as K, KB
// for powers of 1000) and an optional +1 or -1. The error text names the option
// without its dashes. (rsync 3.5.0 options.c:parse_size_arg)
func ParseSize(arg, option string, lim SizeLimits) (int64, error) {
	fail := func(why string) (int64, error) {
		return 0, fmt.Errorf("--%s=%s is %s", option, arg, why)
	}
	tooLarge := func() (int64, error) {
		if lim.Max < 0 {
			return fail("too large")
		}
		return fail("too large (max: " + lim.Numbers.Number(lim.Max, 3) + ")")
	}
	number, rest := splitNumber(arg, lim.Numbers.Point())
	unit := lim.Unit
	if rest != "" && rest[0] != '+' && rest[0] != '-' {
		unit, rest = rest[0], rest[1:]
	}
	power := strings.IndexByte("BKMGTP", unit&^0x20)
	if power < 0 {
		return fail("invalid")
	}
	base := int64(1024)
	switch {
	case rest == "" || rest[0] == '+' || rest[0] == '-':
	case rest[0] == 'b' || rest[0] == 'B':
		base, rest = 1000, rest[1:]
	case len(rest) >= 2 && strings.EqualFold(rest[:2], "ib"):
		rest = rest[2:]
	default:
		return fail("invalid")
	}
	top := int64(math.MaxInt64)
	if lim.Max >= 0 {
		top = lim.Max
	}
	scale := int64(1)
	for range power {
		if scale > top/base {
			return tooLarge()
		}
		scale *= base
	}
	if number == "" && strings.HasPrefix(rest, "-") {
		if n, _ := splitNumber(rest[1:], lim.Numbers.Point()); strings.Trim(n, "0.") != "" {
			return tooLarge() // rsync's word for a negative number
		}
	}
	f := 0.0
	if number != "" && number != "." {
		v, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return tooLarge()
		}
		f = v
	}
	// float64(MaxInt64) is 2^63, which is one too many.
	if quota := float64(top) / float64(scale); f > quota || lim.Max < 0 && f >= quota {
		return tooLarge()
	}
	size := int64(f * float64(scale))
	if len(rest) >= 2 && rest[1] == '1' && rest != arg {
		switch rest[0] {
		case '+':
			if size == top {
				return tooLarge()
			}
			size, rest = size+1, rest[2:]
		case '-':
			size, rest = size-1, rest[2:]
		}
	}
	switch {
	case rest != "":
		return fail("invalid")
	case size < 0 || lim.Max >= 0 && size > lim.Max:
		return tooLarge()
	case size < lim.Min && (size != 0 || !lim.ZeroUnlimited):
		why := "too small (min: " + lim.Numbers.Number(lim.Min, 3)
		if lim.ZeroUnlimited {
			why += " or 0 for unlimited"
		}
		return fail(why + ")")
	}
	return size, nil
}

// splitNumber cuts off the digits, point and fraction at the start. The number
// has a point as Go reads it.
func splitNumber(s, point string) (number, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	if i == len(s) || s[i] != '.' && s[i:i+1] != point {
		return s[:i], s[i:]
	}
	whole, end := i, i+1
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	if s[i:i+1] != point {
		return s[:whole], s[end:]
	}
	return s[:whole] + "." + s[whole+1:end], s[end:]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
