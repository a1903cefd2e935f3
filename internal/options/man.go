package options

import (
	_ "embed"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"

	"github.com/prsync/prsync/internal/exitcode"
)

// The prose of the page around what the table gives.
var (
	//go:embed man/head.man
	manHead string
	//go:embed man/swarm.man
	manSwarm string
	//go:embed man/rules.man
	manRules string
	//go:embed man/environment.man
	manEnvironment string
	//go:embed man/tail.man
	manTail string
)

// ManOptions writes the option list of the manual page, in man(7) macros.
func ManOptions(w io.Writer) error {
	var b strings.Builder
	for _, section := range [][]*option{outputOptions, fileOptions, attributeOptions, transferOptions, connectionOptions} {
		for _, o := range section {
			o.writeMan(&b)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (o *option) writeMan(b *strings.Builder) {
	if o.hidden {
		return
	}
	spec, text := o.spec, o.man
	switch {
	case o.lines == nil:
		text = strings.TrimSpace(sentence(o.help) + " " + text)
	case text == "": // the option is known by its negation
		spec, text = o.lines[0].left, sentence(o.lines[0].right)
	}
	var also []string
	for _, name := range strings.Fields(o.also) {
		also = append(also, "--"+name)
	}
	if also != nil {
		text += " Also spelled " + strings.Join(also, ", ") + "."
	}
	if first, _, _ := strings.Cut(o.off, " "); first != "" && spec == o.spec {
		text += " Undone by --" + first + "."
	}
	fmt.Fprintf(b, ".TP\n%s\n%s\n", manNames(spec), manText(text))
}

// sentence makes one of a line of help.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

var optionName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(^|[ (])(--?[A-Za-z0-9][A-Za-z0-9-]*)`)
})

// manNames sets names in bold and arguments in italics.
func manNames(spec string) string {
	var out []string
	for _, part := range strings.Split(spec, ", ") {
		name, arg, hasArg := strings.Cut(part, "=")
		s := "\\fB" + manEscape(name) + "\\fR"
		if hasArg {
			s += "=\\fI" + manEscape(arg) + "\\fR"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

// manText escapes a paragraph and sets option names in bold.
func manText(s string) string {
	s = manEscape(s)
	s = strings.ReplaceAll(s, "\\-", "-")
	s = optionName().ReplaceAllString(s, "$1\\fB$2\\fR")
	s = strings.ReplaceAll(s, "-", "\\-")
	if s != "" && (s[0] == '.' || s[0] == '\'') {
		s = "\\&" + s
	}
	return s
}

func manEscape(s string) string {
	return strings.NewReplacer("\\", "\\e", "-", "\\-").Replace(s)
}

// ManPage writes the whole page prsync(1).
func ManPage(w io.Writer) error {
	var b strings.Builder
	b.WriteString(manHead)
	if err := ManOptions(&b); err != nil {
		return err
	}
	b.WriteString(manSwarm)
	for _, o := range swarmOptions {
		o.writeMan(&b)
	}
	b.WriteString(".SH DAEMON OPTIONS\nBehind \\fB\\-\\-daemon\\fR, which makes prsync an rsync daemon, only these count:\n")
	for _, o := range daemonOptions {
		o.writeMan(&b)
	}
	b.WriteString(manRules)
	b.WriteString(manEnvironment)
	for _, o := range swarmOptions {
		fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\nStands for \\fB\\-\\-%s\\fR.\n", o.envName(), manEscape(o.key()))
	}
	b.WriteString(".SH EXIT STATUS\n")
	for code := exitcode.OK; code <= exitcode.ConTimeout; code++ {
		if text := code.Text(); text != exitcode.Code(-1).Text() {
			fmt.Fprintf(&b, ".TP\n\\fB%d\\fR\n%s\n", code, manText(text))
		}
	}
	b.WriteString(manTail)
	_, err := io.WriteString(w, b.String())
	return err
}
