package interop

import (
	"fmt"
	"testing"
)

// TestLinksInStep holds totals of bytes against rsync's where a file that another
// name is to be linked to arrives while the generator is at work on some hundred
// others: when it asks for the link must not be chance, as the index of the next
// request costs more or less then.
func TestLinksInStep(t *testing.T) {
	needPeer(t)
	many := func(mode uint32) tree {
		var all tree
		for i := range 500 {
			all = append(all, &node{path: fmt.Sprintf("b%03d", i), kind: file, mode: mode, sec: 1_500_000_000, data: content(uint64(i), 20_000)})
		}
		return all
	}
	s := &scenario{name: "links-in-step", args: "-aHci --stats --no-i-r", own: true, dest: func() tree { return many(0o644) }, src: func() tree {
		return append(many(0o600),
			&node{path: "a", kind: file, mode: 0o644, sec: 1_500_000_000, data: content(1000, 1_000_000)},
			&node{path: "a2", kind: hard, target: "a"})
	}}
	want := s.run(t, push, pair{peer, peer}, 0)
	for range 8 {
		w := *want
		s.judge(t, &w, s.run(t, push, pair{peer, prsync}, 0))
		if t.Failed() {
			return
		}
	}
}
