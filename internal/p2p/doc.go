// Package p2p is the swarm as a transfer or a host sees it: a client of an
// engine process, which does the work.
//
//	transfer or host ── Client ──unix socket── engine process
//	  opens files        p2p        p2p/ipc     p2p/engine: BitTorrent peers,
//	  gives them away                           origin by HTTP ranges, announces
//
// The engine is a process of its own for three reasons: a crash of the
// BitTorrent library costs a fall-back to the plain protocol and never the
// transfer; several transfers and the volunteer's host share one engine; and
// plain rsync runs pay nothing for a library that costs 3 ms and 10 MB to
// load. So neither this package nor p2p/ipc or p2p/origin imports more of
// anacrolix/torrent than the bencode package that content needs; p2p/engine
// does, and only the engine's program imports p2p/engine.
//
// p2p/origin is the other end of the engine's HTTP ranges, run by the central
// host.
package p2p
