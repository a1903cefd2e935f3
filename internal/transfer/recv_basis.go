package transfer

import (
	"os"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/report"
)

// basisOf opens what the tokens refer to. rsync 3.5.0
// receiver.c:recv_files.
func (v *receiver) basisOf(in *incoming) (file *os.File, at place, err error) {
	c, rq, name := v.c, &in.rq, in.name
	if rq.rescue = v.swarm.takeRescue(rq.ndx); rq.rescue != nil {
		// Its name goes now: later, the directory's time might be set already.
		rq.rescue.w.at.root.Unlink(rq.rescue.w.at.name)
		return rq.rescue.w.file, rq.rescue.w.at, nil
	}
	at = v.at(name)
	root := at.root
	kept := false // a partial file or a backup, which the rules were asked about
	switch k := rq.basis; {
	case c.Setup.Protocol < 29:
		switch {
		case c.Inplace && c.Backup:
			if p, ok := v.backupPlace(v.log, name); ok {
				at, rq.basis, kept = p, basisBackup, true
			}
		case in.hasPartial:
			at, kept = in.partial, true
		}
	case k == basisFile:
	case k == basisPartial:
		if in.hasPartial {
			at, kept = in.partial, true
		}
	case k == basisBackup:
		if p, ok := v.backupPlace(v.log, name); ok {
			at, kept = p, true
		}
	case k == basisFuzzy:
		if c.Fuzzy == 0 {
			v.log.Printf(report.ErrorXfer, "rsync: refusing malicious fuzzy operation for %s\n", rq.xname)
			return nil, at, exitcode.Silent(exitcode.Protocol).Placed(exitcode.AtFuzzyName)
		}
		n := join(dirOf(name), rq.xname)
		at = place{root, n, n}
	default:
		i, n := int(k), name
		if k > basisFuzzy {
			i, n = int(k)-basisFuzzy-1, join(dirOf(name), rq.xname)
		}
		if i >= len(v.alts) {
			return nil, at, exitcode.New(exitcode.Protocol, "invalid basis_dir index: %d.", k)
		}
		a := v.alts[i]
		if a.root == nil {
			return nil, v.at(name), nil
		}
		at = place{a.root, n, join(a.path, n)}
	}
	if !kept && v.daemonExcluded(at.name, false) {
		at, rq.basis = v.at(name), basisFile
	}
	open := func(p place) *os.File {
		if p.root == nil {
			return nil
		}
		g, e := p.root.Open(p.name)
		if e != nil {
			in.noEntry = isMissing(e) && p.root == v.dest && p.name == name
			return nil
		}
		return g
	}
	in.noEntry = false
	inModule := c.Daemon && c.Setup.InplacePartial
	refused := inModule && v.partialRefused()
	if !refused {
		file = open(at)
	}
	if refused || file == nil && rq.basis == basisPartial {
		if inModule {
			return nil, at, exitcode.New(exitcode.Protocol, "rsync: refusing unconfined partial basis for %s", name)
		}
		at, rq.basis = v.at(name), basisFile
	}
	if file == nil && c.Setup.Protocol < 29 {
		if at.name != name {
			at, rq.basis = v.at(name), basisFile
			file = open(at)
		}
		if file == nil && len(v.alts) > 0 && v.alts[0].root != nil {
			at = place{v.alts[0].root, name, join(v.alts[0].path, name)}
			rq.basis = 0
			file = open(at)
		}
	}
	return file, at, nil
}
