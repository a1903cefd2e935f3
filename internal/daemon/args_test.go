package daemon

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func readArgs(in string, nulls, secluded bool) (*argReader, *strings.Reader) {
	src := strings.NewReader(in)
	return &argReader{in: src, module: "mod", nulls: nulls, secluded: secluded,
		expand: func(p string) ([]string, error) { return []string{"<" + p + ">"}, nil }}, src
}

func TestReadArgs(t *testing.T) {
	long := strings.Repeat("x", 6000)
	for _, tc := range []struct {
		in              string
		nulls, secluded bool
		want, paths     string
	}{
		{"--server\x00-v\x00.\x00mod/a\x00\x00", true, false, "rsyncd --server -v . </a>", "mod/a"},
		{"--server\n.\nmod/a mod/b c\n\n", false, false, "rsyncd --server . </a> </b c>", "mod/a mod/b c"},
		{".\x00mod/a mod/\x00\x00", true, false, "rsyncd . </a> </>", "mod/a mod/"},
		{".\x00mod\x00other\x00\x00", true, false, "rsyncd . <other>", "mod other"},
		{`--x=a\ b\\c\` + "\x00\x00", true, false, `rsyncd --x=a b\c\`, ""},
		{`rsync` + "\x00" + `--x=a\ b` + "\x00.\x00mod/a mod/b\x00\x00", true, true, `rsync --x=a\ b . </a mod/b>`, "mod/a mod/b"},
		{long + "\x00\x00", true, false, "rsyncd " + long[:5119], ""},
		{"\x00", true, false, "rsyncd", ""},
	} {
		r, src := readArgs(tc.in+"REST", tc.nulls, tc.secluded)
		args, paths, err := r.read()
		if got := strings.Join(args, " "); err != nil || got != tc.want || paths != tc.paths {
			t.Errorf("%.60q: %.80q %q %v", tc.in, got, paths, err)
		}
		if rest, _ := io.ReadAll(src); string(rest) != "REST" {
			t.Errorf("%.60q: %q is left", tc.in, rest)
		}
	}
	r, _ := readArgs("--server\x00.\x00mod/a", true, false)
	if _, _, err := r.read(); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a broken list: %v", err)
	}
	r, _ = readArgs(strings.Repeat("a\x00", maxDaemonArgs)+"\x00", true, false)
	if _, _, err := r.read(); !errors.Is(err, errTooManyArgs) {
		t.Errorf("%d arguments: %v", maxDaemonArgs, err)
	}
	r, _ = readArgs(".\x00"+strings.Repeat("mod/x\x00", 10)+"\x00", true, false)
	r.expand = func(string) ([]string, error) { return make([]string, maxGlobbed/4), nil }
	if _, _, err := r.read(); !errors.Is(err, errTooManyHits) {
		t.Errorf("too many matches: %v", err)
	}
}

func FuzzReadArgs(f *testing.F) {
	f.Add("--server\x00.\x00mod/a mod/b\x00\x00", true, false)
	f.Add("--server\n.\nmod/a\n\n", false, false)
	f.Fuzz(func(t *testing.T, in string, nulls, secluded bool) {
		r, _ := readArgs(in, nulls, secluded)
		args, paths, err := r.read()
		if err == nil && (len(args) > len(in)+1 || len(paths) > len(in)) {
			t.Errorf("%d arguments of %d bytes", len(args), len(in))
		}
	})
}
