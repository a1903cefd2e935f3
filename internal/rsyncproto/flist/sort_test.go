package flist

import (
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSortDir: the order of a directory's entries is Compare's, whatever their
// names have in common.
func TestSortDir(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, prefix := range []string{"", "f", "file-number-", "\xff\xfe long and not ASCII \xff"} {
		for range 200 {
			var files []*File
			for i := range rnd.IntN(40) {
				f := &File{Dir: "d", Seq: int32(i), Mode: unix.S_IFREG}
				if rnd.IntN(4) == 0 {
					f.Mode = unix.S_IFDIR
				}
				name := []byte(prefix)
				for range rnd.IntN(12) {
					name = append(name, "ab/.\x01\xff"[rnd.IntN(6)])
				}
				for j, c := range name {
					if c == '/' {
						name[j] = '0'
					}
				}
				if f.Base = string(name); f.Base == "" || f.Base == "." {
					f.Base = prefix + "b"
				}
				switch rnd.IntN(20) {
				case 0:
					f.Base, f.Mode = ".", unix.S_IFDIR
				case 1:
					f.Clear()
					f.Dir = "d"
				}
				files = append(files, f)
			}
			want := slices.Clone(files)
			slices.SortFunc(want, func(a, b *File) int { return compareSeq(a, b, 32) })
			Sort(files, 32)
			if !slices.Equal(files, want) {
				for i := range files {
					t.Logf("%q %o, want %q %o", files[i].Base, files[i].Mode, want[i].Base, want[i].Mode)
				}
				t.Fatalf("another order behind %q", prefix)
			}
		}
	}
}
