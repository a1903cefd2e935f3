package options

import (
	"fmt"
	"io"
	"strings"
)

const usageText = `
prsync copies files the way rsync does, and takes the bulk of the bytes from
everyone who already holds them where a swarm is offered.

Usage: %[1]s [OPTION]... SRC [SRC]... DEST
  or   %[1]s [OPTION]... SRC [SRC]... [USER@]HOST:DEST
  or   %[1]s [OPTION]... SRC [SRC]... [USER@]HOST::DEST
  or   %[1]s [OPTION]... SRC [SRC]... rsync://[USER@]HOST[:PORT]/DEST
  or   %[1]s [OPTION]... [USER@]HOST:SRC [DEST]
  or   %[1]s [OPTION]... [USER@]HOST::SRC [DEST]
  or   %[1]s [OPTION]... rsync://[USER@]HOST[:PORT]/SRC [DEST]
HOST: is reached by a remote shell; HOST:: and rsync:// are rsync daemons, where
SRC or DEST starts with the name of a module.
`

const commandsText = `
Commands of a mirror network ("prsync COMMAND --help" says more)
serve                    run the central host: rsync daemon, tracker, redirects
volunteer                run an edge host that seeds and serves customers
status                   show what a central host knows
publish                  tell the central host that an update is complete
completion               print the completions of a shell
`

// Help writes the answer to --help: version, usage and a line for every option.
func Help(w io.Writer, info BuildInfo) error {
	var b strings.Builder
	writeVersion(&b, info)
	fmt.Fprintf(&b, usageText, info.program())
	if info.program() != "rsync" {
		b.WriteString(commandsText)
	}
	b.WriteString("\nOptions\n")
	for _, section := range [][]*option{outputOptions, fileOptions, attributeOptions, transferOptions, connectionOptions} {
		writeHelpLines(&b, section)
	}
	b.WriteString("\nSwarm options (each has an environment variable, such as PRSYNC_SWARM_TRACKER)\n")
	writeHelpLines(&b, swarmOptions)
	fmt.Fprintf(&b, "\n\"%s --daemon --help\" shows the options of a daemon.\n", info.program())
	b.WriteString("The manual pages prsync(1) and rsyncd.conf(5) say more.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// DaemonHelp writes the answer to --daemon --help.
func DaemonHelp(w io.Writer, info BuildInfo) error {
	var b strings.Builder
	writeVersion(&b, info)
	fmt.Fprintf(&b, "\nUsage: %s --daemon [OPTION]...\n", info.program())
	writeHelpLines(&b, daemonOptions)
	b.WriteString("\nThese options are for a daemon only; a transfer takes none of them. See also\nrsyncd.conf(5).\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// writeHelpLines writes a table of two columns, as wide as rsync's where that
// is wide enough.
func writeHelpLines(b *strings.Builder, section []*option) {
	width := 24
	for _, o := range section {
		for _, l := range o.helpLines() {
			width = max(width, len(l.left))
		}
	}
	for _, o := range section {
		for _, l := range o.helpLines() {
			fmt.Fprintf(b, "%-*s %s\n", width, l.left, l.right)
		}
	}
}
