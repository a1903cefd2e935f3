package conf

import "bytes"

// statement is one entry of the file.
type statement struct {
	kind  statementKind
	line  int    // where it starts, from 1
	name  string // parameter, directive (with its &) or section name
	value string
}

type statementKind uint8

const (
	endOfFile statementKind = iota
	section
	parameter
	directive
	malformed // name holds what there was of it
)

// scanner splits a file into statements by the rules of rsync 3.5.0
// params.c:Parse, Section and Parameter.
type scanner struct {
	src  []byte
	pos  int
	line int
}

func newScanner(src []byte) *scanner { return &scanner{src: src, line: 1} }

const eof = -1

// next consumes a byte; a NUL ends the file as it does in rsync.
func (s *scanner) next() int {
	if s.pos >= len(s.src) || s.src[s.pos] == 0 {
		return eof
	}
	c := s.src[s.pos]
	s.pos++
	if c == '\n' {
		s.line++
	}
	return int(c)
}

func (s *scanner) peek() int {
	if s.pos >= len(s.src) || s.src[s.pos] == 0 {
		return eof
	}
	return int(s.src[s.pos])
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// skipBlanks moves past white space on this line.
func (s *scanner) skipBlanks() {
	for c := s.peek(); c != eof && c != '\n' && isSpace(byte(c)); c = s.peek() {
		s.next()
	}
}

func (s *scanner) skipLine() {
	for c := s.next(); c != eof && c != '\n'; c = s.next() {
	}
}

// statement returns the next entry.
func (s *scanner) statement() statement {
	for {
		s.skipBlanks()
		switch s.peek() {
		case eof:
			return statement{kind: endOfFile, line: s.line}
		case '#', ';':
			s.skipLine()
		case '\n', '\\':
			s.next()
		case '[':
			s.next()
			return s.section()
		default:
			return s.parameter()
		}
	}
}

// section reads a name up to its closing bracket; the rest of that line is
// ignored.
func (s *scanner) section() statement {
	st := statement{kind: section, line: s.line}
	var name []byte
	for {
		switch c := s.next(); c {
		case ']':
			st.name = squeeze(name)
			s.skipLine()
			return st
		case eof:
			return statement{kind: malformed, line: st.line, name: "[" + squeeze(name)}
		case '\n':
			cut := continued(name)
			if cut < 0 {
				return statement{kind: malformed, line: st.line, name: "[" + squeeze(name)}
			}
			name = name[:cut]
		default:
			name = append(name, byte(c))
		}
	}
}

// parameter reads NAME = VALUE or &DIRECTIVE VALUE.
func (s *scanner) parameter() statement {
	st := statement{kind: parameter, line: s.line}
	if s.peek() == '&' {
		st.kind = directive
	}
	var name []byte
	for {
		c := s.next()
		switch {
		case c == '=':
		case c == eof:
			return statement{kind: malformed, line: st.line, name: squeeze(name)}
		case c == '\n':
			cut := continued(name)
			if cut < 0 {
				return statement{kind: malformed, line: st.line, name: squeeze(name)}
			}
			name = name[:cut]
			continue
		case st.kind == directive && (c == ' ' || c == '\t'):
			s.skipBlanks()
			if s.peek() == '=' {
				s.next()
			}
		default:
			name = append(name, byte(c))
			continue
		}
		break
	}
	st.name = squeeze(name)
	st.value = s.value()
	return st
}

// value reads to the end of the line, or of the last line that a backslash
// continues it with. White space at both ends goes, except what follows a
// continuation.
func (s *scanner) value() string {
	s.skipBlanks()
	var buf []byte
	keep := 0 // length without trailing white space
	for {
		c := s.next()
		switch {
		case c == '\r':
			continue
		case c == '\n':
			cut := continued(buf)
			if cut < 0 {
				return string(buf[:keep])
			}
			buf, keep = buf[:cut], cut
			continue
		case c == eof:
			return string(buf[:keep])
		}
		buf = append(buf, byte(c))
		if !isSpace(byte(c)) {
			keep = len(buf)
		}
	}
}

// continued returns where the backslash is that ends a line, -1 for none.
// White space may follow it.
func continued(line []byte) int {
	line = bytes.TrimRightFunc(line, func(r rune) bool { return r < 0x80 && isSpace(byte(r)) })
	if n := len(line); n > 0 && line[n-1] == '\\' {
		return n - 1
	}
	return -1
}

// squeeze trims a name and makes one space of every run of white space.
func squeeze(name []byte) string {
	out := make([]byte, 0, len(name))
	for _, c := range name {
		if isSpace(c) {
			if n := len(out); n == 0 || out[n-1] == ' ' {
				continue
			}
			c = ' '
		}
		out = append(out, c)
	}
	return string(bytes.TrimRight(out, " "))
}
