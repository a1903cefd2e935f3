// Package swarmtest is a central host for tests: just enough of a tracker, the
// real origin, and packs of random contents.
package swarmtest

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/origin"
)

// Hub is a central host at a port of its own.
type Hub struct {
	t      testing.TB
	srv    *httptest.Server
	Origin *origin.Handler
	blobs  map[content.InfoHash]*Blob

	// TrackerDead and OriginDead make these parts drop every request; DeadTo
	// does so for the ranges that one peer asks for.
	TrackerDead, OriginDead atomic.Bool
	DeadTo                  atomic.Value // its id, a string
	// Closed makes all packs closed to those who are not listed.
	Closed   atomic.Bool
	interval int // of announces, in seconds

	mu    sync.Mutex
	peers map[content.InfoHash]map[string]*hubPeer
	bad   []string
	stops int
}

type hubPeer struct {
	content.ReplyPeer
	left int64
}

// Blob is a pack with all its bytes.
type Blob struct {
	Pack  *content.Pack
	Bytes []byte

	mu      sync.Mutex
	removed map[int]bool
	broken  int64 // reads that contain this byte fail, unless it is 0
}

// Remove takes the content of entry i out of the repository.
func (b *Blob) Remove(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.removed == nil {
		b.removed = map[int]bool{}
	}
	b.removed[i] = true
}

// Break makes reads of the byte at off fail, unforeseen.
func (b *Blob) Break(off int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = off
}

// reader reads the blob as far as it is there.
type reader struct{ b *Blob }

func (r reader) ReadAt(p []byte, off int64) (int, error) {
	r.b.mu.Lock()
	broken := r.b.broken
	r.b.mu.Unlock()
	if end := off + int64(len(p)); !r.Has(off, end) || broken > 0 && off <= broken && broken < end {
		return 0, errors.New("not there any more")
	}
	return bytes.NewReader(r.b.Bytes).ReadAt(p, off)
}

// Reader returns what the host reads the blob with.
func (b *Blob) Reader() io.ReaderAt { return reader{b} }

// Has implements origin.Holder.
func (r reader) Has(off, end int64) bool {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	for i := r.b.Pack.At(off); i < len(r.b.Pack.Entries) && r.b.Pack.Entries[i].Offset < end; i++ {
		if r.b.removed[i] {
			return false
		}
	}
	return true
}

// NewHub starts a host that publishes the blobs; it ends with the test.
func NewHub(t testing.TB, cfg origin.Config, blobs ...*Blob) *Hub {
	h := &Hub{
		t: t, blobs: map[content.InfoHash]*Blob{}, interval: 1,
		peers: map[content.InfoHash]map[string]*hubPeer{},
	}
	for _, b := range blobs {
		h.blobs[b.Pack.InfoHash] = b
	}
	h.Origin = origin.New(func(ih content.InfoHash) (*content.Pack, io.ReaderAt, error) {
		if b := h.blobs[ih]; b != nil {
			return b.Pack, b.Reader(), nil
		}
		return nil, nil, origin.ErrUnknownPack
	}, cfg)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /announce", h.announce)
	mux.HandleFunc("POST "+content.PathLocate, h.locate)
	mux.HandleFunc("GET "+content.PathPack, h.metainfo)
	mux.HandleFunc("GET "+content.PathBlob, func(w http.ResponseWriter, r *http.Request) {
		dead, _ := h.DeadTo.Load().(string)
		if h.OriginDead.Load() || dead != "" && r.Header.Get(origin.HeaderPeer) == hex.EncodeToString([]byte(dead)) {
			panic(http.ErrAbortHandler)
		}
		h.Origin.ServeHTTP(w, r)
	})
	h.srv = httptest.NewUnstartedServer(mux)
	h.srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	h.srv.Start()
	t.Cleanup(h.srv.Close)
	return h
}

// Offer is what the host would send to a client.
func (h *Hub) Offer() content.Offer { return content.Offer{URL: h.srv.URL, Module: "m"} }

func (h *Hub) announce(w http.ResponseWriter, r *http.Request) {
	if h.TrackerDead.Load() {
		panic(http.ErrAbortHandler)
	}
	body, _ := io.ReadAll(r.Body)
	req, err := content.DecodeAnnounceRequest(body)
	if err != nil {
		h.t.Errorf("announce: %v", err)
		http.Error(w, err.Error(), 400)
		return
	}
	reply := content.AnnounceReply{Interval: h.interval}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ap := range req.Packs {
		ih := content.InfoHash([]byte(ap.InfoHash))
		h.bad = append(h.bad, ap.BadPeers...)
		if h.peers[ih] == nil {
			h.peers[ih] = map[string]*hubPeer{}
		}
		rp := content.ReplyPack{InfoHash: ap.InfoHash}
		if h.Closed.Load() {
			rp.Closed = 1
		}
		for id, p := range h.peers[ih] {
			if id != req.PeerID {
				rp.Peers = append(rp.Peers, p.ReplyPeer)
			}
		}
		if ap.Event == content.EventStopped {
			h.stops++
			delete(h.peers[ih], req.PeerID)
		} else {
			p := &hubPeer{left: ap.Left}
			p.PeerID, p.IP, p.Port = req.PeerID, "127.0.0.1", req.Port
			if ap.Left == 0 {
				p.Seed = 1
			}
			h.peers[ih][req.PeerID] = p
		}
		reply.Packs = append(reply.Packs, rp)
	}
	w.Write(reply.Encode())
}

func (h *Hub) locate(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	req, err := content.DecodeLocateRequest(body)
	if err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	var reply content.LocateReply
	index := map[content.InfoHash]int{}
	for ids := req.IDs; len(ids) > 0; ids = ids[32:] {
		at := -1
		for ih, b := range h.blobs {
			if b.Pack.Find(content.ID(ids[:32])) < 0 {
				continue
			}
			k, ok := index[ih]
			if !ok {
				k = len(index)
				index[ih] = k
				reply.InfoHashes = append(reply.InfoHashes, ih[:]...)
			}
			at = k
		}
		reply.Pack = append(reply.Pack, at)
	}
	w.Write(reply.Encode())
}

func (h *Hub) metainfo(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, content.PathPack), ".torrent")
	ih, err := content.ParseInfoHash(name)
	if b := h.blobs[ih]; err == nil && b != nil {
		w.Write(b.Pack.Metainfo(h.srv.URL+"/announce", []string{h.srv.URL + content.PathBlob + name}))
		return
	}
	http.NotFound(w, r)
}

// BadPeers returns the addresses that were reported.
func (h *Hub) BadPeers() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.bad...)
}

// Copies is how often the Blob left the origin.
func (h *Hub) Copies(b *Blob) float64 { return float64(h.Origin.Sent()) / float64(b.Pack.Length) }

// NewBlob packs contents of the given sizes; those of a piece and more begin
// at a piece.
func NewBlob(seed uint64, sizes ...int) *Blob {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 7})
	b := &Blob{Pack: &content.Pack{Name: fmt.Sprintf("m-%06d.pack", seed)}}
	total := 0
	for _, n := range sizes {
		total += n
	}
	pl := content.PieceLengthFor(int64(total))
	b.Pack.PieceLength = pl
	for _, n := range sizes {
		if rest := int64(len(b.Bytes)) % pl; rest != 0 && int64(n) >= pl {
			b.Bytes = append(b.Bytes, make([]byte, pl-rest)...)
		}
		off := len(b.Bytes)
		data := make([]byte, n)
		rng.Read(data)
		b.Bytes = append(b.Bytes, data...)
		b.Pack.Entries = append(b.Pack.Entries, content.Entry{
			ID: sha256.Sum256(data), Offset: int64(off), Length: int64(n),
		})
	}
	b.Pack.Length = int64(len(b.Bytes))
	for off := int64(0); off < b.Pack.Length; off += pl {
		sum := sha1.Sum(b.Bytes[off:min(off+pl, b.Pack.Length)])
		b.Pack.Pieces = append(b.Pack.Pieces, sum[:]...)
	}
	b.Pack.Seal()
	return b
}

// Content returns the bytes of entry i.
func (b *Blob) Content(i int) []byte {
	e := b.Pack.Entries[i]
	return b.Bytes[e.Offset : e.Offset+e.Length]
}

// Stops returns how many packs were announced as stopped.
func (h *Hub) Stops() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stops
}

// Peers returns how many peers of the blob's pack are known.
func (h *Hub) Peers(b *Blob) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.peers[b.Pack.InfoHash])
}

// CutConnections closes every connection to the host.
func (h *Hub) CutConnections() { h.srv.CloseClientConnections() }

// Close ends the host before the test does.
func (h *Hub) Close() { h.srv.Close() }
