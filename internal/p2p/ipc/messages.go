package ipc

import (
	"time"

	"github.com/prsync/prsync/internal/content"
)

// Type tells frames apart.
type Type uint8

// Frames of both directions, then the client's, then the engine's.
const (
	TypeHello Type = 1

	TypeSetup    Type = 16
	TypeOffer    Type = 17
	TypeWant     Type = 18
	TypeCancel   Type = 19
	TypeSeed     Type = 20
	TypeUnseed   Type = 21
	TypeOpened   Type = 22
	TypeAnnounce Type = 23

	TypeEvent     Type = 32
	TypeStats     Type = 33
	TypeOpen      Type = 34
	TypeAnnounced Type = 35
	TypeLog       Type = 36
	TypeUnknown   Type = 37
)

// MaxRanges bounds the ranges of a Want or an Event.
const MaxRanges = 60000

// Hello opens the conversation on both sides.
type Hello struct {
	Version uint32
	PID     uint32
	// PeerID and Port are the engine's in the swarm; empty from a client.
	PeerID string
	Port   uint32
}

// Encode returns the frame's body.
func (m *Hello) Encode() []byte {
	var e encoder
	e.u32(m.Version)
	e.u32(m.PID)
	e.str(m.PeerID)
	e.u32(m.Port)
	return e
}

// DecodeHello is the inverse of Encode.
func DecodeHello(b []byte) (*Hello, error) {
	d := decoder{b: b}
	m := &Hello{Version: d.u32(), PID: d.u32(), PeerID: d.str(), Port: d.u32()}
	return m, d.end()
}

// Setup carries the settings of an engine that was started for this client. An
// engine that serves many takes the limits alone, as long as the client is
// there.
type Setup struct {
	Listen        string
	UploadLimit   int64 // bytes per second; 0 is unlimited
	DownloadLimit int64
	Stall         time.Duration
	SpillDir      string
	Socket        string        // where to serve other clients; empty: nowhere
	Keep          time.Duration // how long to seed what they fetched
	Sleep         bool          // packs that are seeded may sleep
	Verbose       bool          // send Log frames of debugging level
}

// Encode returns the frame's body.
func (m *Setup) Encode() []byte {
	var e encoder
	e.str(m.Listen)
	e.i64(m.UploadLimit)
	e.i64(m.DownloadLimit)
	e.i64(int64(m.Stall))
	e.str(m.SpillDir)
	e.str(m.Socket)
	e.i64(int64(m.Keep))
	e.u8(b2u(m.Sleep))
	e.u8(b2u(m.Verbose))
	return e
}

// DecodeSetup is the inverse of Encode.
func DecodeSetup(b []byte) (*Setup, error) {
	d := decoder{b: b}
	m := &Setup{
		Listen:        d.str(),
		UploadLimit:   d.nonNegative("upload limit"),
		DownloadLimit: d.nonNegative("download limit"),
		Stall:         time.Duration(d.nonNegative("stall time")),
		SpillDir:      d.str(),
		Socket:        d.str(),
		Keep:          time.Duration(d.nonNegative("time to keep files")),
		Sleep:         d.u8() != 0,
		Verbose:       d.u8() != 0,
	}
	return m, d.end()
}

// Offer names a central host and a module; Wants refer to it by Number.
type Offer struct {
	Number uint32
	content.Offer
}

// Encode returns the frame's body.
func (m *Offer) Encode() []byte {
	var e encoder
	e.u32(m.Number)
	e.str(m.URL)
	e.str(m.Module)
	e.i64(m.Generation)
	return e
}

// DecodeOffer is the inverse of Encode.
func DecodeOffer(b []byte) (*Offer, error) {
	d := decoder{b: b}
	m := &Offer{Number: d.u32()}
	m.URL, m.Module, m.Generation = d.str(), d.str(), d.i64()
	return m, d.end()
}

// Want asks for one content; its file travels with the frame.
type Want struct {
	Tag    uint64
	Offer  uint32
	ID     content.ID
	Length int64
	Waits  bool
	Have   []content.Range
}

// Encode returns the frame's body.
func (m *Want) Encode() []byte {
	var e encoder
	e.u64(m.Tag)
	e.u32(m.Offer)
	e.raw(m.ID[:])
	e.i64(m.Length)
	e.u8(b2u(m.Waits))
	e.ranges(m.Have)
	return e
}

// DecodeWant is the inverse of Encode; Have is ascending and lies within the
// content.
func DecodeWant(b []byte) (*Want, error) {
	d := decoder{b: b}
	m := &Want{Tag: d.u64(), Offer: d.u32()}
	copy(m.ID[:], d.take(len(m.ID)))
	m.Length = d.nonNegative("length")
	m.Waits = d.u8() != 0
	m.Have = d.ranges(m.Length)
	return m, d.end()
}

// Cancel gives up a Want; its Event with Done follows.
type Cancel struct{ Tag uint64 }

// Encode returns the frame's body.
func (m *Cancel) Encode() []byte {
	var e encoder
	e.u64(m.Tag)
	return e
}

// DecodeCancel is the inverse of Encode.
func DecodeCancel(b []byte) (*Cancel, error) {
	d := decoder{b: b}
	m := &Cancel{Tag: d.u64()}
	return m, d.end()
}

// Seed tells which contents of a pack the client holds and will open when
// asked. A second Seed of the same pack replaces the first.
type Seed struct {
	Offer    uint32
	InfoHash content.InfoHash
	Held     []byte // bit i, most significant first, for entry i
}

// Encode returns the frame's body.
func (m *Seed) Encode() []byte {
	var e encoder
	e.u32(m.Offer)
	e.raw(m.InfoHash[:])
	e.bytes(m.Held)
	return e
}

// DecodeSeed is the inverse of Encode.
func DecodeSeed(b []byte) (*Seed, error) {
	d := decoder{b: b}
	m := &Seed{Offer: d.u32()}
	copy(m.InfoHash[:], d.take(len(m.InfoHash)))
	m.Held = d.bytes()
	return m, d.end()
}

// Unseed ends a Seed.
type Unseed struct{ InfoHash content.InfoHash }

// Encode returns the frame's body.
func (m *Unseed) Encode() []byte { return m.InfoHash[:] }

// DecodeUnseed is the inverse of Encode.
func DecodeUnseed(b []byte) (*Unseed, error) {
	d := decoder{b: b}
	m := &Unseed{}
	copy(m.InfoHash[:], d.take(len(m.InfoHash)))
	return m, d.end()
}

// Open asks the client for a content of one of its seeds, or for the pack's
// metainfo when the id is zero.
type Open struct {
	Request  uint64
	InfoHash content.InfoHash
	ID       content.ID
}

// Encode returns the frame's body.
func (m *Open) Encode() []byte {
	var e encoder
	e.u64(m.Request)
	e.raw(m.InfoHash[:])
	e.raw(m.ID[:])
	return e
}

// DecodeOpen is the inverse of Encode.
func DecodeOpen(b []byte) (*Open, error) {
	d := decoder{b: b}
	m := &Open{Request: d.u64()}
	copy(m.InfoHash[:], d.take(len(m.InfoHash)))
	copy(m.ID[:], d.take(len(m.ID)))
	return m, d.end()
}

// Opened answers Open: the file travels with the frame, or Failure tells why
// not.
type Opened struct {
	Request uint64
	Failure string
}

// Encode returns the frame's body.
func (m *Opened) Encode() []byte {
	var e encoder
	e.u64(m.Request)
	e.str(m.Failure)
	return e
}

// DecodeOpened is the inverse of Encode.
func DecodeOpened(b []byte) (*Opened, error) {
	d := decoder{b: b}
	m := &Opened{Request: d.u64(), Failure: d.str()}
	return m, d.end()
}

// Announce asks the engine to announce to the offer's host now, with what only
// a volunteer's host knows: a bencoded content.AnnounceRequest without packs.
type Announce struct {
	Request uint64
	Offer   uint32
	Secret  string // HTTP Basic password for the message's Name
	Message []byte
}

// Encode returns the frame's body.
func (m *Announce) Encode() []byte {
	var e encoder
	e.u64(m.Request)
	e.u32(m.Offer)
	e.str(m.Secret)
	e.bytes(m.Message)
	return e
}

// DecodeAnnounce is the inverse of Encode.
func DecodeAnnounce(b []byte) (*Announce, error) {
	d := decoder{b: b}
	m := &Announce{Request: d.u64(), Offer: d.u32(), Secret: d.str(), Message: d.bytes()}
	return m, d.end()
}

// Announced answers Announce with the host's reply, without packs.
type Announced struct {
	Request uint64
	Failure string
	Message []byte
}

// Encode returns the frame's body.
func (m *Announced) Encode() []byte {
	var e encoder
	e.u64(m.Request)
	e.str(m.Failure)
	e.bytes(m.Message)
	return e
}

// DecodeAnnounced is the inverse of Encode.
func DecodeAnnounced(b []byte) (*Announced, error) {
	d := decoder{b: b}
	m := &Announced{Request: d.u64(), Failure: d.str(), Message: d.bytes()}
	return m, d.end()
}

// Event is content.Event with its error as a text.
type Event struct {
	Tag     uint64
	Bytes   [3]int64
	Wasted  int64
	Done    bool
	Failure string
	Valid   []content.Range
}

// Encode returns the frame's body.
func (m *Event) Encode() []byte {
	var e encoder
	e.u64(m.Tag)
	for _, n := range m.Bytes {
		e.i64(n)
	}
	e.i64(m.Wasted)
	e.u8(b2u(m.Done))
	e.str(m.Failure)
	e.ranges(m.Valid)
	return e
}

// DecodeEvent is the inverse of Encode.
func DecodeEvent(b []byte) (*Event, error) {
	d := decoder{b: b}
	m := &Event{Tag: d.u64()}
	for i := range m.Bytes {
		m.Bytes[i] = d.nonNegative("byte count")
	}
	m.Wasted = d.nonNegative("byte count")
	m.Done = d.u8() != 0
	m.Failure = d.str()
	m.Valid = d.ranges(1<<63 - 1)
	return m, d.end()
}

// Unknown tells that the central host does not publish a pack that the client
// seeds.
type Unknown struct{ InfoHash content.InfoHash }

// Encode returns the frame's body.
func (m *Unknown) Encode() []byte { return m.InfoHash[:] }

// DecodeUnknown is the inverse of Encode.
func DecodeUnknown(b []byte) (*Unknown, error) {
	d := decoder{b: b}
	m := &Unknown{}
	copy(m.InfoHash[:], d.take(len(m.InfoHash)))
	return m, d.end()
}

// Stats is content.SwarmStats.
type Stats content.SwarmStats

// Encode returns the frame's body.
func (m *Stats) Encode() []byte {
	var e encoder
	e.i64(int64(m.Peers))
	for _, n := range m.Bytes {
		e.i64(n)
	}
	e.i64(m.Uploaded)
	e.i64(m.Wasted)
	e.i64(int64(m.BadPeers))
	return e
}

// DecodeStats is the inverse of Encode.
func DecodeStats(b []byte) (*Stats, error) {
	d := decoder{b: b}
	m := &Stats{Peers: int(d.nonNegative("peers"))}
	for i := range m.Bytes {
		m.Bytes[i] = d.nonNegative("byte count")
	}
	m.Uploaded = d.nonNegative("byte count")
	m.Wasted = d.nonNegative("byte count")
	m.BadPeers = int(d.nonNegative("peers"))
	return m, d.end()
}

// Log is one line for the client's log; Level is slog's.
type Log struct {
	Level int64
	Text  string
}

// Encode returns the frame's body.
func (m *Log) Encode() []byte {
	var e encoder
	e.i64(m.Level)
	e.str(m.Text)
	return e
}

// DecodeLog is the inverse of Encode.
func DecodeLog(b []byte) (*Log, error) {
	d := decoder{b: b}
	m := &Log{Level: d.i64(), Text: d.str()}
	return m, d.end()
}

// ranges appends at most MaxRanges of them; beyond that the shortest are of
// no use to anyone and left out.
func (e *encoder) ranges(rs []content.Range) {
	rs = LongestRanges(rs, MaxRanges)
	e.u32(uint32(len(rs)))
	for _, r := range rs {
		e.i64(r.Off)
		e.i64(r.End)
	}
}

// ranges takes ascending, not overlapping, not empty ranges below length.
func (d *decoder) ranges(length int64) []content.Range {
	n := int(d.u32())
	if n > len(d.b)/16 {
		if d.err == nil {
			d.err = protocolError("%d ranges do not fit the frame", n)
		}
		return nil
	}
	if n == 0 {
		return nil
	}
	rs := make([]content.Range, 0, n)
	var end int64
	for range n {
		r := content.Range{Off: d.i64(), End: d.i64()}
		if d.err != nil {
			return nil
		}
		if r.Off < end || r.End <= r.Off || r.End > length {
			d.err = protocolError("range %d-%d is out of order or leaves the content", r.Off, r.End)
			return nil
		}
		end = r.End
		rs = append(rs, r)
	}
	return rs
}

func b2u(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}
