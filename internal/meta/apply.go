package meta

import (
	"errors"
	"syscall"

	"github.com/prsync/prsync/internal/fsroot"
)

// Attrs are the attributes that an entry has or should have. A nil ACL is one
// that is not known or not preserved.
type Attrs struct {
	Mode     uint32 // st_mode
	UID, GID uint32
	Rdev     uint64
	Mtime    fsroot.Timespec
	Atime    fsroot.Timespec
	Access   *ACL
	Default  *ACL // of a directory
	Xattrs   Xattrs
}

// AttrsOf returns the attributes that a stat tells.
func AttrsOf(st *fsroot.Stat) Attrs {
	return Attrs{Mode: st.Mode, UID: st.UID, GID: st.GID, Rdev: st.Rdev, Mtime: st.Mtime, Atime: st.Atime}
}

// Rules say what a transfer preserves, one value for all its entries.
type Rules struct {
	Perms         bool // -p: else a new directory keeps a set-gid bit it inherited
	Owner         bool // -o, in effect only for a Privilege that IsRoot
	Group         bool // -g
	Times         bool // -t
	Atimes        bool // -U
	OmitDirTimes  bool // -O
	OmitLinkTimes bool // -J
	ACLs          bool // -A
	Xattrs        XattrRules
	Privilege     Privilege
	ModifyWindow  int
	Chmod         Chmod // "incoming chmod" of a daemon
	// XattrSum digests a value as the peers agreed; needed for Xattr.Sum.
	XattrSum func([]byte) []byte
}

// Entry is what is particular to one call of Apply.
type Entry struct {
	SkipGroup    bool // we are not in the wanted group, and not root
	SkipMtime    bool
	SkipAtime    bool
	AccurateTime bool // after a transfer: no --modify-window, and atime too
	Created      bool // a directory that we just made
	// Basis may hold values of attributes that came as digests only.
	Basis *fsroot.Pin
	// KeepXattrs leaves the extended attributes to a later call: rsync's
	// generator sets none, its receiver does once the values are here.
	KeepXattrs bool
	// Link is the symbolic link that stands for the directory
	// (--keep-dirlinks): owner and times go to it, as in every rsync.
	Link *fsroot.Pin
}

// Changes say what Apply changed.
type Changes uint8

// The bits of Changes.
const (
	ChangedOwner Changes = 1 << iota
	ChangedGroup
	ChangedMtime
	ChangedAtime
	ChangedMode
	ChangedACL
	ChangedXattrs
)

// ChangedTimes are both times.
const ChangedTimes = ChangedMtime | ChangedAtime

// ApplyError says which step failed. Verb is rsync's: "chown", "chgrp",
// "failed to set times on", "failed to set permissions on", or for attributes
// and ACLs the call.
type ApplyError struct {
	Verb string
	Path string
	Err  error
}

func (e *ApplyError) Error() string { return e.Verb + " " + e.Path + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ApplyError) Unwrap() error { return e.Err }

// Apply brings the entry from have to want, in the order of
// rsync 3.5.0 rsync.c:set_file_attrs: owner first, since that clears set-id
// bits; extended attributes while the file may still be writable; times, which
// only writing would change; ACL, then mode, so that nobody may do more than in
// the end. Each call is made only for a difference, but for extended attributes:
// they are written again, as rsync does, and so the time is set again after them
// (which loses its nanoseconds if the peers' protocol does not carry them). have
// must be as it is on disk, or under FakeSuper as OverlayFakeStat tells it.
//
// A failure of owner, times or mode ends it, one of attributes or ACL does not;
// the error then joins several. What was changed is reported in any case. have
// learns what was read on the way: ACLs, owner and mode after a chown that may
// clear set-id bits, the mode that an ACL brought with it.
func Apply(p *fsroot.Pin, want, have *Attrs, r *Rules, e Entry) (Changes, error) {
	if e.Link == nil {
		e.Link = p
	}
	a := applier{p: p, want: want, have: *have, r: r, e: e, mode: WireMode(want.Mode)}
	if !r.Perms && e.Created && isDir(a.mode) {
		a.mode |= have.Mode & setgidBit
	}
	if r.Chmod != nil && !isLink(a.mode) {
		a.mode = r.Chmod.Apply(a.mode)
	}
	defer func() { *have = a.have }()
	if err := a.owner(); err != nil {
		return a.changed, a.fail(err)
	}
	a.xattrs()
	if err := a.times(); err != nil {
		return a.changed, a.fail(err)
	}
	a.acls()
	if (a.have.Mode^a.mode)&PermBits != 0 && !isLink(a.mode) {
		if r.Privilege != FakeSuper {
			if err := p.Chmod(a.mode); err != nil {
				return a.changed, a.fail(a.failed("failed to set permissions on", err))
			}
		}
		a.changed |= ChangedMode
	}
	return a.changed, a.fail(nil)
}

type applier struct {
	p       *fsroot.Pin
	want    *Attrs
	have    Attrs // follows what the steps change
	r       *Rules
	e       Entry
	mode    uint32
	changed Changes
	errs    []error
}

func (a *applier) failed(verb string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return &ApplyError{Verb: verb, Path: a.p.Name(), Err: err}
}

func (a *applier) fail(err error) error {
	if len(a.errs) == 0 {
		return err
	}
	return errors.Join(append(a.errs, err)...)
}

func (a *applier) owner() error {
	newUID := a.r.Owner && a.r.Privilege.IsRoot() && a.have.UID != a.want.UID
	newGID := a.r.Group && !a.e.SkipGroup && a.have.GID != a.want.GID
	if !newUID && !newGID {
		return nil
	}
	if a.r.Privilege != FakeSuper {
		// Ids are passed as the bit pattern: 4294967295 leaves the id as it is.
		uid, gid := -1, -1
		verb := "chgrp"
		if newUID {
			uid, verb = int(int32(a.want.UID)), "chown"
		}
		if newGID {
			gid = int(int32(a.want.GID))
		}
		if err := a.e.Link.Chown(uid, gid); err != nil {
			return a.failed(verb, err)
		}
		if a.have.Mode&(setuidBit|setgidBit) != 0 {
			st, err := a.p.Stat()
			if err != nil {
				return a.failed("stat", err)
			}
			a.have.Mode, a.have.UID, a.have.GID = st.Mode, st.UID, st.GID
		}
	}
	if newUID {
		a.changed |= ChangedOwner
	}
	if newGID {
		a.changed |= ChangedGroup
	}
	return nil
}

func (a *applier) xattrs() {
	if a.r.Privilege == FakeSuper {
		want := FakeStat{Mode: a.mode, Rdev: a.want.Rdev, UID: a.want.UID, GID: a.want.GID}
		if !a.r.Owner {
			want.UID = a.have.UID
		}
		if !a.r.Group || a.e.SkipGroup {
			want.GID = a.have.GID
		}
		if err := writeFakeStat(a.p, want); err != nil {
			a.errs = append(a.errs, a.failed("failed to write xattr "+statName+" for", err))
		}
	}
	if a.r.Xattrs.Level == 0 || a.e.KeepXattrs || isLink(a.mode) && a.want.Xattrs == nil {
		return
	}
	rules := a.r.Xattrs
	rules.Privilege = a.r.Privilege
	changed, err := setXattrs(a.p, a.want.Xattrs, a.e.Basis, &rules, a.r.XattrSum)
	if errors.Is(err, syscall.EACCES) && a.r.Privilege == Ordinary && !isLink(a.mode) {
		// Attributes of a user are written only to what the user may write.
		if a.p.Chmod(a.have.Mode|0200) == nil {
			var again bool
			again, err = setXattrs(a.p, a.want.Xattrs, a.e.Basis, &rules, a.r.XattrSum)
			changed = changed || again
			if cerr := a.p.Chmod(a.have.Mode); cerr != nil {
				a.have.Mode |= 0200
			}
		}
	}
	if changed {
		a.changed |= ChangedXattrs
		a.have.Mtime = fsroot.Timespec{Sec: -1} // to be set again
	}
	for _, err := range split(err) {
		var missing *MissingXattrError
		if errors.As(err, &missing) {
			a.errs = append(a.errs, &ApplyError{Verb: missing.Error() + ", for", Path: a.p.Name(), Err: syscall.ENODATA})
			continue
		}
		a.errs = append(a.errs, err)
	}
}

// split undoes errors.Join.
func split(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}

func (a *applier) times() error {
	setM, setA := !a.e.SkipMtime && a.r.Times, !a.e.SkipAtime && a.r.Atimes && !isDir(a.mode)
	if a.r.OmitDirTimes && isDir(a.mode) || a.r.OmitLinkTimes && isLink(a.mode) {
		return nil
	}
	if setM {
		if a.e.AccurateTime {
			setM = a.want.Mtime != a.have.Mtime
		} else {
			setM = !SameTime(a.want.Mtime, a.have.Mtime, a.r.ModifyWindow)
		}
	}
	// Access times travel in whole seconds.
	want := fsroot.Timespec{Sec: a.want.Atime.Sec}
	if setA {
		have := fsroot.Timespec{Sec: a.have.Atime.Sec}
		setA = a.e.AccurateTime || !SameTime(want, have, a.r.ModifyWindow)
	}
	if !setM && !setA {
		return nil
	}
	mtime, atime := fsroot.Timespec{Nsec: fsroot.OmitTime}, fsroot.Timespec{Nsec: fsroot.OmitTime}
	if setM {
		mtime = a.want.Mtime
	}
	if setA {
		atime = want
	}
	if err := a.e.Link.Utimes(atime, mtime); err != nil {
		return a.failed("failed to set times on", err)
	}
	if setM {
		a.changed |= ChangedMtime
	}
	if setA {
		a.changed |= ChangedAtime
	}
	return nil
}

func (a *applier) acls() {
	if !a.r.ACLs || isLink(a.mode) || a.want.Access == nil && a.want.Default == nil {
		return
	}
	if a.have.Access == nil || isDir(a.mode) && a.have.Default == nil {
		access, deflt, err := ReadACLs(a.p, a.have.Mode, a.r.Privilege)
		if err != nil {
			a.errs = append(a.errs, a.failed("get_acl:", err))
		} else {
			a.have.Access, a.have.Default = &access, &deflt
		}
	}
	if w := a.want.Access; w != nil && (a.have.Access == nil || !w.SameExtended(a.have.Access, a.mode)) {
		now, err := a.have.Mode, error(nil)
		if a.r.Privilege == FakeSuper {
			err = writeFakeACL(a.p, w, false)
		} else {
			now, err = writeAccessACL(a.p, w, a.have.Mode, a.mode)
		}
		if err != nil {
			a.errs = append(a.errs, a.failed("set_acl: ACL_TYPE_ACCESS of", err))
			return
		}
		a.have.Mode = now
		a.changed |= ChangedACL
	}
	if w := a.want.Default; w != nil && isDir(a.mode) && (a.have.Default == nil || !w.Equal(a.have.Default)) {
		err := error(nil)
		if a.r.Privilege == FakeSuper {
			err = writeFakeACL(a.p, w, true)
		} else {
			err = writeDefaultACL(a.p, w)
		}
		if err != nil {
			a.errs = append(a.errs, a.failed("set_acl: ACL_TYPE_DEFAULT of", err))
			return
		}
		a.changed |= ChangedACL
	}
}
