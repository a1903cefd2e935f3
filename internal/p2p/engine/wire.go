package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	pp "github.com/anacrolix/torrent/peer_protocol"

	"github.com/prsync/prsync/internal/content"
)

// The part of the peer wire protocol (BEP 3, BEP 6, BEP 10) that one needs who
// only takes:
//
//	handshake  19 "BitTorrent protocol", 8 reserved bytes, info hash, peer id
//	message    length (uint32, big endian, of what follows), type, payload
//	keepalive  a length of 0
//
//	have       piece
//	bitfield   first piece first, most significant bit first
//	request    piece, begin, length     cancel, reject: the same
//	piece      piece, begin, data

const (
	handshakeLen = 68
	// What a message may have: the bit field of the largest pack, or a block.
	maxMessage = 1 << 20

	reservedExtended = 0x10 // of byte 5, BEP 10
	reservedFast     = 0x04 // of byte 7, BEP 6
)

// appendHandshake appends ours.
func appendHandshake(b []byte, h content.InfoHash, peerID string) []byte {
	b = append(b, pp.Protocol...)
	b = append(b, 0, 0, 0, 0, 0, reservedExtended, 0, reservedFast)
	b = append(b, h[:]...)
	return append(b, peerID...)
}

var errHandshake = errors.New("the peer does not speak BitTorrent, or not about this pack")

// readHandshake returns the other's peer id.
func readHandshake(r io.Reader, h content.InfoHash) (peerID string, err error) {
	var b [handshakeLen]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return "", err
	}
	n := len(pp.Protocol)
	if string(b[:n]) != pp.Protocol || content.InfoHash(b[n+8:][:20]) != h {
		return "", errHandshake
	}
	return string(b[n+28:]), nil
}

// appendMessage appends a message whose payload is integers.
func appendMessage(b []byte, t pp.MessageType, ints ...uint32) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(1+4*len(ints)))
	b = append(b, byte(t))
	for _, n := range ints {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// appendExtended appends BEP 10's handshake, which tells the port that takes
// connections.
func appendExtended(b []byte, port int) []byte {
	payload := fmt.Sprintf("d1:mde1:pi%dee", port)
	b = binary.BigEndian.AppendUint32(b, uint32(2+len(payload)))
	return append(append(b, byte(pp.Extended), pp.HandshakeExtendedID), payload...)
}

// readMessage returns the next message that is none to keep the connection
// alive; the payload lies in buf, which grows up to maxMessage.
func readMessage(r io.Reader, buf []byte) (t pp.MessageType, payload, grown []byte, err error) {
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return 0, nil, buf, err
		}
		n := binary.BigEndian.Uint32(head[:])
		switch {
		case n == 0:
			continue
		case n > maxMessage:
			return 0, nil, buf, fmt.Errorf("a message of %d bytes", n)
		case int(n) > len(buf):
			buf = make([]byte, n)
		}
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			return 0, nil, buf, err
		}
		return pp.MessageType(buf[0]), buf[1:n], buf, nil
	}
}

// integers decodes a payload of exactly n integers.
func integers(payload []byte, n int) ([]uint32, error) {
	if len(payload) != 4*n {
		return nil, fmt.Errorf("a message with %d bytes where %d belong", len(payload), 4*n)
	}
	ints := make([]uint32, n)
	for i := range ints {
		ints[i] = binary.BigEndian.Uint32(payload[4*i:])
	}
	return ints, nil
}
