// Package interop holds prsync against the real rsync. It has tests only.
//
// Every case of the matrix is an option set, a protocol version and a way to
// connect: a local copy, a push or a pull over a remote shell, a push or a pull
// with a daemon. The same command runs three times over equal trees:
//
//	rsync  → rsync      the oracle
//	prsync → rsync      prsync is the client
//	rsync  → prsync     prsync is the server (or, in a local copy, absent)
//
// and exit code, resulting tree and printed lines have to agree. The trees
// hold every inode type, hostile names, awkward sizes and times; the
// destination is an older, damaged copy of the source.
//
// Option sets of chance over trees of chance are held against the oracle as
// well (TestRandom): what differs is reduced to the options that it takes.
//
// Transcripts of old and new rsyncs, recorded with -update, are played back to
// prsync without any rsync at all.
//
// Environment: PRSYNC_BIN names a binary to test in place of a fresh build,
// PRSYNC_PEER an older rsync to be at the other end of the matrix, the oracle
// then being what /usr/bin/rsync does with it in place of prsync.
// Flags: -keep DIR leaves trees and commands of the cases in DIR; -full runs the
// whole matrix, of which a plain run takes a part; -rounds and -luck say how
// many cases of chance are tried, and from which seed on; -oracle
// puts rsync in prsync's place, to see what is chance.
package interop
