package interop

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

var building sync.Once

// The protocol versions that peers in use speak.
var protocols = []int{32, 31, 30, 29, 28, 27}

// TestMatrix holds scenarios against the oracle: each in one way with the newest
// protocol and in one with an older one, the core in every way with the
// newest. With -full the core runs in every way with every protocol, every
// other scenario in every way with the newest and over a remote shell with all
// others. A name decides which way and protocol a scenario gets in a plain run.
func TestMatrix(t *testing.T) {
	needPeer(t)
	if !root() {
		t.Log("not root: owners, device nodes and modes without access are left out")
	}
	seen := map[string]bool{}
	for _, s := range slices.Concat(basics, selections, contents, reports, combinations) {
		if seen[s.name] {
			t.Fatalf("two scenarios are named %s", s.name)
		}
		seen[s.name] = true
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.skip(t)
			for i, p := range s.protocols() {
				t.Run(fmt.Sprint(p), func(t *testing.T) { s.hold(t, p, i == 0) })
			}
		})
	}
}

func (s *scenario) skip(t *testing.T) {
	switch {
	case s.needs&needRoot != 0 && !root():
		t.Skip("needs root")
	case s.needs&needAttrs != 0 && !takesAttributes():
		t.Skip("needs a file system with access control lists and extended attributes")
	}
}

// turn is a number that a scenario has for choosing among things.
func (s *scenario) turn() int {
	h := fnv.New32a()
	h.Write([]byte(s.name))
	return int(h.Sum32() % 720720) // which all small numbers divide
}

// protocols returns the versions a scenario runs with, the newest first.
func (s *scenario) protocols() []int {
	able := slices.DeleteFunc(slices.Clone(spoken()), func(p int) bool { return p < s.since })
	if *full || len(able) < 2 {
		return able
	}
	old := able[1:]
	return []int{able[0], old[s.turn()%len(old)]}
}

// ways returns how a scenario runs with one protocol. With the older ones what
// is not core keeps to the remote shell: the streams are the same.
func (s *scenario) ways(newest bool) []way {
	able := slices.Clone(s.only)
	if able == nil {
		able = slices.Clone(ways)
	}
	if other != peer {
		able = slices.DeleteFunc(able, func(w way) bool { return w == local })
	}
	if s.core && (newest || *full) || newest && *full {
		return able
	}
	if !newest {
		able = slices.DeleteFunc(able, func(w way) bool { return w != push && w != pull })
	}
	if *full || len(able) == 0 {
		return able
	}
	n := s.turn() / 7 % len(able)
	return able[n : n+1]
}

// hold runs a scenario in every way with one protocol.
func (s *scenario) hold(t *testing.T, protocol int, newest bool) {
	for _, w := range s.ways(newest) {
		t.Run(string(w), func(t *testing.T) {
			pairs, wants := w.pairs(), map[pair]*result{}
			if *oracle {
				pairs = map[string]pair{"rsync": {peer, peer}}
			}
			for _, name := range slices.Sorted(maps.Keys(pairs)) {
				t.Run(name, func(t *testing.T) {
					by := pairs[name].oracle()
					if wants[by] == nil {
						wants[by] = s.run(t, w, by, protocol)
					}
					want := *wants[by] // judge picks lines
					got := s.run(t, w, pairs[name], protocol)
					s.judge(t, &want, got)
				})
			}
		})
	}
}

// judge reports how a run differs from the oracle's.
func (s *scenario) judge(t *testing.T, want, got *result) {
	t.Helper()
	if diff := s.differences(want, got); diff != nil {
		s.report(t, diff, want, got)
	}
}

// differences returns how a run differs from the oracle's. It picks the lines
// that are compared.
func (s *scenario) differences(want, got *result) (diff []string) {
	if got.code != want.code {
		diff = append(diff, fmt.Sprintf("exit code %d, want %d", got.code, want.code))
	}
	if s.told != nil {
		want.stdout, got.stdout = s.told(want.stdout), s.told(got.stdout)
	}
	if !slices.Contains(s.loose, "stdout") {
		diff = append(diff, sameLines("stdout", want.stdout, got.stdout)...)
	}
	if !slices.Contains(s.loose, "stderr") {
		diff = append(diff, sameLines("stderr", want.stderr, got.stderr)...)
	}
	diff = append(diff, sameLines("log file", want.log, got.log)...)
	diff = append(diff, sameLines("daemon's log", want.daemon, got.daemon)...)
	diff = append(diff, s.sameTotals(want.totals, got.totals, 0)...)
	diff = append(diff, s.sameTotals(want.logged, got.logged, goodbye)...)
	return append(diff, want.tree.compare(got.tree)...)
}

func (s *scenario) report(t *testing.T, diff []string, want, got *result) {
	t.Helper()
	const most = 60
	if len(diff) > most {
		diff = append(diff[:most:most], fmt.Sprintf("… and %d more", len(diff)-most))
	}
	t.Errorf("not as rsync does (-: rsync only, +: prsync only)\n\t%s\nrsync:\n\t%s\nprsync:\n\t%s\nTo keep the trees: go test ./internal/interop -run '%s' -keep DIR",
		strings.Join(diff, "\n\t"), want.command, got.command, t.Name())
}
