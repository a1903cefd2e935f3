package transfer

import (
	"github.com/prsync/prsync/internal/report"
)

// A batch file is replayed against the destination as it is: the generator
// tells which files it wants of it, in the order of their indexes, and the
// receiver skips the others. rsync 3.5.0 receiver.c:gen_wants_ndx.

// batchWanted reports whether the generator wants the update of an index. The
// generator runs ahead of the batch or is waited for.
func (v *receiver) batchWanted(ndx int32, redo bool) bool {
	if redo {
		return v.failed[ndx]
	}
	for {
		v.takeWants()
		for len(v.wants) > 0 && v.wants[0] < ndx {
			v.noUpdate(v.wants[0])
			v.wants = v.wants[1:]
		}
		if len(v.wants) > 0 {
			if v.wants[0] == ndx {
				v.wants = v.wants[1:]
				return true
			}
			return false
		}
		if v.wantsEnd {
			return false
		}
		<-v.batchWants.signal
	}
}

func (v *receiver) takeWants() {
	for _, n := range v.batchWants.take() {
		if n < 0 {
			v.wantsEnd = true
			continue
		}
		v.wants = append(v.wants, n)
	}
}

// batchSkip passes over everything wanted below an index.
func (v *receiver) batchSkip(end int32) {
	v.takeWants()
	for len(v.wants) > 0 && v.wants[0] < end {
		v.noUpdate(v.wants[0])
		v.wants = v.wants[1:]
	}
}

// noUpdate reports a file that the batch has nothing for.
func (v *receiver) noUpdate(ndx int32) {
	f, err := v.entryOf(ndx)
	if err != nil {
		return
	}
	v.log.Printf(report.ErrorXfer, "(No batched update for \"%s\")\n", f.Name())
	if v.c.Setup.IncRecurse && !v.c.DryRun {
		v.tell(evNoSend, ndx)
	}
}
