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

// TestListMaxAlloc: the tables of ACLs and of attributes do not outgrow
// --max-alloc either, and the list that does is not kept.
func TestListMaxAlloc(t *testing.T) {
	const limit = 1 << 20
	for _, tc := range []struct {
		what  string
		bytes []byte // of one list on the wire
		cost  int
		read  func(d *Decoder, f *File)
		kept  func(d *Decoder) int
	}{
		{"ACLs", []byte{0, 0}, aclCost, (*Decoder).acl, func(d *Decoder) int { return len(d.acls.access) }},
		{"attributes", []byte{0, 0}, xlistCost, (*Decoder).xattr, func(d *Decoder) int { return len(d.xattrs) }},
	} {
		fits := limit / tc.cost
		r := wire.NewReader(bytes.NewReader(bytes.Repeat(tc.bytes, fits+1)))
		r.Protocol = 31
		d := NewDecoder(r, Params{Protocol: 31}, Policy{Who: "Receiver", MaxAlloc: limit})
		for range fits {
			tc.read(d, &File{})
		}
		if err := r.Err(); err != nil {
			t.Fatalf("%s: %v within the limit", tc.what, err)
		}
		tc.read(d, &File{})
		if exitcode.Of(r.Err(), exitcode.StreamIO) != exitcode.Malloc || tc.kept(d) != fits {
			t.Errorf("%s: %d kept where %d fit: %v", tc.what, tc.kept(d), fits, r.Err())
		}
	}
	var b bytes.Buffer
	w := wire.NewWriter(&b)
	w.Varint(0)
	w.Varint(limit/xattrCost + 1)
	w.Flush()
	r := wire.NewReader(&b)
	d := NewDecoder(r, Params{Protocol: 31}, Policy{Who: "Receiver", MaxAlloc: limit})
	if d.xattr(&File{}); exitcode.Of(r.Err(), exitcode.StreamIO) != exitcode.Malloc {
		t.Errorf("many attributes of one file: %v", r.Err())
	}
}
