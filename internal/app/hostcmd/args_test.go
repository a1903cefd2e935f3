package hostcmd

import (
	"strings"
	"testing"
)

func TestOptionsFirst(t *testing.T) {
	c := &commands{}
	for in, want := range map[string]string{
		"prsync publish fedora --config f":          "prsync publish --config f fedora",
		"prsync publish fedora --config=f --json":   "prsync publish --config=f --json fedora",
		"prsync status URL -json --width 80 x":      "prsync status -json --width 80 URL x",
		"prsync publish --json fedora":              "prsync publish --json fedora",
		"prsync publish a -- --config":              "prsync publish a -- --config",
		"prsync publish --json a -- --config b":     "prsync publish --json a -- --config b",
		"prsync publish fedora --config":            "prsync publish --config fedora",
		"prsync publish fedora --nonsense --help x": "prsync publish --nonsense --help fedora x",
		"prsync status -":                           "prsync status -",
		"prsync serve":                              "prsync serve",
		"prsync bogus a --config b":                 "prsync bogus a --config b",
	} {
		if got := strings.Join(optionsFirst(strings.Fields(in), c.app().Commands), " "); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
