package fsroot

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func openFds(t *testing.T) int {
	t.Helper()
	procFd() // stays open for good
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(list)
}

func TestDirCacheBound(t *testing.T) {
	before := openFds(t)
	r, err := Open(t.TempDir(), Policy{CachedDirs: 4})
	must(t, err)
	for i := range 20 {
		must(t, r.Mkdir(fmt.Sprint(i), 0755))
		must(t, r.Mkdir(fmt.Sprint(i, "/sub"), 0755))
	}
	if n := len(r.cache); n != 4 {
		t.Errorf("%d directories cached, want 4", n)
	}
	for i := range 20 { // the most recently used ones stay
		_, err := r.Lstat(fmt.Sprint(i, "/sub"))
		must(t, err)
		if r.cache[fmt.Sprint(i)] == nil {
			t.Errorf("directory %d was not kept", i)
		}
	}
	if n := openFds(t) - before; n > 1+4 {
		t.Errorf("%d descriptors are open, want at most 5", n)
	}
	// A descriptor in use survives its eviction and the Close of the Root.
	d, _, err := r.at("7/sub")
	must(t, err)
	for i := range 20 {
		r.Lstat(fmt.Sprint(i, "/sub"))
	}
	must(t, r.Close())
	if _, err := lstatAt(d.fd, "sub"); err != nil {
		t.Errorf("a held directory was closed: %v", err)
	}
	d.release()
	if n := openFds(t) - before; n != 0 {
		t.Errorf("%d descriptors leaked", n)
	}
}

// What we rename, remove or replace is forgotten, with all that is below it.
func TestDirCacheForgets(t *testing.T) {
	for _, p := range []Policy{{}, {FollowDirLinks: true, Confine: true}} {
		top := t.TempDir()
		write(t, top+"/a/b/old", "")
		write(t, top+"/new/b/new", "")
		r := open(t, top, p)
		want := func(name string, ok bool) {
			t.Helper()
			if _, err := r.Lstat(name); (err == nil) != ok {
				t.Errorf("under %+v Lstat(%q): %v", p, name, err)
			}
		}
		want("a/b/old", true)
		must(t, r.Rename("a", r, "gone"))
		want("a/b/old", false)
		want("new/b/new", true)
		must(t, r.Rename("new/", r, "a"))
		want("a/b/new", true)
		want("new/b/new", false)
		must(t, r.Unlink("a/b/new"))
		must(t, r.Rmdir("a/b"))
		must(t, r.Mkdir("a/b", 0755))
		write(t, top+"/a/b/third", "")
		want("a/b/third", true)
		// Beside it, a name with the same beginning keeps its descriptor.
		must(t, r.Mkdir("a/bc", 0755))
		want("a/bc/x", false)
		r.forget("a/b")
		if r.cache["a/bc"] == nil && !p.FollowDirLinks {
			t.Error("forgetting a/b dropped a/bc")
		}
	}
}

// Another process may remove a directory and make it again: then creating in it
// works, though the cached descriptor is of the old one.
func TestDirCacheSurvivesOthers(t *testing.T) {
	top := t.TempDir()
	r := open(t, top, Policy{})
	other := open(t, top, Policy{})
	must(t, r.Mkdir("d", 0755))
	for name, create := range map[string]func() error{
		"file":    func() error { f, err := r.OpenFile("d/x", os.O_CREATE|os.O_EXCL, 0600); f.Close(); return err },
		"temp":    func() error { f, _, err := r.CreateTemp("d", "x", 0); f.Close(); return err },
		"mkdir":   func() error { return r.Mkdir("d/x", 0755) },
		"symlink": func() error { return r.Symlink("t", "d/x") },
		"fifo":    func() error { return r.Mkfifo("d/x", 0600) },
		"link":    func() error { return r.Link("f", r, "d/x", false) },
		"rename":  func() error { return r.Rename("f", r, "d/x") },
	} {
		write(t, top+"/f", "")
		r.Lstat("d/x") // caches d
		must(t, os.RemoveAll(top+"/d"))
		must(t, other.Mkdir("d", 0755))
		if err := create(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(names(t, other, "d")) != 1 {
			t.Errorf("%s was not made in the new directory", name)
		}
	}
}

// A symlink that took the place of a directory is refused once it is resolved,
// and the held directory goes on being the one it was.
func TestDirCacheHoldsIdentity(t *testing.T) {
	top := t.TempDir()
	write(t, top+"/tree/d/file", "inside")
	write(t, top+"/out/file", "outside")
	r := open(t, top+"/tree", Policy{})
	r.Lstat("d/file")
	must(t, os.Rename(top+"/tree/d", top+"/tree/moved"))
	symlink(t, "../out", top+"/tree/d")
	if got := read(t, must1(r.Open("d/file")), nil); got != "inside" {
		t.Errorf("the held directory yields %q", got)
	}
	r.forget("d")
	if _, err := r.Open("d/file"); err == nil {
		t.Error("a symlink was followed")
	}
}

func TestDirCacheConcurrent(t *testing.T) {
	before := openFds(t)
	r, err := Open(t.TempDir(), Policy{CachedDirs: 3})
	must(t, err)
	for i := range 8 {
		must(t, r.Mkdir(fmt.Sprint(i), 0755))
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				dir := fmt.Sprint((g + i) % 8)
				name := fmt.Sprintf("%s/f%d", dir, g)
				f, err := r.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0600)
				if err != nil {
					continue // its directory is just under another name
				}
				f.Close()
				if st, err := Fstat(f); err == nil {
					t.Errorf("stat of a closed file: %+v", st)
				}
				r.Lstat(name)
				r.Rename(name, r, dir+"/g"+fmt.Sprint(g))
				r.Unlink(dir + "/g" + fmt.Sprint(g))
				if i%10 == 0 {
					r.Rename(dir, r, "away"+fmt.Sprint(g))
					r.Rename("away"+fmt.Sprint(g), r, dir)
				}
			}
		})
	}
	wg.Wait()
	for i := range 8 {
		// A file stays behind if its directory was away when it was to go.
		for _, name := range names(t, r, fmt.Sprint(i)) {
			must(t, r.Unlink(fmt.Sprint(i, "/", name)))
		}
		must(t, r.Rmdir(fmt.Sprint(i)))
	}
	must(t, r.Close())
	if n := openFds(t) - before; n != 0 {
		t.Errorf("%d descriptors leaked", n)
	}
}

// Directories that may be searched and not read, or neither, as a user meets them.
func TestRestrictedDirs(t *testing.T) {
	asNobody(t, func(t *testing.T) {
		top := t.TempDir()
		r := open(t, top, Policy{})
		for _, mode := range []uint32{0300, 0711, 0100, 0500, 0400, 0000} {
			must(t, r.Mkdir("d", 0700))
			must(t, r.Mkdir("d/sub", 0700))
			write(t, top+"/d/sub/f", "content")
			p := must1(r.Pin("d"))
			must(t, p.Chmod(mode))
			_, err := r.Lstat("d/sub/f")
			if search := mode&0100 != 0; (err == nil) != search {
				t.Errorf("mode %o: Lstat below it: %v", mode, err)
			}
			_, err = r.ReadDir("d")
			if list := mode&0400 != 0; (err == nil) != list {
				t.Errorf("mode %o: ReadDir: %v", mode, err)
			}
			f, err := r.OpenFile("d/new", os.O_CREATE|os.O_WRONLY, 0600)
			if make := mode&0300 == 0300; (err == nil) != make {
				t.Errorf("mode %o: create: %v", mode, err)
			}
			f.Close()
			// The pin needs no permission on the directory itself.
			st, err := p.Stat()
			if err != nil || st.Perm() != mode {
				t.Errorf("mode %o: pinned Stat %o, %v", mode, st.Perm(), err)
			}
			must(t, p.Utimes(Timespec{Sec: 5}, Timespec{Sec: 6, Nsec: 7}))
			if mode&0100 != 0 {
				sub := open(t, top+"/d/sub", Policy{})
				if _, err := sub.Lstat("f"); err != nil {
					t.Errorf("mode %o: below a root inside: %v", mode, err)
				}
			}
			root := open(t, top+"/d", Policy{}) // the root itself may be restricted
			if st, err := root.Lstat(""); err != nil || st.Perm() != mode {
				t.Errorf("mode %o: Lstat of the root: %o, %v", mode, st.Perm(), err)
			}
			q, err := root.Pin(".")
			must(t, err)
			must(t, q.Chmod(0700))
			q.Close()
			p.Close()
			r.forget("d")
			must(t, os.RemoveAll(top+"/d"))
		}
	})
}

func BenchmarkLstat(b *testing.B) {
	top := b.TempDir()
	os.MkdirAll(top+"/a/b/c", 0755)
	os.WriteFile(top+"/a/b/c/f", nil, 0644)
	r, err := Open(top, Policy{})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Root", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Lstat("a/b/c/f")
		}
	})
	b.Run("syscall", func(b *testing.B) {
		var st unix.Stat_t
		for b.Loop() {
			unix.Lstat(top+"/a/b/c/f", &st)
		}
	})
}
