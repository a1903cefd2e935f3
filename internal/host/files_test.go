package host

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/index"
)

func entryOf(t *testing.T, root, path string) *index.Entry {
	t.Helper()
	fi, err := os.Lstat(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	st, _ := index.StatOf(fi)
	return &index.Entry{Path: path, Stat: st}
}

func TestOpenEntry(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	file, other := filepath.Join(root, "file"), filepath.Join(outside, "other")
	os.WriteFile(file, []byte("text"), 0o644)
	os.WriteFile(other, []byte("text"), 0o644)
	e := entryOf(t, root, "file")
	f, err := openEntry(root, e)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for name, swap := range map[string]func() error{
		"a link out":     func() error { return os.Symlink(other, file) },
		"a link inside":  func() error { os.WriteFile(file+"2", []byte("text"), 0o644); return os.Symlink("file2", file) },
		"a FIFO":         func() error { return syscall.Mkfifo(file, 0o644) },
		"a directory":    func() error { return os.Mkdir(file, 0o755) },
		"another file":   func() error { return os.WriteFile(file, []byte("text"), 0o644) },
		"nothing at all": func() error { return nil },
	} {
		os.RemoveAll(file)
		if err := swap(); err != nil {
			t.Fatal(err)
		}
		if f, err := openEntry(root, e); err == nil {
			f.Close()
			t.Errorf("%s was opened in the file's place", name)
		}
	}
}

// TestChangeWhileServing changes files at the worst moment: when all but the
// end of the answer is out.
func TestChangeWhileServing(t *testing.T) {
	const size = 3 << 20
	for _, c := range []struct {
		name   string
		change func(file string) error
		whole  bool // the customer gets the old content, to its end
	}{
		{"nothing", func(string) error { return nil }, true},
		{"replaced by rename", func(f string) error {
			os.WriteFile(f+".new", make([]byte, size), 0o644)
			return os.Rename(f+".new", f)
		}, true},
		{"removed", os.Remove, true},
		{"written in place", func(f string) error {
			w, err := os.OpenFile(f, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer w.Close()
			_, err = w.WriteAt([]byte("xyz"), 2<<20)
			return err
		}, false},
		{"truncated", func(f string) error { return os.Truncate(f, 1<<20) }, false},
		{"written and its time set back", func(f string) error {
			fi, _ := os.Stat(f)
			os.WriteFile(f, make([]byte, size), 0o644)
			return os.Chtimes(f, fi.ModTime(), fi.ModTime())
		}, false},
	} {
		for _, ranges := range []string{"", "bytes=100-3000000", "bytes=5-1000000,1500000-3000000"} {
			t.Run(c.name+" "+ranges, func(t *testing.T) {
				root := t.TempDir()
				file := filepath.Join(root, "file")
				text := bytes.Repeat([]byte("0123456789abcdef"), size/16)
				if err := os.WriteFile(file, text, 0o644); err != nil {
					t.Fatal(err)
				}
				past := time.Now().Add(-time.Hour)
				if err := os.Chtimes(file, past, past); err != nil {
					t.Fatal(err)
				}
				e := entryOf(t, root, "file")
				m := newMeter(newUplink(0), time.Minute)
				slow := make(chan struct{})
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					f, err := openEntry(root, e)
					if err != nil {
						http.Error(w, err.Error(), 500)
						return
					}
					defer f.Close()
					m.serve(&pausing{ResponseWriter: w, left: 2, pause: func() {
						if err := c.change(file); err != nil {
							t.Error(err)
						}
						close(slow)
					}}, r, "file", past, f)
				}))
				defer srv.Close()
				req, _ := http.NewRequest(http.MethodGet, srv.URL, nil)
				if ranges != "" {
					req.Header.Set("Range", ranges)
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				<-slow
				if !c.whole {
					if err == nil {
						t.Fatalf("%d bytes of a mixture were sent to the end", len(body))
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case strings.Contains(ranges, ","):
					if !bytes.Contains(body, text[5:1000001]) || !bytes.Contains(body, text[1500000:3000001]) {
						t.Error("the parts are not in the answer")
					}
				case ranges != "":
					text = text[100:3000001]
					fallthrough
				default:
					if !bytes.Equal(body, text) {
						t.Errorf("wrong body of %d bytes", len(body))
					}
				}
			})
		}
	}
}

// pausing calls pause after some writes.
type pausing struct {
	http.ResponseWriter
	left  int
	pause func()
}

func (p *pausing) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(p.ResponseWriter, src)
	if p.left--; p.left == 0 {
		p.pause()
	}
	return n, err
}

func TestMeter(t *testing.T) {
	root := t.TempDir()
	os.WriteFile(filepath.Join(root, "file"), make([]byte, 3<<20), 0o644)
	m := newMeter(newUplink(2<<20), time.Minute)
	f, err := openEntry(root, entryOf(t, root, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	began := time.Now()
	m.serve(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/file", nil), "file.deb", time.Now(), f)
	if d := time.Since(began); d < 300*time.Millisecond || m.sent.Load() != 3<<20 || m.active.Load() != 0 {
		t.Errorf("3 MiB at 2 MiB/s, 2 MiB of it at once: %v, sent %d, active %d", d, m.sent.Load(), m.active.Load())
	}
}

// TestMeterForgetsWhoGaveUp: customers who left take nothing from those who
// stay.
func TestMeterForgetsWhoGaveUp(t *testing.T) {
	m := newUplink(sendChunk)
	m.limiter.AllowN(time.Now(), sendChunk) // nothing is left
	ctx, giveUp := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 100 {
		waiting.Go(func() {
			if err := m.wait(ctx, sendChunk); err == nil {
				t.Error("a customer who gave up was served")
			}
		})
	}
	for m.limiter.Tokens() > -sendChunk/2 && len(m.turn) == 0 {
		runtime.Gosched()
	}
	giveUp()
	waiting.Wait()
	if left := m.limiter.Tokens(); left < -1 {
		t.Errorf("those who gave up have %.0f bytes reserved", -left)
	}
}

func TestSplitPath(t *testing.T) {
	for in, want := range map[string][2]string{
		"/mod/a/b": {"mod", "a/b"}, "//mod//a": {"mod", "a"}, "/mod": {"mod", ""}, "/m%20d/%C3%A4": {"m d", "ä"},
	} {
		if m, p, err := splitPath(in); m != want[0] || p != want[1] || err != nil {
			t.Errorf("splitPath(%q) = %q, %q, %v", in, m, p, err)
		}
	}
	for _, in := range []string{"", "/", "/mod/../x", "/mod/%2e%2e/x", "/mod/a%2fb", "/mod/%00", "/mod/a%0d%0ab", "/mod/a%7f", "/mod/%zz", "/./x", "/" + strings.Repeat("x", maxURLPath)} {
		if m, p, err := splitPath(in); err == nil {
			t.Errorf("splitPath(%.50q) = %q, %q", in, m, p)
		}
	}
}

func FuzzSplitPath(f *testing.F) {
	for _, s := range []string{"/mod/a", "/mod/%2e%2e/x", "//mod//a%20b", "/m/a%0d%0a", "/m/%zz", "/%6d/./x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		m, p, err := splitPath(in)
		if err != nil {
			return
		}
		for e := range strings.SplitSeq(m+"/"+p, "/") {
			if e == "." || e == ".." || strings.ContainsFunc(e, func(c rune) bool { return c < ' ' || c == 0x7f }) {
				t.Errorf("splitPath(%q) = %q, %q", in, m, p)
			}
		}
		if m == "" || strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") || strings.Contains(p, "//") {
			t.Errorf("splitPath(%q) = %q, %q", in, m, p)
		}
	})
}
