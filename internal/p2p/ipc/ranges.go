package ipc

import (
	"slices"

	"github.com/prsync/prsync/internal/content"
)

// LongestRanges returns the n longest of rs in their order, or rs itself when
// there are no more.
func LongestRanges(rs []content.Range, n int) []content.Range {
	if len(rs) <= n {
		return rs
	}
	lengths := make([]int64, len(rs))
	for i, r := range rs {
		lengths[i] = r.End - r.Off
	}
	slices.Sort(lengths)
	least := lengths[len(lengths)-n]
	atLeast := 0 // how many of exactly that length may stay
	for _, l := range lengths[len(lengths)-n:] {
		if l == least {
			atLeast++
		}
	}
	out := make([]content.Range, 0, n)
	for _, r := range rs {
		switch l := r.End - r.Off; {
		case l > least:
			out = append(out, r)
		case l == least && atLeast > 0:
			out = append(out, r)
			atLeast--
		}
	}
	return out
}
