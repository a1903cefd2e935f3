package options

import (
	"strings"
	"sync"
)

// option is one entry of the table: all spellings of one option, its effect and
// its texts. Everything the package offers is derived from these entries.
type option struct {
	// spec is the name, argument and letter as --help shows them:
	// "--perms, -p", "--suffix=SUFFIX", "-D". A "=" makes it take an argument.
	spec string
	also string // other names with the same effect
	off  string // names that undo it
	// exact names the spellings that a wildcard in a refuse rule passes over,
	// because the protocol needs them or because they are refused anyway.
	exact   string
	numeric bool // the argument is an integer

	values []string // what the argument can be, for completion

	help   string // one line for --help
	lines  []line // for --help, instead of spec and help
	hidden bool   // not in --help
	pseudo bool   // a line of help that is no option
	man    string // one paragraph; empty: help says it all

	// The effect: one of the four fields below, or on and undo.
	flag  func(*Options) *bool   // set; off clears it
	count func(*Options) *int    // count up; off zeroes it
	text  func(*Options) *string // store the argument; off empties it
	num   func(*Options) *int    // store the number; off zeroes it
	on    effect
	undo  effect
}

// line is one line of --help.
type line struct{ left, right string }

// effect applies an option. A numeric option gets its argument as n too.
type effect func(p *parser, arg string, n int) error

// row is one spelling of an option.
type row struct {
	opt   *option
	long  string // without dashes; empty for -D, -F and -P
	short byte
	undo  bool // the row undoes the option
	exact bool
}

// takesArg reports whether the row needs an argument.
func (r *row) takesArg() bool { return !r.undo && strings.Contains(r.opt.spec, "=") }

// name is the row as messages print it.
func (r *row) name() string {
	if r.long == "" {
		return "-" + string(r.short)
	}
	return "--" + r.long
}

// sameEffect reports whether two rows are spellings of one thing, so that a
// refuse rule for one of them holds for the other.
func (r *row) sameEffect(s *row) bool { return r.opt == s.opt && r.undo == s.undo }

func (r *row) apply(p *parser, arg string, n int) error {
	o := r.opt
	switch {
	case r.undo && o.undo != nil:
		return o.undo(p, arg, n)
	case !r.undo && o.on != nil:
		return o.on(p, arg, n)
	case o.flag != nil:
		*o.flag(p.o) = !r.undo
	case o.count != nil && r.undo:
		*o.count(p.o) = 0
	case o.count != nil:
		*o.count(p.o)++
	case o.text != nil:
		*o.text(p.o) = arg
	case o.num != nil:
		*o.num(p.o) = n
	}
	return nil
}

// key is the option's main name without dashes: "perms", or "D".
func (o *option) key() string {
	name, _, _ := strings.Cut(o.spec, ",")
	name, _, _ = strings.Cut(name, " ")
	name, _, _ = strings.Cut(name, "=")
	return strings.TrimLeft(name, "-")
}

// envName is the variable that stands for a swarm option.
func (o *option) envName() string {
	return "PRSYNC_" + strings.ToUpper(strings.ReplaceAll(o.key(), "-", "_"))
}

// argName is what stands behind the "=" of spec.
func (o *option) argName() string {
	_, arg, _ := strings.Cut(o.spec, "=")
	arg, _, _ = strings.Cut(arg, ",")
	return arg
}

// letter is the short name, or 0.
func (o *option) letter() byte {
	for name := range strings.SplitSeq(o.spec, ", ") {
		name, _, _ = strings.Cut(name, " ")
		if len(name) == 2 && name[0] == '-' {
			return name[1]
		}
	}
	return 0
}

// summary is what the option does, in one line.
func (o *option) summary() string {
	if o.help == "" {
		return o.lines[0].right
	}
	return o.help
}

// helpLines returns the lines for --help.
func (o *option) helpLines() []line {
	switch {
	case o.hidden:
		return nil
	case o.lines != nil:
		return o.lines
	}
	return []line{{o.spec, o.help}}
}

// table is a set of options with an index of its rows.
type table struct {
	options []*option
	rows    []*row
	long    map[string]*row
	short   map[byte]*row
	spare   []row // of which rows are made
}

func newTable(sections ...[]*option) *table {
	const rows, letters = 320, 80 // about as many as there are: every run pays for this
	t := &table{
		rows: make([]*row, 0, rows), long: make(map[string]*row, rows), short: make(map[byte]*row, letters),
		spare: make([]row, 0, rows),
	}
	for _, section := range sections {
		for _, o := range section {
			t.options = append(t.options, o)
			if o.pseudo {
				continue
			}
			first := row{opt: o, short: o.letter()}
			if strings.HasPrefix(o.spec, "--") {
				first.long = o.key()
			}
			t.addRow(first)
			for name := range strings.FieldsSeq(o.also) {
				t.addRow(row{opt: o, long: name})
			}
			for name := range strings.FieldsSeq(o.off) {
				t.addRow(row{opt: o, long: name, undo: true})
			}
		}
	}
	return t
}

func (t *table) addRow(new row) {
	t.spare = append(t.spare, new) // earlier rows stay where they are
	r := &t.spare[len(t.spare)-1]
	for name := range strings.FieldsSeq(r.opt.exact) {
		if name == r.long || r.long == "" && name == string(r.short) {
			r.exact = true
		}
	}
	t.rows = append(t.rows, r)
	if r.long != "" {
		t.long[r.long] = r
	}
	if r.short != 0 {
		t.short[r.short] = r
	}
}

// named returns the row with a long name or a letter, or nil.
func (t *table) named(name string) *row {
	if r := t.long[name]; r != nil || len(name) != 1 {
		return r
	}
	return t.short[name[0]]
}

// clientTable holds every option of a transfer, daemonTable those that are left
// behind --daemon. Both are built once and never change.
var (
	clientTable = newTable(outputOptions, fileOptions, attributeOptions,
		transferOptions, connectionOptions, swarmOptions, internalOptions)
	daemonTable = sync.OnceValue(func() *table { return newTable(daemonOptions) })
)

// to returns an effect that stores a fixed value.
func to[T any](field func(*parser) *T, v T) effect {
	return func(p *parser, _ string, _ int) error {
		*field(p) = v
		return nil
	}
}
