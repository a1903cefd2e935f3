package app

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
	"golang.org/x/sys/unix"
)

// hostProgram has the commands that are not a transfer's. It is a program of
// its own because HTTP, metrics and tracker stores would make every start of
// prsync 2 ms slower and 3 MB larger, also those at the far end of a remote
// shell.
const hostProgram = "prsync-host"

// hostCommands are the commands that hostProgram has.
var hostCommands = []string{"serve", "volunteer", "status", "publish"}

// subcommand runs one of our own commands. They are recognized only as the
// first word, so that a source of that name is written ./serve.
func (p *program) subcommand(name string) (done bool, err error) {
	if name == "completion" {
		return true, p.completion()
	}
	for _, c := range hostCommands {
		if name == c {
			return true, p.hostCommand()
		}
	}
	return false, nil
}

// hostCommand becomes the program with the command.
func (p *program) hostCommand() error {
	self, err := os.Executable()
	if err != nil {
		return p.fail(exitcode.New(exitcode.IPC, "prsync %s: cannot tell where this program lies: %w", p.argv[1], err))
	}
	bin := filepath.Dir(self)
	tried := []string{filepath.Join(bin, hostProgram), filepath.Join(bin, "../libexec/prsync", hostProgram)}
	for _, file := range tried {
		err := unix.Exec(file, p.argv, p.env)
		if !errors.Is(err, os.ErrNotExist) {
			return p.fail(exitcode.New(exitcode.IPC, "prsync %s: %s: %w", p.argv[1], file, err))
		}
	}
	return p.fail(exitcode.New(exitcode.IPC, "prsync %s: this command is in the program %s, which is neither at %s; install it beside prsync (go build ./cmd/... makes all of prsync)",
		p.argv[1], hostProgram, strings.Join(tried, " nor at ")))
}

// completed are the commands as a shell completes them.
var completed = []options.Command{
	{Name: "serve", Options: []string{"--config", "--debug", "--help"}},
	{Name: "volunteer", Options: []string{"--config", "--debug", "--help"}},
	{Name: "status", Options: []string{"--config", "--json", "--width", "--help"}},
	{Name: "publish", Options: []string{"--config", "--json", "--help"}},
	{Name: "completion", Words: []string{"bash", "zsh", "fish", "--help"}},
}

const completionHelp = `NAME:
   prsync completion - print what makes a shell complete prsync's options and commands

USAGE:
   prsync completion bash|zsh|fish

DESCRIPTION:
   bash: prsync completion bash >/usr/share/bash-completion/completions/prsync
   zsh:  prsync completion zsh >/usr/local/share/zsh/site-functions/_prsync
   fish: prsync completion fish >/usr/share/fish/vendor_completions.d/prsync.fish
`

// completion prints a shell's completion script.
func (p *program) completion() error {
	if len(p.argv) == 3 && (p.argv[2] == "--help" || p.argv[2] == "-h") {
		_, err := io.WriteString(p.stdout, completionHelp)
		return err
	}
	if len(p.argv) != 3 || strings.HasPrefix(p.argv[2], "-") {
		return p.fail(exitcode.New(exitcode.Syntax, "prsync completion takes the name of a shell: bash, zsh or fish"))
	}
	if err := options.Completion(p.stdout, p.argv[2], completed...); err != nil {
		return p.fail(exitcode.New(exitcode.Syntax, "prsync completion: %w", err))
	}
	return nil
}
