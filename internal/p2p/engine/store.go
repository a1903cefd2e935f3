package engine

import (
	"context"
	"crypto/sha1"
	"errors"
	"io"

	"github.com/anacrolix/torrent/metainfo"
	"github.com/anacrolix/torrent/storage"
)

// noStorage is the library's default storage: every torrent here brings its
// own, and one that does not must not write into the working directory.
type noStorage struct{}

func (noStorage) OpenTorrent(context.Context, *metainfo.Info, metainfo.Hash) (storage.TorrentImpl, error) {
	return storage.TorrentImpl{}, errors.New("no storage")
}

// store is what the library sees of a pack.
type store struct{ p *pack }

func (s store) OpenTorrent(context.Context, *metainfo.Info, metainfo.Hash) (storage.TorrentImpl, error) {
	return storage.TorrentImpl{
		Piece: func(mp metainfo.Piece) storage.PieceImpl { return storePiece{s.p, mp.Index()} },
		Close: func() error { return nil },
	}, nil
}

// storePiece is one piece; it hashes itself so that a bad piece is an error to
// the library and never a reason to ban an address: package bans decides that.
type storePiece struct {
	p *pack
	i int
}

var _ storage.SelfHashing = storePiece{}

func (s storePiece) ReadAt(b []byte, off int64) (int, error) {
	rest := s.p.meta.PieceSize(s.i) - off
	if rest <= 0 {
		return 0, io.EOF
	}
	if int64(len(b)) > rest {
		b = b[:rest]
	}
	if err := s.p.readAt(b, s.p.pieceOffset(s.i)+off); err != nil {
		s.p.unreadable(s.i, err)
		return 0, err
	}
	return len(b), nil
}

// WriteAt is called by the goroutine that reads from the peer, without the
// library's lock: waiting here slows the peer down.
func (s storePiece) WriteAt(b []byte, off int64) (int, error) {
	if err := s.p.e.limitDown(s.p.ctx, len(b)); err != nil {
		return 0, err
	}
	if err := s.p.writePeer(s.i, b, off); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (s storePiece) Completion() storage.Completion {
	return storage.Completion{Ok: true, Complete: s.p.isComplete(s.i)}
}

var errBadPiece = errors.New("the piece does not match its hash")

// SelfHash is called when every chunk of the piece has arrived from peers.
func (s storePiece) SelfHash() (metainfo.Hash, error) {
	if err := s.p.verified(s.i, byPeers); err != nil {
		return metainfo.Hash{}, err
	}
	var want metainfo.Hash
	copy(want[:], s.p.meta.Pieces[sha1.Size*s.i:])
	return want, nil
}

func (s storePiece) MarkComplete() error    { return nil }
func (s storePiece) MarkNotComplete() error { return nil }
