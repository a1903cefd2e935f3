// Package filter decides which names of a tree are in a transfer: the
// include/exclude, merge and per-directory rules of rsync(1), FILTER RULES,
// for both sides, with --delete-excluded and --cvs-exclude; a daemon's rules
// for a module; and the check of what a remote sender may send unasked.
//
//	list := New(config)            the options, in order: AddArg
//	list.Send or list.Recv         client and server exchange rules
//	walk := list.Walk(root)        one per role and tree
//	for each directory, parents first:
//		walk.Enter(dir)            reads its per-directory files
//		for each entry: walk.Check(name, isDir) == Exclude → not taken
//		walk.Leave(dir)            when nothing below it is left to do
//
// The sender skips what is excluded. The delete pass of the receiver lists a
// directory with the same call and deletes what it lists and the sender did
// not, so that an exclude protects there what it hides here. While the
// contents of a doomed directory go, Dying makes perishable rules not count.
//
// The first rule that matches decides. The rules of a per-directory file
// stand in the place of the dir-merge rule that names it, followed by those
// inherited from the directories above.
//
// # Messages
//
// A rule that came from a file is never quoted in a message: the peer may
// have chosen the file, and could read it that way. The message says where
// the rule is instead.
//
// # Format on the wire
//
// The client sends each rule as a 32-bit little-endian length and that many
// bytes, in the syntax of --filter, and a zero length at the end. Before
// protocol 29 there are only bare excludes, and "- " and "+ " in front of a
// pattern; the "p" modifier exists since protocol 30. A server that receives
// files is sent rules only if it is to delete or to prune. Rules that concern
// one end are kept or sent accordingly, never both.
package filter
