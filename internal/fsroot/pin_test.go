package fsroot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// kinds makes one entry of every kind that an ordinary user can make.
func kinds(t *testing.T, r *Root) []string {
	t.Helper()
	f, err := r.OpenFile("file", os.O_CREATE|os.O_WRONLY, 0644)
	must(t, err)
	f.Close()
	must(t, r.Mkdir("dir", 0755))
	must(t, r.Symlink("nowhere", "link"))
	must(t, r.Mkfifo("fifo", 0644))
	must(t, r.MkSocket("sock", 0644))
	return []string{"file", "dir", "link", "fifo", "sock"}
}

func TestPinSetsMetadata(t *testing.T) {
	asNobody(t, func(t *testing.T) {
		r := open(t, t.TempDir(), Policy{})
		for _, name := range kinds(t, r) {
			p, err := r.Pin(name)
			must(t, err)
			defer p.Close()
			for _, mode := range []uint32{0000, 0200, 0711, 06755, 0644} {
				err := p.Chmod(mode)
				if name == "link" {
					if !errors.Is(err, syscall.EOPNOTSUPP) {
						t.Errorf("Chmod of a symlink: %v", err)
					}
					continue
				}
				if st, _ := r.Lstat(name); err != nil || st.Perm() != mode {
					t.Errorf("Chmod(%s, %o): %o, %v", name, mode, st.Perm(), err)
				}
			}
			for _, tt := range []struct{ atime, mtime Timespec }{
				{Timespec{1, 2}, Timespec{1234567890, 123456789}},
				{Timespec{-1, 999999999}, Timespec{-2000000000, 1}}, // before 1970
				{Timespec{5000000000, 5}, Timespec{4294967296 + 7, 0}},
			} {
				must(t, p.Utimes(tt.atime, tt.mtime))
				if st, _ := r.Lstat(name); st.Atime != tt.atime || st.Mtime != tt.mtime {
					t.Errorf("Utimes(%s, %v): %v %v", name, tt, st.Atime, st.Mtime)
				}
			}
			must(t, p.Utimes(Timespec{Nsec: OmitTime}, Timespec{Sec: 7}))
			if st, _ := r.Lstat(name); st.Atime != (Timespec{5000000000, 5}) || st.Mtime != (Timespec{Sec: 7}) {
				t.Errorf("Utimes(%s) with one time left out: %v %v", name, st.Atime, st.Mtime)
			}
			must(t, p.Chown(-1, os.Getegid()))
			if os.Geteuid() != 0 {
				if err := p.Chown(0, -1); !errors.Is(err, syscall.EPERM) {
					t.Errorf("giving %s away: %v", name, err)
				}
			}
		}
	})
}

func TestPinChown(t *testing.T) {
	needRoot(t)
	r := open(t, t.TempDir(), Policy{})
	must(t, r.Mknod("dev", unix.S_IFCHR|0600, unix.Mkdev(1, 3)))
	for _, name := range append(kinds(t, r), "dev") {
		p := must1(r.Pin(name))
		must(t, p.Chown(4294967294, 1<<31))
		if st, _ := r.Lstat(name); st.UID != 4294967294 || st.GID != 1<<31 {
			t.Errorf("%s belongs to %d:%d", name, st.UID, st.GID)
		}
		must(t, p.Chown(-1, 5))
		if st, _ := r.Lstat(name); st.UID != 4294967294 || st.GID != 5 {
			t.Errorf("%s belongs to %d:%d", name, st.UID, st.GID)
		}
		p.Close()
	}
	if st, _ := r.Lstat("dev"); st.Rdev != unix.Mkdev(1, 3) || !st.IsDevice() {
		t.Errorf("device %d, mode %o", st.Rdev, st.Mode)
	}
}

func TestPinXattrs(t *testing.T) {
	asNobody(t, func(t *testing.T) {
		top := t.TempDir()
		r := open(t, top, Policy{})
		kinds(t, r)
		f := must1(os.OpenFile(top+"/file", os.O_RDWR, 0))
		defer f.Close()
		for what, p := range map[string]*Pin{"pinned file": must1(r.Pin("file")), "pinned directory": must1(r.Pin("dir")), "open file": PinFile(f)} {
			defer p.Close()
			values := map[string][]byte{
				"user.empty": {}, "user.bytes": {0, 255, '\n'}, "user.long": bytes.Repeat([]byte("v"), 2000),
			}
			for name, v := range values {
				if err := p.Setxattr(name, v); err != nil {
					t.Fatalf("%s: %v (a file system with user attributes is needed)", what, err)
				}
			}
			list, err := p.Listxattr()
			slices.Sort(list)
			if err != nil || !slices.Equal(list, []string{"user.bytes", "user.empty", "user.long"}) {
				t.Errorf("%s lists %q, %v", what, list, err)
			}
			for name, want := range values {
				if got, err := p.Getxattr(name); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s has %s = %q, %v", what, name, got, err)
				}
				must(t, p.Removexattr(name))
			}
			for _, err := range []error{err1(p.Getxattr("user.none")), p.Removexattr("user.none")} {
				if !errors.Is(err, syscall.ENODATA) {
					t.Errorf("%s without the attribute: %v", what, err)
				}
			}
			// A list too long for the first buffer.
			for i := range 60 {
				must(t, p.Setxattr(fmt.Sprintf("user.a-rather-long-attribute-name-%02d", i), []byte("x")))
			}
			if list, err := p.Listxattr(); err != nil || len(list) != 60 {
				t.Errorf("%s lists %d attributes, %v", what, len(list), err)
			}
			for _, name := range must1(p.Listxattr()) {
				must(t, p.Removexattr(name))
			}
		}
		link := must1(r.Pin("link"))
		defer link.Close()
		if err := link.Setxattr("user.x", []byte("x")); !errors.Is(err, syscall.EPERM) {
			t.Errorf("user attribute of a symlink: %v", err)
		}
		if list, err := link.Listxattr(); err != nil || len(list) != 0 {
			t.Errorf("a symlink lists %q, %v", list, err)
		}
	})
}

// The ways of older kernels lead to the same inode.
func TestPinOldKernels(t *testing.T) {
	top := t.TempDir()
	r := open(t, top, Policy{})
	for _, name := range kinds(t, r) {
		p := must1(r.Pin(name))
		ts := [2]unix.Timespec{{Sec: 3}, {Sec: 4}}
		must(t, p.viaProc(procFd(), syscall.ENOSYS, func(proc int, n string) error {
			return unix.UtimesNanoAt(proc, n, ts[:], 0)
		}, nil))
		if st, _ := r.Lstat(name); st.Mtime.Sec != 4 {
			t.Errorf("%s: time %v", name, st.Mtime)
		}
		set := xattrCalls{
			byPath: func(path string) error { return unix.Setxattr(path, "user.old", []byte("path"), 0) },
			byFd:   func(fd int) error { return unix.Fsetxattr(fd, "user.old", []byte("fd"), 0) },
		}
		for want, call := range map[string]func() error{
			"path": func() error { return p.xattrVia(procFd(), false, set) },
			"fd":   func() error { return p.reopened(procFd(), fmt.Sprint(p.Fd()), set.byFd) },
			"none": func() error { return p.xattrVia(-1, false, set) },
		} {
			err := call()
			v, _ := p.Getxattr("user.old")
			switch {
			case name == "dir" && want == "none":
				want = "fd"
			case name != "file" && name != "dir", want == "none":
				if err == nil {
					t.Errorf("%s by %s: no error", name, want)
				}
				continue
			}
			if err != nil || string(v) != want {
				t.Errorf("%s by %s: %q, %v", name, want, v, err)
			}
		}
		if name == "dir" {
			must(t, p.viaProc(-1, syscall.ENOSYS, nil, func(fd int) error { return unix.Fchmod(fd, 0750) }))
			if st, _ := p.Stat(); st.Perm() != 0750 {
				t.Errorf("a directory without /proc: mode %o", st.Perm())
			}
		}
		p.Close()
	}
}

// A pinned inode stays the one it was, whatever its name comes to mean.
func TestPinHoldsInode(t *testing.T) {
	top := t.TempDir()
	write(t, top+"/tree/file", "")
	write(t, top+"/victim", "")
	must(t, os.Chmod(top+"/victim", 0600))
	r := open(t, top+"/tree", Policy{})
	p := must1(r.Pin("file"))
	defer p.Close()
	must(t, os.Rename(top+"/tree/file", top+"/tree/moved"))
	symlink(t, "../victim", top+"/tree/file")
	must(t, p.Chmod(0777))
	must(t, p.Setxattr("user.mark", []byte("x")))
	must(t, p.Utimes(Timespec{Sec: 1}, Timespec{Sec: 1}))
	if st, _ := os.Stat(top + "/victim"); st.Mode().Perm() != 0600 || st.ModTime().Unix() == 1 {
		t.Error("the victim was changed")
	}
	if st, _ := r.Lstat("moved"); st.Perm() != 0777 || st.Mtime.Sec != 1 {
		t.Error("the pinned file was not changed")
	}
}

// A daemon opens its module, then chroots into it: /proc is gone, the pins go on.
func TestPinAfterChroot(t *testing.T) {
	needRoot(t)
	if os.Getenv("FSROOT_CHROOT") == "" {
		cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=^TestPinAfterChroot$")
		cmd.Env = append(os.Environ(), "FSROOT_CHROOT=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	top := t.TempDir()
	r := open(t, top, Policy{})
	kinds(t, r)
	must(t, unix.Chroot(top))
	must(t, unix.Chdir("/"))
	if _, err := os.Stat("/proc"); err == nil {
		t.Fatal("not chrooted")
	}
	for _, name := range []string{"file", "dir", "fifo"} {
		p := must1(r.Pin(name))
		must(t, p.Chmod(0700))
		must(t, p.Chown(1, 1))
		must(t, p.Utimes(Timespec{Sec: 1}, Timespec{Sec: 2}))
		if st, _ := p.Stat(); st.Perm() != 0700 || st.UID != 1 || st.Mtime.Sec != 2 {
			t.Errorf("%s: %+v", name, st)
		}
		if name != "fifo" {
			must(t, p.Setxattr("user.x", []byte("1")))
			if v, err := p.Getxattr("user.x"); err != nil || string(v) != "1" {
				t.Errorf("%s: %q, %v", name, v, err)
			}
			set := xattrCalls{byFd: func(fd int) error { return unix.Fsetxattr(fd, "user.x", []byte("2"), 0) }}
			must(t, p.xattrVia(procFd(), false, set)) // before 6.13
		}
		p.Close()
	}
	must(t, r.Link("file", r, "hard", true))
	must(t, unix.Fchdir(r.Fd()))
	must(t, unix.Chroot("."))
}

// A Glance says what a Pin says, of a symlink itself too, and of a name in the
// directory that the root held when it was made.
func TestGlance(t *testing.T) {
	r := open(t, t.TempDir(), Policy{})
	for _, name := range append(kinds(t, r), ".") {
		p, err := r.Pin(name)
		must(t, err)
		defer p.Close()
		long := strings.Repeat("x", 1000) // more than what most answers fit in
		for attr, value := range map[string]string{"trusted.a": "b", "user.a": "", "user.long": long} {
			if err := p.Setxattr(attr, []byte(value)); err != nil && !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.EOPNOTSUPP) {
				t.Fatal(err)
			}
		}
		g, err := r.Glance(name)
		must(t, err)
		defer g.Close()
		if g.Name() != p.Name() {
			t.Errorf("named %q, the Pin %q", g.Name(), p.Name())
		}
		want, wantErr := p.Listxattr()
		got, err := g.Listxattr()
		if !slices.Equal(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%s has %q, %v; the Pin says %q, %v", name, got, err, want, wantErr)
		}
		for _, attr := range append(want, "user.none", "system.posix_acl_access") {
			want, wantErr := p.Getxattr(attr)
			got, err := g.Getxattr(attr)
			if !bytes.Equal(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Errorf("%s of %s: %q, %v; the Pin says %q, %v", attr, name, got, err, want, wantErr)
			}
		}
	}
	g, err := r.Glance("none")
	if err == nil {
		_, err = g.Listxattr()
		g.Close()
	}
	if !errors.Is(err, syscall.ENOENT) {
		t.Errorf("of nothing: %v", err)
	}
}

// With -A and -X several attributes of every entry are asked for, and most have
// none: that costs what a Glance takes and nothing else.
func TestGlanceAllocatesNothing(t *testing.T) {
	if !hasXattrat() {
		t.Skip("the kernel reads no attributes by name in a directory")
	}
	r := open(t, t.TempDir(), Policy{})
	must(t, os.WriteFile(r.Full("file"), nil, 0o600))
	r.Lstat("file")
	n := testing.AllocsPerRun(50, func() {
		g, err := r.Glance("file")
		must(t, err)
		defer g.Close()
		if _, err := g.Getxattr("user.none"); !errors.Is(err, syscall.ENODATA) {
			t.Fatal(err)
		}
		if list, err := g.Listxattr(); err != nil || len(list) > 0 {
			t.Fatal(list, err)
		}
	})
	if n > 2 {
		t.Errorf("%v allocations", n)
	}
}

// Names that the kernel would not take, or cut, are refused as it does.
func TestXattrNames(t *testing.T) {
	r := open(t, t.TempDir(), Policy{})
	must(t, r.Mkdir("dir", 0o700))
	g := must1(r.Glance("dir"))
	defer g.Close()
	p := must1(r.Pin("dir"))
	defer p.Close()
	for name, want := range map[string]error{
		"user." + strings.Repeat("n", 250): syscall.ENODATA, "user." + strings.Repeat("n", 251): syscall.ERANGE, "user.a\x00b": syscall.EINVAL, "": syscall.ERANGE,
	} {
		if _, err := g.Getxattr(name); !errors.Is(err, want) {
			t.Errorf("a Glance at %q: %v, want %v", name, err, want)
		}
		if _, err := p.Getxattr(name); !errors.Is(err, want) {
			t.Errorf("a Pin of %q: %v, want %v", name, err, want)
		}
	}
}
