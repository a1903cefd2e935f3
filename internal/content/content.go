// Package content holds what the central host, volunteers and transfers agree
// on about file contents: identities, packs, signatures and the messages that
// travel between them. It does no I/O of its own.
//
// A content is named by the SHA-256 of its bytes (ID). The central host groups
// contents into packs: one virtual blob, never stored as such, that is shared
// as one single-file BitTorrent v1 torrent. docs/design.md tells why.
package content

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
)

// ID is the SHA-256 of a file's bytes.
type ID [sha256.Size]byte

// String returns the ID in lower-case hexadecimal, 64 characters.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id is the zero value, which names no content.
func (id ID) IsZero() bool { return id == ID{} }

// ParseID is the inverse of String.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("content id %q: want %d hexadecimal digits", s, 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("content id %q: %w", s, err)
	}
	return id, nil
}

// InfoHash is the BitTorrent v1 info hash of a pack (BEP 3).
type InfoHash [20]byte

func (h InfoHash) String() string { return hex.EncodeToString(h[:]) }

// ParseInfoHash is the inverse of String.
func ParseInfoHash(s string) (InfoHash, error) {
	var h InfoHash
	if len(s) != 2*len(h) {
		return h, fmt.Errorf("info hash %q: want %d hexadecimal digits", s, 2*len(h))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return InfoHash{}, fmt.Errorf("info hash %q: %w", s, err)
	}
	return h, nil
}

// Limits on what a pack may claim, checked before anything is allocated for it.
const (
	MinPieceLength  = 16 << 10
	MaxPieceLength  = 64 << 20
	MaxPackPieces   = 1 << 17
	MaxPackContents = 1 << 22
	// TargetPieces is the number of pieces a pack stays below: the piece
	// length grows with the pack instead.
	TargetPieces = 10000
)

// Entry places one content in a pack's virtual blob.
type Entry struct {
	ID     ID
	Offset int64 // of the first byte in the blob
	Length int64 // bytes
}

// Pack is one virtual blob: the contents in order of their offsets, with
// zero bytes in the gaps that align large contents to a piece boundary.
// A pack never changes; its InfoHash covers every field but InfoHash itself.
type Pack struct {
	InfoHash    InfoHash
	Name        string // torrent name, e.g. "fedora-000012.pack"
	Length      int64  // bytes of the blob
	PieceLength int64
	Pieces      []byte // SHA-1 of each piece, 20 bytes each
	Entries     []Entry
}

// NumPieces returns the number of pieces of the blob.
func (p *Pack) NumPieces() int { return len(p.Pieces) / 20 }

// PieceSize returns the length in bytes of piece i: PieceLength for all but
// the last.
func (p *Pack) PieceSize(i int) int64 {
	return min(p.PieceLength, p.Length-int64(i)*p.PieceLength)
}

// Find returns the index in Entries of the content id, or -1. It scans: keep
// an index of your own for many look-ups.
func (p *Pack) Find(id ID) int {
	for i := range p.Entries {
		if p.Entries[i].ID == id {
			return i
		}
	}
	return -1
}

// At returns the index of the first entry that ends after off.
func (p *Pack) At(off int64) int {
	return sort.Search(len(p.Entries), func(i int) bool {
		return p.Entries[i].Offset+p.Entries[i].Length > off
	})
}

// ErrBadPack is wrapped by every error of Pack.Check.
var ErrBadPack = errors.New("malformed pack")

// Check verifies the pack's own consistency: limits, the number of piece
// hashes, entries in order, inside the blob and not overlapping.
func (p *Pack) Check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrBadPack, fmt.Sprintf(format, args...))
	}
	if p.PieceLength < MinPieceLength || p.PieceLength > MaxPieceLength || p.PieceLength&(p.PieceLength-1) != 0 {
		return bad("piece length %d is not a power of two from %d to %d", p.PieceLength, MinPieceLength, MaxPieceLength)
	}
	if p.Length <= 0 || p.Length > MaxPackPieces*p.PieceLength {
		return bad("length %d out of bounds", p.Length)
	}
	want := (p.Length + p.PieceLength - 1) / p.PieceLength
	if int64(len(p.Pieces)) != 20*want {
		return bad("%d bytes of piece hashes for %d pieces", len(p.Pieces), want)
	}
	if len(p.Entries) > MaxPackContents {
		return bad("%d contents, the limit is %d", len(p.Entries), MaxPackContents)
	}
	var end int64
	for i, e := range p.Entries {
		if e.Length <= 0 || e.Offset < end || e.Offset > p.Length || e.Length > p.Length-e.Offset {
			return bad("content %d (%s) at %d+%d overlaps or leaves the blob", i, e.ID, e.Offset, e.Length)
		}
		end = e.Offset + e.Length
	}
	return nil
}

// PieceLengthFor returns the piece length of a blob of the given length:
// 128 KiB up to 256 MiB, 256 KiB up to 1 GiB and more, doubling so that the
// number of pieces stays below TargetPieces.
func PieceLengthFor(length int64) int64 {
	pl := int64(128 << 10)
	if length > 256<<20 {
		pl = 256 << 10
	}
	for pl < MaxPieceLength && length/pl >= TargetPieces {
		pl *= 2
	}
	return pl
}
