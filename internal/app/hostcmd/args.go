package hostcmd

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// optionsFirst returns the arguments of a command with its options before its
// operands: the library takes none after an operand, and people write
// "publish fedora --config FILE". What follows "--" is left alone.
func optionsFirst(argv []string, commands []*cli.Command) []string {
	if len(argv) < 3 {
		return argv
	}
	i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(argv[1]) })
	if i < 0 {
		return argv
	}
	takesValue := func(arg string) bool {
		name := strings.TrimLeft(arg, "-")
		for _, f := range commands[i].Flags {
			if d, ok := f.(cli.DocGenerationFlag); ok && d.TakesValue() && slices.Contains(f.Names(), name) {
				return true
			}
		}
		return false
	}
	options, operands := argv[:2:2], []string(nil)
	for rest := argv[2:]; len(rest) > 0; {
		arg := rest[0]
		rest = rest[1:]
		switch {
		case arg == "--":
			operands = append(append(operands, arg), rest...)
			rest = nil
		case len(arg) < 2 || arg[0] != '-':
			operands = append(operands, arg)
		default:
			options = append(options, arg)
			if takesValue(arg) && len(rest) > 0 {
				options = append(options, rest[0])
				rest = rest[1:]
			}
		}
	}
	return append(options, operands...)
}
