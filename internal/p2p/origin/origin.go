// Package origin serves packs over HTTP ranges: what the central host, the
// origin of every pack, does for prsync peers and for standard clients that
// use it as a web seed (BEP 19).
//
// prsync peers share the pieces out among themselves (content.Owner) and ask
// the origin each for its own. They say with the header Prsync-Claim how much
// they need what they ask for:
//
//	own    the piece is mine to fetch; refused when it went out lately
//	spare  I have nothing else to do; refused while the origin is busy with
//	       pieces that have not gone out at all
//	must   nobody I can reach has it; never refused
//	part   I take only what I need of it: the rest of the piece is gone
//
// A refusal is 409 Conflict with Retry-After; its body is a bit field of the
// pieces that went out lately, first piece first, most significant bit first,
// so that the peer can choose better. Of a range whose first piece is granted,
// the answer ends before the first piece that is not: 206 with a shorter
// Content-Range. 410 Gone means that the range has bytes, in its first piece, of
// a content that has left the repository: nobody gets the whole piece here, but
// the contents beside that one are there. 429 and 503 mean what they always mean.
package origin

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/prsync/prsync/internal/content"
)

// The request's headers, and the values of Claim.
const (
	HeaderClaim = "Prsync-Claim"
	HeaderPeer  = "Prsync-Peer" // hexadecimal peer id of who asks

	ClaimOwn   = "own"
	ClaimSpare = "spare"
	ClaimMust  = "must"
	ClaimPart  = "part"
)

// ErrUnknownPack is what a Source returns for a pack that it does not publish;
// it becomes 404.
var ErrUnknownPack = errors.New("unknown pack")

// Source finds a pack and a reader of its virtual blob. It is called for every
// request; the reader is closed afterwards if it is an io.Closer.
type Source func(content.InfoHash) (*content.Pack, io.ReaderAt, error)

// Holder is implemented by readers of packs that know without reading whether
// all contents from off up to end of the blob are still there.
type Holder interface{ Has(off, end int64) bool }

// Config are the settings of a Handler; the zero value works.
type Config struct {
	// Uplink limits what leaves, in bytes per second; 0 is unlimited.
	Uplink int64
	// Wait takes the place of Uplink: it returns when so many bytes may leave.
	Wait func(ctx context.Context, n int) error
	// MaxRequests limits the requests served at a time; beyond it the answer
	// is 429. 0 means 1000.
	MaxRequests int
	// Fresh is how long a piece that went out counts as being in the swarm;
	// 0 means 20 s.
	Fresh time.Duration
	// Second copies are given away when every piece has gone out and none for
	// the first time since Idle, 0 means 300 ms; or, while some have not gone
	// out (nobody may want them), since Quiet, 0 means 2 s.
	Idle, Quiet time.Duration
	// Stalled is how long a peer may take nothing of an answer; 0 means 2 min.
	Stalled time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Handler serves content.PathBlob. It is safe for concurrent use.
type Handler struct {
	source  Source
	cfg     Config
	limiter *rate.Limiter
	serving atomic.Int64
	sent    atomic.Int64

	mu    sync.Mutex
	packs map[content.InfoHash]*ledger
}

// New returns a handler of GET and HEAD under content.PathBlob.
func New(source Source, cfg Config) *Handler {
	if cfg.MaxRequests <= 0 {
		cfg.MaxRequests = 1000
	}
	if cfg.Fresh <= 0 {
		cfg.Fresh = 20 * time.Second
	}
	if cfg.Idle <= 0 {
		cfg.Idle = 300 * time.Millisecond
	}
	if cfg.Quiet <= 0 {
		cfg.Quiet = 2 * time.Second
	}
	if cfg.Stalled <= 0 {
		cfg.Stalled = 2 * time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &Handler{source: source, cfg: cfg, packs: map[content.InfoHash]*ledger{}}
	if cfg.Uplink > 0 {
		h.limiter = rate.NewLimiter(rate.Limit(cfg.Uplink), 2*chunk)
	}
	return h
}

// Sent returns the payload bytes that left.
func (h *Handler) Sent() int64 { return h.sent.Load() }

// Forget drops what is known about a pack that is published no more.
func (h *Handler) Forget(ih content.InfoHash) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.packs, ih)
}

// Left says that a peer, whose 20-byte id is given, has left a pack's swarm:
// the pieces that only went out to it are given to others at once.
func (h *Handler) Left(ih content.InfoHash, peerID string) {
	h.mu.Lock()
	l := h.packs[ih]
	h.mu.Unlock()
	if l != nil {
		l.left(hex.EncodeToString([]byte(peerID)))
	}
}

func (h *Handler) ledger(p *content.Pack) *ledger {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.packs[p.InfoHash]
	if l == nil {
		l = newLedger(p.NumPieces())
		h.packs[p.InfoHash] = l
	}
	return l
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	ih, err := content.ParseInfoHash(strings.TrimPrefix(r.URL.Path, content.PathBlob))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	p, blob, err := h.source(ih)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, ErrUnknownPack) {
			status = http.StatusNotFound
		}
		http.Error(w, err.Error(), status)
		return
	}
	if c, ok := blob.(io.Closer); ok {
		defer c.Close()
	}
	if h.serving.Add(1) > int64(h.cfg.MaxRequests) {
		h.serving.Add(-1)
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests at a time", http.StatusTooManyRequests)
		return
	}
	defer h.serving.Add(-1)
	h.serve(w, r, p, blob)
}

// serve answers for one pack.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, p *content.Pack, blob io.ReaderAt) {
	header := w.Header()
	header.Set("Accept-Ranges", "bytes")
	header.Set("Content-Type", "application/octet-stream")
	header.Set("ETag", `"`+p.InfoHash.String()+`"`)
	claim := r.Header.Get(HeaderClaim)
	off, end, whole, err := parseRange(r.Header.Get("Range"), p.Length)
	if err != nil {
		header.Set("Content-Range", "bytes */"+strconv.FormatInt(p.Length, 10))
		http.Error(w, err.Error(), http.StatusRequestedRangeNotSatisfiable)
		return
	}
	if claim != "" && r.Method == http.MethodGet {
		first, last := int(off/p.PieceLength), int((end-1)/p.PieceLength)
		held := heldPieces(p, blob, off, end)
		if held == 0 {
			gone(w)
			return
		}
		if claim == ClaimPart {
			var sent int64
			h.answer(w, r, p.Length, off, end, false, blob, &sent)
			return
		}
		l := h.ledger(p)
		granted := l.claim(first, min(last+1, first+held), claim, r.Header.Get(HeaderPeer), h.cfg)
		if granted == 0 {
			header.Set("Retry-After", "1")
			header.Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusConflict)
			w.Write(l.out(h.cfg))
			return
		}
		end = min(end, int64(first+granted)*p.PieceLength)
		whole = false
		sent := off
		defer func() { l.release(first, first+granted, int(sent/p.PieceLength), sent >= end, h.cfg) }()
		h.answer(w, r, p.Length, off, end, whole, blob, &sent)
		return
	}
	var sent int64
	h.answer(w, r, p.Length, off, end, whole, blob, &sent)
}

// heldPieces is of how many pieces, from the first on, everything that the
// range has of them is there.
func heldPieces(p *content.Pack, blob io.ReaderAt, off, end int64) (n int) {
	holder, ok := blob.(Holder)
	for ; off < end; n++ {
		next := min(end, (off/p.PieceLength+1)*p.PieceLength)
		if ok && !holder.Has(off, next) {
			return n
		}
		off = next
	}
	return n
}

// gone says that the first piece of the range is not there any more.
func gone(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusGone)
}

// answer writes the bytes from off to end and keeps *at at what was written.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, length, off, end int64, whole bool, blob io.ReaderAt, at *int64) {
	header := w.Header()
	header.Set("Content-Length", strconv.FormatInt(end-off, 10))
	status := http.StatusOK
	if !whole {
		status = http.StatusPartialContent
		header.Set("Content-Range", "bytes "+strconv.FormatInt(off, 10)+"-"+
			strconv.FormatInt(end-1, 10)+"/"+strconv.FormatInt(length, 10))
	}
	*at = off
	if r.Method == http.MethodHead {
		w.WriteHeader(status)
		return
	}
	control := http.NewResponseController(w)
	buf := buffers.Get().(*[chunk]byte)
	defer buffers.Put(buf)
	started := false
	for *at < end {
		b := buf[:min(int64(len(buf)), end-*at)]
		n, err := blob.ReadAt(b, *at)
		if n < len(b) && err != nil {
			// A file of the pack has changed or is gone.
			if !started {
				header.Del("Content-Length")
				header.Del("Content-Range")
				if r.Header.Get(HeaderClaim) != "" {
					gone(w)
					return
				}
				http.Error(w, "the content is not available", http.StatusServiceUnavailable)
				return
			}
			panic(http.ErrAbortHandler) // cuts the connection: the answer is short
		}
		if err := h.wait(r.Context(), len(b)); err != nil {
			return
		}
		control.SetWriteDeadline(time.Now().Add(h.cfg.Stalled))
		if !started {
			w.WriteHeader(status)
			started = true
		}
		n, err = w.Write(b)
		*at += int64(n)
		h.sent.Add(int64(n))
		if err != nil {
			return
		}
	}
}

const chunk = 32 << 10

var buffers = sync.Pool{New: func() any { return new([chunk]byte) }}

func (h *Handler) wait(ctx context.Context, n int) error {
	switch {
	case h.cfg.Wait != nil:
		return h.cfg.Wait(ctx, n)
	case h.limiter == nil:
		return nil
	}
	return h.limiter.WaitN(ctx, n)
}

var errRange = errors.New("range not satisfiable: this server answers one range of bytes at a time")

// parseRange returns the half-open range that a Range header asks for; whole
// when there is none. Several ranges in one request are refused.
func parseRange(s string, length int64) (off, end int64, whole bool, err error) {
	if s == "" {
		return 0, length, true, nil
	}
	spec, ok := strings.CutPrefix(s, "bytes=")
	first, last, ok2 := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok || !ok2 || strings.Contains(spec, ",") {
		return 0, 0, false, errRange
	}
	if first == "" { // the last n bytes
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n <= 0 {
			return 0, 0, false, errRange
		}
		return max(length-n, 0), length, false, nil
	}
	off, err = strconv.ParseInt(first, 10, 64)
	if err != nil || off < 0 || off >= length {
		return 0, 0, false, errRange
	}
	end = length
	if last != "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < off {
			return 0, 0, false, errRange
		}
		if n < length-1 {
			end = n + 1
		}
	}
	return off, end, false, nil
}
