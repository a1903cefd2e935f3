// Package host is what "prsync serve" and "prsync volunteer" run.
//
//	Serve      central host: rsync daemon ─┐
//	           index of each module ───────┼─> generations ─> catalog, packs
//	           HTTP: tracker and redirects, packs and signatures, status
//	           control socket: publish
//	Volunteer  index of each mirrored module ─> holdings ─> announces
//	           HTTP: files for the customers that the central host sends
//	           engine: seeds what is held, works for local transfers
//
// Both run in the foreground until their context ends, load their
// configuration again on request, and survive being killed: state is either
// in the index, which commits atomically, or rebuilt within seconds.
//
// Nothing is served over HTTP whose file is not, at the last byte, still the
// one that was indexed (files.go).
package host
