package fsroot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The operator's own symlinks are followed, those of others are not: the cells
// of rsync 3.5.0's operator-path matrix.
func TestOwnershipWalk(t *testing.T) {
	needRoot(t)
	top := t.TempDir()
	write(t, top+"/real/sub/file", "content")
	for _, l := range []struct {
		name, target string
		owner        int
	}{
		{"rootrel", "real/sub", 0}, {"rootabs", top + "/real/sub", 0},
		{"otherrel", "real/sub", nobody}, {"otherabs", top + "/real/sub", nobody},
		{"chain", "otherrel", 0}, {"loop", "loop", 0}, {"dots", "real/../real/./sub", 0},
		{"leaf", "real/sub/file", 0}, {"otherleaf", "real/sub/file", nobody},
		{"new", "real/sub/created", 0}, {"othernew", "real/sub/planted", nobody},
		{"dangling", "nowhere", 0},
	} {
		symlink(t, l.target, top+"/"+l.name)
		must(t, os.Lchown(top+"/"+l.name, l.owner, l.owner))
	}
	for _, tt := range []struct {
		path    string
		flags   int
		refused string // the component that the error names, "" if it opens
		errno   error
	}{
		{"real/sub/file", os.O_RDONLY, "", nil},
		{"rootrel/file", os.O_RDONLY, "", nil},
		{"rootabs/file", os.O_RDONLY, "", nil},
		{"rootabs//./file", os.O_RDONLY, "", nil},
		{"real/sub/../../leaf", os.O_RDONLY, "", nil},
		{"dots/file", os.O_RDONLY, "", nil},
		{"leaf", os.O_RDONLY, "", nil},
		{"new", os.O_CREATE | os.O_WRONLY, "", nil},
		{"real/sub/other", os.O_CREATE | os.O_WRONLY, "", nil},
		{"otherrel/file", os.O_RDONLY, "otherrel", syscall.ELOOP},
		{"otherabs/file", os.O_RDONLY, "otherabs", syscall.ELOOP},
		{"otherleaf", os.O_RDONLY, "otherleaf", syscall.ELOOP},
		{"othernew", os.O_CREATE | os.O_WRONLY, "othernew", syscall.ELOOP},
		{"chain/file", os.O_RDONLY, "otherrel", syscall.ELOOP},
		{"loop/file", os.O_RDONLY, "loop", syscall.ELOOP},
		{"dangling", os.O_RDONLY, "nowhere", syscall.ENOENT},
		{"real/missing/file", os.O_RDONLY, "real/missing", syscall.ENOENT},
		{"leaf/x", os.O_RDONLY, "real/sub/file", syscall.ENOTDIR},
		{"real/sub", os.O_WRONLY, "real/sub", syscall.EISDIR},
	} {
		for _, path := range []string{top + "/" + tt.path} {
			f, err := OwnerOpen(path, tt.flags, 0600, Policy{})
			if err == nil {
				f.Close()
			}
			if tt.refused == "" {
				if err != nil {
					t.Errorf("%s: %v", tt.path, err)
				}
				continue
			}
			var pe *fs.PathError
			if !errors.Is(err, tt.errno) || !errors.As(err, &pe) || pe.Path != top+"/"+tt.refused {
				t.Errorf("%s: %v, want %v naming %s", tt.path, err, tt.errno, tt.refused)
			}
			if f, err := OwnerOpen(path, tt.flags, 0600, Policy{InsecureLinks: true}); err == nil {
				f.Close()
			} else if strings.HasPrefix(tt.refused, "other") {
				t.Errorf("%s with --insecure-links: %v", tt.path, err)
			}
		}
	}
	if _, err := os.Stat(top + "/real/sub/created"); err != nil {
		t.Errorf("nothing was created through a symlink of ours: %v", err)
	}
	var untrusted *UntrustedLinkError
	if _, err := Open(top+"/otherrel", Policy{}); !errors.As(err, &untrusted) || untrusted.Owner != nobody {
		t.Errorf("Open of a directory behind a foreign symlink: %v", err)
	}
	for _, path := range []string{"/rootrel", "/rootabs/", "/rootabs/.", "/real/sub/.."} {
		r, err := Open(top+path, Policy{})
		if err != nil {
			t.Errorf("Open(%s): %v", path, err)
			continue
		}
		r.Close()
	}
	for _, path := range []string{"", "a\x00b", top + "/leaf"} {
		if r, err := Open(path, Policy{}); err == nil {
			r.Close()
			t.Errorf("Open(%q) succeeded", path)
		}
	}
}

// A user trusts itself and root, nobody else.
func TestOwnershipWalkAsUser(t *testing.T) {
	asNobody(t, func(t *testing.T) {
		top := t.TempDir()
		write(t, top+"/real/file", "content")
		symlink(t, "real", top+"/mine")
		if got := read(t, must1(OwnerOpen(top+"/mine/file", os.O_RDONLY, 0, Policy{})), nil); got != "content" {
			t.Errorf("read %q", got)
		}
		// A symlink of root, as every Linux has it.
		if f, err := OwnerOpen("/proc/self/status", os.O_RDONLY, 0, Policy{}); err != nil {
			t.Error(err)
		} else {
			f.Close()
		}
	})
}

func TestOwnershipWalkRelative(t *testing.T) {
	top := t.TempDir()
	write(t, top+"/base/file", "content")
	base := open(t, top+"/base", Policy{})
	for path, want := range map[string]string{
		"file": "content", "./file": "content", "../base/file": "content", top + "/base/file": "content",
	} {
		if got := read(t, must1(OwnerOpenAt(base, path, os.O_RDONLY, 0, Policy{})), nil); got != want {
			t.Errorf("%s holds %q", path, got)
		}
	}
	confined := open(t, top+"/base", Policy{Confine: true})
	for path, ok := range map[string]bool{"file": true, "/file": true, "../../file": true, top + "/base/file": false} {
		f, err := OwnerOpenAt(confined, path, os.O_RDONLY, 0, Policy{})
		if (err == nil) != ok {
			t.Errorf("%s below a confined root: %v", path, err)
		}
		if err == nil {
			f.Close()
		}
	}
	wd, err := os.Getwd()
	must(t, err)
	rel, err := filepath.Rel(wd, top+"/base")
	must(t, err)
	r := open(t, rel, Policy{})
	if got := names(t, r, ""); len(got) != 1 {
		t.Errorf("a relative root lists %q", got)
	}
	r = open(t, ".", Policy{})
	if _, err := r.Lstat("doc.go"); err != nil {
		t.Error(err)
	}
}

// Below a confined root an option's path takes both tests: who planted the
// symlink, and where it leads.
func TestOwnershipWalkConfined(t *testing.T) {
	needRoot(t)
	top := t.TempDir()
	write(t, top+"/mod/in/file", "inside")
	write(t, top+"/out/file", "outside")
	for _, l := range []struct {
		name, target string
		owner        int
	}{
		{"mine", "in", 0}, {"mineabs", top + "/mod/in", 0}, {"mineout", "../out", 0}, {"mineoutabs", top + "/out", 0},
		{"climb", "../mod/in", 0}, {"theirs", "in", nobody},
	} {
		symlink(t, l.target, top+"/mod/"+l.name)
		must(t, os.Lchown(top+"/mod/"+l.name, l.owner, l.owner))
	}
	mod := open(t, top+"/mod", Policy{Confine: true, FollowDirLinks: true})
	for _, tt := range []struct {
		path         string
		owner, plain bool
	}{
		{"in", true, true}, {"mine", true, true}, {"/mine", true, true}, {"../../in", true, true},
		{"mineabs", true, false}, {"climb", true, false},
		{"theirs", false, true}, {"mineout", false, false}, {"mineoutabs", false, false},
	} {
		for what, c := range map[string]struct {
			p    Policy
			want bool
		}{"owner": {Policy{Owner: true, InsecureLinks: true}, tt.owner}, "plain": {Policy{}, tt.plain}} {
			sub, err := OpenAt(mod, tt.path, c.p)
			if (err == nil) != c.want || err != nil && !errors.Is(err, syscall.ELOOP) {
				t.Errorf("OpenAt(%s), %s: %v", tt.path, what, err)
			}
			if err == nil {
				if got := read(t, must1(sub.Open("file")), nil); got != "inside" {
					t.Errorf("OpenAt(%s), %s: %s", tt.path, what, got)
				}
				sub.Close()
			}
		}
		f, err := OwnerOpenAt(mod, tt.path+"/file", os.O_RDONLY, 0, Policy{})
		if (err == nil) != tt.owner {
			t.Errorf("OwnerOpenAt(%s/file): %v", tt.path, err)
		}
		if err == nil {
			f.Close()
		}
	}
	if _, err := OwnerOpenAt(mod, "mineout/new", os.O_CREATE|os.O_WRONLY, 0600, Policy{}); err == nil {
		t.Error("created a file outside")
	}
	if _, err := os.Lstat(top + "/out/new"); err == nil {
		t.Error("the refused file exists")
	}
}

// A shell's <(command) is a pipe behind links of /proc that name no path.
func TestOwnershipWalkToDescriptor(t *testing.T) {
	pr, pw, err := os.Pipe()
	must(t, err)
	pw.WriteString("through a pipe")
	pw.Close()
	f, err := OwnerOpen("/dev/fd/"+strconv.Itoa(int(pr.Fd())), os.O_RDONLY, 0, Policy{})
	if got := read(t, f, err); got != "through a pipe" {
		t.Errorf("read %q", got)
	}
	pr.Close()
}

// Such a link is no way around a confinement.
func TestOwnershipWalkToDescriptorConfined(t *testing.T) {
	top := t.TempDir()
	write(t, top+"/in/file", "inside")
	write(t, top+"/out/file", "outside")
	for _, tt := range []struct {
		held, rest string // what is open, and the path below it
		inside     bool
	}{{"in/file", "", true}, {"in", "/file", true}, {"out/file", "", false}, {"out", "/file", false}, {"in", "/../out/file", false}} {
		held := must1(os.Open(top + "/" + tt.held))
		pin := "/proc/self/fd/" + strconv.Itoa(int(held.Fd())) + tt.rest
		f, err := OwnerOpen(pin, os.O_RDONLY, 0, Policy{ConfineRoot: top + "/in"})
		if (err == nil) != tt.inside {
			t.Errorf("%s%s confined to in: %v", tt.held, tt.rest, err)
		}
		if err == nil {
			f.Close()
		}
		os.Remove(top + "/in/pin")
		symlink(t, pin, top+"/in/pin")
		module := open(t, top+"/in", Policy{Confine: true})
		if f, err := OwnerOpenAt(module, "pin", os.O_RDONLY, 0, Policy{}); err == nil && (!tt.inside || tt.rest == "") {
			t.Errorf("a link in a module to %s%s opens %s", tt.held, tt.rest, read(t, f, nil))
		}
		held.Close()
	}
}

func TestConfineRoot(t *testing.T) {
	top := t.TempDir()
	write(t, top+"/home/in/file", "inside")
	write(t, top+"/else/file", "outside")
	symlink(t, "../else", top+"/home/away")
	symlink(t, "in", top+"/home/near")
	symlink(t, "home", top+"/alias")
	for path, ok := range map[string]bool{
		"home/in/file": true, "home/near/file": true, "alias/in/file": true, "home/in/../in/file": true,
		"home/away/file": false, "else/file": false, "home/in/../../else/file": false,
	} {
		f, err := OwnerOpen(top+"/"+path, os.O_RDONLY, 0, Policy{ConfineRoot: top + "/home"})
		if (err == nil) != ok || err != nil && !errors.Is(err, syscall.ELOOP) {
			t.Errorf("%s: %v", path, err)
		}
		if err == nil {
			f.Close()
		}
		if f, err := OwnerOpen(top+"/"+path, os.O_RDONLY, 0, Policy{ConfineRoot: "/"}); err != nil {
			t.Errorf("%s confined to /: %v", path, err)
		} else {
			f.Close()
		}
	}
	if _, err := OwnerOpen(top+"/else/new", os.O_CREATE|os.O_WRONLY, 0600, Policy{ConfineRoot: top + "/home"}); err == nil {
		t.Error("created a file outside")
	}
	if _, err := os.Lstat(top + "/else/new"); err == nil {
		t.Error("the refused file exists")
	}
	if _, err := Open(top+"/home/away", Policy{ConfineRoot: top + "/home"}); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("Open of a directory outside: %v", err)
	}
}

func FuzzOwnershipWalk(f *testing.F) {
	for _, s := range []string{"", "/", ".", "..", "a", "a/b", "/a", "a//b", "l/x", "l/../l", "a\x00", "/proc/self/fd/0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		// Where the walk opens a directory, the kernel opens the same one.
		fd, err := ownerWalk(path, Policy{}, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return
		}
		defer unix.Close(fd)
		var got, want unix.Stat_t
		if unix.Fstat(fd, &got) != nil || unix.Stat(path, &want) != nil {
			t.Fatalf("%q opens only for us", path)
		}
		if got.Ino != want.Ino || got.Dev != want.Dev {
			t.Fatalf("%q leads elsewhere", path)
		}
	})
}
