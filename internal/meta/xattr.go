package meta

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"syscall"

	"github.com/prsync/prsync/internal/fsroot"
)

// Limits on the attributes that a peer may send (rsync 3.5.0 rsync.h).
const (
	MaxXattrs         = 65536
	MaxXattrName      = 4096
	MaxXattrValue     = 128 << 20
	MaxXattrListBytes = 512 << 20
	// MaxFullXattr is the longest value sent at once; of a longer one goes a digest.
	MaxFullXattr = 32
)

const (
	userPrefix   = "user."
	systemPrefix = "system."
	// rsyncPrefix holds our own attributes, and disguises foreign namespaces
	// where an ordinary user or --fake-super stores them.
	rsyncPrefix = userPrefix + "rsync."
	statName    = rsyncPrefix + "%stat"
	fakeAccess  = rsyncPrefix + "%aacl"
	fakeDefault = rsyncPrefix + "%dacl"
)

// Xattr is an extended attribute. Of a long one a receiver may know only the
// length and the digest: then Sum is not nil and Value is not set.
type Xattr struct {
	Name  string
	Value []byte
	Len   int
	Sum   []byte
}

// Xattrs are the attributes of an entry, sorted by name.
type Xattrs []Xattr

// Sort orders the attributes by name.
func (x Xattrs) Sort() {
	slices.SortStableFunc(x, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
}

// Find returns the attribute of that name, or nil.
func (x Xattrs) Find(name string) *Xattr {
	i, ok := slices.BinarySearchFunc(x, name, func(a Xattr, name string) int { return strings.Compare(a.Name, name) })
	if !ok {
		return nil
	}
	return &x[i]
}

// Same reports whether both are the same attribute. sum digests a value where
// only one side has it in full.
func (a *Xattr) Same(b *Xattr, sum func([]byte) []byte) bool {
	if a.Name != b.Name || a.size() != b.size() {
		return false
	}
	switch {
	case a.Sum == nil && b.Sum == nil:
		return bytes.Equal(a.Value, b.Value)
	case sum == nil && (a.Sum == nil || b.Sum == nil):
		return false
	}
	return bytes.Equal(a.digest(sum), b.digest(sum))
}

func (a *Xattr) size() int {
	if a.Sum != nil {
		return a.Len
	}
	return len(a.Value)
}

func (a *Xattr) digest(sum func([]byte) []byte) []byte {
	if a.Sum != nil {
		return a.Sum
	}
	return sum(a.Value)
}

// Equal reports whether both lists are the same (rsync 3.5.0 xattrs.c:xattr_diff).
func (x Xattrs) Equal(y Xattrs, sum func([]byte) []byte) bool {
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if !x[i].Same(&y[i], sum) {
			return false
		}
	}
	return true
}

// XattrRules say which attributes take part.
type XattrRules struct {
	// Level is how often -X was given: at 2 rsync's own attributes are copied too.
	Level     int
	Sender    bool
	Privilege Privilege
	// Exclude, if any filter rule is for attributes, decides alone, in place of
	// the rules about namespaces.
	Exclude func(name string) bool
}

// own reports whether an attribute is rsync's: user.rsync.%….
func own(name string) bool { return strings.HasPrefix(name, rsyncPrefix+"%") }

// skip reports whether an attribute on disk is left alone. userOnly restricts an
// ordinary user to the user namespace.
func (r *XattrRules) skip(name string, userOnly bool) bool {
	switch {
	case r.Exclude != nil:
		return r.Exclude(name)
	case userOnly:
		return !strings.HasPrefix(name, userPrefix)
	}
	return strings.HasPrefix(name, systemPrefix)
}

// readable reports whether reading lists the attribute
// (rsync 3.5.0 xattrs.c:rsync_xal_get).
func (r *XattrRules) readable(name string) bool {
	if r.skip(name, !r.Sender && r.Privilege == Ordinary) {
		return false
	}
	if !own(name) {
		return true
	}
	if r.Sender && r.Level < 2 {
		return false
	}
	return r.Privilege != FakeSuper || name != statName && name != fakeAccess && name != fakeDefault
}

// Received returns the name under which an attribute that a peer sent is kept
// here, and whether it is kept (rsync 3.5.0 xattrs.c:receive_xattr). The list
// must be sorted again if a name changed.
func (r *XattrRules) Received(name string) (string, bool) {
	if r.Exclude != nil && r.Exclude(name) {
		return "", false
	}
	if r.Privilege <= Ordinary && !strings.HasPrefix(name, userPrefix) {
		if r.Privilege == Ordinary && r.Exclude == nil {
			return "", false
		}
		name = rsyncPrefix + name
	}
	if r.Level < 2 && own(name) {
		return "", false
	}
	return name, true
}

// Sent returns the name under which an attribute goes to a peer: --fake-super
// takes its disguise off (rsync 3.5.0 xattrs.c:send_xattr).
func (r *XattrRules) Sent(name string) string {
	if r.Privilege == FakeSuper && !own(name) && len(name) > len(rsyncPrefix) {
		return strings.TrimPrefix(name, rsyncPrefix)
	}
	return name
}

// XattrSource has the extended attributes of an entry: fsroot.Pin, fsroot.Glance.
type XattrSource interface {
	Name() string // of the entry, for messages
	Getxattr(name string) ([]byte, error)
	Listxattr() ([]string, error)
}

// ReadXattrs reads the attributes that the rules let through, sorted by name.
// A file system without attributes has none.
func ReadXattrs(p XattrSource, r *XattrRules) (Xattrs, error) {
	names, err := p.Listxattr()
	if err != nil {
		if noXattr(err) {
			err = nil
		}
		return nil, err
	}
	var list Xattrs
	for _, name := range names {
		if !r.readable(name) {
			continue
		}
		value, err := p.Getxattr(name)
		if err != nil {
			return nil, err
		}
		list = append(list, Xattr{Name: name, Value: value})
	}
	list.Sort()
	return list, nil
}

// CopyXattrs copies the attributes of one entry to another, for a directory made
// in a --backup-dir or a file copied from --copy-dest
// (rsync 3.5.0 xattrs.c:copy_xattrs).
func CopyXattrs(to, from *fsroot.Pin, r *XattrRules) error {
	names, err := from.Listxattr()
	if err != nil {
		if noXattr(err) {
			err = nil
		}
		return err
	}
	for _, name := range names {
		if r.skip(name, !r.Sender && r.Privilege <= Ordinary) {
			continue
		}
		value, err := from.Getxattr(name)
		if err == nil {
			err = to.Setxattr(name, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// MissingXattrError says that only the digest of a value came, and no local
// file has the value.
type MissingXattrError struct{ Name string }

func (e *MissingXattrError) Error() string { return "Missing abbreviated xattr value, " + e.Name }

// setXattrs brings the attributes of p to want (rsync 3.5.0 xattrs.c:rsync_xal_set)
// and reports whether it wrote or removed any. A value that is here in full is
// written even if it is there already; of one known by its digest only, p itself
// or basis may hold the bytes. It goes on after an error and returns all of them.
func setXattrs(p *fsroot.Pin, want Xattrs, basis *fsroot.Pin, r *XattrRules, sum func([]byte) []byte) (wrote bool, err error) {
	names, err := p.Listxattr()
	if err != nil && !noXattr(err) {
		return false, err
	}
	var errs []error
	for i := range want {
		w := &want[i]
		value := w.Value
		if w.Sum != nil {
			if old, err := p.Getxattr(w.Name); err == nil && w.Same(&Xattr{Name: w.Name, Value: old}, sum) {
				continue
			}
			var err error
			if basis != nil {
				value, err = basis.Getxattr(w.Name)
			}
			if basis == nil || err != nil || !w.Same(&Xattr{Name: w.Name, Value: value}, sum) {
				errs = append(errs, &MissingXattrError{Name: w.Name})
				continue
			}
		}
		if err := p.Setxattr(w.Name, value); err != nil {
			errs = append(errs, err)
			continue
		}
		wrote = true
	}
	for _, name := range names {
		if r.skip(name, r.Privilege <= Ordinary) ||
			r.Privilege == FakeSuper && (name == statName || name == fakeAccess || name == fakeDefault) ||
			want.Find(name) != nil {
			continue
		}
		if err := p.Removexattr(name); err != nil && !errors.Is(err, syscall.ENODATA) {
			errs = append(errs, err)
			continue
		}
		wrote = true
	}
	return wrote, errors.Join(errs...)
}
