package report

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/prsync/prsync/internal/locale"
)

// Charset is the character set of the user's terminal, as far as it decides
// which bytes of a name are shown as they are.
type Charset string

// The character sets that are told apart. Any other is taken for one in which
// every byte above 0x7F is a letter.
const (
	ASCII Charset = ""
	UTF8  Charset = "UTF-8"
)

// LocaleCharset returns the character set that the environment's locale names,
// as setlocale(LC_CTYPE, "") finds it. A locale without a character set counts
// as ASCII; whether it is installed is not looked at.
func LocaleCharset(getenv func(string) string) Charset {
	_, set, _ := strings.Cut(locale.Name(getenv, "LC_CTYPE"), ".")
	set, _, _ = strings.Cut(set, "@")
	switch {
	case strings.EqualFold(set, "UTF-8"), strings.EqualFold(set, "utf8"):
		return UTF8
	case strings.EqualFold(set, "ANSI_X3.4-1968"), strings.EqualFold(set, "US-ASCII"):
		return ASCII
	}
	return Charset(set)
}

// escaping is how far a text is escaped. Control characters other than tab
// always are.
type escaping uint8

const (
	escapeControls    escaping = iota // -8: nothing else
	escapeNonASCII                    // what is no ASCII: a client in the C locale
	escapeInvalidUTF8                 // a client in an UTF-8 locale
	escapeUnprintable                 // what C's isprint refuses in any locale of many bytes: a server
	escapeC1                          // C1 controls, byte by byte: a log file
)

// escaping tells how lines for the terminal are escaped. A client asks iconv,
// which lets DEL pass, a server isprint (rsync 3.5.0 rsync.c:setup_iconv).
func (cfg *Config) escaping() escaping {
	switch {
	case cfg.EightBit:
		return escapeControls
	case cfg.Server:
		return escapeUnprintable
	case cfg.Charset == UTF8:
		return escapeInvalidUTF8
	case cfg.Charset == ASCII:
		return escapeNonASCII
	}
	return escapeControls
}

// escape writes text with what e names as \#ooo. A literal \#ddd is made
// recognizable by escaping its backslash. rsync 3.5.0 log.c:filtered_fwrite.
func escape(b *strings.Builder, text string, e escaping) {
	digit := func(i int) bool { return text[i] >= '0' && text[i] <= '9' }
	for i := 0; i < len(text); {
		ch := text[i]
		n, bad := 1, false
		switch {
		case ch == '\\':
			bad = i+4 < len(text) && text[i+1] == '#' && digit(i+2) && digit(i+3) && digit(i+4)
		case ch < ' ':
			bad = ch != '\t'
		case ch == 0x7F:
			bad = e == escapeUnprintable
		case ch > 0x7F:
			switch e {
			case escapeNonASCII, escapeUnprintable:
				bad = true
			case escapeC1:
				bad = ch <= 0x9F
			case escapeInvalidUTF8:
				n = utf8Len(text[i:])
				bad = n == 0
			}
		}
		if bad {
			fmt.Fprintf(b, "\\#%03o", ch)
			i++
			continue
		}
		b.WriteString(text[i : i+n])
		i += n
	}
}

// utf8Len returns the length of the character of several bytes at the start of
// s, 0 if there is none. The C library's converter, which decides in rsync,
// still knows the characters of up to six bytes above U+10FFFF.
func utf8Len(s string) int {
	if r, n := utf8.DecodeRuneInString(s); r != utf8.RuneError || n > 1 {
		return n
	}
	var n int
	var least byte // of the second byte, else the character fits fewer bytes
	switch c := s[0]; {
	case c == 0xF4:
		n, least = 4, 0x90
	case c >= 0xF5 && c <= 0xF7:
		n, least = 4, 0x80
	case c == 0xF8:
		n, least = 5, 0x88
	case c > 0xF8 && c <= 0xFB:
		n, least = 5, 0x80
	case c == 0xFC:
		n, least = 6, 0x84
	case c == 0xFD:
		n, least = 6, 0x80
	}
	if n == 0 || len(s) < n || s[1] < least {
		return 0
	}
	for i := 1; i < n; i++ {
		if s[i]&0xC0 != 0x80 {
			return 0
		}
	}
	return n
}

// EscapeLog returns text as it stands in a log file: C0 and C1 control
// characters escaped, a trailing newline kept.
func EscapeLog(text string) string {
	end := ""
	if n := len(text); n > 0 && (text[n-1] == '\n' || text[n-1] == '\r') {
		end, text = text[n-1:], text[:n-1]
	}
	var b strings.Builder
	escape(&b, text, escapeC1)
	return b.String() + end
}

// Escape returns text as a client prints it, by its locale or, with eightBit,
// as -8 has it.
func Escape(text string, charset Charset, eightBit bool) string {
	cfg := Config{Charset: charset, EightBit: eightBit}
	var b strings.Builder
	escape(&b, text, cfg.escaping())
	return b.String()
}
