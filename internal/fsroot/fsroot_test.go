package fsroot

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, path string, p Policy) *Root {
	t.Helper()
	r, err := Open(path, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0755))
	must(t, os.WriteFile(path, []byte(content), 0644))
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0755))
	must(t, os.Symlink(target, path))
}

func read(t *testing.T, f *os.File, err error) string {
	t.Helper()
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	must(t, err)
	return string(b)
}

func names(t *testing.T, r *Root, dir string) []string {
	t.Helper()
	list, err := r.ReadDir(dir)
	must(t, err)
	var s []string
	for _, e := range list {
		s = append(s, e.Name)
	}
	slices.Sort(s)
	return s
}

func TestEntries(t *testing.T) {
	top := t.TempDir()
	r := open(t, top, Policy{})
	must(t, r.Mkdir("d", 0755))
	f, err := r.OpenFile("d/f", os.O_CREATE|os.O_WRONLY, 0640)
	must(t, err)
	f.WriteString("content")
	f.Close()
	must(t, r.Symlink("f", "d/l"))
	must(t, r.Mkfifo("d/p", 0600))
	must(t, r.MkSocket("d/s", 0600))
	must(t, r.Link("d/f", r, "d/h", false))
	must(t, r.Link("d/l", r, "d/hl", false)) // a hard link of the symlink itself
	must(t, r.Link("d/l", r, "d/hf", true))

	if got := read(t, must1(r.Open("d/h")), nil); got != "content" {
		t.Errorf("d/h holds %q", got)
	}
	for name, typ := range map[string]uint32{
		"": unix.S_IFDIR, ".": unix.S_IFDIR, "d": unix.S_IFDIR, "d/": unix.S_IFDIR, "./d//.": unix.S_IFDIR,
		"d/f": unix.S_IFREG, "d/l": unix.S_IFLNK, "d/hl": unix.S_IFLNK, "d/hf": unix.S_IFREG,
		"d/p": unix.S_IFIFO, "d/s": unix.S_IFSOCK,
	} {
		st, err := r.Lstat(name)
		if err != nil || st.Type() != typ {
			t.Errorf("Lstat(%q) = %o, %v; want type %o", name, st.Mode, err, typ)
		}
	}
	st, _ := r.Lstat("d/f")
	if st.Size != 7 || st.Nlink != 3 {
		t.Errorf("d/f: size %d, %d links, want 7 and 3", st.Size, st.Nlink)
	}
	if st, err := r.Stat("d/l"); err != nil || !st.IsRegular() {
		t.Errorf("Stat(d/l) = %o, %v", st.Mode, err)
	}
	if target, err := r.Readlink("d/l"); err != nil || target != "f" {
		t.Errorf("Readlink = %q, %v", target, err)
	}
	list, err := r.ReadDir("d")
	must(t, err)
	for _, e := range list {
		st, _ := r.Lstat("d/" + e.Name)
		if e.Ino != st.Ino || e.Type != st.Type() {
			t.Errorf("ReadDir says inode %d type %o of %s, Lstat %d %o", e.Ino, e.Type, e.Name, st.Ino, st.Type())
		}
	}
	if got := names(t, r, "d"); !slices.Equal(got, []string{"f", "h", "hf", "hl", "l", "p", "s"}) {
		t.Errorf("ReadDir = %q", got)
	}
	must(t, r.Rename("d", r, "e"))
	must(t, r.Unlink("e/f"))
	for name, want := range map[string]error{
		"d": syscall.ENOENT, "d/h": syscall.ENOENT, "e/f": syscall.ENOENT, "e/h/x": syscall.ENOTDIR,
		"/etc": ErrEscape, "../x": ErrEscape, "e/..": ErrEscape, "..": ErrEscape, "e/../e/h": ErrEscape,
		"a\x00b": syscall.EINVAL, strings.Repeat("n", 256): syscall.ENAMETOOLONG,
	} {
		_, err := r.Lstat(name)
		var pe *fs.PathError
		if !errors.Is(err, want) || !errors.As(err, &pe) || pe.Path != name {
			t.Errorf("Lstat(%q): %v, want %v", name, err, want)
		}
	}
	for what, err := range map[string]error{
		"Open symlink":     err1(r.Open("e/l")),
		"Open via symlink": err1(r.Open("e/l/x")),
		"Create symlink":   err1(r.OpenFile("e/l", os.O_CREATE|os.O_WRONLY, 0600)),
	} {
		if !errors.Is(err, syscall.ELOOP) && !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := r.Mkdir(".", 0755); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("Mkdir(.): %v", err)
	}
	if err := r.Rmdir(""); err == nil {
		t.Error("Rmdir of the root succeeded")
	}
	if err := RenameNoReplace(r, "e/h", r, "e/hf"); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("RenameNoReplace: %v", err)
	}
	must(t, r.Close())
	if _, err := r.Lstat("e"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Lstat after Close: %v", err)
	}
	if err := r.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func err1[T any](_ T, err error) error { return err }

// The same tree, opened with every policy, by openat2 and by our own walk:
//
//	top/root/dir/file     top/root/in -> dir       top/root/abs -> TOP/out
//	top/root/deep/up -> ../dir                     top/root/out -> ../out
//	top/root/two -> deep/up                        top/root/esc -> dir/../../out
//	top/root/loop -> loop                          top/out/secret
func symlinkTree(t *testing.T) string {
	top := t.TempDir()
	write(t, top+"/root/dir/file", "inside")
	write(t, top+"/out/file", "outside")
	symlink(t, "dir", top+"/root/in")
	symlink(t, "../dir", top+"/root/deep/up")
	symlink(t, "deep/up", top+"/root/two")
	symlink(t, top+"/out", top+"/root/abs")
	symlink(t, "../out", top+"/root/out")
	symlink(t, "dir/../../out", top+"/root/esc")
	symlink(t, "loop", top+"/root/loop")
	symlink(t, "file", top+"/root/dir/leaf")
	symlink(t, "../../out/file", top+"/root/dir/leafout")
	return top
}

func TestSymlinkPolicy(t *testing.T) {
	top := symlinkTree(t)
	const in, out, loop, escape = "inside", "outside", "ELOOP", "ErrEscape"
	for _, tt := range []struct {
		name                             string
		refuse, confined, free, freeleaf string
	}{
		// name            no follow  follow+confine  follow
		{"dir/file", in, in, in, in},
		{"in/file", loop, in, in, in},
		{"two/file", loop, in, in, in},
		{"deep/up/file", loop, in, in, in},
		{"abs/file", loop, loop, out, out},
		{"out/file", loop, loop, out, out},
		{"esc/file", loop, loop, out, out},
		{"loop/file", loop, loop, loop, loop},
		{"deep/up/../dir/file", escape, in, in, in},
		{"dir/../in/../dir/file", escape, in, in, in},
		{"../out/file", escape, loop, out, out},
		{"dir/../../out/file", escape, loop, out, out},
		{"dir/leaf", loop, loop, loop, in},
		{"dir/leafout", loop, loop, loop, out},
	} {
		for _, c := range []struct {
			p    Policy
			want string
		}{
			{Policy{}, tt.refuse},
			{Policy{FollowDirLinks: true, Confine: true}, tt.confined},
			{Policy{FollowDirLinks: true}, tt.free},
		} {
			r := open(t, top+"/root", c.p)
			f, err := r.Open(tt.name)
			if got := outcome(t, f, err); got != c.want {
				t.Errorf("Open(%q) under %+v = %s (%v), want %s", tt.name, c.p, got, err, c.want)
			}
			// The walk for kernels without openat2 answers alike.
			if c.p.FollowDirLinks && !c.p.Confine || c.want == escape {
				continue
			}
			fd, err := walk(r.Fd(), -1, tt.name, unix.O_RDONLY, 0, c.p.FollowDirLinks, false)
			if got := outcome(t, fileOf(fd, err), err); got != c.want {
				t.Errorf("walk(%q) under %+v = %s (%v), want %s", tt.name, c.p, got, err, c.want)
			}
		}
		r := open(t, top+"/root", Policy{FollowDirLinks: true})
		f, err := r.OpenFollow(tt.name)
		if got := outcome(t, f, err); got != tt.freeleaf {
			t.Errorf("OpenFollow(%q) = %s (%v), want %s", tt.name, got, err, tt.freeleaf)
		}
		r = open(t, top+"/root", Policy{FollowDirLinks: true, Confine: true})
		want := tt.confined
		if tt.freeleaf == in {
			want = in
		}
		f, err = r.OpenFollow(tt.name)
		if got := outcome(t, f, err); got != want {
			t.Errorf("confined OpenFollow(%q) = %s (%v), want %s", tt.name, got, err, want)
		}
		fd, err := walk(r.Fd(), -1, tt.name, unix.O_RDONLY, 0, true, true)
		if got := outcome(t, fileOf(fd, err), err); got != want {
			t.Errorf("following walk(%q) = %s (%v), want %s", tt.name, got, err, want)
		}
	}
}

func fileOf(fd int, err error) *os.File {
	if err != nil {
		return nil
	}
	return newFile(fd, "")
}

// outcome is the content read, or what refused it.
func outcome(t *testing.T, f *os.File, err error) string {
	t.Helper()
	switch {
	case err == nil:
		return read(t, f, nil)
	case errors.Is(err, ErrEscape):
		return "ErrEscape"
	case errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENOTDIR):
		return "ELOOP" // O_DIRECTORY on a symlink may say either
	}
	return err.Error()
}

func TestReadDirAndPinThroughLinks(t *testing.T) {
	top := symlinkTree(t)
	for _, tt := range []struct {
		p    Policy
		name string
		ok   bool
	}{
		{Policy{}, "in", false},
		{Policy{FollowDirLinks: true, Confine: true}, "in", true},
		{Policy{FollowDirLinks: true, Confine: true}, "out", false},
		{Policy{FollowDirLinks: true, Confine: true}, "abs", false},
		{Policy{FollowDirLinks: true}, "out", true},
		{Policy{FollowDirLinks: true}, "loop", false},
	} {
		r := open(t, top+"/root", tt.p)
		list, err := r.ReadDir(tt.name)
		if (err == nil) != tt.ok || tt.ok && len(list) == 0 {
			t.Errorf("ReadDir(%q) under %+v: %d entries, %v", tt.name, tt.p, len(list), err)
		}
		if p, err := r.Pin(tt.name); err != nil {
			t.Errorf("Pin(%q): %v", tt.name, err)
		} else {
			if st, _ := p.Stat(); !st.IsSymlink() {
				t.Errorf("Pin(%q) holds %o, want the symlink", tt.name, st.Mode)
			}
			p.Close()
		}
		if !tt.p.FollowDirLinks {
			continue
		}
		p, err := r.PinFollow(tt.name)
		if (err == nil) != tt.ok {
			t.Errorf("PinFollow(%q) under %+v: %v", tt.name, tt.p, err)
		}
		if err == nil {
			p.Close()
		}
	}
}

func TestHostileNames(t *testing.T) {
	r := open(t, t.TempDir(), Policy{})
	for _, name := range []string{
		"new\nline", "\xff\xfe\x80", strings.Repeat("x", 255), strings.Repeat("é", 127), "-rf", " ", "...", "..a", "a..", ".hidden",
		"\\", "%s%n", "a:b", "*?[", "\x01\x1b[31m", "~", "CON",
	} {
		for _, n := range []string{name, "dir-" + name[:min(len(name), 200)] + "/" + name} {
			if i := strings.IndexByte(n, '/'); i > 0 {
				must(t, r.Mkdir(n[:i], 0755))
			}
			f, err := r.OpenFile(n, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0600)
			if err != nil {
				t.Errorf("create %q: %v", n, err)
				continue
			}
			f.Close()
			dir, leaf := filepath.Split(n)
			if !slices.Contains(names(t, r, dir), leaf) {
				t.Errorf("%q is not listed", n)
			}
			must(t, r.Unlink(n))
		}
	}
}

// A path of 80 components of 100 bytes is beyond PATH_MAX and beyond the
// directory cache; nothing may depend on resolving it in one piece.
func TestDeepTree(t *testing.T) {
	top := t.TempDir()
	for _, p := range []Policy{{}, {FollowDirLinks: true, Confine: true}, {FollowDirLinks: true}} {
		r, err := Open(top, p)
		must(t, err)
		comp := strings.Repeat("d", 100)
		deep := strings.TrimSuffix(strings.Repeat(comp+"/", 80), "/")
		made, err := r.MkdirAll(deep, 0755)
		if err != nil || made != 80 {
			t.Fatalf("MkdirAll under %+v made %d: %v", p, made, err)
		}
		f, err := r.OpenFile(deep+"/file", os.O_CREATE|os.O_WRONLY, 0600)
		must(t, err)
		f.Close()
		must(t, r.Rename(deep+"/file", r, "moved"))
		must(t, r.Unlink("moved"))
		r.Close()

		r, err = Open(top, p) // nothing cached
		must(t, err)
		if st, err := r.Lstat(deep); err != nil || !st.IsDir() {
			t.Errorf("Lstat of the deep directory under %+v: %v", p, err)
		}
		for name := deep; ; {
			must(t, r.Rmdir(name))
			i := strings.LastIndexByte(name, '/')
			if i < 0 {
				break
			}
			name = name[:i]
		}
		r.Close()
	}
}

func TestMkdirAll(t *testing.T) {
	top := t.TempDir()
	write(t, top+"/file", "")
	symlink(t, ".", top+"/link")
	r := open(t, top, Policy{})
	for _, tt := range []struct {
		name string
		made int
		err  error
	}{
		{"a/b/c", 3, nil}, {"a/b/c", 0, nil}, {"a/b/d/", 1, nil}, {"", 0, nil}, {".", 0, nil},
		{"file/x", 0, syscall.ENOTDIR}, {"file", 0, syscall.ENOTDIR}, {"../x", 0, ErrEscape},
	} {
		made, err := r.MkdirAll(tt.name, 0755)
		if made != tt.made || !errors.Is(err, tt.err) {
			t.Errorf("MkdirAll(%q) = %d, %v; want %d, %v", tt.name, made, err, tt.made, tt.err)
		}
	}
	for _, name := range []string{"link", "link/x"} {
		if made, err := r.MkdirAll(name, 0755); err == nil {
			t.Errorf("MkdirAll(%q) through a symlink made %d", name, made)
		}
	}
	r = open(t, top, Policy{FollowDirLinks: true, Confine: true})
	if made, err := r.MkdirAll("link/x/y", 0755); err != nil || made != 2 {
		t.Errorf("MkdirAll(link/x/y) following = %d, %v", made, err)
	}
}

func TestOpenAt(t *testing.T) {
	top := symlinkTree(t)
	confined := open(t, top+"/root", Policy{FollowDirLinks: true, Confine: true})
	free := open(t, top+"/root", Policy{})
	for _, tt := range []struct {
		base *Root
		path string
		want string // what its "file" holds
	}{
		{confined, "dir", "inside"},
		{confined, "/dir", "inside"},
		{confined, "../../dir", "inside"},
		{confined, "in", "inside"},
		{confined, top + "/out", "no such file or directory"},
		{confined, "out", "ELOOP"},
		{confined, "abs", "ELOOP"},
		{free, "dir", "inside"},
		{free, "in", "inside"}, // a symlink of ours
		{free, "../out", "outside"},
		{free, "abs", "outside"},
		{free, top + "/out", "outside"},
	} {
		sub, err := OpenAt(tt.base, tt.path, Policy{})
		if err != nil {
			if got := outcome(t, nil, err); !strings.HasSuffix(got, tt.want) {
				t.Errorf("OpenAt(%q) = %v, want %s", tt.path, err, tt.want)
			}
			continue
		}
		if got := read(t, must1(sub.Open("file")), nil); got != tt.want {
			t.Errorf("OpenAt(%q) reached %s, want %s", tt.path, got, tt.want)
		}
		if tt.base == confined && !sub.Policy().Confine {
			t.Errorf("OpenAt(%q) below a confined root is not confined", tt.path)
		}
		sub.Close()
	}
}

func TestFromFd(t *testing.T) {
	fd, err := unix.Open(t.TempDir(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	r, err := FromFd(fd, "module", Policy{})
	must(t, err)
	must(t, r.Mkdir("d", 0755))
	r.Close()
	fd, err = unix.Open("/dev/null", unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	if _, err := FromFd(fd, "null", Policy{}); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("FromFd of a file: %v", err)
	}
}

func FuzzSplitName(f *testing.F) {
	for _, s := range []string{"", ".", "a", "a/b", "a//b/", "./a/.", "../a", "a/..", "/a", "a/../b", "...", "a/...", "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		dir, leaf, err := splitName(name, false)
		if err != nil {
			return
		}
		if strings.ContainsAny(leaf, "/\x00") || leaf == "." || leaf == ".." {
			t.Fatalf("leaf %q of %q", leaf, name)
		}
		for c := range strings.SplitSeq(dir, "/") {
			if c == ".." || dir != "" && (c == "" || c == ".") {
				t.Fatalf("directory %q of %q", dir, name)
			}
		}
		// Dropping nothing but what means nothing.
		want := strings.Join(slices.DeleteFunc(strings.Split(name, "/"), func(c string) bool { return c == "" || c == "." }), "/")
		if got := joinPath(dir, leaf); got != want && !(want == "" && got == "") {
			t.Fatalf("%q became %q, want %q", name, got, want)
		}
		if _, _, err := splitName(name, true); err != nil {
			t.Fatalf("%q is refused only where more is allowed: %v", name, err)
		}
	})
}

func TestOpenMkdir(t *testing.T) {
	top := t.TempDir()
	write(t, top+"/base/file", "")
	symlink(t, "base", top+"/link")
	symlink(t, "nowhere", top+"/dangling")
	must(t, os.Mkdir(top+"/out", 0755))
	symlink(t, "../out", top+"/base/away")
	base := open(t, top+"/base", Policy{Confine: true})
	at := func(path string, p Policy, parents bool) (*Root, int, error) {
		return OpenMkdirAt(base, path, p, 0755, parents)
	}
	named := func(path string, p Policy, parents bool) (*Root, int, error) {
		return OpenMkdir(top+"/"+path, p, 0755, parents)
	}
	for _, tt := range []struct {
		how     func(string, Policy, bool) (*Root, int, error)
		path    string
		parents bool
		made    int
		err     error
		at      string
	}{
		{named, "base", false, 0, nil, "base"},
		{named, "new", false, 1, nil, "new"},
		{named, "new//", false, 0, nil, "new"},
		{named, "p/q/r", false, 0, syscall.ENOENT, ""},
		{named, "p/q/r/", true, 3, nil, "p/q/r"},
		{named, "link/through", false, 1, nil, "base/through"},
		{named, "dangling", false, 0, syscall.ENOTDIR, ""}, // not entered, not made elsewhere
		{named, "base/file/x", true, 0, syscall.ENOTDIR, ""},
		{at, "in/side", true, 2, nil, "base/in/side"},
		{at, "/abs", true, 1, nil, "base/abs"},
		{at, "../up", true, 1, nil, "base/up"},
		{at, "away/x", true, 0, syscall.ELOOP, ""},
	} {
		r, made, err := tt.how(tt.path, Policy{}, tt.parents)
		if made != tt.made || !errors.Is(err, tt.err) {
			t.Errorf("%q made %d: %v; want %d, %v", tt.path, made, err, tt.made, tt.err)
		}
		if err != nil {
			continue
		}
		want := must1(os.Stat(top + "/" + tt.at)).Sys().(*syscall.Stat_t).Ino
		if st, err := r.Lstat(""); err != nil || st.Ino != want {
			t.Errorf("%q led elsewhere, %v", tt.path, err)
		}
		r.Close()
	}
	if list, _ := os.ReadDir(top + "/out"); len(list) != 0 {
		t.Errorf("made %v outside", list)
	}
}

func TestNoAtime(t *testing.T) {
	top := t.TempDir()
	write(t, top+"/f", "content")
	symlink(t, "f", top+"/l")
	old := Timespec{Sec: 1}
	r := open(t, top, Policy{NoAtime: true})
	p := must1(r.Pin("f"))
	defer p.Close()
	must(t, p.Utimes(old, Timespec{Sec: 2}))
	read(t, must1(r.Open("f")), nil)
	read(t, must1(r.OpenFollow("l")), nil)
	if st, _ := r.Lstat("f"); st.Atime != old {
		t.Errorf("read with O_NOATIME, the access time is %v", st.Atime)
	}
	// The file of another is read all the same.
	asNobody(t, func(t *testing.T) {
		r := open(t, "/etc", Policy{NoAtime: true})
		if got := read(t, must1(r.Open("passwd")), nil); got == "" {
			t.Error("nothing read")
		}
	})
}
