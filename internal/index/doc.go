// Package index knows what a module's files contain: which content every path
// has, where the content is shared, and how it can be matched.
//
// An Index turns a directory tree into generations. Each is one immutable file
// that any process may read with OpenReader while the next one is being made:
//
//	walk the tree in byte order of the paths, merged with the generation before:
//		size, mtime, ctime and inode as before  → the content is the same
//		anything else                           → read the file
//	read each such file once, several at a time: SHA-256 names the content,
//		block sums make its signature, SHA-1 sums its pieces of a pack;
//		fstat before and after: what changed meanwhile is read again
//	in order of the paths, lay contents nobody had before out in packs
//	write entries, contents and packs, and put the number into CURRENT
//
// What leaves the tree stays in the index, marked as retired, for a grace
// period, so that whoever still holds it can be asked for it.
//
// files.go lists what is in the state directory; format.go has the layout of a
// generation, data.go that of signatures and kept bytes, learn.go that of the
// journal through which a transfer tells what it wrote.
package index
