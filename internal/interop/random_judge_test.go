package interop

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// chanceCase is a case of chance of type C, with results of type R.
type chanceCase[C, R any] interface {
	fmt.Stringer
	// parts is how many parts can be left out, without the case without one.
	parts() int
	without(i int) C
	// differ runs the case with a pair of programs and with the oracle, and returns
	// how they differ, with both results.
	differ(t *testing.T, p pair) (diff []string, want, got R)
}

// judgeCase runs a case with each pair. One that differs is reported with what it
// takes for that; one in which rsync differs from itself is not.
func judgeCase[C chanceCase[C, R], R any](t *testing.T, c C, pairs map[string]pair, report func(name string, small C, diff []string, want, got R)) {
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		p := pairs[name]
		first, _, _ := c.differ(t, p)
		if first == nil || differsByChance[C, R](t, c, p) {
			continue
		}
		small := smaller[C, R](t, c, p)
		diff, want, got := small.differ(t, p)
		if diff == nil { // once, and not again
			t.Errorf("%s differed, and not each time: %s\n\t%s", name, small, strings.Join(first, "\n\t"))
			continue
		}
		report(name, small, diff, want, got)
	}
}

// differsByChance reports whether rsync differs from itself in a case.
func differsByChance[C chanceCase[C, R], R any](t *testing.T, c C, p pair) bool {
	for range 4 {
		if diff, _, _ := c.differ(t, p.oracle()); diff != nil {
			return true
		}
	}
	return false
}

// smaller leaves out parts while the case still differs.
func smaller[C chanceCase[C, R], R any](t *testing.T, c C, p pair) C {
	for i := 0; i < c.parts(); {
		less := c.without(i)
		if diff, _, _ := less.differ(t, p); diff != nil {
			c = less
		} else {
			i++
		}
	}
	return c
}
