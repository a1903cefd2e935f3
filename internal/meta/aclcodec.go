package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/prsync/prsync/internal/fsroot"
	"golang.org/x/sys/unix"
)

// The attributes that hold ACLs, and their format (linux/posix_acl_xattr.h):
// le32 version, then per entry le16 tag, le16 permissions, le32 id.
const (
	accessACLName  = "system.posix_acl_access"
	defaultACLName = "system.posix_acl_default"

	aclVersion  = 2
	aclHeader   = 4
	aclEntry    = 8
	aclNoID     = 0xffffffff
	tagUserObj  = 0x01
	tagUser     = 0x02
	tagGroupObj = 0x04
	tagGroup    = 0x08
	tagMask     = 0x10
	tagOther    = 0x20
)

// DecodeACL reads the kernel's form. Of entries that may come once the first
// counts, unknown ones are ignored, as in rsync 3.5.0 acls.c:unpack_smb_acl.
func DecodeACL(b []byte) (ACL, error) {
	a := EmptyACL()
	if len(b) < aclHeader || (len(b)-aclHeader)%aclEntry != 0 {
		return a, fmt.Errorf("ACL of %d bytes is malformed", len(b))
	}
	if v := binary.LittleEndian.Uint32(b); v != aclVersion {
		return a, fmt.Errorf("ACL has version %d, not %d", v, aclVersion)
	}
	for b = b[aclHeader:]; len(b) > 0; b = b[aclEntry:] {
		perm := uint8(binary.LittleEndian.Uint16(b[2:]) & 7)
		id := binary.LittleEndian.Uint32(b[4:])
		switch binary.LittleEndian.Uint16(b) {
		case tagUserObj:
			setOnce(&a.UserObj, perm)
		case tagGroupObj:
			setOnce(&a.GroupObj, perm)
		case tagMask:
			setOnce(&a.MaskObj, perm)
		case tagOther:
			setOnce(&a.OtherObj, perm)
		case tagUser:
			a.Named = append(a.Named, Ace{ID: id, Perm: perm, IsUser: true})
		case tagGroup:
			a.Named = append(a.Named, Ace{ID: id, Perm: perm})
		}
	}
	a.sortNamed()
	return a, nil
}

func setOnce(field *uint8, perm uint8) {
	if *field == NoEntry {
		*field = perm
	}
}

// EncodeACL writes the kernel's form. A missing owner, group or other entry is
// written as no permission; a missing mask is left out.
func EncodeACL(a ACL) []byte {
	a.Named = append([]Ace(nil), a.Named...)
	a.sortNamed()
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, aclHeader+aclEntry*(4+len(a.Named))), aclVersion)
	add := func(tag uint16, perm uint8, id uint32) {
		b = binary.LittleEndian.AppendUint16(b, tag)
		b = binary.LittleEndian.AppendUint16(b, uint16(perm&7))
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	add(tagUserObj, a.UserObj&^NoEntry, aclNoID)
	i := 0
	for ; i < len(a.Named) && a.Named[i].IsUser; i++ {
		add(tagUser, a.Named[i].Perm, a.Named[i].ID)
	}
	add(tagGroupObj, a.GroupObj&^NoEntry, aclNoID)
	for ; i < len(a.Named); i++ {
		add(tagGroup, a.Named[i].Perm, a.Named[i].ID)
	}
	if a.MaskObj != NoEntry {
		add(tagMask, a.MaskObj, aclNoID)
	}
	add(tagOther, a.OtherObj&^NoEntry, aclNoID)
	return b
}

// ReadACLs reads the access ACL of an entry and, of a directory, the default
// ACL. A file system without ACLs answers with that of the mode and none; an
// entry that can have none, a symlink, with empty ones.
func ReadACLs(p XattrSource, mode uint32, priv Privilege) (access, deflt ACL, err error) {
	access, deflt = EmptyACL(), EmptyACL()
	if isLink(mode) {
		return access, deflt, nil
	}
	read := readKernelACL
	if priv == FakeSuper {
		read = readFakeACL
	}
	if access, err = read(p, mode, false); err == nil && isDir(mode) {
		deflt, err = read(p, mode, true)
	}
	return access, deflt, err
}

func readKernelACL(p XattrSource, mode uint32, isDefault bool) (ACL, error) {
	name := accessACLName
	if isDefault {
		name = defaultACLName
	}
	b, err := p.Getxattr(name)
	switch {
	case noXattr(err) && isDefault:
		return EmptyACL(), nil
	case noXattr(err):
		return ModeACL(mode), nil
	case err != nil:
		return EmptyACL(), err
	}
	a, err := DecodeACL(b)
	if err != nil {
		err = &fs.PathError{Op: "read ACL of", Path: p.Name(), Err: err}
	}
	return a, err
}

// writeAccessACL sets the access ACL and returns the mode that the file then has.
func writeAccessACL(p *fsroot.Pin, want *ACL, current, mode uint32) (uint32, error) {
	full, now := want.withMode(current, mode)
	if err := p.Setxattr(accessACLName, EncodeACL(full)); err != nil {
		return current, err
	}
	return now, nil
}

// writeDefaultACL sets or removes the default ACL of a directory.
func writeDefaultACL(p *fsroot.Pin, want *ACL) error {
	if want.UserObj == NoEntry {
		if err := p.Removexattr(defaultACLName); !noXattr(err) {
			return err
		}
		return nil
	}
	return p.Setxattr(defaultACLName, EncodeACL(*want))
}

// DefaultPerms returns the permissions that a new entry in a directory may have
// at most: those of its default ACL, else 0777 less the umask
// (rsync 3.5.0 acls.c:default_perms_for_dir). On an error they are those of the
// umask, for the caller to warn and go on.
func DefaultPerms(dir *fsroot.Pin, umask uint32) (uint32, error) {
	perms := accessBits &^ umask
	a, err := readKernelACL(dir, unix.S_IFDIR, true)
	if err != nil || a.UserObj == NoEntry {
		return perms, err
	}
	return a.Perms(), nil
}

// noXattr reports whether the error says that there is no such attribute, or
// that the file system has none.
func noXattr(err error) bool {
	return errors.Is(err, syscall.ENODATA) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS)
}
