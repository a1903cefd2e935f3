package conf

import (
	"errors"
	"fmt"
	"strings"
)

// LookupFunc returns the value of an environment variable and whether it is
// set, like os.LookupEnv.
type LookupFunc func(name string) (string, bool)

// maxExpanded bounds what expansion may add to a value, as rsync does.
const maxExpanded = 2048

var errOverflow = errors.New("the values of its variables are too long")

// Expand replaces %VAR% by the value of the variable. What names no variable
// that is set, or is no reference at all, stays as it is; a name begins with a
// capital letter. (rsync 3.5.0 loadparm.c:expand_vars.)
func Expand(s string, lookup LookupFunc) (string, error) {
	return expand(s, lookup, nil)
}

// expand does Expand's work; substitute, when not nil, sees the text before a
// reference, the name and the value, and returns what to insert.
func expand(s string, lookup LookupFunc, substitute func(before, name, value string) (string, error)) (string, error) {
	if lookup == nil || !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	limit := len(s) + maxExpanded
	for i := 0; i < len(s); {
		name, value, ok := reference(s[i:], lookup)
		if !ok {
			b.WriteByte(s[i])
			i++
			continue
		}
		if substitute != nil {
			var err error
			if value, err = substitute(s[:i], name, value); err != nil {
				return "", err
			}
		}
		if b.Len()+len(value) > limit {
			return "", fmt.Errorf("cannot expand %q: %w", s, errOverflow)
		}
		b.WriteString(value)
		i += len(name) + 2
	}
	return b.String(), nil
}

// reference returns the variable that s starts with a reference to.
func reference(s string, lookup LookupFunc) (name, value string, ok bool) {
	if len(s) < 3 || s[0] != '%' || s[1] < 'A' || s[1] > 'Z' {
		return "", "", false
	}
	end := strings.IndexByte(s[1:], '%')
	if end < 0 {
		return "", "", false
	}
	name = s[1 : 1+end]
	value, ok = lookup(name)
	return name, value, ok
}

// MetacharError says that a variable of a shell command holds a character
// that a shell could act on, so that the command must not run.
type MetacharError struct{ Name string }

func (e *MetacharError) Error() string {
	return "refusing to run shell hook: %" + e.Name + "% holds a shell metacharacter"
}

// ExpandShell expands a command that a shell will run. A variable that rsync
// sets (RSYNC_…) carries what the peer sent, so its value is refused with a
// *MetacharError when it holds anything a shell acts on, at any depth of
// quoting; what is left is quoted for the place where it stands.
func ExpandShell(s string, lookup LookupFunc) (string, error) {
	return expand(s, lookup, func(before, name, value string) (string, error) {
		if !strings.HasPrefix(name, "RSYNC_") {
			return value, nil
		}
		if !shellSafe(value) {
			return "", &MetacharError{name}
		}
		// No character that would need more than quotes is left.
		if quotedBy(before) == '\'' {
			return value, nil
		}
		return "'" + value + "'", nil
	})
}

// shellSafe reports whether no shell would take any byte of value as syntax.
func shellSafe(value string) bool {
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c < 0x20 || c == 0x7f || strings.IndexByte("'\"`$\\;&|<>()*?[]# !~{}", c) >= 0 {
			return false
		}
	}
	return true
}

// quotedBy returns the quote that is open at the end of a piece of shell
// text, 0 for none.
func quotedBy(s string) byte {
	var open byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case open == '\'':
			if c == '\'' {
				open = 0
			}
		case c == '\\':
			i++
		case open == '"':
			if c == '"' {
				open = 0
			}
		case c == '\'' || c == '"':
			open = c
		}
	}
	return open
}

// Expand returns a copy of the module with the references in its text
// parameters resolved, except in the four commands (EarlyExec, PreXferExec,
// PostXferExec, NameConverter), which ExpandShell is for.
func (m *Module) Expand(lookup LookupFunc) (*Module, error) {
	v := values{module: *m}
	for _, p := range table {
		if p.scope == global || p.isCommand() {
			continue
		}
		f, ok := p.field(&v).(*string)
		if !ok {
			continue
		}
		s, err := Expand(*f, lookup)
		if err != nil {
			return nil, fmt.Errorf("module %s, parameter %q: %w", m.Name, p.name, err)
		}
		*f = s
	}
	return &v.module, nil
}

// isCommand reports whether a shell runs the value.
func (p *param) isCommand() bool {
	return strings.HasSuffix(p.name, " exec") || p.name == "name converter"
}

func (g *Global) expand(lookup LookupFunc) error {
	v := values{global: *g}
	for _, p := range table {
		f, ok := p.field(&v).(*string)
		if p.scope != global || !ok {
			continue
		}
		s, err := Expand(*f, lookup)
		if err != nil {
			return fmt.Errorf("parameter %q: %w", p.name, err)
		}
		*f = s
	}
	*g = v.global
	return nil
}
