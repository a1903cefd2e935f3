package fsroot

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(b)
	return b
}

func TestCopyRange(t *testing.T) {
	data := randomBytes(3<<20 + 17)
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/src", data, 0600))
	src := must1(os.Open(dir + "/src"))
	defer src.Close()
	size := int64(len(data))
	for _, tt := range []struct {
		srcOff, dstOff, n int64
		want              int64
		err               error
	}{
		{0, 0, size, size, nil}, {0, 0, 0, 0, nil}, {5, 9, 100, 100, nil}, {4096, 8192, 1 << 20, 1 << 20, nil},
		{size - 3, 0, 3, 3, nil}, {size - 3, 1, 10, 3, io.ErrUnexpectedEOF}, {size, 0, 1, 0, io.ErrUnexpectedEOF},
		{size + 100, 0, 1, 0, io.ErrUnexpectedEOF},
	} {
		for what, copier := range map[string]func(dst *os.File) (int64, error){
			"CopyRange": func(dst *os.File) (int64, error) {
				n, _, err := CopyRange(dst, src, tt.srcOff, tt.dstOff, tt.n)
				return n, err
			},
			"copyByRead": func(dst *os.File) (int64, error) { return copyByRead(dst, src, tt.srcOff, tt.dstOff, tt.n) },
		} {
			if tt.n == 0 && what == "copyByRead" {
				continue // CopyRange asks it for something only
			}
			dst := must1(os.Create(dir + "/dst"))
			n, err := copier(dst)
			if n != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%s(%d, %d, %d) = %d, %v; want %d, %v", what, tt.srcOff, tt.dstOff, tt.n, n, err, tt.want, tt.err)
			}
			got := make([]byte, n)
			if _, err := dst.ReadAt(got, tt.dstOff); n > 0 && err != nil {
				t.Error(err)
			}
			if !bytes.Equal(got, data[min(tt.srcOff, size):min(tt.srcOff, size)+n]) {
				t.Errorf("%s(%d, %d, %d) wrote other bytes", what, tt.srcOff, tt.dstOff, tt.n)
			}
			if off, _ := dst.Seek(0, io.SeekCurrent); off != 0 {
				t.Errorf("%s moved the offset to %d", what, off)
			}
			dst.Close()
		}
	}
	// From where the kernel cannot copy: the content of /proc has no length.
	proc := must1(os.Open("/proc/version"))
	defer proc.Close()
	want, err := os.ReadFile("/proc/version")
	must(t, err)
	dst := must1(os.Create(dir + "/dst"))
	defer dst.Close()
	n, how, err := CopyRange(dst, proc, 0, 0, int64(len(want)))
	if n != int64(len(want)) || err != nil {
		t.Errorf("from /proc: %d bytes by %s, %v", n, how, err)
	}
	t.Logf("here %s", must2(CopyRange(dst, src, 0, 0, size)))
}

func must2[A, B any](_ A, v B, err error) B {
	if err != nil {
		panic(err)
	}
	return v
}

func TestPunchHole(t *testing.T) {
	dir := t.TempDir()
	data := bytes.Repeat([]byte("x"), 1<<20)
	must(t, os.WriteFile(dir+"/f", data, 0600))
	f := must1(os.OpenFile(dir+"/f", os.O_RDWR, 0))
	defer f.Close()
	before := must1(Fstat(f)).Blocks
	must(t, PunchHole(f, 4096, 512<<10))
	must(t, PunchHole(f, 600001, 7))
	must(t, PunchHole(f, 0, 0))
	clear(data[4096 : 4096+512<<10])
	clear(data[600001:600008])
	if got := must1(os.ReadFile(dir + "/f")); !bytes.Equal(got, data) {
		t.Error("the content is not what it should be")
	}
	if after := must1(Fstat(f)).Blocks; after > before-900 {
		t.Errorf("%d blocks before, %d after", before, after)
	}
	// Where the file system has no holes.
	must(t, writeZeros(f, 700_000, 300_000))
	clear(data[700_000:1_000_000])
	if got := must1(os.ReadFile(dir + "/f")); !bytes.Equal(got, data) {
		t.Error("writeZeros left something else")
	}
}

func TestFallocate(t *testing.T) {
	f := must1(os.Create(t.TempDir() + "/f"))
	defer f.Close()
	must(t, Fallocate(f, 0, 1<<20, true))
	if st := must1(Fstat(f)); st.Size != 0 || st.Blocks < 2048 {
		t.Errorf("kept size: %d bytes, %d blocks", st.Size, st.Blocks)
	}
	must(t, Fallocate(f, 0, 2<<20, false))
	if st := must1(Fstat(f)); st.Size != 2<<20 {
		t.Errorf("size %d", st.Size)
	}
	must(t, Fallocate(f, 0, 0, false))
	must(t, Sync(f))
}

func TestSyncDir(t *testing.T) {
	r := open(t, t.TempDir(), Policy{})
	must(t, r.Mkdir("d", 0700))
	must(t, r.SyncDir("d"))
	must(t, r.SyncDir(""))
}
