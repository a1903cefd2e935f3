package flist

import (
	"crypto/md5"
	"slices"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// A value longer than maxFullDatum travels as its MD5 first; the receiver asks
// for what it does not hold. (xattrs.c)
const (
	maxFullDatum    = 32
	xattrSumLen     = md5.Size
	maxXattrs       = 65536
	maxXattrName    = 4096
	maxXattrValue   = 128 << 20
	maxXattrPerFile = 512 << 20
)

// XattrItem is one attribute as it travels.
type XattrItem struct {
	Name string
	// Source is the name at the sender, which --fake-super may disguise.
	Source string
	Value  []byte // nil while only Sum is known
	Sum    [xattrSumLen]byte
	Len    int // of the value
	Num    int32
	// Wanted marks an abbreviated value that is to be sent.
	Wanted bool
	// Asked marks one that was asked for: a sender refuses to hear of it
	// again, and its value serves every entry that shares the list.
	Asked bool
}

func byName(a, b XattrItem) int { return strings.Compare(a.Name, b.Name) }

// Abbreviated reports whether the value is known by its sum only.
func (x *XattrItem) Abbreviated() bool { return x.Len > maxFullDatum && x.Value == nil }

// XattrList is what one or more entries have, sorted by name.
type XattrList struct{ Items []XattrItem }

// XattrSum is the digest that a long value travels as.
func XattrSum(value []byte) []byte {
	sum := md5.Sum(value)
	return sum[:]
}

type xattrCache struct {
	at    map[string]int32
	lists []*XattrList
}

// NewXattrList prepares attributes for comparison and sending: sorted, long
// values as sums too.
func NewXattrList(xs []meta.Xattr) *XattrList {
	l := &XattrList{Items: make([]XattrItem, len(xs))}
	for i, x := range xs {
		it := &l.Items[i]
		it.Name, it.Value, it.Len = x.Name, x.Value, len(x.Value)
		if it.Len > maxFullDatum {
			it.Sum = md5.Sum(x.Value)
		}
	}
	slices.SortStableFunc(l.Items, byName)
	for i := range l.Items {
		l.Items[i].Num = int32(i + 1)
	}
	return l
}

// Xattrs writes the attributes of an entry, last of all that belongs to it,
// and returns the list that stands for it: the same one for equal attributes.
// Long values are dropped from memory. rsync 3.5.0 xattrs.c:send_xattr.
func (e *Encoder) Xattrs(l *XattrList) *XattrList {
	if l == nil {
		l = &XattrList{}
	}
	if e.xattrs.at == nil {
		e.xattrs.at = map[string]int32{}
	}
	var key strings.Builder
	for _, it := range l.Items {
		key.WriteString(it.Name)
		key.WriteByte(0)
		if it.Len > maxFullDatum {
			key.WriteByte(1)
			key.Write(it.Sum[:])
		} else {
			key.WriteByte(byte(2 + it.Len))
			key.Write(it.Value)
		}
	}
	if at, ok := e.xattrs.at[key.String()]; ok {
		e.put(wire.AppendVarint(e.buf[:0], at+1))
		return e.xattrs.lists[at]
	}
	e.xattrs.at[key.String()] = int32(len(e.xattrs.lists))
	e.xattrs.lists = append(e.xattrs.lists, l)
	b := wire.AppendVarint(e.buf[:0], 0)
	b = wire.AppendVarint(b, int32(len(l.Items)))
	for i := range l.Items {
		it := &l.Items[i]
		b = wire.AppendVarint(b, int32(len(it.Name)+1))
		b = wire.AppendVarint(b, int32(it.Len))
		b = append(append(b, it.Name...), 0)
		if it.Len > maxFullDatum {
			b = append(b, it.Sum[:]...)
			it.Value = nil
		} else {
			b = append(b, it.Value...)
		}
	}
	e.put(b)
	return l
}

// xattr reads the attributes of an entry. rsync 3.5.0 xattrs.c:receive_xattr.
func (d *Decoder) xattr(f *File) {
	r := d.r
	x := d.slab.Ext(f)
	ndx := r.Varint()
	if ndx < 0 || int(ndx) > len(d.xattrs) {
		d.fail(exitcode.StreamIO, "receive_xattr: xa index %d out of range for %s", ndx, f.Name())
		return
	}
	if ndx != 0 {
		x.Xattrs = d.xattrs[ndx-1]
		return
	}
	n := r.VarintMax(maxXattrs, "xattr count")
	if !d.room(len(d.xattrs)+1, xlistCost) || !d.room(int(n), xattrCost) {
		return
	}
	l := &XattrList{}
	total := 0
	for num := int32(1); num <= n && r.Err() == nil; num++ {
		nameLen := int(r.VarintMax(maxXattrName, "xattr name_len"))
		valueLen := int(r.VarintMax(1<<31-1, "xattr datum_len"))
		if valueLen > maxXattrValue {
			d.fail(exitcode.Protocol, "xattr datum_len exceeds per-value limit [%s]", d.pol.Who)
			return
		}
		if total += nameLen + valueLen; total > maxXattrPerFile {
			d.fail(exitcode.Protocol, "xattr list exceeds per-file limit [%s]", d.pol.Who)
			return
		}
		name := r.Bytes(nameLen)
		if r.Err() != nil {
			return
		}
		if nameLen < 1 || name[nameLen-1] != 0 {
			d.fail(exitcode.FileIO, `Invalid xattr name received (missing trailing \0).`)
			return
		}
		it := XattrItem{Name: string(name[:nameLen-1]), Len: valueLen, Num: num}
		if valueLen > maxFullDatum {
			r.Full(it.Sum[:])
		} else {
			it.Value = r.Bytes(valueLen)
		}
		if d.pol.XattrName != nil {
			renamed, ok := d.pol.XattrName(it.Name)
			if !ok {
				continue
			}
			it.Name = renamed
		}
		l.Items = append(l.Items, it)
	}
	slices.SortStableFunc(l.Items, byName)
	x.Xattrs = l
	d.xattrs = append(d.xattrs, l)
}

// Differ compares what the sender has with what we have. With mark set every
// abbreviated value that we lack becomes Wanted.
// rsync 3.5.0 xattrs.c:xattr_diff.
func (l *XattrList) Differ(have *XattrList, mark bool) bool {
	var theirs, ours []XattrItem
	if l != nil {
		theirs = l.Items
	}
	if have != nil {
		ours = have.Items
	}
	differ := len(theirs) != len(ours)
	for len(theirs) > 0 {
		t := &theirs[0]
		cmp := -1
		if len(ours) > 0 {
			cmp = strings.Compare(t.Name, ours[0].Name)
		}
		if cmp > 0 {
			differ = true
			ours = ours[1:]
			continue
		}
		same := cmp == 0 && t.Len == ours[0].Len
		if same && t.Len > maxFullDatum {
			same = t.Sum == ours[0].Sum
		} else if same {
			same = string(t.Value) == string(ours[0].Value)
		}
		if !same {
			differ = true
			if mark && t.Abbreviated() && !t.Asked {
				t.Wanted = true
			}
		}
		theirs = theirs[1:]
		if cmp == 0 {
			ours = ours[1:]
		}
	}
	return differ || len(ours) > 0
}

// WriteXattrRequest asks for the wanted values of a list (generator).
// rsync 3.5.0 xattrs.c:send_xattr_request.
func WriteXattrRequest(w *wire.Writer, l *XattrList) {
	prior := int32(0)
	if l != nil {
		for i := range l.Items {
			if it := &l.Items[i]; it.Wanted && it.Value == nil {
				w.Varint(it.Num - prior)
				prior = it.Num
				it.Wanted, it.Asked = false, true
			}
		}
	}
	w.Byte(0)
}

// ReadXattrRequest returns which items of the list are asked for (sender).
func ReadXattrRequest(r *wire.Reader, l *XattrList, who, name string) []*XattrItem {
	var out []*XattrItem
	eachXattrNum(r, l, who, name, func(it *XattrItem) { out = append(out, it) })
	return out
}

// WriteXattrValue sends one asked value (sender); prior is the Num before, 0
// for the first. A byte of 0 ends the values.
func WriteXattrValue(w *wire.Writer, it *XattrItem, prior int32, value []byte) {
	w.Varint(it.Num - prior)
	w.Varint(int32(len(value)))
	w.Write(value)
}

// ReadXattrValues reads the values that were asked for into the list, each with
// its name below maxAlloc bytes (--max-alloc; 0 is no limit).
// rsync 3.5.0 xattrs.c:recv_xattr_request.
func ReadXattrValues(r *wire.Reader, l *XattrList, who, name string, maxAlloc int64) {
	eachXattrNum(r, l, who, name, func(it *XattrItem) {
		n := int(r.VarintMax(1<<31-1, "xattr datum_len"))
		if n > maxXattrValue {
			r.Fail(exitcode.New(exitcode.Protocol, "xattr datum_len exceeds per-value limit [%s]", who))
			return
		}
		if maxAlloc > 0 && int64(n+len(it.Name)+1) >= maxAlloc {
			r.Fail(exitcode.New(exitcode.Malloc, "[%s] exceeded --max-alloc=%d setting", who, maxAlloc))
			return
		}
		// Grow with what arrives, not with what is claimed.
		var v []byte
		for len(v) < n && r.Err() == nil {
			v = append(v, r.Bytes(min(n-len(v), 64<<10))...)
		}
		if v == nil {
			v = []byte{}
		}
		it.Value, it.Len, it.Wanted = v, len(v), false
	})
}

func eachXattrNum(r *wire.Reader, l *XattrList, who, name string, do func(*XattrItem)) {
	num := int32(0)
	var byNum map[int32]*XattrItem // those not named yet
	for {
		rel := r.Varint()
		if rel == 0 || r.Err() != nil {
			return
		}
		if sum := int64(num) + int64(rel); sum != int64(int32(sum)) {
			r.Fail(exitcode.New(exitcode.Protocol, "xattr rel_pos accumulation overflow [%s]", who))
			return
		}
		num += rel
		if byNum == nil {
			byNum = map[int32]*XattrItem{}
			for i := 0; l != nil && i < len(l.Items); i++ {
				if it := &l.Items[i]; it.Len > maxFullDatum {
					byNum[it.Num] = it
				}
			}
		}
		found := byNum[num]
		delete(byNum, num)
		if found == nil {
			r.Fail(exitcode.New(exitcode.Protocol, "[%s] could not find xattr #%d for %s", who, num, name))
			return
		}
		do(found)
	}
}
