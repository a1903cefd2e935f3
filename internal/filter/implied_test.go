package filter

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/exitcode"
)

func TestImplied(t *testing.T) {
	for _, c := range []struct {
		options string // R relative, r recurse, d dirs
		args    []string
		pass    []string // a directory ends in "/"
		reject  []string
		parents []string
	}{
		{"", []string{"a/b/file"}, []string{"file", "file/"}, []string{"other", "a", "a/b/file", "file/x"}, nil},
		{"r", []string{"a/b"}, []string{"b/", "b/c", "b/c/d"}, []string{"a", "c", "a/b", "bb"}, nil},
		{"d", []string{"a/b"}, []string{"b/", "b/c"}, []string{"b/c/d", "c"}, nil},
		{"r", []string{"a/"}, []string{"x", "x/y", "a"}, nil, nil},
		{"d", []string{"a/"}, []string{"x", "x/"}, []string{"x/y"}, nil},
		{"r", []string{"."}, []string{"x", "x/y"}, nil, nil},
		{"r", []string{""}, []string{"x", "x/y"}, nil, nil},
		{"", []string{""}, []string{"x"}, nil, nil}, // nothing is implied, so nothing is checked
		{"R", []string{"a/b/c"}, []string{"a/", "a/b/", "a/b/c"}, []string{"a", "b/", "a/x", "a/b", "c"}, []string{"a", "a/b"}},
		{"Rr", []string{"a/b/./c/d"}, []string{"c/", "c/d/", "c/d/e"}, []string{"a/", "c/x", "d"}, []string{"c"}},
		{"Rr", []string{"/abs/dir/"}, []string{"abs/", "abs/dir/", "abs/dir/x"}, []string{"abs/x", "x"}, []string{"abs"}},
		{"R", []string{"a//b/./c", "./d"}, []string{"c", "d"}, []string{"a/", "b/", "e"}, nil},
		{"R", []string{".//a/./../x"}, []string{"../x"}, []string{"x", "a/"}, nil},
		{"", []string{"*.c"}, []string{"x.c", ".c"}, []string{"x.o", "d/x.c"}, nil},
		{"r", []string{"d?"}, []string{"d1/", "d2/x/y"}, []string{"d", "e/d1"}, nil},
		{"r", []string{"*"}, []string{"a", "a/b/c"}, nil, nil},
		{"R", []string{"d*/x[12]/f"}, []string{"d1/", "d1/x1/", "d1/x1/f", "d1/x[12]/f"}, []string{"e/", "d1/x3/", "d1/x1/g"}, []string{"d1", "d1/x1", "d1/x[12]"}},
		{"", []string{"[foo]"}, []string{"f", "[foo]"}, []string{"foo", "x"}, nil},
		{"", []string{`a\*`}, []string{"a*"}, []string{"ab", `a\*`}, nil},
		{"", []string{`a\b`}, []string{`a\b`}, []string{"ab"}, nil},
		{"r", []string{`a\b`}, []string{`a\b/`, `a\b/c`}, []string{"ab/c"}, nil},
		{"", []string{`a\b*`}, []string{`a\bc`}, []string{"abc"}, nil},
		{"", []string{`a\]`}, []string{`a]`}, []string{`a\]`}, nil},
		{"R", []string{`a\b\`}, []string{`a\b\`}, []string{`a`, `ab`}, nil},
		{"Rd", []string{"one", "sub/two", "sub/three"}, []string{"one", "one/x", "sub/", "sub/two", "sub/three"}, []string{"two", "sub/four", "one/x/y"}, []string{"sub"}},
		{"Rd", []string{"sub/x", "sub"}, []string{"sub/", "sub/x", "sub/y"}, nil, nil},
	} {
		im := NewImplied(impliedConfig(c.options))
		for _, a := range c.args {
			im.Add(a, false)
		}
		name := fmt.Sprintf("-%s %q", c.options, c.args)
		for _, n := range c.pass {
			if err := im.Check(strings.TrimSuffix(n, "/"), strings.HasSuffix(n, "/")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, n := range c.reject {
			err := im.Check(strings.TrimSuffix(n, "/"), strings.HasSuffix(n, "/"))
			var e *exitcode.Error
			if !errors.As(err, &e) || e.Code != exitcode.Unsupported {
				t.Errorf("%s passes %q (%v)", name, n, err)
			}
		}
		for _, n := range append(c.pass, c.reject...) {
			n = strings.TrimSuffix(n, "/")
			if got, want := im.IsParent(n), slices.Contains(c.parents, n); got != want {
				t.Errorf("%s: IsParent(%q) = %v", name, n, got)
			}
		}
	}
}

func impliedConfig(options string) ImpliedConfig {
	return ImpliedConfig{
		Relative: strings.Contains(options, "R"), Recurse: strings.Contains(options, "r"),
		Dirs: strings.ContainsAny(options, "dr"),
	}
}

func TestImpliedRoot(t *testing.T) {
	for _, c := range []struct {
		options, arg string
		parent       bool
	}{
		{"r", "dir", true}, {"r", "dir/", false}, {"r", ".", false}, {"d", "", false}, {"R", "a/b", true},
		{"r", "*", false}, {"", "*", false}, {"", "a*", true},
	} {
		im := NewImplied(impliedConfig(c.options))
		im.Add(c.arg, false)
		if got := im.IsParent("."); got != c.parent {
			t.Errorf("-%s %q: IsParent(.) = %v", c.options, c.arg, got)
		}
		if err := im.Check(".", true); err != nil {
			t.Error(err)
		}
	}
}

func TestImpliedModule(t *testing.T) {
	im := NewImplied(ImpliedConfig{Recurse: true})
	im.Add("module/dir/x", true)
	if im.Check("x", true) != nil || im.Check("dir", true) == nil {
		t.Error("the module's name is not left out")
	}
	im = NewImplied(ImpliedConfig{Recurse: true})
	im.Add("module", true)
	if err := im.Check("anything", false); err != nil {
		t.Error(err)
	}
	trusting := NewImplied(ImpliedConfig{Trust: true})
	trusting.Add("a", false)
	if err := trusting.Check("b", false); err != nil {
		t.Error(err)
	}
}

// TestImpliedMany bounds the cost of a long --files-from.
func TestImpliedMany(t *testing.T) {
	im := NewImplied(ImpliedConfig{Relative: true, Dirs: true})
	for i := range 100000 {
		im.Add(fmt.Sprintf("some/dir/number%d/file", i), false)
	}
	for i := range 100000 {
		if err := im.Check(fmt.Sprintf("some/dir/number%d/file", i), false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestImpliedAsRsync compares the rules with those that rsync says it adds.
func TestImpliedAsRsync(t *testing.T) {
	rsync, err := exec.LookPath("rsync")
	if err != nil {
		t.Skip("needs rsync on the PATH")
	}
	says := regexp.MustCompile(`add_implied_include\((.*)\)`)
	for _, args := range [][]string{
		{"a"}, {"a/b/c"}, {"a/"}, {"."}, {"./"}, {"a/./b/c"}, {"/abs/x/"}, {"a//b///c/."}, {"./././a"},
		{"*"}, {"a/*.c"}, {"d*/e/f[12]"}, {"[x]/y/[z]"}, {`a\b`}, {`a\b*`}, {`a\*`}, {`x\[y]`}, {`x\]y`}, {`x\]y*`},
		{`back\`}, {`d\e/f`}, {`d\e/f*`}, {"..", "../x"}, {"a/b/c", "a/b/d", "a/e"}, {"**/x"}, {".h/./.x"}, {"a/.b/.c."},
	} {
		for _, options := range []string{"", "d", "r", "R", "Rd", "Rr"} {
			cfg := impliedConfig(options)
			var got []string
			cfg.Debug = func(format string, a ...any) {
				got = append(got, says.FindStringSubmatch(fmt.Sprintf(format, a...))[1])
			}
			im := NewImplied(cfg)
			line := []string{"-e", "false", "--debug=FILTER3"}
			if options != "" {
				line = append(line, "-"+options)
			}
			for _, a := range args {
				im.Add(a, false)
				line = append(line, ":"+a)
			}
			line[len(line)-len(args)] = "host" + line[len(line)-len(args)]
			out, _ := exec.Command(rsync, append(line, "dst")...).CombinedOutput()
			var want []string
			for _, m := range says.FindAllStringSubmatch(string(out), -1) {
				want = append(want, m[1])
			}
			slices.Sort(got)
			slices.Sort(want)
			if got, want = slices.Compact(got), slices.Compact(want); !slices.Equal(got, want) {
				t.Errorf("-%s %q:\n got %q\nwant %q", options, args, got, want)
			}
		}
	}
}
