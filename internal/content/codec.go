package content

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
)

// Shapes of the messages: how many values a message within the limits has at
// most, with room for keys of later versions.
var (
	announceRequestShape = shape{bytes: MaxAnnounceBody, values: MaxAnnouncePacks*40 + 200, depth: 8}
	announceReplyShape   = shape{bytes: 64 << 20, values: MaxAnnouncePacks*MaxAnnouncePeers*2 + 200, depth: 8}
	lookupRequestShape   = shape{bytes: MaxLookup * 512, values: MaxLookup*8 + 20, depth: 4}
	lookupReplyShape     = shape{bytes: MaxLookup*32 + 4096, values: 100, depth: 4}
	locateRequestShape   = lookupReplyShape
	locateReplyShape     = shape{bytes: MaxLookup*(20+8) + 4096, values: MaxLookup + 100, depth: 4}
)

// MaxLookupRequest and MaxLocateRequest bound the body of a POSTed look-up.
const (
	MaxLookupRequest = MaxLookup * 512
	MaxLocateRequest = MaxLookup*32 + 4096
)

const (
	maxBadPeers   = 16  // per pack and announce
	maxAddressLen = 64  // an IP address with a zone
	maxURLLen     = 300 // leaves room for the path in a header line
	maxFailureLen = 1024
	maxPathLen    = 4096
)

// Encode returns the bencoded message.
func (m *AnnounceRequest) Encode() []byte { return encode(m) }

// DecodeAnnounceRequest checks and decodes the body of a POST /announce.
// Errors wrap ErrBadMessage.
func DecodeAnnounceRequest(data []byte) (*AnnounceRequest, error) {
	m := new(AnnounceRequest)
	if err := announceRequestShape.decode(data, m); err != nil {
		return nil, fmt.Errorf("announce: %w", err)
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("announce: %w", err)
	}
	return m, nil
}

// Check verifies the limits of an announce; DecodeAnnounceRequest has done so.
func (m *AnnounceRequest) Check() error {
	if len(m.PeerID) != 20 {
		return badMessage("peer id of %d bytes, want 20", len(m.PeerID))
	}
	if m.Port < 0 || m.Port > math.MaxUint16 {
		return badMessage("port %d", m.Port)
	}
	if m.IP != "" {
		if _, err := netip.ParseAddr(m.IP); err != nil || len(m.IP) > maxAddressLen {
			return badMessage("ip is no address")
		}
	}
	if len(m.Name) > MaxAnnounceNameLen || strings.ContainsAny(m.Name, "\x00\r\n:") {
		return badMessage("name of %d bytes: at most %d, without colon or line end", len(m.Name), MaxAnnounceNameLen)
	}
	if len(m.URL) > maxURLLen || strings.ContainsAny(m.URL, "\x00\r\n ") {
		return badMessage("url of %d bytes: at most %d, without blanks", len(m.URL), maxURLLen)
	}
	if len(m.Packs) > MaxAnnouncePacks {
		return badMessage("%d packs, the limit is %d", len(m.Packs), MaxAnnouncePacks)
	}
	for i := range m.Packs {
		if err := m.Packs[i].check(); err != nil {
			return err
		}
	}
	if m.Holdings != nil {
		if err := m.Holdings.check(); err != nil {
			return err
		}
	}
	if l := m.Load; l != nil && min(int64(l.Customers), l.CustomerRate, l.PeerRate, l.Uplink, l.Served) < 0 {
		return badMessage("negative load")
	}
	return nil
}

func (p *AnnouncePack) check() error {
	if len(p.InfoHash) != 20 {
		return badMessage("info hash of %d bytes, want 20", len(p.InfoHash))
	}
	if min(p.Left, p.Uploaded, p.Downloaded, p.Origin, p.Corrupt) < 0 {
		return badMessage("negative count")
	}
	switch p.Event {
	case EventNone, EventStarted, EventStopped, EventCompleted, EventPaused:
	default:
		return badMessage("unknown event of %d bytes", len(p.Event))
	}
	if len(p.BadPeers) > maxBadPeers {
		return badMessage("%d bad peers, the limit is %d", len(p.BadPeers), maxBadPeers)
	}
	for _, a := range p.BadPeers {
		if len(a) > maxAddressLen {
			return badMessage("bad peer of %d bytes", len(a))
		}
	}
	return nil
}

func (h *Holdings) check() error {
	if h.Base < 0 || h.Version < 0 {
		return badMessage("negative version of holdings")
	}
	if len(h.Added)%32 != 0 || len(h.Dropped)%32 != 0 {
		return badMessage("holdings are not a multiple of 32 bytes")
	}
	if n := (len(h.Added) + len(h.Dropped)) / 32; n > MaxAnnounceIDs {
		return badMessage("%d contents in holdings, the limit is %d", n, MaxAnnounceIDs)
	}
	return nil
}

// Encode returns the bencoded message.
func (m *AnnounceReply) Encode() []byte { return encode(m) }

// DecodeAnnounceReply checks and decodes the answer to a POST /announce.
func DecodeAnnounceReply(data []byte) (*AnnounceReply, error) {
	m := new(AnnounceReply)
	if err := announceReplyShape.decode(data, m); err != nil {
		return nil, fmt.Errorf("announce reply: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("announce reply: %w", err)
	}
	return m, nil
}

func (m *AnnounceReply) check() error {
	if len(m.Failure) > maxFailureLen {
		return badMessage("failure reason of %d bytes", len(m.Failure))
	}
	if m.Interval < 0 || m.MinInterval < 0 || m.Holdings < 0 {
		return badMessage("negative interval or version")
	}
	if len(m.You) > maxAddressLen {
		return badMessage("own address of %d bytes", len(m.You))
	}
	if len(m.Packs) > MaxAnnouncePacks {
		return badMessage("%d packs, the limit is %d", len(m.Packs), MaxAnnouncePacks)
	}
	if len(m.Restricted) > MaxRestricted {
		return badMessage("%d restricted modules, the limit is %d", len(m.Restricted), MaxRestricted)
	}
	for _, p := range m.Packs {
		if len(p.InfoHash) != 20 {
			return badMessage("info hash of %d bytes, want 20", len(p.InfoHash))
		}
		if len(p.Peers) > MaxAnnouncePeers {
			return badMessage("%d peers, the limit is %d", len(p.Peers), MaxAnnouncePeers)
		}
		if p.Complete < 0 || p.Incomplete < 0 {
			return badMessage("negative count")
		}
		for _, e := range p.Peers {
			if len(e.PeerID) != 20 || len(e.IP) > maxAddressLen || e.Port < 0 || e.Port > math.MaxUint16 {
				return badMessage("malformed peer")
			}
			if _, err := netip.ParseAddr(e.IP); err != nil {
				return badMessage("peer's ip is no address")
			}
		}
	}
	return nil
}

// Encode returns the bencoded message.
func (m *LookupRequest) Encode() []byte { return encode(m) }

// DecodeLookupRequest checks and decodes the body of a POST to PathLookup.
func DecodeLookupRequest(data []byte) (*LookupRequest, error) {
	m := new(LookupRequest)
	if err := lookupRequestShape.decode(data, m); err != nil {
		return nil, fmt.Errorf("look-up: %w", err)
	}
	if len(m.Items) > MaxLookup {
		return nil, fmt.Errorf("look-up: %w", badMessage("%d items, the limit is %d", len(m.Items), MaxLookup))
	}
	for _, it := range m.Items {
		if it.Size < 0 || len(it.Path) > maxPathLen {
			return nil, fmt.Errorf("look-up: %w", badMessage("item of size %d with a path of %d bytes", it.Size, len(it.Path)))
		}
	}
	if len(m.Module) > MaxAnnounceNameLen {
		return nil, fmt.Errorf("look-up: %w", badMessage("module name of %d bytes", len(m.Module)))
	}
	return m, nil
}

// Encode returns the bencoded message.
func (m *LookupReply) Encode() []byte { return encode(m) }

// DecodeLookupReply checks and decodes the answer to a LookupRequest of the
// given number of items.
func DecodeLookupReply(data []byte, items int) (*LookupReply, error) {
	m := new(LookupReply)
	if err := lookupReplyShape.decode(data, m); err != nil {
		return nil, fmt.Errorf("look-up reply: %w", err)
	}
	switch {
	case len(m.Failure) > maxFailureLen:
		return nil, fmt.Errorf("look-up reply: %w", badMessage("failure reason of %d bytes", len(m.Failure)))
	case m.Failure == "" && len(m.IDs) != 32*items:
		return nil, fmt.Errorf("look-up reply: %w", badMessage("%d bytes of ids for %d items", len(m.IDs), items))
	}
	return m, nil
}

// Encode returns the bencoded message.
func (m *LocateRequest) Encode() []byte { return encode(m) }

// DecodeLocateRequest checks and decodes the body of a POST to PathLocate.
func DecodeLocateRequest(data []byte) (*LocateRequest, error) {
	m := new(LocateRequest)
	if err := locateRequestShape.decode(data, m); err != nil {
		return nil, fmt.Errorf("locate: %w", err)
	}
	switch {
	case len(m.Module) > MaxAnnounceNameLen:
		return nil, fmt.Errorf("locate: %w", badMessage("module name of %d bytes", len(m.Module)))
	case len(m.IDs)%32 != 0 || len(m.IDs)/32 > MaxLookup:
		return nil, fmt.Errorf("locate: %w", badMessage("%d bytes of ids: want a multiple of 32, at most %d", len(m.IDs), 32*MaxLookup))
	}
	return m, nil
}

// Encode returns the bencoded message.
func (m *LocateReply) Encode() []byte { return encode(m) }

// DecodeLocateReply checks and decodes the answer to a LocateRequest for the
// given number of contents.
func DecodeLocateReply(data []byte, ids int) (*LocateReply, error) {
	m := new(LocateReply)
	if err := locateReplyShape.decode(data, m); err != nil {
		return nil, fmt.Errorf("locate reply: %w", err)
	}
	switch {
	case len(m.Failure) > maxFailureLen:
		return nil, fmt.Errorf("locate reply: %w", badMessage("failure reason of %d bytes", len(m.Failure)))
	case m.Failure != "":
		return m, nil
	case len(m.InfoHashes)%20 != 0:
		return nil, fmt.Errorf("locate reply: %w", badMessage("%d bytes of info hashes", len(m.InfoHashes)))
	case len(m.Pack) != ids:
		return nil, fmt.Errorf("locate reply: %w", badMessage("%d answers for %d contents", len(m.Pack), ids))
	}
	for _, p := range m.Pack {
		if p < -1 || p >= len(m.InfoHashes)/20 {
			return nil, fmt.Errorf("locate reply: %w", badMessage("pack %d of %d", p, len(m.InfoHashes)/20))
		}
	}
	return m, nil
}
