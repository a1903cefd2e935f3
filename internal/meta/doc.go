// Package meta reads, compares and applies the attributes of an entry as rsync
// does: mode, owner, times, POSIX ACLs, extended attributes, and their stand-ins
// under --fake-super.
//
//	chmod.go      --chmod and "incoming chmod": parse, change a mode
//	mode.go       the mode a new or existing entry gets (dest_mode)
//	times.go      comparison within --modify-window
//	names.go      names of users and groups, both ways
//	idmap.go      ids of the sender to ids here: --usermap, --groupmap, --numeric-ids
//	acl.go        the neutral ACL and its comparison; aclcodec.go its kernel form
//	xattr.go      extended attributes: which are copied, reading, setting
//	fakesuper.go  user.rsync.%stat, %aacl, %dacl
//	node.go       devices, fifos, sockets and symlinks
//	apply.go      bring a pinned inode to the wanted attributes
//
// Everything works on a *fsroot.Pin, so a swapped name never redirects a change.
package meta
