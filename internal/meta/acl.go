package meta

import "slices"

// NoEntry in a field of an ACL says that the ACL has no such entry, or that its
// value is to be taken from the mode.
const NoEntry = 0x80

// MaxACLEntries is the most named entries that a peer may send.
const MaxACLEntries = 65536

// ACL is a POSIX ACL in rsync's form. Permissions are 0 to 7.
type ACL struct {
	UserObj, GroupObj, MaskObj, OtherObj uint8
	Named                                []Ace // users by id, then groups by id
}

// Ace is the entry of a named user or group.
type Ace struct {
	ID     uint32
	Perm   uint8
	IsUser bool
}

// EmptyACL returns an ACL with no entry: as a default ACL, none at all.
func EmptyACL() ACL {
	return ACL{UserObj: NoEntry, GroupObj: NoEntry, MaskObj: NoEntry, OtherObj: NoEntry}
}

// ModeACL returns the access ACL of a file that has only a mode.
func ModeACL(mode uint32) ACL {
	return ACL{
		UserObj: uint8(mode >> 6 & 7), GroupObj: uint8(mode >> 3 & 7),
		MaskObj: NoEntry, OtherObj: uint8(mode & 7),
	}
}

// IsEmpty reports whether a default ACL is none at all.
func (a *ACL) IsEmpty() bool { return a.UserObj == NoEntry && len(a.Named) == 0 }

// Equal reports whether both are the same entry for entry.
func (a *ACL) Equal(b *ACL) bool {
	return a.UserObj == b.UserObj && a.GroupObj == b.GroupObj &&
		a.MaskObj == b.MaskObj && a.OtherObj == b.OtherObj && sameNamed(a.Named, b.Named)
}

// Strip drops from an access ACL what a receiver can tell from the mode; what
// is left is what goes over the wire (rsync 3.5.0 acls.c:rsync_acl_strip_perms).
func (a *ACL) Strip(mode uint32) {
	a.UserObj, a.OtherObj = NoEntry, NoEntry
	group := uint8(mode >> 3 & 7)
	if a.MaskObj == NoEntry {
		a.GroupObj = NoEntry
		return
	}
	if a.GroupObj == group {
		a.GroupObj = NoEntry
	}
	if len(a.Named) > 0 && a.MaskObj == group {
		a.MaskObj = NoEntry
	}
}

// Restore gives a received ACL the mask that it cannot do without: that of the
// mode for an access ACL, all that its entries grant for a default ACL
// (rsync 3.5.0 acls.c:recv_rsync_acl).
func (a *ACL) Restore(mode uint32, isDefault bool) {
	if len(a.Named) == 0 || a.MaskObj != NoEntry {
		return
	}
	if !isDefault {
		a.MaskObj = uint8(mode >> 3 & 7)
		return
	}
	mask := a.GroupObj &^ NoEntry
	for _, e := range a.Named {
		mask |= e.Perm
	}
	a.MaskObj = mask & 7
}

// SameExtended reports whether the access ACL have of a file needs no change to
// become the possibly stripped want, apart from what a chmod to mode will do
// (rsync 3.5.0 acls.c:rsync_acl_equal_enough).
func (want *ACL) SameExtended(have *ACL, mode uint32) bool {
	if (have.MaskObj == NoEntry) != (want.MaskObj == NoEntry) {
		return false
	}
	if have.MaskObj != NoEntry {
		group := want.GroupObj
		if group == NoEntry {
			group = uint8(mode >> 3 & 7)
		}
		if have.GroupObj != group {
			return false
		}
	}
	return sameNamed(have.Named, want.Named)
}

// Perms returns the permission bits that the ACL amounts to.
func (a *ACL) Perms() uint32 {
	group := a.GroupObj
	if a.MaskObj != NoEntry {
		group = a.MaskObj
	}
	return uint32(a.UserObj&7)<<6 | uint32(group&7)<<3 | uint32(a.OtherObj&7)
}

// withMode fills the entries of a received access ACL from the mode of the file
// (rsync 3.5.0 acls.c:change_sacl_perms), and returns the mode the file has once
// this ACL is set. Others get nothing for the moment in which a set-id bit is
// still there that should go, or a sticky bit not yet there.
func (a ACL) withMode(current, mode uint32) (ACL, uint32) {
	if isDir(mode) {
		if mode&stickyBit != 0 && current&stickyBit == 0 {
			mode &^= 0077
		}
	} else if current&^mode&(setuidBit|setgidBit) != 0 {
		mode &^= 0077
	}
	full := a
	full.UserObj = uint8(mode >> 6 & 7)
	if a.GroupObj == NoEntry {
		full.GroupObj = uint8(mode >> 3 & 7)
	}
	if a.MaskObj != NoEntry {
		full.MaskObj = uint8(mode >> 3 & 7)
	}
	full.OtherObj = uint8(mode & 7)
	return full, current&^accessBits | mode&accessBits
}

// sameNamed compares without regard to order: that of a received list is by the
// sender's ids.
func sameNamed(a, b []Ace) bool {
	if slices.Equal(a, b) {
		return true
	}
	if len(a) != len(b) {
		return false
	}
	x, y := ACL{Named: slices.Clone(a)}, ACL{Named: slices.Clone(b)}
	x.sortNamed()
	y.sortNamed()
	return slices.Equal(x.Named, y.Named)
}

// sortNamed brings the named entries into the order of the kernel.
func (a *ACL) sortNamed() {
	slices.SortStableFunc(a.Named, func(x, y Ace) int {
		if x.IsUser != y.IsUser {
			if x.IsUser {
				return -1
			}
			return 1
		}
		switch {
		case x.ID < y.ID:
			return -1
		case x.ID > y.ID:
			return 1
		}
		return 0
	})
}
