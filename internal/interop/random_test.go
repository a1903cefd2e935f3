package interop

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	rounds  = flag.Int("rounds", 24, "how many `cases` of chance to try")
	luck    = flag.Uint64("luck", 2008, "the first case of chance is this `seed`'s, the next the one after")
	another = flag.String("another", "", "only draw cases with one of these `options`, by long name and split at commas")
)

// A randomCase is a scenario of chance: any options over any trees.
type randomCase struct {
	scenario
	way      way
	protocol int
	words    [][]string // the options, each with all of its words
	alt      string     // the kind of its alternate destinations
	plain    bool       // --append or --sparse
	nul      bool       // --from0
	harmless bool       // devices are read or written
	extra    []string
}

// newRandomCase draws a case. The same seed gives the same one.
func newRandomCase(seed uint64) *randomCase {
	r := rand.New(rand.NewPCG(seed, 35))
	c := &randomCase{}
	c.name = fmt.Sprintf("random-%d", seed)
	all := ways
	if other != peer {
		all = ways[1:]
	}
	c.way = all[r.IntN(len(all))]
	if r.IntN(2) == 0 {
		v := spoken()
		c.protocol = v[r.IntN(len(v))]
	}
	src, dst := randomTrees(r)
	c.own = true
	c.from = randomSources(r, src)
	if r.IntN(8) == 0 {
		c.to = pickOne(r, "to", "to/new", "to/new/", "to/new/deep/", "fresh", "to/a")
	}
	switch r.IntN(12) {
	case 0, 1:
		base := []string{"-r", "-l", "-p", "-t", "-g", "-o", "-D", "-H"}
		r.Shuffle(len(base), func(i, j int) { base[i], base[j] = base[j], base[i] })
		for _, o := range base[:1+r.IntN(len(base))] {
			c.words = append(c.words, []string{o})
		}
	case 2:
		c.words = append(c.words, []string{"-rt"})
	default:
		c.words = append(c.words, []string{"-a"})
	}
	if r.IntN(3) != 0 {
		c.words = append(c.words, []string{pickOne(r, "-i", "-ii", "-v", "-vi")})
	}
	names := slices.Sorted(maps.Keys(drawn))
	for range 1 + r.IntN(7) {
		name := names[r.IntN(len(names))]
		if words := drawn[name](r, c); words != nil {
			c.words = append(c.words, words)
			c.extra = append(c.extra, name)
		}
	}
	if r.IntN(4) == 0 {
		dst = nil
	}
	if c.harmless {
		src.tame()
		dst.tame()
	}
	if c.protocol != 0 && c.protocol < 30 { // one side's words stand for both (see oneRefusal)
		c.loose = append(c.loose, "stderr")
	}
	c.src = func() tree { return src }
	c.dest = func() tree { return dst }
	list := listOf(r, src)
	end := "\n"
	if c.nul {
		end = "\x00"
	}
	c.files = map[string]string{
		"list":  strings.Join(list, end) + end,
		"rules": strings.Join([]string{"- *.tmp", "+ keep*", "- /change/perms", "*.bak"}, end) + end,
	}
	old := src.clone().age(rand.New(rand.NewPCG(seed, 36)))
	if c.harmless {
		old.tame()
	}
	c.prepare = func(t *testing.T, d string) {
		check(t, os.Mkdir(filepath.Join(d, "tmp"), 0o755))
		check(t, os.WriteFile(filepath.Join(d, "word"), []byte("word\n"), 0o600))
		if c.alt != "" {
			src.build(t, filepath.Join(d, "ref"))
			whole(old).build(t, filepath.Join(d, "old"))
		}
	}
	if r.IntN(4) == 0 || slices.Contains(c.extra, "iconv") {
		c.env = []string{"LC_ALL=C.UTF-8"}
	}
	return c
}

// tame makes every device one that can be read and written without harm.
func (t tree) tame() {
	for _, n := range t {
		if n.kind == char || n.kind == block {
			n.kind, n.rdev = char, unix.Mkdev(1, 3)
		}
	}
}

// randomSources draws source arguments: mostly all that there is.
func randomSources(r *rand.Rand, t tree) []string {
	if r.IntN(3) != 0 || len(t) == 0 {
		return nil
	}
	var from []string
	for range 1 + r.IntN(3) {
		n := t[r.IntN(len(t))]
		name := n.path
		if strings.ContainsAny(name, "\n") { // rsync's daemon takes one line for an argument below protocol 30
			continue
		}
		switch {
		case r.IntN(12) == 0:
			name = "nowhere"
		case r.IntN(3) == 0:
			name = "./" + name
		}
		if n.kind == dir && r.IntN(2) == 0 {
			name += "/"
		}
		from = append(from, name)
	}
	return from
}

// without is the case with a part of its options.
func (c *randomCase) parts() int { return len(c.words) }

func (c *randomCase) without(i int) *randomCase {
	d := *c
	d.words = slices.Delete(slices.Clone(c.words), i, i+1)
	return &d
}

// differ runs a case with one pair of programs and the oracle, and returns how
// they differ, with both results.
func (c *randomCase) differ(t *testing.T, p pair) (diff []string, want, got *result) {
	t.Helper()
	c.more = slices.Concat(c.words...)
	by := p.oracle()
	if *oracle {
		p = by
	}
	if want = c.run(t, c.way, by, c.protocol); want.hung() {
		return nil, want, want // rsync's own trouble
	}
	got = c.run(t, c.way, p, c.protocol)
	for _, r := range []*result{want, got} {
		delete(r.tree, "batch") // TestBatch
		delete(r.tree, "batch.sh")
		r.stdout, r.stderr, r.daemon = butRaces(r.stdout), butRaces(r.stderr), butRaces(r.daemon)
	}
	w := *want
	return c.differences(&w, got), want, got
}

// aboutRaces matches what one side says, or not, when the other has ended.
var aboutRaces = regexp.MustCompile(`(?:write error: Broken pipe \(32\)|read error: Connection reset by peer \(104\))$`)

func butRaces(all []string) []string {
	return slices.DeleteFunc(all, aboutRaces.MatchString)
}

// TestRandom holds option sets of chance, over trees of chance, against the
// oracle. A case that differs is shown with the options it takes for that; one
// in which rsync differs from itself shows nothing.
func TestRandom(t *testing.T) {
	needPeer(t)
	for i := range *rounds {
		c := newRandomCase(*luck + uint64(i))
		if *another != "" && !slices.ContainsFunc(strings.Split(*another, ","), func(o string) bool { return slices.Contains(c.extra, o) }) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			judgeCase(t, c, c.way.pairs(), func(_ string, small *randomCase, diff []string, want, got *result) {
				small.report(t, diff, want, got)
			})
		})
	}
}
