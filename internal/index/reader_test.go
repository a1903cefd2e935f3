package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/prsync/prsync/internal/content"
)

var update = flag.Bool("update", false, "record testdata anew")

const recordedFiles = 150

// recorded returns a generation that was made when the format was fixed.
func recorded(t testing.TB) []byte {
	name := filepath.Join("testdata", "generation-v1")
	if *update {
		dir, st := t.TempDir(), filepath.Join(t.TempDir(), "m")
		for i := range recordedFiles {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), noise(i%100, 100+i%100), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		x, err := Open(st, Config{Root: dir})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Scan(context.Background(), true); err != nil {
			t.Fatal(err)
		}
		x.Close()
		b, err := os.ReadFile(filepath.Join(st, generationName(1)))
		if err != nil {
			t.Fatal(err)
		}
		os.Mkdir("testdata", 0o755)
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRecordedGeneration keeps the format readable: a change to it needs a new
// version number.
func TestRecordedGeneration(t *testing.T) {
	t.Parallel()
	r, err := newReader(recorded(t), true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range recordedFiles {
		id := content.ID(sha256.Sum256(noise(i%100, 100+i%100)))
		e, err := r.Lookup(fmt.Sprint("file", i))
		if err != nil || e.ID != id || e.Size != int64(100+i%100) {
			t.Errorf("file%d: %+v, %v", i, e, err)
		}
		if n, err := r.Names(id, 0); err != nil || len(n) != 1+(149-i%100)/100 {
			t.Errorf("file%d: %d names, %v", i, len(n), err)
		}
		if c, err := r.Content(id); err != nil || !c.InPack || c.Length != e.Size {
			t.Errorf("file%d: %+v, %v", i, c, err)
		}
	}
	if p, err := r.Packs(); err != nil || len(p) != 1 || p[0].Live != 100 {
		t.Errorf("%+v, %v", p, err)
	}
}

// FuzzReader reads generations with damage anywhere, without looking at their
// checksums: no answer may be a panic or an endless loop. A patch is a run of
// 2 bytes position and 1 byte to xor.
func FuzzReader(f *testing.F) {
	good := recorded(f)
	f.Add([]byte{})
	f.Add([]byte{24, 0, 0x80, 8, 0, 1})
	for at := 8; at < 200; at += 8 {
		f.Add([]byte{byte(at), 0, 1})
		f.Add([]byte{byte(at + 7), 0, 0x80})
	}
	for at := headerSize; at < len(good); at += 97 {
		f.Add([]byte{byte(at), byte(at >> 8), 0xff})
	}
	f.Fuzz(func(t *testing.T, patch []byte) {
		in := bytes.Clone(good)
		for ; len(patch) >= 3; patch = patch[3:] {
			in[int(binary.LittleEndian.Uint16(patch))%len(in)] ^= patch[2]
		}
		r, err := newReader(in, false)
		if err != nil {
			return
		}
		defer r.Close()
		n := 0
		for e, err := range r.Entries("") {
			if n++; err != nil || n > recordedFiles {
				break
			}
			r.Lookup(e.Path)
			r.Names(e.ID, 10)
			r.Content(e.ID)
			r.Locate([]content.ID{e.ID})
			r.SignatureBytes(e.ID)
			r.Small(e.Path)
		}
		if n > recordedFiles+1 {
			t.Errorf("%d entries", n)
		}
		r.Packs()
		for range r.IDs() {
		}
		r.Finder().Lookup("file7")
	})
}
