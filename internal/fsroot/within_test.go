package fsroot

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// withinTree is a module with links that climb out of one of its directories:
//
//	module/{file,sub/,other/file,deep/er/}  outside/file
func withinTree(t *testing.T) string {
	top := t.TempDir()
	for _, dir := range []string{"module/sub/below", "module/other", "module/deep/er", "outside"} {
		must(t, os.MkdirAll(top+"/"+dir, 0755))
	}
	write(t, top+"/module/file", "module")
	write(t, top+"/module/other/file", "other")
	write(t, top+"/module/sub/file", "sub")
	write(t, top+"/outside/file", "outside")
	for name, target := range map[string]string{
		"up": "../other", "upfile": "../file", "there-and-back": "../sub/../other", "below/up": "../../other",
		"root": "..", "out": "../../outside", "outfile": "../../outside/file", "over": "../../module/other",
		"abs": top + "/module/other", "home": "below/..",
	} {
		symlink(t, target, top+"/module/sub/"+name)
	}
	symlink(t, "deep/er", top+"/module/jump")
	symlink(t, "../../other", top+"/module/deep/er/up")
	return top
}

// A symlink below a directory of a module may lead to anything in the module.
func TestLinksWithinTheModule(t *testing.T) {
	top := withinTree(t)
	module := open(t, top+"/module", Policy{FollowDirLinks: true, Confine: true})
	for _, tt := range []struct{ dir, name, want string }{
		{"sub", "up/file", "other"},
		{"sub", "upfile", "module"},
		{"sub", "there-and-back/file", "other"},
		{"sub", "below/up/file", "other"},
		{"sub", "root/other/file", "other"},
		{"sub", "root/file", "module"},
		{"sub", "home/file", "sub"},
		{"sub/below", "up/../sub/up/file", "other"},
		{"jump", "up/file", "other"},
		{"jump", "up/../sub/upfile", "module"},
		{"sub", "out/file", "ELOOP"},
		{"sub", "outfile", "ELOOP"},
		{"sub", "over/file", "ELOOP"},
		{"sub", "root/../outside/file", "ELOOP"},
		{"sub", "abs/file", "ELOOP"},
	} {
		sub, err := OpenAt(module, tt.dir, Policy{FollowDirLinks: true})
		must(t, err)
		f, err := sub.OpenFollow(tt.name)
		if got := outcome(t, f, err); got != tt.want {
			t.Errorf("OpenFollow(%q) in %s = %s (%v), want %s", tt.name, tt.dir, got, err, tt.want)
		}
		fd, err := walk(sub.Fd(), sub.bound(), tt.name, unix.O_RDONLY, 0, true, true)
		if got := outcome(t, fileOf(fd, err), err); got != tt.want {
			t.Errorf("walk(%q) in %s = %s (%v), want %s", tt.name, tt.dir, got, err, tt.want)
		}
		sub.Close()
	}
}

// A root outlives the one it was opened from, and no descriptor is left over.
func TestRootOutlivesItsBase(t *testing.T) {
	top := withinTree(t)
	before := openFds(t)
	module := must1(Open(top+"/module", Policy{FollowDirLinks: true, Confine: true}))
	sub := must1(OpenAt(module, "sub", Policy{FollowDirLinks: true}))
	below := must1(OpenAt(sub, "below", Policy{FollowDirLinks: true}))
	must(t, module.Close())
	must(t, sub.Close())
	f, err := below.OpenFollow("up/file")
	if got := outcome(t, f, err); got != "other" {
		t.Errorf("after the base was closed: %s (%v)", got, err)
	}
	must(t, below.Close())
	if after := openFds(t); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

// A file of the tree that speaks for its operator may be a link out of the
// tree, but not out of the module.
func TestOwnerOpenIn(t *testing.T) {
	top := withinTree(t)
	module := open(t, top+"/module", Policy{FollowDirLinks: true, Confine: true})
	served := must1(OpenAt(module, "sub", Policy{}))
	defer served.Close()
	local := open(t, top+"/module/sub", Policy{Confine: true})
	for _, tt := range []struct{ name, local, served string }{
		{"file", "sub", "sub"},
		{"upfile", "module", "module"},
		{"up/file", "other", "other"},
		{"abs/file", "other", "other"},
		{"outfile", "outside", "ELOOP"},
		{"out/file", "outside", "ELOOP"},
		{top + "/outside/file", "ErrEscape", "ErrEscape"},
	} {
		for _, c := range []struct {
			root *Root
			want string
		}{{local, tt.local}, {served, tt.served}} {
			f, err := OwnerOpenIn(c.root, tt.name, os.O_RDONLY, 0, Policy{})
			if got := outcome(t, f, err); got != c.want {
				t.Errorf("OwnerOpenIn(%q) in %s = %s (%v), want %s", tt.name, c.root.Path(), got, err, c.want)
			}
		}
	}
}
