package flist

import (
	"encoding/binary"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// Which parts of an ACL follow (acls.c: XMIT_…).
const (
	aclUserObj  = 1 << 0
	aclGroupObj = 1 << 1
	aclMaskObj  = 1 << 2
	aclOtherObj = 1 << 3
	aclNameList = 1 << 4
)

// Low bits of a named entry's access word.
const (
	aceNameFollows = 1 << 0
	aceIsUser      = 1 << 1
)

const maxACEs = 65536

// aclCache numbers the ACLs sent: a repeated one travels as its number.
type aclCache struct {
	access, def map[string]int32
	key         []byte
}

// aclTables are the ACLs received, by number.
type aclTables struct{ access, def []*meta.ACL }

// ACL writes the ACLs of an entry that is not a symbolic link, right after it.
// def is for directories only. rsync 3.5.0 acls.c:send_acl.
func (e *Encoder) ACL(f *File, access, def *meta.ACL) {
	if e.acls.access == nil {
		e.acls.access, e.acls.def = map[string]int32{}, map[string]int32{}
	}
	e.oneACL(access, e.acls.access)
	if f.IsDir() {
		e.oneACL(def, e.acls.def)
	}
}

func (e *Encoder) oneACL(a *meta.ACL, seen map[string]int32) {
	k := append(e.acls.key[:0], a.UserObj, a.GroupObj, a.MaskObj, a.OtherObj)
	for _, n := range a.Named {
		k = binary.LittleEndian.AppendUint32(k, n.ID)
		k = append(k, n.Perm)
		if n.IsUser {
			k[len(k)-1] |= 0x80
		}
	}
	e.acls.key = k
	if at, ok := seen[string(k)]; ok {
		e.put(wire.AppendVarint(e.buf[:0], at+1))
		return
	}
	seen[string(k)] = int32(len(seen))
	b := wire.AppendVarint(e.buf[:0], 0)
	var flags byte
	for _, o := range []struct {
		v    uint8
		flag byte
	}{{a.UserObj, aclUserObj}, {a.GroupObj, aclGroupObj}, {a.MaskObj, aclMaskObj}, {a.OtherObj, aclOtherObj}} {
		if o.v != meta.NoEntry {
			flags |= o.flag
		}
	}
	if len(a.Named) > 0 {
		flags |= aclNameList
	}
	b = append(b, flags)
	for _, v := range []uint8{a.UserObj, a.GroupObj, a.MaskObj, a.OtherObj} {
		if v != meta.NoEntry {
			b = wire.AppendVarint(b, int32(v))
		}
	}
	if len(a.Named) > 0 {
		b = wire.AppendVarint(b, int32(len(a.Named)))
		for _, n := range a.Named {
			bits := int32(n.Perm) << 2
			name := ""
			if n.IsUser {
				bits |= aceIsUser
			}
			if !e.p.NumericIDs {
				if n.IsUser {
					name = e.users.add(n.ID, e.names.UserName)
				} else {
					name = e.groups.add(n.ID, e.names.GroupName)
				}
			}
			b = wire.AppendVarint(b, int32(n.ID))
			if name != "" && e.p.IncRecurse {
				b = wire.AppendVarint(b, bits|aceNameFollows)
				b = append(append(b, byte(len(name))), name...)
			} else {
				b = wire.AppendVarint(b, bits)
			}
		}
	}
	e.put(b)
}

// acl reads the ACLs of an entry. rsync 3.5.0 acls.c:receive_acl.
func (d *Decoder) acl(f *File) {
	x := d.slab.Ext(f)
	x.Access = d.oneACL(&d.acls.access, "access", f.Mode, true)
	if f.IsDir() {
		x.Default = d.oneACL(&d.acls.def, "default", 0, false)
	}
}

func (d *Decoder) access() uint8 {
	v := d.r.Varint()
	if v&^7 != 0 {
		d.fail(exitcode.StreamIO, "recv_acl_access: value out of range: %x", v)
		return 0
	}
	return uint8(v)
}

func (d *Decoder) oneACL(table *[]*meta.ACL, kind string, mode uint32, access bool) *meta.ACL {
	ndx := d.r.Varint()
	if ndx < 0 || int(ndx) > len(*table) {
		d.fail(exitcode.StreamIO, "recv_acl_index: %s ACL index %d > %d", kind, ndx, len(*table))
		return nil
	}
	if ndx != 0 {
		return (*table)[ndx-1]
	}
	a := &meta.ACL{UserObj: meta.NoEntry, GroupObj: meta.NoEntry, MaskObj: meta.NoEntry, OtherObj: meta.NoEntry}
	flags := d.r.Byte()
	for _, o := range []struct {
		v    *uint8
		flag byte
	}{{&a.UserObj, aclUserObj}, {&a.GroupObj, aclGroupObj}, {&a.MaskObj, aclMaskObj}, {&a.OtherObj, aclOtherObj}} {
		if flags&o.flag != 0 {
			*o.v = d.access()
		}
	}
	if flags&aclNameList != 0 {
		n := d.r.VarintMax(maxACEs, "ACL count")
		var union uint8
		for i := int32(0); i < n && d.r.Err() == nil; i++ {
			a.Named = append(a.Named, d.ace())
			union |= a.Named[i].Perm
		}
		if n > 0 && a.MaskObj == meta.NoEntry {
			// A list of names needs a mask: the mode's group bits carry it.
			if access {
				a.MaskObj = uint8(mode >> 3 & 7)
			} else {
				a.MaskObj = (union | a.GroupObj) & 7
			}
		}
	}
	if !d.room(len(*table)+1, aclCost) {
		return nil
	}
	*table = append(*table, a)
	return a
}

func (d *Decoder) ace() meta.Ace {
	id := uint32(d.r.Varint())
	bits := d.r.Varint()
	if bits>>2&^7 != 0 || bits < 0 {
		d.fail(exitcode.StreamIO, "recv_acl_access: value out of range: %x", bits>>2)
		return meta.Ace{}
	}
	ace := meta.Ace{ID: id, Perm: uint8(bits >> 2), IsUser: bits&aceIsUser != 0}
	named := bits&aceNameFollows != 0
	name := ""
	if named {
		name = d.idName()
	}
	if d.r.Err() != nil {
		return ace
	}
	if ace.IsUser {
		if d.pol.UserID != nil && (named || d.p.IncRecurse && !d.p.NumericIDs) {
			ace.ID = d.pol.UserID(id, name)
		}
	} else if d.pol.GroupID != nil && (named || d.pol.MapGroupNow) {
		ace.ID, _ = d.pol.GroupID(id, name)
	}
	return ace
}

// MapACLs maps the ids of all ACLs received so far, once the id lists are
// known. rsync 3.5.0 acls.c:match_acl_ids.
func (d *Decoder) MapACLs() {
	if d.pol.UserID == nil || d.pol.GroupID == nil {
		return
	}
	for _, t := range [][]*meta.ACL{d.acls.access, d.acls.def} {
		for _, a := range t {
			for i := range a.Named {
				if n := &a.Named[i]; n.IsUser {
					n.ID = d.pol.UserID(n.ID, "")
				} else {
					n.ID, _ = d.pol.GroupID(n.ID, "")
				}
			}
		}
	}
}
