package engine

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/origin"
)

// hub is a central host: just enough of a tracker, and the real origin.
type hub struct {
	t      testing.TB
	srv    *httptest.Server
	origin *origin.Handler
	blobs  map[content.InfoHash]*blob

	trackerDead, originDead atomic.Bool
	interval                int

	mu    sync.Mutex
	peers map[content.InfoHash]map[string]*hubPeer
	bad   []string
	stops int
}

type hubPeer struct {
	content.ReplyPeer
	left int64
}

// blob is a pack with all its bytes.
type blob struct {
	pack  *content.Pack
	bytes []byte
}

func newHub(t testing.TB, cfg origin.Config, blobs ...*blob) *hub {
	h := &hub{
		t: t, blobs: map[content.InfoHash]*blob{}, interval: 1,
		peers: map[content.InfoHash]map[string]*hubPeer{},
	}
	for _, b := range blobs {
		h.blobs[b.pack.InfoHash] = b
	}
	h.origin = origin.New(func(ih content.InfoHash) (*content.Pack, io.ReaderAt, error) {
		if b := h.blobs[ih]; b != nil {
			return b.pack, bytes.NewReader(b.bytes), nil
		}
		return nil, nil, origin.ErrUnknownPack
	}, cfg)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /announce", h.announce)
	mux.HandleFunc("POST "+content.PathLocate, h.locate)
	mux.HandleFunc("GET "+content.PathPack, h.metainfo)
	mux.HandleFunc("GET "+content.PathBlob, func(w http.ResponseWriter, r *http.Request) {
		if h.originDead.Load() {
			panic(http.ErrAbortHandler)
		}
		h.origin.ServeHTTP(w, r)
	})
	h.srv = httptest.NewUnstartedServer(mux)
	h.srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	h.srv.Start()
	t.Cleanup(h.srv.Close)
	return h
}

func (h *hub) offer() content.Offer { return content.Offer{URL: h.srv.URL, Module: "m"} }

func (h *hub) announce(w http.ResponseWriter, r *http.Request) {
	if h.trackerDead.Load() {
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

func (h *hub) locate(w http.ResponseWriter, r *http.Request) {
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
			if b.pack.Find(content.ID(ids[:32])) < 0 {
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

func (h *hub) metainfo(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, content.PathPack), ".torrent")
	ih, err := content.ParseInfoHash(name)
	if b := h.blobs[ih]; err == nil && b != nil {
		w.Write(b.pack.Metainfo(h.srv.URL+"/announce", []string{h.srv.URL + content.PathBlob + name}))
		return
	}
	http.NotFound(w, r)
}

func (h *hub) badPeers() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.bad...)
}

// copies is how often the blob left the origin.
func (h *hub) copies(b *blob) float64 { return float64(h.origin.Sent()) / float64(b.pack.Length) }

// newBlob packs contents of the given sizes; those of a piece and more begin
// at a piece.
func newBlob(seed uint64, sizes ...int) *blob {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 7})
	b := &blob{pack: &content.Pack{Name: fmt.Sprintf("m-%06d.pack", seed)}}
	total := 0
	for _, n := range sizes {
		total += n
	}
	pl := content.PieceLengthFor(int64(total))
	b.pack.PieceLength = pl
	for _, n := range sizes {
		if rest := int64(len(b.bytes)) % pl; rest != 0 && int64(n) >= pl {
			b.bytes = append(b.bytes, make([]byte, pl-rest)...)
		}
		off := len(b.bytes)
		data := make([]byte, n)
		rng.Read(data)
		b.bytes = append(b.bytes, data...)
		b.pack.Entries = append(b.pack.Entries, content.Entry{
			ID: sha256.Sum256(data), Offset: int64(off), Length: int64(n),
		})
	}
	b.pack.Length = int64(len(b.bytes))
	for off := int64(0); off < b.pack.Length; off += pl {
		sum := sha1.Sum(b.bytes[off:min(off+pl, b.pack.Length)])
		b.pack.Pieces = append(b.pack.Pieces, sum[:]...)
	}
	b.pack.Seal()
	return b
}

func (b *blob) content(i int) []byte {
	e := b.pack.Entries[i]
	return b.bytes[e.Offset : e.Offset+e.Length]
}

// peer is an engine in this process with what was asked of it.
type peer struct {
	t  testing.TB
	e  *Engine
	d  string
	mu sync.Mutex
	f  map[uint64]string
	// what is outstanding, and the last events
	open   map[uint64]bool
	ends   map[uint64]content.Event
	totals [3]int64
	done   chan struct{}
}

func newPeer(t testing.TB, cfg Config) *peer {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, e: e, d: t.TempDir(), f: map[uint64]string{}, open: map[uint64]bool{},
		ends: map[uint64]content.Event{}, done: make(chan struct{}, 1)}
	t.Cleanup(func() { e.Close() })
	return p
}

func (p *peer) event(ev content.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, n := range ev.Bytes {
		p.totals[i] += n
	}
	if ev.Done {
		p.ends[ev.Tag] = ev
		delete(p.open, ev.Tag)
		if len(p.open) == 0 {
			select {
			case p.done <- struct{}{}:
			default:
			}
		}
	}
}

// fetch asks for entry i of b; the file begins as given.
func (p *peer) fetch(o content.Offer, b *blob, i int, begin []byte, have ...content.Range) *want {
	p.t.Helper()
	path := filepath.Join(p.d, fmt.Sprint(b.pack.Name, i))
	if err := os.WriteFile(path, begin, 0o600); err != nil {
		p.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	en := b.pack.Entries[i]
	p.mu.Lock()
	tag := uint64(len(p.f))
	p.f[tag] = path
	p.open[tag] = true
	p.mu.Unlock()
	w := &want{sink: p, tag: tag, id: en.ID, length: en.Length, file: f, have: have}
	c, err := p.e.catalog(o)
	if err != nil {
		p.t.Fatal(err)
	}
	c.add(w)
	return w
}

func (p *peer) fetchAll(o content.Offer, b *blob) {
	for i := range b.pack.Entries {
		p.fetch(o, b, i, nil)
	}
}

// wait blocks until everything asked for has ended.
func (p *peer) wait(d time.Duration) {
	p.t.Helper()
	timeout := time.After(d)
	for {
		p.mu.Lock()
		n := len(p.open)
		p.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-p.done:
		case <-timeout:
			for _, q := range p.e.allPacks() {
				p.t.Log(q.describe())
			}
			p.t.Fatalf("%d contents are not finished after %v", n, d)
		}
	}
}

// check verifies that every file asked for is right.
func (p *peer) check(b *blob) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for tag, ev := range p.ends {
		if ev.Err != nil {
			p.t.Errorf("content %d: %v", tag, ev.Err)
			continue
		}
		got, err := os.ReadFile(p.f[tag])
		if err != nil {
			p.t.Fatal(err)
		}
		if b.pack.Find(sha256.Sum256(got)) < 0 {
			p.t.Errorf("content %d: %d bytes that are none of the pack's", tag, len(got))
		}
	}
}

// describe tells what a pack is doing, for failed tests.
func (p *pack) describe() string {
	conns := p.t.PeerConns()
	p.mu.Lock()
	defer p.mu.Unlock()
	var incomplete, enabled, atOrigin, refused, mine int
	for i := range p.pieces {
		pc := &p.pieces[i]
		if pc.wanted > 0 && !pc.complete {
			incomplete++
			if pc.enabled {
				enabled++
			}
			if pc.origin {
				atOrigin++
			}
			if !pc.refused.IsZero() {
				refused++
			}
			if p.plan.mine[i] {
				mine++
			}
		}
	}
	return fmt.Sprintf("%s: left %d, pieces incomplete %d enabled %d origin %d refused %d mine %d, ids %d, conns %d, kicks %d",
		p.meta.Name, p.left, incomplete, enabled, atOrigin, refused, mine, len(p.plan.ids), len(conns), p.plan.kicks)
}
