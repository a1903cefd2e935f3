package compress

import (
	"path"
	"strings"
	"testing"
)

func TestSkipList(t *testing.T) {
	wild := func(pattern, name string) bool {
		ok, _ := path.Match(pattern, name)
		return ok
	}
	long := strings.Repeat("x", 5000)
	tests := []struct {
		suffixes, patterns string
		name               string
		want               bool
	}{
		{"gz/jpg/mp[34]", "", "a/b/c.gz", true},
		{"gz/jpg/mp[34]", "", "C.GZ", true},
		{"gz/jpg/mp[34]", "", "song.mp3", true},
		{"gz/jpg/mp[34]", "", "song.mp5", false},
		{"gz/jpg/mp[34]", "", "song.mp34", false},
		{"gz/jpg/mp[34]", "", "song.mp", false},
		{"GZ//", "", "x.gz", true},
		{"gz", "", ".gz", false},
		{"gz", "", "dir.gz/file", false},
		{"gz", "", "gz", false},
		{"tar.gz", "", "x.tar.gz", false},
		{"a[", "", "x.a[", true},
		{"a[]", "", "x.a[]", true},
		{"*", "", "x.gz", false},
		{"", "", "x.gz", false},
		{long, "", "x." + long[:32], true},
		{DefaultSkip, "", "x.webp", true},
		{DefaultSkip, "", "x.txt", false},
		{"", "*.gz  *.Tgz", "x.tgz", true},
		{"", "data*", "dir/Data.bin", true},
		{"", "data*", "data/x", false},
		{"", "*", "anything", true},
		{"", "*.a.b", "x.a.b", true},
	}
	for _, tt := range tests {
		var l SkipList
		l.AddSuffixes(tt.suffixes)
		l.AddPatterns(tt.patterns, wild)
		if got := l.Match(tt.name); got != tt.want {
			t.Errorf("suffixes %.20q, patterns %q, name %.20q: %v", tt.suffixes, tt.patterns, tt.name, got)
		}
		if l.All() != (tt.patterns == "*") {
			t.Errorf("patterns %q: All is %v", tt.patterns, l.All())
		}
	}
}
