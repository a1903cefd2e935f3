package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/origin"
)

// prefixSwarm is where the swarm's look-ups are; everything else over HTTP is
// the tracker's.
const prefixSwarm = "/.prsync/"

// swarmHandler answers what content.Path… names.
type swarmHandler struct {
	ms    *modules
	packs *packCache
	blobs *origin.Handler
	gate  *gatekeeper
	// url is the host's address for a request.
	url     func(*http.Request) string
	lookups *lookups
	company company
	// peers counts the peers of all packs of a module.
	peers func(context.Context, *module) (int, error)
	quit  <-chan struct{} // closed when the host ends
}

func (h *swarmHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := r.URL.Path
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case strings.HasPrefix(p, content.PathBlob):
		h.serveBlob(w, r)
	case strings.HasPrefix(p, content.PathPack):
		h.servePack(w, r)
	case strings.HasPrefix(p, content.PathSignature):
		h.serveSignature(w, r)
	case strings.HasPrefix(p, content.PathCompany):
		h.serveCompany(w, r)
	case p == content.PathLookup:
		h.serveLookup(w, r)
	case p == content.PathLocate:
		h.serveLocate(w, r)
	default:
		http.NotFound(w, r)
	}
}

// pack finds the pack that a path names and whether the client may have it.
func (h *swarmHandler) pack(w http.ResponseWriter, r *http.Request, hex string) (ih content.InfoHash, ok bool) {
	ih, err := content.ParseInfoHash(hex)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return ih, false
	}
	name, ok := catalog{h.ms}.Pack(ih)
	if !ok {
		http.Error(w, "no such pack; the module may have been packed anew", http.StatusNotFound)
		return ih, false
	}
	return ih, h.gate.allow(w, r, name)
}

func (h *swarmHandler) serveBlob(w http.ResponseWriter, r *http.Request) {
	if _, ok := h.pack(w, r, strings.TrimPrefix(r.URL.Path, content.PathBlob)); ok {
		h.blobs.ServeHTTP(w, r)
	}
}

// reads reports whether the method only reads; if not it has answered.
func reads(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	http.Error(w, "only GET and HEAD are possible here", http.StatusMethodNotAllowed)
	return false
}

func (h *swarmHandler) servePack(w http.ResponseWriter, r *http.Request) {
	hex, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, content.PathPack), ".torrent")
	if !ok {
		http.NotFound(w, r)
		return
	}
	if !reads(w, r) {
		return
	}
	ih, ok := h.pack(w, r, hex)
	if !ok {
		return
	}
	p, blob, err := h.packs.get(ih)
	if err != nil {
		unavailable(w, err)
		return
	}
	defer blob.(io.Closer).Close()
	url := h.url(r)
	body := p.Metainfo(url+"/announce", []string{url + content.PathBlob + hex})
	w.Header().Set("Content-Disposition", `attachment; filename="`+hex+`.torrent"`)
	send(w, r, "application/x-bittorrent", body)
}

func (h *swarmHandler) serveSignature(w http.ResponseWriter, r *http.Request) {
	if !reads(w, r) {
		return
	}
	id, err := content.ParseID(strings.TrimPrefix(r.URL.Path, content.PathSignature))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	for _, m := range h.ms.all() {
		v := m.view.Load()
		if v == nil || !m.conf.SwarmEnabled() {
			continue
		}
		if c, err := v.Content(id); err != nil || !c.Signed {
			continue
		}
		if !h.gate.allow(w, r, m.name) {
			return
		}
		b, err := v.SignatureBytes(id)
		if err != nil {
			unavailable(w, err)
			return
		}
		w.Header().Set("ETag", `"`+id.String()+`"`)
		send(w, r, "application/octet-stream", b)
		return
	}
	http.Error(w, "no signature of that content", http.StatusNotFound)
}

// message reads a POSTed look-up, for a module that the client may see.
func (h *swarmHandler) message(w http.ResponseWriter, r *http.Request, limit int64, decode func([]byte) (module string, err error)) *view {
	fail := func(code int, reason string) *view {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(code)
		// Both replies have the same form while they fail.
		w.Write((&content.LookupReply{Failure: reason}).Encode())
		return nil
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		return fail(http.StatusMethodNotAllowed, "look-ups are POSTed")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		code := http.StatusBadRequest
		if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
			code = http.StatusRequestEntityTooLarge
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fail(http.StatusRequestTimeout, "the look-up comes too slowly, or while others wait")
		}
		return fail(code, err.Error())
	}
	name, err := decode(body)
	if err != nil {
		return fail(http.StatusBadRequest, err.Error())
	}
	m := h.ms.get(name)
	if m == nil || !m.conf.SwarmEnabled() {
		return fail(http.StatusNotFound, fmt.Sprintf("module %.100q is not in the swarm here", name))
	}
	if !h.gate.allow(w, r, name) {
		return nil
	}
	v := m.view.Load()
	if v == nil {
		w.Header().Set("Retry-After", "5")
		return fail(http.StatusServiceUnavailable, errNotYet.Error())
	}
	return v
}

func (h *swarmHandler) serveLookup(w http.ResponseWriter, r *http.Request) {
	done, ok := h.lookups.enter(w, r, content.MaxLookupRequest)
	if !ok {
		return
	}
	defer done()
	var q *content.LookupRequest
	v := h.message(w, r, content.MaxLookupRequest, func(b []byte) (_ string, err error) {
		if q, err = content.DecodeLookupRequest(b); err != nil {
			return "", err
		}
		return q.Module, nil
	})
	if v == nil {
		return
	}
	a, err := v.AnswerLookup(q)
	if err != nil {
		unavailable(w, err)
		return
	}
	send(w, r, "text/plain", a.Encode())
}

func (h *swarmHandler) serveLocate(w http.ResponseWriter, r *http.Request) {
	done, ok := h.lookups.enter(w, r, content.MaxLocateRequest)
	if !ok {
		return
	}
	defer done()
	var q *content.LocateRequest
	v := h.message(w, r, content.MaxLocateRequest, func(b []byte) (_ string, err error) {
		if q, err = content.DecodeLocateRequest(b); err != nil {
			return "", err
		}
		return q.Module, nil
	})
	if v == nil {
		return
	}
	a, err := v.AnswerLocate(q)
	if err != nil {
		unavailable(w, err)
		return
	}
	send(w, r, "text/plain", a.Encode())
}

// unavailable answers for something that is published but cannot be read now.
func unavailable(w http.ResponseWriter, err error) {
	code := http.StatusServiceUnavailable
	if errors.Is(err, origin.ErrUnknownPack) {
		code = http.StatusNotFound
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, "not available now: the module is changing", code)
}

func send(w http.ResponseWriter, r *http.Request, kind string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}
