package flist

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// TestXattrMaxAlloc: a value that --max-alloc forbids ends the run with rsync's
// code before it is read.
func TestXattrMaxAlloc(t *testing.T) {
	const limit = 1 << 20
	for _, tc := range []struct {
		size int
		want exitcode.Code
	}{
		{limit - 7, exitcode.OK}, {limit - 6, exitcode.Malloc}, {limit, exitcode.Malloc},
	} {
		var b bytes.Buffer
		w := wire.NewWriter(&b)
		w.Protocol = 31
		w.Varint(1)
		w.Varint(int32(tc.size))
		io.WriteString(w, strings.Repeat("v", tc.size))
		w.Byte(0)
		w.Flush()
		r := wire.NewReader(&b)
		r.Protocol = 31
		l := &XattrList{Items: []XattrItem{{Name: "user.", Num: 1, Len: tc.size, Asked: true}}}
		ReadXattrValues(r, l, "receiver", "f", limit)
		if got := exitcode.Of(r.Err(), exitcode.StreamIO); got != tc.want {
			t.Errorf("%d bytes: %v", tc.size, r.Err())
		}
		if tc.want != exitcode.OK && (l.Items[0].Value != nil || !strings.Contains(r.Err().Error(), "exceeded --max-alloc=1048576 setting")) {
			t.Errorf("%d bytes: %d kept, %v", tc.size, len(l.Items[0].Value), r.Err())
		}
	}
}
