package host

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/index"
	"github.com/prsync/prsync/internal/tracker"
)

// maxURLPath bounds what is looked at of a request's path.
const maxURLPath = 3 * 4096

// ServeHTTP answers a volunteer's customers: /MODULE/PATH?id=CONTENT with that
// content, under whatever path it is held; without an id, what is held under
// the path. A customer whose content is not held (any more) is sent back to
// the central host.
func (v *volunteer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Server", v.o.software())
	if !reads(w, r) {
		return
	}
	switch r.URL.Path {
	case "/metrics":
		v.metrics.ServeHTTP(w, r)
		return
	case "/":
		send(w, r, "text/plain; charset=utf-8", fmt.Appendf(nil, "prsync volunteer %s of %s\n", v.started.Global.VolunteerName, v.central))
		return
	}
	name, path, err := splitPath(r.URL.EscapedPath())
	var id content.ID
	q := r.URL.Query()
	if err == nil && q.Has(tracker.QueryID) {
		id, err = content.ParseID(q.Get(tracker.QueryID))
	}
	if err != nil {
		if v.refusals.Allow() {
			v.o.Log.Warn("request refused", "from", r.RemoteAddr, "path", fmt.Sprintf("%.200s", r.URL.EscapedPath()), "reason", err)
		}
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if v.serving != nil && r.Method == http.MethodGet {
		select {
		case v.serving <- struct{}{}:
			defer func() { <-v.serving }()
		default:
			v.sendBack(w, r)
			return
		}
	}
	sent := content.CheckPass(v.passes, q.Get(content.QueryPass), name, id, time.Now())
	m, f, e, err := v.find(name, path, id, sent)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errChanged):
		v.sendBack(w, r)
		return
	case err != nil:
		v.o.Log.Error("a file cannot be read", "module", name, "path", path, "error", err)
		v.sendBack(w, r)
		return
	}
	defer f.Close()
	if !v.gate.allow(w, r, m.name) {
		return
	}
	h.Set("ETag", `"`+e.ID.String()+`"`)
	sum := base64.StdEncoding.EncodeToString(e.ID[:])
	h.Set("Repr-Digest", "sha-256=:"+sum+":")
	h.Set("Digest", "SHA-256="+sum)
	v.meter.serve(w, r, path, time.Unix(0, e.Mtime), f)
}

// sendBack sends a customer to the central host, which is to serve the file
// itself.
func (v *volunteer) sendBack(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Location", v.central+r.URL.EscapedPath()+"?"+tracker.OriginQuery)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusFound)
}

// find opens the content id, or with a zero id the file at the path. Only who
// has been sent for it by the central host (sent) gets what is not open.
func (v *volunteer) find(name, path string, id content.ID, sent bool) (*module, *heldFile, *index.Entry, error) {
	if m := v.ms.get(name); m != nil {
		if !sent && !v.open(m) {
			return nil, nil, nil, fs.ErrNotExist
		}
		if view := m.view.Load(); view != nil {
			e, err := view.Lookup(path)
			if err == nil && e.Retired.IsZero() && (id.IsZero() || e.ID == id) {
				if f, err := openEntry(m.root, &e); err == nil {
					return m, f, &e, nil
				}
			}
		}
	}
	if id.IsZero() {
		return nil, nil, nil, fs.ErrNotExist
	}
	for _, m := range v.ms.all() {
		view := m.view.Load()
		if view == nil || !view.Holds(id) {
			continue
		}
		// Who was sent for a module's file is not asked for another's password.
		if m.name != name && (!m.conf.PublicByDefault() || !sent && !v.open(m)) {
			continue
		}
		names, err := view.Names(id, maxTried)
		if err != nil {
			continue
		}
		for i := range names {
			if f, err := openEntry(m.root, &names[i]); err == nil {
				return m, f, &names[i], nil
			}
		}
	}
	return nil, nil, nil, fs.ErrNotExist
}

// splitPath splits an escaped URL path into module and path. "." and ".."
// elements, escaped slashes and control characters are errors.
func splitPath(escaped string) (module, path string, err error) {
	bad := errors.New("malformed path")
	if len(escaped) > maxURLPath {
		return "", "", bad
	}
	var elems []string
	for e := range strings.SplitSeq(escaped, "/") {
		if e == "" {
			continue
		}
		u, err := url.PathUnescape(e)
		if err != nil || u == "." || u == ".." || strings.ContainsFunc(u, func(c rune) bool { return c == '/' || c < ' ' || c == 0x7f }) {
			return "", "", bad
		}
		elems = append(elems, u)
	}
	if len(elems) == 0 {
		return "", "", bad
	}
	return elems[0], strings.Join(elems[1:], "/"), nil
}
