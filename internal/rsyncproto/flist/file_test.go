package flist

import "testing"

func TestName(t *testing.T) {
	for _, name := range []string{"a", "d/a", "d/e/a", "/a", "/d/a", "."} {
		var f File
		f.SetName(name)
		if got := f.Name(); got != name {
			t.Errorf("SetName(%q): Name() = %q", name, got)
		}
		g := File{Dir: f.Dir, Base: f.Base}
		if got := g.Name(); got != name {
			t.Errorf("Dir %q, Base %q: Name() = %q", f.Dir, f.Base, got)
		}
	}
	// --relative takes leading slashes off Dir after SetName.
	var f File
	f.SetName("/d/a")
	f.Dir = "d"
	if got := f.Name(); got != "d/a" {
		t.Errorf("after Dir was cut: %q", got)
	}
	f.SetName("some/dir/a")
	if n := testing.AllocsPerRun(10, func() { _ = f.Name() }); n > 0 {
		t.Errorf("Name allocates %v times", n)
	}
}
