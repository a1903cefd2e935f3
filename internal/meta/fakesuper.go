package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"github.com/prsync/prsync/internal/fsroot"
)

// FakeStat is what --fake-super keeps in user.rsync.%stat.
type FakeStat struct {
	Mode     uint32
	Rdev     uint64
	UID, GID uint32
}

// EncodeFakeStat writes "MODE MAJOR,MINOR UID:GID", the mode in octal
// (rsync 3.5.0 xattrs.c:set_stat_xattr).
func EncodeFakeStat(s FakeStat) []byte {
	major, minor := DeviceNumbers(s.Rdev)
	return fmt.Appendf(nil, "%o %d,%d %d:%d", WireMode(s.Mode), major, minor, s.UID, s.GID)
}

// DecodeFakeStat reads what EncodeFakeStat writes. Ids may be written as signed
// numbers, as older versions do above 2^31.
func DecodeFakeStat(b []byte) (s FakeStat, err error) {
	corrupt := fmt.Errorf("corrupt %s xattr: %q", statName, b)
	fields := strings.Fields(string(b))
	if len(b) > 255 || len(fields) != 3 {
		return s, corrupt
	}
	mode, err := strconv.ParseUint(fields[0], 8, 32)
	if err != nil {
		return s, corrupt
	}
	major, minor, ok1 := numberPair(fields[1], ",")
	uid, gid, ok2 := numberPair(fields[2], ":")
	if !ok1 || !ok2 {
		return s, corrupt
	}
	return FakeStat{Mode: HostMode(uint32(mode)), Rdev: Device(major, minor), UID: uid, GID: gid}, nil
}

func numberPair(s, sep string) (a, b uint32, ok bool) {
	x, y, found := strings.Cut(s, sep)
	m, err1 := strconv.ParseInt(x, 10, 64)
	n, err2 := strconv.ParseInt(y, 10, 64)
	inRange := func(v int64) bool { return v >= -1<<31 && v < 1<<32 }
	if !found || err1 != nil || err2 != nil || !inRange(m) || !inRange(n) {
		return 0, 0, false
	}
	return uint32(m), uint32(n), true
}

// OverlayFakeStat puts the attributes that %stat keeps in place of the real
// ones, and reports whether there were any (rsync 3.5.0 xattrs.c:get_stat_xattr).
func OverlayFakeStat(p *fsroot.Pin, st *fsroot.Stat) (bool, error) {
	if st.IsDevice() || st.IsSpecial() {
		return false, nil
	}
	b, err := p.Getxattr(statName)
	switch {
	case noXattr(err):
		return false, nil
	case errors.Is(err, syscall.EPERM) && st.IsSymlink():
		st.UID, st.GID = 0, 0
		return true, nil
	case err != nil:
		return false, err
	}
	s, err := DecodeFakeStat(b)
	if err != nil {
		return false, &fs.PathError{Op: "read xattr of", Path: p.Name(), Err: err}
	}
	st.Mode, st.Rdev, st.UID, st.GID = s.Mode, s.Rdev, s.UID, s.GID
	return true, nil
}

// writeFakeStat gives the real file harmless permissions and keeps the wanted
// attributes in %stat, or drops %stat if the file itself has them
// (rsync 3.5.0 xattrs.c:set_stat_xattr).
func writeFakeStat(p *fsroot.Pin, want FakeStat) error {
	real, err := p.Stat()
	if err != nil {
		return err
	}
	now := real
	had, err := OverlayFakeStat(p, &now)
	if err != nil {
		return err
	}
	if !IsDevice(want.Mode) {
		want.Rdev = 0
	}
	owner := uint32(0600)
	if real.IsDir() {
		owner = 0700
	}
	mode := real.Type() | want.Mode&accessBits | owner
	if WireMode(real.Mode) != mode && !real.IsSymlink() {
		if err := p.Chmod(mode); err != nil {
			return err
		}
	}
	realDev := uint64(0)
	if real.IsDevice() {
		realDev = real.Rdev
	}
	if mode == WireMode(want.Mode) && realDev == want.Rdev && real.UID == want.UID && real.GID == want.GID {
		if !had {
			return nil
		}
		return p.Removexattr(statName)
	}
	if had && now.Mode == want.Mode && now.Rdev == want.Rdev && now.UID == want.UID && now.GID == want.GID {
		return nil
	}
	err = p.Setxattr(statName, EncodeFakeStat(want))
	if real.IsSymlink() && errors.Is(err, syscall.EPERM) {
		return nil
	}
	return err
}

// %aacl and %dacl: le32 owner, group, mask, other, then per name le32 id, le32
// permissions with fakeIsUser (rsync 3.5.0 acls.c:set_rsync_acl).
const fakeIsUser = 1 << 31

// EncodeFakeACL writes an ACL as --fake-super keeps it.
func EncodeFakeACL(a ACL) []byte {
	b := make([]byte, 0, 16+8*len(a.Named))
	for _, v := range [...]uint8{a.UserObj, a.GroupObj, a.MaskObj, a.OtherObj} {
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	for _, e := range a.Named {
		perm := uint32(e.Perm)
		if e.IsUser {
			perm |= fakeIsUser
		}
		b = binary.LittleEndian.AppendUint32(b, e.ID)
		b = binary.LittleEndian.AppendUint32(b, perm)
	}
	return b
}

// DecodeFakeACL reads what EncodeFakeACL writes. What the ACL leaves to the mode
// is taken from mode.
func DecodeFakeACL(b []byte, mode uint32) (ACL, error) {
	if len(b) < 16 || len(b)%8 != 0 || len(b) > 16+8*MaxACLEntries {
		return EmptyACL(), fmt.Errorf("fake-super ACL of %d bytes is malformed", len(b))
	}
	field := func(i int) uint8 { return uint8(binary.LittleEndian.Uint32(b[4*i:])) }
	a := ACL{UserObj: field(0), GroupObj: field(1), MaskObj: field(2), OtherObj: field(3)}
	full := ModeACL(mode)
	if a.UserObj == NoEntry {
		a.UserObj = full.UserObj
	}
	if a.GroupObj == NoEntry {
		a.GroupObj = full.GroupObj
	}
	if a.OtherObj == NoEntry {
		a.OtherObj = full.OtherObj
	}
	for b = b[16:]; len(b) > 0; b = b[8:] {
		perm := binary.LittleEndian.Uint32(b[4:])
		a.Named = append(a.Named, Ace{
			ID: binary.LittleEndian.Uint32(b), Perm: uint8(perm), IsUser: perm&fakeIsUser != 0,
		})
	}
	return a, nil
}

// readFakeACL answers with an empty ACL where none is kept.
func readFakeACL(p XattrSource, mode uint32, isDefault bool) (ACL, error) {
	name := fakeAccess
	if isDefault {
		name = fakeDefault
	}
	b, err := p.Getxattr(name)
	if noXattr(err) {
		return EmptyACL(), nil
	}
	if err != nil {
		return EmptyACL(), err
	}
	a, err := DecodeFakeACL(b, mode)
	if err != nil {
		err = &fs.PathError{Op: "read ACL of", Path: p.Name(), Err: err}
	}
	return a, err
}

func writeFakeACL(p *fsroot.Pin, want *ACL, isDefault bool) error {
	if !isDefault {
		return p.Setxattr(fakeAccess, EncodeFakeACL(*want))
	}
	if want.UserObj == NoEntry {
		if err := p.Removexattr(fakeDefault); !noXattr(err) {
			return err
		}
		return nil
	}
	return p.Setxattr(fakeDefault, EncodeFakeACL(*want))
}
