package transfer

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"
)

// TestGathered: pieces of any size, in order or with gaps between them, end up
// where they belong, and nothing is written to the file that was before.
func TestGathered(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var g gathered
	for range 20 {
		f, err := os.Create(t.TempDir() + "/f")
		if err != nil {
			t.Fatal(err)
		}
		g.reset(f)
		want := make([]byte, 3<<20)
		for off := 0; ; {
			n := 1 + r.IntN([]int{10, 40 << 10, 400 << 10}[r.IntN(3)])
			if r.IntN(8) == 0 {
				off += r.IntN(5000)
			}
			if off+n > len(want) {
				break
			}
			p := want[off : off+n]
			for i := range p {
				p[i] = byte(r.Uint32())
			}
			q := bytes.Clone(p)
			if k, err := g.WriteAt(q, int64(off)); k != n || err != nil {
				t.Fatal(k, err)
			}
			clear(q) // the caller's buffer serves again
			off += n
		}
		if err := g.flush(); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(int64(len(want))); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(f.Name())
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("the file is another one (%v)", err)
		}
		f.Close()
	}
}

// TestGatheredFails: an error comes with a later piece or with the end, and
// leaves nothing for the next file.
func TestGatheredFails(t *testing.T) {
	f, err := os.Open(os.DevNull) // for reading
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var g gathered
	g.reset(f)
	if _, err := g.WriteAt([]byte("abc"), 0); err != nil {
		t.Fatal(err)
	}
	if g.flush() == nil {
		t.Error("what could not be written is no error")
	}
	if err := g.flush(); err != nil {
		t.Errorf("it is kept: %v", err)
	}
}
