package transfer

import "testing"

// The names in messages are as rsync 3.5.0 prints them: below a module they
// begin at its root, with a slash only where a directory precedes, or where the
// module is the root of the file system.
func TestFullName(t *testing.T) {
	for _, tt := range []struct{ module, top, dir, name, want string }{
		{"", "", "/", "f", `"/f"`},
		{"", "", "/src", "f", `"/src/f"`},
		{"", "", "/src", "/f", `"/f"`},
		{"m", "/srv", "/", "f", `"f" (in m)`},
		{"m", "", "/", "f", `"/f" (in m)`},
		{"m", "/srv", "/sub", "f", `"/sub/f" (in m)`},
		{"m", "/srv", "/sub/dir", "/f", `"/f" (in m)`},
	} {
		c := &Config{Module: tt.module, Top: tt.top}
		if got := c.fullName(tt.dir, tt.name); got != tt.want {
			t.Errorf("fullName(%q, %q) of module %q = %s, want %s", tt.dir, tt.name, tt.module, got, tt.want)
		}
	}
}
