package conf

import (
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const manPage = "../../../man/prsyncd.conf.5"

// TestManPage holds man/prsyncd.conf.5 to the table: every parameter of ours
// with its scope and default, and no other.
func TestManPage(t *testing.T) {
	b, err := os.ReadFile(manPage)
	if err != nil {
		t.Fatal(err)
	}
	globals, locals, ok := strings.Cut(string(b), ".Ss Module parameters")
	if !ok {
		t.Fatal("the page has no section of module parameters")
	}
	item := regexp.MustCompile(`(?m)^\.It Ic ([a-z ]+) No = .*Pq default: (.*)$`)
	for _, part := range []struct {
		text  string
		scope scope
	}{{globals, global}, {locals, local}} {
		var documented, want []string
		for _, m := range item.FindAllStringSubmatch(part.text, -1) {
			name, def := m[1], strings.Trim(strings.ReplaceAll(m[2], "Li ", ""), " ")
			documented = append(documented, name)
			p := byKey()[fold(name)]
			if p == nil {
				continue // said below
			}
			// The default as the page has it must read as the table's.
			text, _, _ := strings.Cut(def, ",")
			switch v := defaults(); {
			case p.def == nil && p.kind != address && p.kind != path && text != "none":
				t.Errorf("%s: the page says %q is the default; there is none", name, def)
			case p.def == nil, p.def == Unset:
			default:
				if _, err := p.assign(v, text, nil); err != nil {
					t.Errorf("%s: the page says %q is the default: %v", name, def, err)
				} else if got := reflect.ValueOf(p.field(v)).Elem().Interface(); got != p.def {
					t.Errorf("%s: the page says %q is the default, the table has %v", name, def, p.def)
				}
			}
		}
		for _, p := range table {
			if p.ours && p.scope == part.scope {
				want = append(want, p.name)
			}
		}
		if !slices.Equal(documented, want) {
			t.Errorf("documented: %q\nin the table: %q", documented, want)
		}
	}
	if mandoc, err := exec.LookPath("mandoc"); err == nil {
		if out, err := exec.Command(mandoc, "-Tlint", "-Wwarning", manPage).CombinedOutput(); err != nil {
			t.Errorf("mandoc: %v\n%s", err, out)
		}
	}
}

// TestManPageExamples: the examples are configurations without a mistake.
func TestManPageExamples(t *testing.T) {
	b, err := os.ReadFile(manPage)
	if err != nil {
		t.Fatal(err)
	}
	_, examples, _ := strings.Cut(string(b), ".Sh EXAMPLES")
	n := 0
	for _, m := range regexp.MustCompile(`(?s)\.Bd -literal[^\n]*\n(.*?)\n\.Ed`).FindAllStringSubmatch(examples, -1) {
		n++
		file := t.TempDir() + "/prsyncd.conf"
		if err := os.WriteFile(file, []byte(m[1]+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Load(file, Options{})
		if err != nil {
			t.Errorf("example %d: %v", n, err)
		} else if len(f.Warnings) > 0 {
			t.Errorf("example %d: %q", n, f.Warnings)
		}
	}
	if n != 3 {
		t.Errorf("%d examples", n)
	}
}
