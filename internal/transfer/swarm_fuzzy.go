package transfer

import (
	"path"
	"slices"
)

// By --fuzzy a file is the basis of another one, which the receiver opens by
// its name when what the sender sends of the other comes. It must be as the
// generator saw it then. If the sender sends both, they come in the order in
// which they were asked for; a job of the swarm ends at any time. So
//
//   - what is the basis of something that the sender was asked for does not
//     become a job of the swarm (lend), and
//   - a job that ends with asking the sender does without a basis that is a job
//     itself (lend), or that the sender was asked for since (outdated).

// lend notes that the file of that name is a basis of what the sender is asked
// for, false when it must not be.
func (g *generator) lend(name string) bool {
	s := &g.swarm
	if s.swarmer == nil || s.cfg.Require {
		return true
	}
	for j := range s.active {
		if j.t.name == name {
			return false
		}
	}
	s.lent[name] = true
	return true
}

// fuzzyBasis is the name of a basis that is one by --fuzzy.
func fuzzyBasis(t *target, b *basis) string { return join(path.Dir(t.name), b.fuzzy) }

// outdated notes that the sender is asked for a file, which may be the basis of
// jobs.
func (g *generator) outdated(name string) {
	for _, j := range g.swarm.borrowers[name] {
		j.stale = true
	}
}

// returns forgets what a job had as its basis.
func (g *generator) returns(j *swarmJob) {
	if j.basis.kind != basisFuzzy {
		return
	}
	s, name := &g.swarm, fuzzyBasis(j.t, &j.basis)
	s.borrowers[name] = slices.DeleteFunc(s.borrowers[name], func(b *swarmJob) bool { return b == j })
	if len(s.borrowers[name]) == 0 {
		delete(s.borrowers, name)
	}
}
