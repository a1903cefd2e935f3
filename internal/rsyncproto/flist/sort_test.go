package flist

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// The key that stands for most comparisons orders as Compare does.
func TestSortAsCompare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dirs := rapid.SliceOfN(rapid.SampledFrom([]string{"", "d", "d/e"}), 1, 2).Draw(t, "dirs")
		protocol := rapid.SampledFrom([]int{28, 31}).Draw(t, "protocol")
		n := rapid.IntRange(0, 60).Draw(t, "files")
		var got []*File
		for i := range n {
			f := &File{
				Dir:  rapid.SampledFrom(dirs).Draw(t, "dir"),
				Base: rapid.StringMatching(`\.|(same)?[.+0a-c\x01\xfe]{0,9}`).Draw(t, "name"),
				Mode: unix.S_IFREG, Seq: int32(i),
			}
			if f.Base == "." || rapid.Bool().Draw(t, "is a directory") {
				f.Mode = unix.S_IFDIR
			}
			got = append(got, f)
		}
		want := slices.Clone(got)
		slices.SortStableFunc(want, func(a, b *File) int { return Compare(a, b, protocol) })
		Sort(got, protocol)
		if !slices.Equal(got, want) {
			for i := range got {
				t.Logf("%q %o, want %q %o", got[i].Base, got[i].Mode, want[i].Base, want[i].Mode)
			}
			t.Fatal("another order")
		}
	})
}
