// Package engine is the swarm engine: it fetches contents from peers and from
// the central host, verifies them and shares what it holds.
//
//	session   one client (p2p.Client) on a unix socket
//	catalog   finds the packs of contents at a central host
//	tracker   announces packs to a central host
//	pack      one virtual blob: pieces, and the files that hold parts of it
//	pieces    what becomes of a piece: verified, complete, failed, lost
//	asleep    packs that are seeded, and for which nobody comes
//	store     what the BitTorrent library sees of a pack
//	schedule  the pack's loop; which pieces are asked of the origin
//	source    connections to other prsync engines, to take from
//	taking    which piece is taken from which of them
//	wire      the peer protocol, as far as sources need it
//	library   what the library fetches, from all other peers
//	trace     what the pack does, for swarm-lab --trace
//	origin    ranges of a pack over HTTP
//	lost      what only the host had, when it has gone
//	bans      who sent bad data
//	closed    who may take from packs that not everybody may read
//
// A pack's loop, woken by news and ten times a second:
//
//	for each wanted piece that is missing:
//	    a prsync peer has it            → take it from there, rarest first
//	    some other peer has it          → leave it to the BitTorrent library
//	    content.Owner says it is mine   → ask the origin for it (own)
//	if no piece of mine is left, ask the origin for another's (spare)
//	if nobody can be found who has it, insist (must)
//	the host is gone, nobody has it     → fail the wants, with what is valid
//	no progress for Stall               → likewise
//
// Locks: the library calls the store with its client lock held, so nothing
// here calls the library while it holds pack.mu.
package engine
