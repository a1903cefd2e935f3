package options

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Command is a first word that makes another program of this one.
type Command struct {
	Name    string
	Options []string // long ones with dashes; --config takes a file
	Words   []string // what can stand behind it, nil for anything
}

// Completion writes the completion script for bash, zsh or fish. The commands
// are offered as the first word, and have options of their own.
func Completion(w io.Writer, shell string, commands ...Command) error {
	var text string
	switch shell {
	case "bash":
		text = bashCompletion(commands)
	case "zsh":
		text = zshCompletion(commands)
	case "fish":
		text = fishCompletion(commands)
	default:
		return fmt.Errorf("no completion for the shell %q: bash, zsh and fish are known", shell)
	}
	_, err := io.WriteString(w, text)
	return err
}

// spelling is one name that a shell offers.
type spelling struct {
	name   string // with dashes
	letter byte
	arg    string // argument's name; empty: none
	help   string
	values []string
}

// offered lists what a shell offers: every spelling of every option that
// --help shows, without those for letters alone.
func offered() []spelling {
	var out []spelling
	for _, r := range clientTable.rows {
		if r.opt.hidden || strings.HasPrefix(r.long, "no-") && len(r.long) == len("no-x") {
			continue
		}
		s := spelling{letter: r.short, help: r.opt.summary(), values: r.opt.values}
		if r.long != "" {
			s.name = "--" + r.long
		}
		if r.undo {
			s.help = "undo --" + r.opt.key()
		}
		if r.takesArg() {
			s.arg = r.opt.argName()
		}
		out = append(out, s)
	}
	return out
}

func (s spelling) wantsDir() bool  { return s.arg == "DIR" }
func (s spelling) wantsFile() bool { return s.arg == "FILE" }

func names(commands []Command) string {
	var all []string
	for _, c := range commands {
		all = append(all, c.Name)
	}
	return strings.Join(all, " ")
}

func bashCompletion(commands []Command) string {
	var spellings, dirs, files, free []string
	var b, own strings.Builder
	values := ""
	for _, c := range commands {
		fmt.Fprintf(&own, "        %s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n", c.Name, strings.Join(slices.Concat(c.Options, c.Words), " "))
	}
	for _, s := range offered() {
		if s.name == "" {
			spellings = append(spellings, "-"+string(s.letter))
			continue
		}
		switch {
		case s.arg == "":
			spellings = append(spellings, s.name)
			continue
		case s.values != nil:
			values += fmt.Sprintf("    %s) COMPREPLY=($(compgen -W '%s' -- \"$value\")); return ;;\n", s.name, strings.Join(s.values, " "))
		case s.wantsDir():
			dirs = append(dirs, s.name)
		case s.wantsFile():
			files = append(files, s.name)
		default:
			free = append(free, s.name)
		}
		spellings = append(spellings, s.name+"=")
	}
	fmt.Fprintf(&b, `# bash completion for prsync; generated from its option table.
_prsync() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} option='' value=''
    COMPREPLY=()
    if ((COMP_CWORD > 1)); then
        case $prev:${COMP_WORDS[1]} in
        --config:*) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        esac
        case ${COMP_WORDS[1]} in
%s        esac
    fi
    if [[ $cur == = ]]; then
        option=$prev
    elif [[ $prev == = ]]; then
        option=${COMP_WORDS[COMP_CWORD-2]} value=$cur
    elif [[ $prev == --* ]]; then
        option=$prev value=$cur
    fi
    case $option in
%s    %s) COMPREPLY=($(compgen -d -- "$value")); return ;;
    %s) COMPREPLY=($(compgen -f -- "$value")); return ;;
    %s) return ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W '%s' -- "$cur"))
        [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
        return
    fi
    COMPREPLY=($(compgen -f -- "$cur"))
    if ((COMP_CWORD == 1)); then
        COMPREPLY+=($(compgen -W '%s' -- "$cur"))
    fi
    if [[ $cur != */* ]]; then
        COMPREPLY+=($(compgen -A hostname -S : -- "$cur"))
    fi
}
complete -o filenames -F _prsync prsync
`, own.String(), values, strings.Join(dirs, "|"), strings.Join(files, "|"), strings.Join(free, "|"),
		strings.Join(spellings, " "), names(commands))
	return b.String()
}

func zshCompletion(commands []Command) string {
	var b strings.Builder
	b.WriteString("#compdef prsync\n# zsh completion for prsync; generated from its option table.\n")
	b.WriteString("local -a commands\ncommands=(" + names(commands) + ")\n")
	b.WriteString("if (( CURRENT > 2 )); then\n  case $words[2] in\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "  %s) _arguments -S '1: :' ", c.Name)
		for _, o := range c.Options {
			if o == "--config" {
				o += "[configuration]:file:_files"
			}
			fmt.Fprintf(&b, "'%s' ", o)
		}
		if c.Words != nil {
			fmt.Fprintf(&b, "'2: :(%s)'", strings.Join(c.Words, " "))
		} else {
			b.WriteString("'*: :'")
		}
		b.WriteString("; return ;;\n")
	}
	b.WriteString("  esac\nfi\n")
	b.WriteString("_arguments -s -S \\\n")
	quote := strings.NewReplacer("'", "'\\''", "[", "\\[", "]", "\\]", ":", "\\:")
	for _, s := range offered() {
		action := ""
		switch {
		case s.arg == "":
		case s.values != nil:
			action = ":" + quote.Replace(s.arg) + ":(" + strings.Join(s.values, " ") + ")"
		case s.wantsDir():
			action = ":directory:_files -/"
		case s.wantsFile():
			action = ":file:_files"
		default:
			action = ":" + quote.Replace(s.arg) + ":"
		}
		help := quote.Replace(s.help)
		if s.name != "" {
			eq := ""
			if s.arg != "" {
				eq = "="
			}
			fmt.Fprintf(&b, "  '*%s%s[%s]%s' \\\n", s.name, eq, help, action)
		}
		if s.letter != 0 {
			plus := ""
			if s.arg != "" {
				plus = "+"
			}
			fmt.Fprintf(&b, "  '*-%c%s[%s]%s' \\\n", s.letter, plus, help, action)
		}
	}
	b.WriteString("  '1: :{_alternative \"commands:command:compadd -a commands\" \"files:file:_files\" \"hosts:host:_hosts -S :\"}' \\\n")
	b.WriteString("  '*: :{_alternative \"files:file:_files\" \"hosts:host:_hosts -S :\"}'\n")
	return b.String()
}

func fishCompletion(commands []Command) string {
	var b strings.Builder
	b.WriteString("# fish completion for prsync; generated from its option table.\n")
	quote := strings.NewReplacer("\\", "\\\\", "'", "\\'")
	b.WriteString("function __prsync_command\n    set -l words (commandline -opc)\n" +
		"    test (count $words) -gt 1; and contains -- $words[2] $argv\nend\n")
	transfer := "complete -c prsync -n 'not __prsync_command " + names(commands) + "'"
	for _, s := range offered() {
		b.WriteString(transfer)
		if s.letter != 0 {
			fmt.Fprintf(&b, " -s '%c'", s.letter)
		}
		if s.name != "" {
			fmt.Fprintf(&b, " -l '%s'", s.name[2:])
		}
		switch {
		case s.arg == "":
		case s.values != nil:
			fmt.Fprintf(&b, " -x -a '%s'", strings.Join(s.values, " "))
		case s.wantsDir():
			b.WriteString(" -x -a '(__fish_complete_directories)'")
		case s.wantsFile():
			b.WriteString(" -r -F")
		default:
			b.WriteString(" -x")
		}
		fmt.Fprintf(&b, " -d '%s'\n", quote.Replace(s.help))
	}
	for _, c := range commands {
		fmt.Fprintf(&b, "complete -c prsync -n __fish_is_first_token -a '%s'\n", c.Name)
		for _, o := range c.Options {
			value := ""
			if o == "--config" {
				value = " -r -F"
			}
			fmt.Fprintf(&b, "complete -c prsync -n '__prsync_command %s' -l '%s'%s\n", c.Name, strings.TrimPrefix(o, "--"), value)
		}
		if c.Words != nil {
			fmt.Fprintf(&b, "complete -c prsync -n '__prsync_command %s' -f -a '%s'\n", c.Name, strings.Join(c.Words, " "))
		}
	}
	b.WriteString(transfer + " -a '(__fish_print_hostnames):'\n")
	return b.String()
}
