package transfer

import (
	"math"

	"github.com/prsync/prsync/internal/report"
)

// A batch file is replayed against the destination as it is: the generator
// tells which files it wants of it, in the order of their indexes, and after
// each list that it has gone through it all; the receiver skips the others.
// rsync 3.5.0 receiver.c:gen_wants_ndx.

// listLooked is what the generator queues in place of an index after a list;
// generatorEnded follows its last wish.
const (
	listLooked     = -1
	generatorEnded = -2
)

// batchState is what the receiver knows of the generator's wishes.
type batchState struct {
	wants  []int32 // in ascending order
	looked int     // lists that the generator has gone through
	freed  int     // lists that the receiver has
	sent   map[int32]bool
	redo   map[int32]bool
}

// wanted tells the receiver that the generator wants a file of the batch.
func (g *generator) wanted(ndx int32) { g.batchWants.put(ndx) }

// batchWanted reports whether the generator wants the update of an index.
func (v *receiver) batchWanted(ndx int32, redo bool) bool {
	if redo {
		again := v.batch.redo[ndx]
		delete(v.batch.redo, ndx)
		return again
	}
	return v.batchUpTo(ndx)
}

// batchUpTo passes over what is wanted below an index and reports whether that
// index is.
func (v *receiver) batchUpTo(ndx int32) bool {
	b := &v.batch
	list := b.freed
	for _, l := range v.lists {
		if ndx < l.End() {
			break
		}
		list++
	}
	for {
		b.takeWants(v.batchWants)
		for len(b.wants) > 0 && b.wants[0] < ndx {
			v.noUpdate(b.wants[0])
			b.wants = b.wants[1:]
		}
		if len(b.wants) > 0 {
			if b.wants[0] != ndx {
				return false
			}
			b.wants = b.wants[1:]
			return true
		}
		if b.looked > list {
			return false
		}
		<-v.batchWants.signal
	}
}

func (b *batchState) takeWants(from *queue[int32]) {
	for _, n := range from.take(nil) {
		switch n {
		case listLooked:
			b.looked++
		case generatorEnded:
			b.looked = math.MaxInt
		default:
			b.wants = append(b.wants, n)
		}
	}
}

// batchSkip passes over everything wanted in the first list.
func (v *receiver) batchSkip() {
	end := v.lists[0].End()
	b := &v.batch
	for b.looked <= b.freed {
		b.takeWants(v.batchWants)
		if b.looked <= b.freed {
			<-v.batchWants.signal
		}
	}
	for len(b.wants) > 0 && b.wants[0] < end {
		v.noUpdate(b.wants[0])
		b.wants = b.wants[1:]
	}
}

// noUpdate reports a file that the batch has nothing for.
func (v *receiver) noUpdate(ndx int32) {
	f, err := v.entryOf(ndx)
	if err != nil {
		return
	}
	v.log.Printf(report.ErrorXfer, "(No batched update for \"%s\")\n", f.Name())
	if !v.c.DryRun {
		v.tellFailed(ndx)
	}
}
