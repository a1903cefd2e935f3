package content

import "os"

// Want asks the swarm for one content. The asker keeps the file open until
// the matching Result arrives; the engine writes into it by offset only, never
// truncates or renames it, and needs no rights in the tree it lies in.
type Want struct {
	// Tag is the asker's own, returned in progress and result; unique among
	// what is outstanding.
	Tag    uint64
	ID     ID
	Length int64
	File   *os.File // open for reading and writing
	// Waits means that nothing else can bring the content: a host that has
	// gone is waited for as long as for any other progress.
	Waits bool
	// Have are the ranges of the file that already hold the content's bytes
	// (local reuse, a kept partial file): ascending, not overlapping. The
	// engine verifies them with the pieces they are part of.
	Have []Range
}

// Range is a half-open range of bytes.
type Range struct{ Off, End int64 }

// Source tells where bytes of a content came from.
type Source uint8

const (
	FromPeers  Source = iota // BitTorrent peers, volunteers among them
	FromOrigin               // the central host, by HTTP range
	FromLocal                // already on this machine
)

// Event is what a running fetch reports about one Want: bytes that were
// verified since the last event, or, with Done set, its end.
type Event struct {
	Tag    uint64
	Bytes  [3]int64 // verified payload by Source, since the last event
	Wasted int64    // bytes fetched that failed their hash or came twice
	Done   bool
	// Err is nil when the file holds the whole content, verified against ID.
	// Otherwise Valid are the ranges that did pass their piece hashes, for
	// the plain transfer to use as its basis.
	Err   error
	Valid []Range
}

// SwarmStats is a moment's view of a fetch for progress lines and --stats.
type SwarmStats struct {
	Peers    int      // connected
	Bytes    [3]int64 // verified payload by Source
	Uploaded int64
	Wasted   int64
	BadPeers int
}
