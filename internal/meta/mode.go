package meta

import "golang.org/x/sys/unix"

// PermBits are the bits of a mode that chmod sets: rwx, set-id and sticky.
const PermBits = 07777

// accessBits are rwx alone.
const accessBits = 0777

// Privilege is how far a process acts as the super-user (rsync's am_root).
type Privilege int8

// FakeSuper keeps what it may not set in extended attributes.
const (
	FakeSuper Privilege = iota - 1
	Ordinary            // an ordinary user, or --no-super
	Root                // uid 0
	Super               // --super
)

// IsRoot reports whether ownership is to be set, if only in an attribute.
func (p Privilege) IsRoot() bool { return p != Ordinary }

// WireMode is the mode as the protocol and %stat write it: the numbers of Linux.
func WireMode(mode uint32) uint32 { return mode & (unix.S_IFMT | PermBits) }

// HostMode is the inverse of WireMode. Bits that are no mode are dropped.
func HostMode(wire uint32) uint32 { return wire & (unix.S_IFMT | PermBits) }

// DestMode is the mode of an entry when --perms is off
// (rsync 3.5.0 rsync.c:dest_mode). source is the sender's mode. If the entry
// exists, current is its mode here, whose permissions stay, but for the execute
// bits under --executability. A new one gets the source's permissions cut to
// defaults: 0777 less the umask, or DefaultPerms of its directory.
func DestMode(source, current, defaults uint32, exists, executability bool) uint32 {
	if !exists {
		return source & (^uint32(PermBits) | defaults)
	}
	mode := source&^PermBits | current&PermBits
	if executability && source&unix.S_IFMT == unix.S_IFREG {
		if source&0111 == 0 {
			mode &^= 0111
		} else if current&0111 == 0 {
			mode |= mode & 0444 >> 2
		}
	}
	return mode
}
