// Package fsroot is the only door to the file system of a transfer.
//
// A Root is a held directory descriptor with a Policy. Every name given to it
// is relative to that directory, slash separated, raw bytes. Each operation is
//
//	dir  := descriptor of the parent directory (cached, see dircache.go)
//	leaf := the last component, never followed unless the method says so
//	*at(dir, leaf, …)
//
// so that a symlink swapped in at any instant can make an operation fail
// (ELOOP, ENOTDIR) but never move a read or a write outside the tree. Parent
// directories are resolved by the kernel in one openat2(RESOLVE_BENEATH), or,
// where that call is missing, by a component walk with O_NOFOLLOW (resolve.go).
//
// Paths that an operator names (a destination, a log file, a password file) are
// resolved by the ownership walk of rsync 3.5.0 instead (owner.go): a symlink
// on the way is followed only if uid 0 or the effective uid owns it.
//
// Directory descriptors are O_PATH, so directories of mode 0300 or 0711 work.
// The working directory of the process is never changed. All methods may be
// used by many goroutines at once; one Root is shared by all roles of a
// transfer, since each Root forgets only the directories it renames itself.
package fsroot
