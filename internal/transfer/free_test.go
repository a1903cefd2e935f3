package transfer

import (
	"testing"

	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"golang.org/x/sys/unix"
)

// TestFreeFirst: the entries of a list serve again only when the generator has
// done with them, whatever the sender says of its end.
func TestFreeFirst(t *testing.T) {
	list := func() *flist.List {
		return &flist.List{Files: []*flist.File{{Base: "f", Mode: unix.S_IFREG}}}
	}
	kept := func(c *Config, released int32) bool {
		r := &Receiving{c: c, dec: flist.NewDecoder(nil, flist.Params{}, flist.Policy{})}
		l := list()
		r.lists = []*flist.List{l, list()}
		r.released.Store(released)
		v := &receiver{Receiving: r}
		v.freeFirst()
		if len(r.lists) != 1 || r.lists[0] == l {
			t.Errorf("%d lists are left", len(r.lists))
		}
		return l.Files[0].Active()
	}
	if !kept(&Config{}, 0) {
		t.Error("entries were taken from the generator")
	}
	if kept(&Config{}, 1) {
		t.Error("entries were not given back")
	}
	if !kept(&Config{DelayUpdates: true}, 1) || !kept(&Config{ReadBatch: true}, 1) {
		t.Error("entries were taken from files that wait")
	}
}
