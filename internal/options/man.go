package options

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
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
	text := o.man
	if text == "" {
		text = strings.ToUpper(o.summary()[:1]) + o.summary()[1:]
	}
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	var also []string
	for _, name := range strings.Fields(o.also) {
		also = append(also, "--"+name)
	}
	if also != nil {
		text += " Also spelled " + strings.Join(also, ", ") + "."
	}
	if first, _, _ := strings.Cut(o.off, " "); first != "" {
		text += " Undone by --" + first + "."
	}
	fmt.Fprintf(b, ".TP\n%s\n%s\n", manNames(o.spec), manText(text))
}

var optionName = regexp.MustCompile(`(^|[ (])(--?[A-Za-z0-9][A-Za-z0-9-]*)`)

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
	s = optionName.ReplaceAllString(s, "$1\\fB$2\\fR")
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

const manHead = `.\" Generated from the option table of internal/options; do not edit.
.TH PRSYNC 1
.SH NAME
prsync \- copy files like rsync, from everyone who has them
.SH SYNOPSIS
.nf
\fBprsync\fR [\fIOPTION\fR]... \fISRC\fR... [\fIDEST\fR]
\fBprsync\fR [\fIOPTION\fR]... \fISRC\fR... [\fIUSER\fR@]\fIHOST\fR:\fIDEST\fR
\fBprsync\fR [\fIOPTION\fR]... [\fIUSER\fR@]\fIHOST\fR:\fISRC\fR... [\fIDEST\fR]
\fBprsync\fR [\fIOPTION\fR]... \fISRC\fR... [\fIUSER\fR@]\fIHOST\fR::\fIDEST\fR
\fBprsync\fR [\fIOPTION\fR]... [\fIUSER\fR@]\fIHOST\fR::\fISRC\fR... [\fIDEST\fR]
\fBprsync\fR [\fIOPTION\fR]... rsync://[\fIUSER\fR@]\fIHOST\fR[:\fIPORT\fR]/\fISRC\fR... [\fIDEST\fR]
\fBprsync\fR \fB\-\-daemon\fR [\fIOPTION\fR]...
\fBprsync serve\fR | \fBvolunteer\fR [\fB\-\-config\fR \fIFILE\fR]
\fBprsync status\fR [\fIURL\fR]
\fBprsync publish\fR [\fB\-\-config\fR \fIFILE\fR] \fIMODULE\fR
\fBprsync completion\fR \fISHELL\fR
.fi
.SH DESCRIPTION
prsync takes the command line of rsync 3.5.0 and speaks its protocol, so that
either side may be rsync. Where the other side is a prsync host, or a tracker is
named, new data comes in pieces from all who hold it, each piece checked against
the host's own hashes.
.PP
The subcommands are recognised as the first word only; a source of such a name
is written \fI./serve\fR. Installed or linked as \fBrsync\fR there are none.
.PP
A source that ends in a slash means the content of the directory, one without
means the directory itself. With a source alone the files are listed.
.PP
Long options take their argument behind "=" or as the next word, letters also
without a space. Options and file names may be mixed; "\-\-" ends the options.
Names are never abbreviated. Aliases may be defined in \fI~/.popt\fR:
.PP
.nf
    rsync alias \-\-mirror \-aH \-\-delete
.fi
.SH OPTIONS
`

const manSwarm = `.SH SWARM OPTIONS
These are options of prsync, for transfers to this side. The environment
variables below stand for them, so that a crontab needs no edit.
`

const manEnvironment = `.SH ENVIRONMENT
.TP
\fBRSYNC_RSH\fR
The remote shell, as \fB\-\-rsh\fR.
.TP
\fBRSYNC_PASSWORD\fR
The password for a daemon.
.TP
\fBRSYNC_PROXY\fR
\fIHOST\fR:\fIPORT\fR of a web proxy for connections to a daemon.
.TP
\fBRSYNC_CONNECT_PROG\fR
A command to run in place of a connection to a daemon; %H is the host.
.TP
\fBRSYNC_ICONV\fR
Stands for \fB\-\-iconv\fR.
.TP
\fBRSYNC_OLD_ARGS\fR, \fBRSYNC_PROTECT_ARGS\fR
1 stands for \fB\-\-old\-args\fR or \fB\-\-secluded\-args\fR.
.TP
\fBRSYNC_PARTIAL_DIR\fR
The directory for \fB\-\-partial\fR.
.TP
\fBRSYNC_MAX_ALLOC\fR
Stands for \fB\-\-max\-alloc\fR.
.TP
\fBRSYNC_CHECKSUM_LIST\fR, \fBRSYNC_COMPRESS_LIST\fR
The names to negotiate with, separated by spaces; behind "&" those of a server.
.TP
\fBCVSIGNORE\fR
More patterns for \fB\-\-cvs\-exclude\fR.
.TP
\fBPOSIXLY_CORRECT\fR
If set, the first file name ends the options.
`

const manTail = `.TP
\fB124\fR\-\fB127\fR
the remote shell failed, was killed, could not be run or was not found
.SH FILES
.TP
\fI/etc/prsyncd.conf\fR, \fI/etc/rsyncd.conf\fR
Configuration of a host or daemon.
.TP
\fI/etc/popt\fR, \fI/etc/popt.d/*\fR, \fI~/.popt\fR
Aliases of options.
.TP
\fI~/.cvsignore\fR
Patterns for \fB\-\-cvs\-exclude\fR.
.SH SEE ALSO
.BR rsync (1),
.BR rsyncd.conf (5),
.BR prsync\-protocol (5),
.BR ssh (1)
`
