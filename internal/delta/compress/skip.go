package compress

import "strings"

// DefaultSkip is the list of --skip-compress, and of a daemon's "dont
// compress", when neither is given. rsync 3.5.0 rsync(1)
const DefaultSkip = "3g2/3gp/7z/aac/ace/apk/avi/bz2/deb/dmg/ear/f4v/flac/flv/gpg/gz/iso/jar/" +
	"jpeg/jpg/lrz/lz/lz4/lzma/lzo/m1a/m1v/m2a/m2ts/m2v/m4a/m4b/m4p/m4r/m4v/mka/mkv/mov/mp1/" +
	"mp2/mp3/mp4/mpa/mpeg/mpg/mpv/mts/odb/odf/odg/odi/odm/odp/ods/odt/oga/ogg/ogm/ogv/ogx/" +
	"opus/otg/oth/otp/ots/ott/oxt/png/qt/rar/rpm/rz/rzip/spx/squashfs/sxc/sxd/sxg/sxm/sxw/sz/" +
	"tbz/tbz2/tgz/tlz/ts/txz/tzo/vob/war/webm/webp/xz/z/zip/zst"

// maxSuffix is how much of a suffix in a list counts.
// rsync 3.5.0 token.c:add_nocompress_suffixes
const maxSuffix = 32

// Skipper is a Writer that can send a file with as little effort as possible.
// rsync keeps one effort for all files; any receiver can tell the difference
// only by the time it takes. Zstd, whose one frame has one effort, is no
// Skipper.
type Skipper interface {
	// Skip says whether to spare the effort from the next file on. It may only
	// be called between files.
	Skip(skip bool)
}

// SkipList tells which files are not worth compressing. The zero SkipList
// names none. It is not changed by Match, which is safe for concurrent use.
type SkipList struct {
	all      bool
	suffixes map[string]bool
	classes  []string // suffixes with [...] in them
	patterns []string
	wild     func(pattern, name string) bool
}

// AddSuffixes adds the suffixes of --skip-compress: without their dot, divided
// by slashes, in any case of letters. "[abc]" stands for one of the letters;
// nothing else is special.
func (l *SkipList) AddSuffixes(list string) {
	for s := range strings.SplitSeq(strings.ToLower(list), "/") {
		l.addSuffix(s[:min(len(s), maxSuffix)])
	}
}

func (l *SkipList) addSuffix(s string) {
	switch {
	case s == "":
	case strings.Contains(s, "["):
		l.classes = append(l.classes, s)
	default:
		if l.suffixes == nil {
			l.suffixes = make(map[string]bool)
		}
		l.suffixes[s] = true
	}
}

// AddPatterns adds the wildcard patterns of a daemon's "dont compress", divided
// by spaces. wild matches a pattern that is not simply "*.suffix" against a
// base name; both are in lower case.
// rsync 3.5.0 token.c:init_set_compression
func (l *SkipList) AddPatterns(list string, wild func(pattern, name string) bool) {
	l.wild = wild
	for p := range strings.SplitSeq(strings.ToLower(list), " ") {
		suffix, ok := strings.CutPrefix(p, "*.")
		switch {
		case p == "":
		case p == "*":
			l.all = true
		case ok && suffix != "" && !strings.ContainsAny(suffix, ".?*"):
			l.addSuffix(suffix)
		default:
			l.patterns = append(l.patterns, p)
		}
	}
}

// All reports whether the list names every file, so that there is no point in
// compressing at all.
func (l *SkipList) All() bool { return l.all }

// Match reports whether the file of that path is not worth compressing.
func (l *SkipList) Match(path string) bool {
	if l.all {
		return true
	}
	name := strings.ToLower(path[strings.LastIndexByte(path, '/')+1:])
	if l.wild != nil {
		for _, p := range l.patterns {
			if l.wild(p, name) {
				return true
			}
		}
	}
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 {
		return false
	}
	suffix := name[dot+1:]
	if l.suffixes[suffix] {
		return true
	}
	for _, c := range l.classes {
		if matchClasses(c, suffix) {
			return true
		}
	}
	return false
}

// matchClasses matches a suffix in which "[abc]" stands for one letter. A
// bracket that is empty or not closed stands for itself.
func matchClasses(pattern, s string) bool {
	for ; pattern != ""; s = s[1:] {
		if s == "" {
			return false
		}
		if end := strings.IndexByte(pattern, ']'); pattern[0] == '[' && end > 1 {
			if strings.IndexByte(pattern[1:end], s[0]) < 0 {
				return false
			}
			pattern = pattern[end+1:]
			continue
		}
		if pattern[0] != s[0] {
			return false
		}
		pattern = pattern[1:]
	}
	return s == ""
}
