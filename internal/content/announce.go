package content

// The announce that prsync hosts, volunteers and transfers use among
// themselves: one bencoded POST /announce for any number of packs, with load
// and holdings piggybacked. GET /announce stays BEP 3 for everyone else.
// man/prsync-protocol.5 describes it for other implementers.

// Announce events of one pack (BEP 3; "paused" is BEP 21's partial seed: it
// wants nothing more but does not hold everything).
const (
	EventNone      = ""
	EventStarted   = "started"
	EventStopped   = "stopped"
	EventCompleted = "completed"
	EventPaused    = "paused"
)

// Limits on one announce, checked while decoding.
const (
	MaxAnnounceBody    = 8 << 20
	MaxAnnouncePacks   = 4096
	MaxAnnounceIDs     = 200000 // contents added or dropped in one message
	MaxAnnouncePeers   = 200    // peers returned for a pack
	MaxAnnounceNameLen = 255
	MaxRestricted      = 10000 // modules in a reply
)

// AnnounceRequest is what a peer tells the central host.
type AnnounceRequest struct {
	PeerID string `bencode:"peer_id"` // 20 bytes, as in the BitTorrent handshake
	// Port takes BitTorrent connections; 0 for a peer that only connects out.
	Port int `bencode:"port"`
	// IP overrides the address the host saw. Honoured for authenticated
	// volunteers and for peers on the host's own loopback.
	IP string `bencode:"ip,omitempty"`

	Packs []AnnouncePack `bencode:"packs,omitempty"`

	// What follows is for volunteers. Name and the secret travel as HTTP Basic
	// authentication; Name must equal the user there.
	Name string `bencode:"name,omitempty"`
	// URL is where customers are redirected to, without a trailing slash.
	URL      string    `bencode:"url,omitempty"`
	Holdings *Holdings `bencode:"holdings,omitempty"`
	Load     *Load     `bencode:"load,omitempty"`
	// Stopping is set on the last announce of a peer that goes away.
	Stopping int `bencode:"stopping,omitempty"`
}

// AnnouncePack is the state of one pack at the announcing peer.
type AnnouncePack struct {
	InfoHash   string `bencode:"info_hash"` // 20 bytes
	Left       int64  `bencode:"left"`      // bytes still wanted
	Uploaded   int64  `bencode:"uploaded,omitempty"`
	Downloaded int64  `bencode:"downloaded,omitempty"` // from peers and origin, payload
	Origin     int64  `bencode:"origin,omitempty"`     // of these, from the origin
	Event      string `bencode:"event,omitempty"`
	// Corrupt counts bytes that failed their hash; BadPeers names the
	// addresses they came from.
	Corrupt  int64    `bencode:"corrupt,omitempty"`
	BadPeers []string `bencode:"bad_peers,omitempty"`
}

// Holdings changes what the central host knows this volunteer holds under a
// module, as contents against the version acknowledged last.
type Holdings struct {
	// Base is the version this delta applies to; 0 starts from nothing.
	Base int64 `bencode:"base"`
	// Version is the new version, acknowledged in AnnounceReply.Holdings.
	Version int64 `bencode:"version"`
	// Added and Dropped are content ids, 32 bytes each, concatenated.
	Added   []byte `bencode:"added,omitempty"`
	Dropped []byte `bencode:"dropped,omitempty"`
	// More is 1 while the delta goes on in the next announce (a first,
	// complete statement of a large mirror is sent in parts).
	More int `bencode:"more,omitempty"`
}

// Load is both kinds of load that the redirect policy weighs.
type Load struct {
	Customers    int   `bencode:"customers"`     // requests being served now
	CustomerRate int64 `bencode:"customer_rate"` // bytes per second to customers
	PeerRate     int64 `bencode:"peer_rate"`     // bytes per second to peers
	Syncing      int   `bencode:"syncing"`       // 1 while it synchronizes
	Uplink       int64 `bencode:"uplink"`        // capacity, bytes per second; 0 unknown
	Served       int64 `bencode:"served"`        // bytes sent to customers since it started
}

// AnnounceReply is the central host's answer.
type AnnounceReply struct {
	Failure string `bencode:"failure reason,omitempty"`
	// Interval is in seconds until the next announce; MinInterval when
	// something changed.
	Interval    int         `bencode:"interval"`
	MinInterval int         `bencode:"min interval"`
	Packs       []ReplyPack `bencode:"packs,omitempty"`
	// Holdings is the version of holdings the host has now; a volunteer whose
	// acknowledged version differs starts again from Base 0.
	Holdings int64 `bencode:"holdings,omitempty"`
	// You is the address the host saw, so that a peer can tell its own entry.
	You string `bencode:"you,omitempty"`
	// Restricted names, for volunteers, the host's modules that not everybody
	// may read.
	Restricted []string `bencode:"restricted,omitempty"`
}

// ReplyPack lists the peers of one pack.
type ReplyPack struct {
	InfoHash string      `bencode:"info_hash"`
	Peers    []ReplyPeer `bencode:"peers,omitempty"`
	// Complete and Incomplete count all peers, listed or not.
	Complete   int `bencode:"complete"`
	Incomplete int `bencode:"incomplete"`
	// Unknown is 1 when the host does not publish the pack (any more).
	Unknown int `bencode:"unknown,omitempty"`
	// Closed is 1 for a pack whose pieces are for listed peers alone: not
	// everybody may read its module.
	Closed int `bencode:"closed,omitempty"`
}

// ReplyPeer is one peer of a pack. The peers that still download, sorted by
// PeerID, are the ones among which Owner shares the origin's pieces out.
type ReplyPeer struct {
	PeerID string `bencode:"peer_id"`
	IP     string `bencode:"ip"`
	Port   int    `bencode:"port"`
	Seed   int    `bencode:"seed,omitempty"` // 1: holds all it wants
}

// Owner returns which of the peers asks the origin for the piece: the one
// with the highest rendezvous hash (Thaler and Ravishankar, 1998), so that a
// peer that comes or goes moves only its own share. ids are 20-byte peer ids
// of those that still download; -1 when there are none.
func Owner(pack InfoHash, piece int, ids []string) int {
	best, bestHash := -1, uint64(0)
	for i, id := range ids {
		h := rendezvous(pack, piece, id)
		if best < 0 || h > bestHash || h == bestHash && id < ids[best] {
			best, bestHash = i, h
		}
	}
	return best
}

// rendezvous is FNV-1a over the triple, finished with the 64-bit mix of
// MurmurHash3: FNV alone is too regular in its high bits for a maximum.
func rendezvous(pack InfoHash, piece int, id string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for _, b := range pack {
		h = (h ^ uint64(b)) * prime
	}
	for i := 0; i < len(id); i++ {
		h = (h ^ uint64(id[i])) * prime
	}
	for i := 0; i < 4; i++ {
		h = (h ^ uint64(byte(piece>>(8*i)))) * prime
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h
}
