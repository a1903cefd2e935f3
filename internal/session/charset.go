package session

import (
	"strings"

	"github.com/prsync/prsync/internal/charset"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
)

// Names travel in UTF-8 as soon as --iconv names a character set; both sides
// then know files by the order of transmission, because names sort differently
// on each. rsync 3.5.0 rsync.c:setup_iconv.

// Charset is the character set that --iconv=LOCAL,REMOTE gives this side; nil
// without the option. server takes the part after the comma.
func Charset(o *options.Options, server bool, getenv func(string) string) (*charset.Set, error) {
	if o.Iconv == "" {
		return nil, nil
	}
	name, remote, two := strings.Cut(o.Iconv, ",")
	if two && server {
		name = remote
	}
	return lookupCharset(name, getenv)
}

func lookupCharset(name string, getenv func(string) string) (*charset.Set, error) {
	if name == "" || name == "." {
		if name = string(report.LocaleCharset(getenv)); name == "" {
			name = asciiLocale
		}
	}
	set, err := charset.Lookup(name)
	if err != nil {
		return nil, exitcode.New(exitcode.Unsupported, "iconv_open(\"UTF-8\", \"%s\") failed", name)
	}
	return set, nil
}

// openCharset finds the character set of this side. A module's stands above
// what a client asks of it.
func (s *side) openCharset() (err error) {
	if m := s.p.Module; m != nil && m.Charset != "" && s.o.Iconv != "" {
		s.charset, err = lookupCharset(m.Charset, s.p.Env.Getenv)
		return err
	}
	s.charset, err = Charset(s.o, s.p.Server, s.p.Env.Getenv)
	return err
}

// debugCharset gives the lines of --debug=ICONV. rsync 3.5.0 rsync.c:setup_iconv.
func (s *side) debugCharset() {
	if !s.p.Server && !s.o.EightBit && s.log.Debug(report.DebugIconv, 2) {
		set := report.LocaleCharset(s.p.Env.Getenv)
		if set == "" {
			set = asciiLocale
		}
		s.log.Printf(report.Info, "msg checking charset: %s\n", set)
	}
	if s.o.Iconv == "" || !s.log.Debug(report.DebugIconv, 1) {
		return
	}
	name, remote, two := strings.Cut(s.o.Iconv, ",")
	if two && s.p.Server {
		name = remote
	}
	if name == "" || name == "." {
		name = "[LOCALE]"
	}
	s.log.Printf(report.Info, "[%s] charset: %s\n", s.who(), name)
}

// asciiLocale is what the C locale calls ASCII.
const asciiLocale = "ANSI_X3.4-1968"

// namesOnWire reports whether the names of --files-from are converted too.
func (s *side) namesOnWire() bool { return s.charset != nil && s.o.SecludedArgs }
