package transfer

import (
	"io"
	"testing"

	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// TestRedoWithEndOfPhase: the news of a file that is to be sent again come
// together with the end of the phase, while the generator is not waiting.
func TestRedoWithEndOfPhase(t *testing.T) {
	dir, f := &flist.File{Base: "d"}, &flist.File{Dir: "d", Base: "f", Mode: 0o100644}
	l := &flist.List{Files: []*flist.File{f}}
	g := &generator{
		Receiving: &Receiving{
			c:      &Config{Setup: &rsyncproto.Setup{Protocol: 31}, W: wire.NewWriter(io.Discard)},
			events: newQueue[event](),
		},
		log: report.New(report.Config{}), lists: []*flist.List{l},
		toRedo: map[*flist.List]int{}, inProg: map[*flist.List]int{}, active: map[int32]int64{},
		skipDir: dir, // so that there is nothing more to do about it
	}
	g.c.Setup.IncRecurse = true
	g.events.put(event{kind: evRedo, ndx: 0})
	g.events.put(event{kind: evPhase})
	if err := g.awaitDones(1, true); err != nil {
		t.Fatal(err)
	}
	if g.toRedo[l] != 0 || len(g.failed)+len(g.redo) > 0 {
		t.Error("the file was forgotten")
	}
}
