package fsroot

import (
	"os"
	"path/filepath"
	"testing"
)

// TestXattrAnswersAreSmall: a file without attributes, as most are, costs no
// buffer for the answer.
func TestXattrAnswersAreSmall(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := Open(dir, Policy{})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	pin, err := root.Pin("f")
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Close()
	r := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			pin.Listxattr()
		}
	})
	if n := r.AllocedBytesPerOp(); n > 400 {
		t.Errorf("%d bytes are allocated", n)
	}
}
