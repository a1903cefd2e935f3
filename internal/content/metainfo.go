package content

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/anacrolix/torrent/bencode"
)

// metainfo is the dictionary of a .torrent file (BEP 3), with BEP 19's
// url-list and BEP 27's private flag.
type metainfo struct {
	Announce string        `bencode:"announce,omitempty"`
	Info     bencode.Bytes `bencode:"info"`
	URLList  []string      `bencode:"url-list,omitempty"`
}

type infoDict struct {
	Length      int64  `bencode:"length"`
	Name        string `bencode:"name"`
	PieceLength int64  `bencode:"piece length"`
	Pieces      []byte `bencode:"pieces"`
	Private     int    `bencode:"private"`
	Entries     []byte `bencode:"prsync entries"`
}

// entrySize is the length of one record of "prsync entries": 32 bytes id, 8
// bytes offset, 8 bytes length, big-endian.
const entrySize = 32 + 8 + 8

// MaxMetainfo bounds the bytes of a pack's metainfo.
const MaxMetainfo = MaxPackPieces*20 + 1<<16*entrySize + 1<<20

// MaxMetainfoContents is the number of contents a pack may have so that its
// metainfo stays below MaxMetainfo.
const MaxMetainfoContents = 1 << 16

var (
	metainfoShape = shape{bytes: MaxMetainfo, values: 1000, depth: 8}
	infoShape     = shape{bytes: MaxMetainfo, values: 1000, depth: 6}
)

// maxPackName bounds the torrent name, which other clients use as a file name.
const maxPackName = 200

// Info returns the bencoded info dictionary, whose SHA-1 is the info hash.
func (p *Pack) Info() []byte {
	entries := make([]byte, 0, len(p.Entries)*entrySize)
	for _, e := range p.Entries {
		entries = append(entries, e.ID[:]...)
		entries = binary.BigEndian.AppendUint64(entries, uint64(e.Offset))
		entries = binary.BigEndian.AppendUint64(entries, uint64(e.Length))
	}
	return encode(infoDict{
		Length: p.Length, Name: p.Name, PieceLength: p.PieceLength,
		Pieces: p.Pieces, Private: 1, Entries: entries,
	})
}

// Seal computes InfoHash from the other fields, which must not change
// afterwards.
func (p *Pack) Seal() { p.InfoHash = sha1.Sum(p.Info()) }

// Metainfo returns the pack as a .torrent file with the tracker's announce URL
// and BEP 19 web seeds; both may be empty.
func (p *Pack) Metainfo(announce string, webseeds []string) []byte {
	return encode(metainfo{Announce: announce, Info: p.Info(), URLList: webseeds})
}

// ParseMetainfo is the inverse of Metainfo: it computes the info hash and
// checks the pack. Errors wrap ErrBadPack or ErrBadMessage.
func ParseMetainfo(data []byte) (*Pack, error) {
	var m metainfo
	if err := metainfoShape.decode(data, &m); err != nil {
		return nil, fmt.Errorf("metainfo: %w", err)
	}
	p, err := ParseInfo(m.Info)
	if err != nil {
		return nil, fmt.Errorf("metainfo: %w", err)
	}
	return p, nil
}

// ParseInfo parses the info dictionary alone, as BEP 9 transports it.
func ParseInfo(info []byte) (*Pack, error) {
	var d infoDict
	if err := infoShape.decode(info, &d); err != nil {
		return nil, err
	}
	if d.Private != 1 {
		return nil, fmt.Errorf("%w: not private", ErrBadPack)
	}
	if d.Name == "" || d.Name == "." || d.Name == ".." || len(d.Name) > maxPackName || strings.ContainsAny(d.Name, "/\x00\r\n") {
		return nil, fmt.Errorf("%w: name of %d bytes is no file name", ErrBadPack, len(d.Name))
	}
	if len(d.Entries)%entrySize != 0 {
		return nil, fmt.Errorf("%w: %d bytes of entries, want a multiple of %d", ErrBadPack, len(d.Entries), entrySize)
	}
	p := &Pack{
		InfoHash: sha1.Sum(info), Name: d.Name, Length: d.Length,
		PieceLength: d.PieceLength, Pieces: d.Pieces,
		Entries: make([]Entry, len(d.Entries)/entrySize),
	}
	for i := range p.Entries {
		r := d.Entries[i*entrySize:]
		p.Entries[i] = Entry{
			ID:     ID(r[:32]),
			Offset: int64(binary.BigEndian.Uint64(r[32:])),
			Length: int64(binary.BigEndian.Uint64(r[40:])),
		}
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	return p, nil
}
