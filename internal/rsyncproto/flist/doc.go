// Package flist is rsync's file list: its entries, their order, and their
// encodings for protocols 27 to 32.
//
// A transfer has one List (protocol below 30, or no incremental recursion) or
// one per directory. Both sides sort a list in the same way and from then on
// name a file by its index: the list's Start plus the position in Files.
// rsync 3.5.0 flist.c; man/prsync-protocol.5, section FILE LIST.
package flist
