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

Options
`

// Help writes the answer to --help: version, usage and a line for every option.
func Help(w io.Writer, info BuildInfo) error {
	var b strings.Builder
	writeVersion(&b, info)
	fmt.Fprintf(&b, usageText, info.program())
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

func writeHelpLines(b *strings.Builder, section []*option) {
	for _, o := range section {
		for _, l := range o.helpLines() {
			fmt.Fprintf(b, "%-24s %s\n", l.left, l.right)
		}
	}
}
