package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// side is who runs which end.
type side struct {
	name              string
	oursHere, oursFar bool // the client (for a local copy all), the daemon
}

var (
	localSides  = []side{{"rsync", false, false}, {"prsync", true, true}}
	shellSides  = []side{{"rsync", false, false}, {"prsync", true, true}, {"prsync-to-rsync", true, false}, {"rsync-to-prsync", false, true}}
	daemonSides = []side{{"rsync", false, false}, {"prsync", true, true}, {"prsync-to-rsyncd", true, false}, {"rsync-to-prsyncd", false, true}}
)

// state is what the destination holds before a run.
type state int

const (
	empty   state = iota // nothing
	synced               // the same as the source
	flipped              // the other version: sources take turns
)

// where is the way the data go.
type where int

const (
	local where = iota
	push
	pull
	shell // a push to a server that a remote shell starts
	start // no transfer at all
)

// row is one line of the table.
type row struct {
	name  string
	data  string // "small", "big", "million", "tiny"
	state state
	where where
	args  []string
	sides []side
}

func allRows() []row {
	rows := []row{
		{name: "start --version", where: start, args: []string{"--version"}, sides: localSides},
		{name: "start one tiny file", data: "tiny", args: []string{"-a"}, sides: localSides},
	}
	for _, data := range []string{"small", "big"} {
		for _, w := range []where{local, push, pull} {
			name := func(what string) string {
				return strings.Join([]string{data, [...]string{"local", "push", "pull"}[w], what}, " ")
			}
			sides := daemonSides
			delta := []string{"-a"}
			if w == local {
				sides = localSides
				delta = []string{"-a", "--no-whole-file"}
			}
			rows = append(rows,
				row{name("first copy"), data, empty, w, []string{"-a"}, sides},
				row{name("no change"), data, synced, w, []string{"-a"}, sides},
				row{name("-c"), data, synced, w, []string{"-ac"}, sides},
				row{name("delta 1 %"), data, flipped, w, delta, sides})
			if w == local {
				rows = append(rows, row{name("whole 1 %"), data, flipped, w, []string{"-a"}, sides})
			} else {
				rows = append(rows, row{name("-z first copy"), data, empty, w, []string{"-az"}, sides},
					row{name("-z delta 1 %"), data, flipped, w, []string{"-az"}, sides})
			}
		}
	}
	return append(rows,
		row{"small local -aHAX no change", "small", synced, local, []string{"-aHAX"}, localSides},
		row{"small shell first copy", "small", empty, shell, []string{"-a"}, shellSides},
		row{"small shell no change", "small", synced, shell, []string{"-a"}, shellSides},
		row{"big shell first copy", "big", empty, shell, []string{"-a"}, shellSides},
		row{"million local no change", "million", synced, local, []string{"-a"}, localSides},
		row{"million pull no change", "million", synced, pull, []string{"-a"}, localSides},
		row{"million push no change", "million", synced, push, []string{"-a"}, localSides})
}

// row runs all rounds of a row.
func (b *bench) row(r row) ([][]sample, error) {
	if err := b.data(r.data); err != nil {
		return nil, err
	}
	res := make([][]sample, len(r.sides))
	defer func() {
		for i := range r.sides {
			os.RemoveAll(b.dest(i))
		}
	}()
	for i := range r.sides {
		if err := b.prepare(r, i); err != nil {
			return nil, err
		}
	}
	for round := range b.rounds {
		for turn := range r.sides {
			i := (round + turn) % len(r.sides) // everybody is first, and last, as often
			s, err := b.once(r, i, round)
			if err != nil {
				return nil, err
			}
			res[i] = append(res[i], s)
		}
	}
	return res, nil
}

// dest is the destination of one side.
func (b *bench) dest(i int) string { return filepath.Join(b.dir, "dst"+string(rune('0'+i))) }

// prepare makes a destination as it has to be before the first round.
func (b *bench) prepare(r row, i int) error {
	if r.where == start || r.state == empty {
		return nil
	}
	if r.data == "million" { // nothing is changed: one for all
		return nil
	}
	from := b.version(r.data, 0)
	return b.quiet(b.stock, "-a", from+"/", b.dest(i)+"/")
}

// once runs one side of a row once.
func (b *bench) once(r row, i, round int) (sample, error) {
	s := r.sides[i]
	exe, far := b.stock, b.stock
	if s.oursHere {
		exe = b.ours
	}
	if s.oursFar {
		far = b.ours
	}
	if r.where == start {
		return b.measure(exe, r.args, "")
	}
	dst := b.dest(i)
	if r.state == empty {
		// Those of the others too: what they fill of the page cache is not there
		// for who comes first.
		for other := range r.sides {
			if err := os.RemoveAll(b.dest(other)); err != nil {
				return sample{}, err
			}
		}
		if err := os.Mkdir(dst, 0o755); err != nil {
			return sample{}, err
		}
	}
	src := b.version(r.data, 0)
	if r.state == flipped && round%2 == 0 {
		src = b.version(r.data, 1)
	}
	if r.data == "million" {
		dst = b.version(r.data, 1)
	}
	settle(b.dir)
	from, to := src+"/", dst+"/"
	args := slices.Clone(r.args)
	switch r.where {
	case shell:
		script, err := b.shell()
		if err != nil {
			return sample{}, err
		}
		args = append(args, "-e", script, "--rsync-path="+far)
		to, far = "host:"+to, ""
	case push:
		to = modulePrefix + to
	case pull:
		from = modulePrefix + from
	default:
		far = ""
	}
	m, err := b.measure(exe, append(args, from, to), far)
	if err == nil {
		err = check(src, dst, r.data != "million" && round == b.rounds-1)
	}
	return m, err
}

// shell makes the remote shell, which runs the command here.
func (b *bench) shell() (string, error) {
	script := filepath.Join(b.dir, "shell")
	return script, os.WriteFile(script, []byte("#!/bin/sh\nshift\nexec \"$@\"\n"), 0o755)
}
