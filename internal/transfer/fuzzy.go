package transfer

import (
	"strings"

	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"golang.org/x/sys/unix"
)

// fuzzyList is a directory in which a basis of a similar name is looked for.
type fuzzyList struct {
	kind    byte
	shown   string
	entries []fuzzyEntry
}

type fuzzyEntry struct {
	look look
	base string
	used bool // it is about to change itself
}

// loadFuzzy lists the regular files of the current directory, and of its
// counterparts in the alternate destinations with -yy.
func (g *generator) loadFuzzy() {
	if g.fuzzy != nil {
		return
	}
	g.fuzzy = []fuzzyList{}
	for i := 0; i < g.c.Fuzzy; i++ {
		at := place{g.dest, g.fuzzyDir, g.fuzzyDir}
		if i > 0 {
			if i > len(g.alts) || g.alts[i-1].root == nil {
				continue
			}
			a := g.alts[i-1]
			at = place{a.root, g.fuzzyDir, join(a.path, g.fuzzyDir)}
		}
		ents, err := at.root.ReadDir(at.name)
		if err != nil {
			continue
		}
		fl := fuzzyList{kind: byte(basisFuzzy + i), shown: at.shown}
		for _, e := range ents {
			if e.Type != unix.S_IFREG && e.Type != 0 {
				continue
			}
			p := place{at.root, join(at.name, e.Name), join(at.shown, e.Name)}
			st, err := p.lstat()
			if err == nil && st.IsRegular() && st.Size > 0 {
				fl.entries = append(fl.entries, fuzzyEntry{look: look{at: p, st: st}, base: e.Name})
			}
		}
		g.fuzzy = append(g.fuzzy, fl)
	}
}

// useFuzzy takes a file that is about to change out of the candidates.
func (g *generator) useFuzzy(f *flist.File) {
	if g.c.Fuzzy > 0 {
		g.loadFuzzy()
	}
	if len(g.fuzzy) == 0 || g.fuzzy[0].kind != basisFuzzy {
		return
	}
	for i := range g.fuzzy[0].entries {
		if e := &g.fuzzy[0].entries[i]; e.base == f.Base {
			e.used = true
		}
	}
}

// findFuzzy finds the file that is most like a missing one: the same size and
// time, else the nearest name. rsync 3.5.0 generator.c:find_fuzzy.
func (g *generator) findFuzzy(t *target) *basis {
	g.loadFuzzy()
	f := t.f
	for i := range g.fuzzy {
		for j := range g.fuzzy[i].entries {
			e := &g.fuzzy[i].entries[j]
			if !e.used && e.look.st.Size == f.Size && meta.SameTime(e.look.st.Mtime, mtimeOf(f), max(0, g.c.ModifyWindow)) {
				return &basis{kind: g.fuzzy[i].kind, look: &e.look, fuzzy: e.base}
			}
		}
	}
	lowest := uint32(25 << 16)
	var best *basis
	suffix := nameSuffix(f.Base)
	for i := range g.fuzzy {
		for j := range g.fuzzy[i].entries {
			e := &g.fuzzy[i].entries[j]
			if e.used {
				continue
			}
			d := nameDistance(e.base, f.Base, lowest)
			if d < 0xFFFF0000 {
				d += nameDistance(nameSuffix(e.base), suffix, 0xFFFF0000) * 10
			}
			if d <= lowest {
				lowest = d
				best = &basis{kind: g.fuzzy[i].kind, look: &e.look, fuzzy: e.base}
			}
		}
	}
	return best
}

// nameSuffix returns the last part of a name that tells its type, with its
// dot: backup endings and numbers do not count if there is another.
// rsync 3.5.0 util1.c:find_filename_suffix.
func nameSuffix(name string) string {
	name = strings.TrimLeft(name, ".")
	tilde := len(name) > 1 && strings.HasSuffix(name, "~")
	if tilde {
		name = name[:len(name)-1]
	}
	suffix := ""
	for len(name) > 1 {
		i := strings.LastIndexByte(name, '.')
		if i <= 0 {
			break
		}
		s := name[i:]
		name = name[:i]
		switch {
		case s == ".bak" || s == ".old" || s == ".orig":
			continue
		case len(s) > 2 && tilde && s[1] == '~' && s[2] >= '0' && s[2] <= '9':
			continue
		}
		suffix = s
		if len(s) == 1 || strings.Trim(s[1:], "0123456789") != "" {
			break
		}
	}
	return suffix
}

// nameDistance is the Levenshtein distance in the high 16 bits, with the
// differences of the letters below. Beyond limit the exact value does not
// matter. rsync 3.5.0 util1.c:fuzzy_distance.
func nameDistance(a, b string, limit uint32) uint32 {
	const unit = 1 << 16
	n := len(a) - len(b)
	if n < 0 {
		n = -n
	}
	if uint32(n)*unit > limit {
		return 0xFFFF*unit + 1
	}
	if a == "" || b == "" {
		cost := uint32(0)
		for _, c := range []byte(a + b) {
			cost += uint32(int32(int8(c)))
		}
		return uint32(len(a)+len(b))*unit + cost
	}
	row := make([]uint32, len(b))
	for j := range row {
		row[j] = uint32(j+1) * unit
	}
	for i := range len(a) {
		diag, above := uint32(i)*unit, uint32(i+1)*unit
		for j := range len(b) {
			left := row[j]
			cost := uint32(0)
			if d := int32(a[i]) - int32(b[j]); d > 0 {
				cost = unit + uint32(d)
			} else if d < 0 {
				cost = uint32(unit - d)
			}
			v := min(diag+cost, left+unit+uint32(a[i]), above+unit+uint32(b[j]))
			row[j], above, diag = v, v, left
		}
	}
	return row[len(row)-1]
}
