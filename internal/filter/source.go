package filter

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"
)

// source is where the text being parsed comes from. The zero value is an
// argument: its text may be shown. Text from a file may not, since the peer
// can choose which file is merged and would read it back from our messages;
// those say where the rule is instead.
//
// rsync 3.5.0 exclude.c:rule_src_where and rule_text.
type source struct {
	inFile  bool
	file    string // its name, unless that is text from a file as well
	line    int    // from 1; 0 in a file of words
	namedAt string // where a file whose name may not be shown was named
}

func (s source) where() string {
	switch {
	case s.file == "" && s.namedAt == "":
		return "a file read earlier"
	case s.file == "":
		return "a file named at " + s.namedAt
	case s.line == 0:
		return s.file
	}
	return fmt.Sprintf("%s line %d", s.file, s.line)
}

// hides reports whether the text of a rule may not be shown. r is nil for
// text that is no rule yet.
func (s source) hides(r *rule) bool { return s.inFile || r != nil && r.has(fromFile) }

// show returns text as a message may quote it. Every message that holds text
// of a rule takes it through here.
func (s source) show(r *rule, text string) string {
	if s.hides(r) {
		return "<rule from " + s.where() + ">"
	}
	return text
}

// detail returns what a message adds about the text, under the same rule.
func (s source) detail(r *rule, about string) string {
	if s.hides(r) {
		return ""
	}
	return about
}

// within returns the source for a file that r named while s was being read;
// messages show its name as shown.
func (s source) within(shown string, r *rule) source {
	in := source{inFile: true, file: shown, namedAt: s.namedAt}
	if s.hides(r) {
		in.file, in.namedAt = "", ""
		if s.inFile {
			in.namedAt = s.where()
		}
	}
	return in
}

// systemText words an error of the operating system as rsync does:
// "No such file or directory (2)".
func systemText(err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	text := no.Error()
	return fmt.Sprintf("%s%s (%d)", strings.ToUpper(text[:1]), text[1:], int(no))
}

// join puts a directory and a name together; an empty directory leaves the
// name relative.
func join(dir, name string) string {
	if dir == "" || strings.HasPrefix(name, "/") {
		return path.Clean(name)
	}
	return path.Join(dir, name)
}
