package meta

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/prsync/prsync/internal/fsroot"
	"golang.org/x/sys/unix"
)

const (
	regMode = unix.S_IFREG
	dirMode = unix.S_IFDIR
)

// Whether a spec is valid, and what it makes of a file 0644, a program 0755 and
// a directory 02755 under umask 022.
var chmodTable = []struct {
	spec            string
	file, prog, dir uint32
}{
	{"u+x", 0744, 0755, 02755},
	{"+x", 0755, 0755, 02755},
	{"+w", 0644, 0755, 02755},
	{"a+w", 0666, 0777, 02777},
	{"-w", 0444, 0555, 02555},
	{"go-rwx", 0600, 0700, 02700},
	{"g=u", 0664, 0775, 0775},
	{"o=g", 0644, 0755, 02755},
	{"g=", 0604, 0705, 02705},
	{"=r", 0444, 0444, 02444},
	{"a=rX", 0444, 0555, 02555},
	{"+X", 0644, 0755, 02755},
	{"a-x,a+X", 0644, 0755, 02755},
	{"-X", 0644, 0644, 02644},
	{"u+s", 04644, 04755, 06755},
	{"g+s", 02644, 02755, 02755},
	{"a+s", 06644, 06755, 06755},
	{"+s", 04644, 04755, 06755},
	{"o+s", 04644, 04755, 06755},
	{"g-s", 0644, 0755, 0755},
	{"g=s", 02604, 02705, 02705},
	{"+t", 01644, 01755, 03755},
	{"u=t", 01044, 01055, 03055},
	{"Dg+s,ug+w,Fo-w,+X", 0664, 0775, 02775},
	{"D2775,F664", 0664, 0664, 02775},
	{"D755,F644", 0644, 0644, 0755},
	{"7777", 07777, 07777, 07777},
	{"0", 0, 0, 0},
	{"Fu+w,Du-w", 0644, 0755, 02555},
	{"u-g", 0244, 0255, 02255},
	{"-g", 0222 &^ 0022, 0222 &^ 0022, 02200},
	{"ug+o", 0644, 0755, 02755},
	{"u=,g=", 0004, 0005, 02005},
	{"uu+xx", 0744, 0755, 02755},
	{"go=u", 0666, 0777, 0777},
}

func TestChmod(t *testing.T) {
	for _, tt := range chmodTable {
		c, err := ParseChmod(tt.spec, 022)
		if err != nil {
			t.Errorf("%q: %v", tt.spec, err)
			continue
		}
		for _, e := range []struct{ mode, want uint32 }{
			{regMode | 0644, regMode | tt.file}, {regMode | 0755, regMode | tt.prog}, {dirMode | 02755, dirMode | tt.dir},
		} {
			if got := c.Apply(e.mode); got != e.want {
				t.Errorf("%q makes %o of %o, want %o", tt.spec, got, e.mode, e.want)
			}
		}
	}
	for _, spec := range []string{
		"", ",", "u+x,", "x", "u", "8", "79", "17777", "u7", "DFu+x", "FD755", "u+rwq", "u+gr", "u+rg", "u+gu", "u+x-w",
		"u +x", "D", "+x,,+w", "u+x\x00", "-", // "-" alone is an operator with nothing to do
	} {
		if _, err := ParseChmod(spec, 022); (err == nil) != (spec == "-") {
			t.Errorf("%q: %v", spec, err)
		}
	}
}

// What rsync makes of the same modes with the same arguments.
func TestChmodAgainstRsync(t *testing.T) {
	needRsync(t)
	umask := syscall.Umask(022)
	syscall.Umask(umask)
	top := t.TempDir()
	modes := []uint32{0, 0644, 0755, 0400, 0111, 0070, 0007, 04755, 02711, 01777, 07777, 0640}
	must(t, os.Mkdir(top+"/src", 0755))
	src, err := fsroot.Open(top+"/src", fsroot.Policy{})
	must(t, err)
	defer src.Close()
	for _, m := range modes {
		must(t, os.WriteFile(fmt.Sprintf("%s/src/f%o", top, m), nil, 0600))
		must(t, os.Mkdir(fmt.Sprintf("%s/src/d%o", top, m), 0700))
		chmod(t, src, fmt.Sprintf("f%o", m), m)
		chmod(t, src, fmt.Sprintf("d%o", m), m|0500) // an ordinary user must get in
	}
	specs := []string{"-", "u=", "o+s", "ug=s", "a=st", "go=t", "D=X,F=X", "a=X", "=X", "o=u", "=u", "+u", "-o", "ugo=g", "u=o,g=u", "Xu+x"}
	for _, tt := range chmodTable {
		specs = append(specs, tt.spec)
	}
	dst := top + "/dst"
	clear := func() {
		if os.Geteuid() != 0 {
			exec.Command("chmod", "-R", "u+rwx", dst).Run()
		}
		must(t, os.RemoveAll(dst))
	}
	t.Cleanup(clear)
	for _, spec := range specs {
		out, err := exec.Command("rsync", "-rp", "--chmod="+spec, top+"/src/", dst+"/").CombinedOutput()
		c, perr := ParseChmod(spec, uint32(umask))
		if (err == nil) != (perr == nil) && os.Geteuid() == 0 {
			t.Errorf("%q: rsync: %v %s; ParseChmod: %v", spec, err, out, perr)
			continue
		}
		if err != nil {
			clear()
			continue // an ordinary user shut itself out
		}
		for _, m := range modes {
			for _, e := range []struct {
				name string
				mode uint32
			}{{fmt.Sprintf("f%o", m), regMode | m}, {fmt.Sprintf("d%o", m), dirMode | m | 0500}} {
				var st unix.Stat_t
				must(t, unix.Lstat(dst+"/"+e.name, &st))
				if got := c.Apply(e.mode); got != st.Mode {
					t.Errorf("%q makes %o of %o, rsync %o", spec, got, e.mode, st.Mode)
				}
			}
		}
		clear()
	}
}

func FuzzParseChmod(f *testing.F) {
	for _, tt := range chmodTable {
		f.Add(tt.spec, uint32(0100644))
	}
	f.Fuzz(func(t *testing.T, spec string, mode uint32) {
		c, err := ParseChmod(spec, 022)
		if err != nil {
			return
		}
		if got := c.Apply(mode); got&^PermBits != mode&^PermBits {
			t.Fatalf("%q changes the type: %o to %o", spec, mode, got)
		}
	})
}
