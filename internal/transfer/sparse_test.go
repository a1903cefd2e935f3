package transfer

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/prsync/prsync/internal/fsroot"
)

// TestSparseFile writes runs of zeros over blocks that are there already: the
// contents are right, and the blocks are given back though each write is
// smaller than one.
func TestSparseFile(t *testing.T) {
	for _, c := range []struct {
		name  string
		skip  bool // the bytes are in place already
		piece int
	}{
		{"written in large pieces", false, 32 << 10},
		{"written in odd pieces", false, 700},
		{"in place", true, 32 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, 2))
			var want []byte
			for range 8 {
				noise := make([]byte, 4096+rnd.IntN(5000))
				for i := range noise {
					noise[i] = byte(rnd.Uint32())
				}
				want = append(append(want, noise...), make([]byte, 256<<10+rnd.IntN(9000))...)
			}
			f, err := os.Create(filepath.Join(t.TempDir(), "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			old := bytes.Repeat([]byte("x"), len(want))
			if c.skip {
				old = want
			}
			if _, err := f.Write(old); err != nil {
				t.Fatal(err)
			}
			before, err := fsroot.Fstat(f)
			if err != nil {
				t.Fatal(err)
			}
			s := &sparseFile{f: f, punch: true}
			for off := 0; off < len(want); off += c.piece {
				p := want[off:min(off+c.piece, len(want))]
				if c.skip {
					err = s.SkipAt(p, int64(off))
				} else {
					_, err = s.WriteAt(p, int64(off))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(f.Name())
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("the contents differ (%v)", err)
			}
			after, err := fsroot.Fstat(f)
			if err != nil {
				t.Fatal(err)
			}
			if after.Blocks*4 > before.Blocks {
				t.Errorf("%d blocks of %d are left", after.Blocks, before.Blocks)
			}
		})
	}
}
