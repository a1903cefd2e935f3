package content

// The HTTP look-ups of the central host under /.prsync/v1/. All answers are
// bencoded; hashes are raw bytes. man/prsync-protocol.5 has the table.
const (
	// PathPack + hex info hash + ".torrent" is the pack's metainfo. Its info
	// dictionary carries, beside the BEP 3 keys, "prsync entries": for each
	// entry 32 bytes id, 8 bytes offset, 8 bytes length, big-endian; thus the
	// info hash covers them. url-list (BEP 19) points at PathBlob.
	PathPack = "/.prsync/v1/packs/"
	// PathBlob + hex info hash is the virtual blob, by HTTP range.
	PathBlob = "/.prsync/v1/blobs/"
	// PathSignature + hex content id is the content's Signature.
	PathSignature = "/.prsync/v1/signatures/"
	// PathLookup takes a POSTed LookupRequest.
	PathLookup = "/.prsync/v1/lookup"
	// PathLocate takes a POSTed LocateRequest.
	PathLocate = "/.prsync/v1/locate"
)

// MaxLookup bounds the items of one look-up.
const MaxLookup = 100000

// LookupRequest asks which content a module's paths have in the current
// generation: the side door for transfers from a stock sender
// (--swarm-tracker). An item matches only with its size and mtime.
type LookupRequest struct {
	Module string       `bencode:"module"`
	Items  []LookupItem `bencode:"items"`
}

// LookupItem is one path of the module, without a leading slash.
type LookupItem struct {
	Path  string `bencode:"p"`
	Size  int64  `bencode:"s"`
	Mtime int64  `bencode:"m"` // seconds
}

// LookupReply has 32 bytes for each item in order; zeros where it is unknown.
type LookupReply struct {
	Failure    string `bencode:"failure reason,omitempty"`
	Generation int64  `bencode:"generation"`
	IDs        []byte `bencode:"ids"`
}

// LocateRequest asks which packs hold the contents.
type LocateRequest struct {
	Module string `bencode:"module"`
	IDs    []byte `bencode:"ids"` // 32 bytes each
}

// LocateReply names each pack once; Pack holds for each asked content the
// index into InfoHashes, -1 where it is in none.
type LocateReply struct {
	Failure    string `bencode:"failure reason,omitempty"`
	InfoHashes []byte `bencode:"info_hashes"` // 20 bytes each
	Pack       []int  `bencode:"pack"`
}

// Offer is what a prsync server sends after the negotiated strings when it
// publishes the transferred path: where the swarm is to be found.
type Offer struct {
	URL        string // central host, e.g. "http://central.example:8080"
	Module     string
	Generation int64
}
