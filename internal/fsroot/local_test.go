package fsroot

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What is said of an entry does not depend on how the calls are made.
func TestLocalLooksTheSame(t *testing.T) {
	tmp := t.TempDir()
	long := strings.Repeat("n", 255)
	for _, name := range []string{"file", long} {
		if err := os.WriteFile(filepath.Join(tmp, name), []byte("0123456789"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("file", filepath.Join(tmp, "link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(tmp, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(tmp, Policy{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, local := range []bool{false, true} {
		r.top.local = local
		for _, name := range []string{"", ".", "file", long, "link", "fifo"} {
			want, err := lstatAt(r.top.fd, strings.TrimPrefix(name, "."))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := r.Lstat(name); err != nil || got != want {
				t.Errorf("local %v: Lstat(%.10q) = %+v, %v; want %+v", local, name, got, err, want)
			}
		}
		for name, want := range map[string]syscall.Errno{
			"missing": syscall.ENOENT, long + "n": syscall.ENAMETOOLONG, "file/x": syscall.ENOTDIR, "a\x00b": syscall.EINVAL,
		} {
			if _, err := r.Lstat(name); !isErrno(err, want) {
				t.Errorf("local %v: Lstat(%.10q): %v, want %v", local, name, err, want)
			}
			if _, err := r.OpenReader(name); !isErrno(err, want) {
				t.Errorf("local %v: OpenReader(%.10q): %v, want %v", local, name, err, want)
			}
		}
		if _, err := r.OpenReader("link"); !isErrno(err, syscall.ELOOP) {
			t.Errorf("local %v: OpenReader of a link: %v", local, err)
		}
		f, err := r.OpenReader("fifo") // does not wait for a writer
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if f, err = r.OpenReader("file"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 20)
		if n, err := f.ReadAt(buf[:4], 3); n != 4 || err != nil || !bytes.Equal(buf[:4], []byte("3456")) {
			t.Errorf("local %v: ReadAt: %d %v %q", local, n, err, buf[:4])
		}
		if n, err := f.ReadAt(buf, 4); n != 6 || err != io.EOF {
			t.Errorf("local %v: ReadAt past the end: %d %v", local, n, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
