package filter

import (
	"io"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("x", maxPath+10)
	for _, c := range []struct {
		text          string
		nulls, remote bool
		want          string
	}{
		{"", false, false, ""},
		{"a\nb\n", false, false, "a|b"},
		{"a\r\n\r\nb", false, false, "a|b"},
		{"# a\n;b\n c#\n#", false, false, " c#"},
		{"a\nb\x00#c\x00\x00d", true, false, "a\nb|d"},
		{"#a\x00;b\x00\x00c", true, true, "#a|;b"},
		{"a\x00", false, true, "a"},
		{long + "\ny", false, false, long[:maxPath-1] + "|y"},
	} {
		n := NewNames(strings.NewReader(c.text), c.nulls, c.remote)
		var got []string
		for {
			name, err := n.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, name)
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%.40q: %.80q", c.text, s)
		}
	}
	want := io.ErrClosedPipe
	r, w := io.Pipe()
	_ = w.CloseWithError(want)
	if _, err := NewNames(r, false, false).Next(); err != want {
		t.Errorf("a failing reader: %v", err)
	}
}
