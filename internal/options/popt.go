package options

import (
	"bytes"
	"path"
	"strings"
)

// alias is a line of a popt configuration file: a name of an option, and the
// words that stand for it or the command to run in place of this one.
type alias struct {
	long  string
	short byte
	exec  bool
	argv  []string
}

// readAliases reads what popt(3) reads: /etc/popt, /etc/popt.d/* and ~/.popt.
// Like rsync it passes over what cannot be read. The names that lead to other
// tables stay what they are.
func readAliases(env Env) []alias {
	if env.ReadFile == nil {
		return nil
	}
	files := []string{"/etc/popt"}
	if env.Glob != nil {
		files = append(files, env.Glob("/etc/popt.d/*")...)
	}
	if env.Home != "" {
		files = append(files, path.Join(env.Home, ".popt"))
	}
	var out []alias
	for _, name := range files {
		if text, err := env.ReadFile(name); err == nil {
			out = append(out, parseAliases(text)...)
		}
	}
	return append(out,
		alias{long: "daemon", argv: []string{"--daemon"}},
		alias{long: "server", argv: []string{"--server"}})
}

// parseAliases reads the lines of a file that are meant for rsync:
//
//	rsync alias --name WORD...
//	rsync exec --name COMMAND ARG...
//
// A backslash at the end joins lines; a last line without newline is ignored,
// as popt ignores it.
func parseAliases(text []byte) []alias {
	text = bytes.ReplaceAll(text, []byte("\\\n"), nil)
	var out []alias
	for {
		line, rest, found := bytes.Cut(text, []byte("\n"))
		if !found {
			return out
		}
		if a, ok := parseAlias(string(line)); ok {
			out = append(out, a)
		}
		text = rest
	}
}

func parseAlias(line string) (alias, bool) {
	const blank = " \t\v\f\r"
	field := func() string {
		line = strings.TrimLeft(line, blank)
		end := strings.IndexAny(line, blank)
		if end < 0 {
			end = len(line)
		}
		word := line[:end]
		line = line[end:]
		return word
	}
	app, kind, name := field(), field(), field()
	if match, err := path.Match(app, "rsync"); err != nil || !match || kind != "alias" && kind != "exec" {
		return alias{}, false
	}
	a := alias{exec: kind == "exec"}
	switch {
	case strings.HasPrefix(name, "--") && len(name) > 2:
		a.long = name[2:]
	case len(name) == 2 && name[0] == '-':
		a.short = name[1]
	default:
		return alias{}, false
	}
	argv, ok := splitQuoted(line)
	if !ok || len(argv) == 0 {
		return alias{}, false
	}
	for _, word := range argv {
		if !strings.HasPrefix(word, "--POPTdesc=") && !strings.HasPrefix(word, "--POPTargs=") {
			a.argv = append(a.argv, word)
		}
	}
	return a, len(a.argv) > 0
}

// splitQuoted splits at blanks, with quotes and backslashes as popt has them:
// within quotes a backslash escapes only the quote itself.
func splitQuoted(s string) ([]string, bool) {
	var out []string
	var word strings.Builder
	var quote byte
	flush := func() {
		if word.Len() > 0 {
			out = append(out, word.String())
			word.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\':
			if i++; i == len(s) {
				return nil, false
			}
			if quote != 0 && s[i] != quote {
				word.WriteByte('\\')
			}
			word.WriteByte(s[i])
		case quote != 0:
			word.WriteByte(c)
		case strings.IndexByte(" \t\n\v\f\r", c) >= 0:
			flush()
		case c == '"' || c == '\'':
			quote = c
		default:
			word.WriteByte(c)
		}
	}
	flush()
	return out, true
}
