package tracker

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker/balance"
)

const (
	// maxHeaderLine is the longest header line sent, name included: apt before
	// 1.0 gives up at 360 bytes.
	maxHeaderLine = 359
	// maxDuplicates is how many other holders Link headers name.
	maxDuplicates = 3
	// OriginQuery asks the host to serve the file itself: for a volunteer
	// that finds itself without the file a customer was sent for.
	OriginQuery = "origin"
)

// serveFile answers GET and HEAD of /MODULE/PATH.
func (t *Tracker) serveFile(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		t.plain(w, http.StatusMethodNotAllowed, "only GET and HEAD are possible here")
		return
	}
	module, path, dir, err := parsePath(r.URL.EscapedPath())
	if err != nil {
		t.warn("request refused", "from", r.RemoteAddr, "path", r.URL.EscapedPath()[:min(200, len(r.URL.EscapedPath()))], "reason", err)
		t.plain(w, http.StatusBadRequest, err.Error())
		return
	}
	m, ok := t.cfg.Catalog.Module(module)
	if !ok {
		t.plain(w, http.StatusNotFound, "no such module")
		return
	}
	if t.cfg.Allow != nil && !t.cfg.Allow(w, r, module) {
		return
	}
	if path == "" || dir {
		t.serveDir(w, r, m, path, dir)
		return
	}
	p, err := t.cfg.Catalog.File(module, path)
	switch {
	case errors.Is(err, ErrIsDir):
		t.serveDir(w, r, m, path, false)
		return
	case errors.Is(err, fs.ErrNotExist):
		t.serveDerived(w, r, module, path)
		return
	case err != nil:
		t.cfg.Log.Error("catalog", "module", module, "path", path, "error", err)
		t.plain(w, http.StatusInternalServerError, "the index of this module cannot be read")
		return
	}
	query := r.URL.RawQuery
	if query != "" && hasKey(query, "mirrorlist") {
		t.serveMirrorList(w, r, module, path, p)
		return
	}
	h := w.Header()
	etag := describe(h, p)
	if notModified(r, etag, p.Mtime) {
		t.metrics.served.WithLabelValues("not_modified").Inc()
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if !preconditions(r, etag, p.Mtime) {
		t.plain(w, http.StatusPreconditionFailed, "the file has another state")
		return
	}
	h["Accept-Ranges"] = []string{"bytes"}
	if m.Redirect && !p.FromHost && p.Size > 0 && (query == "" || !hasKey(query, OriginQuery)) {
		if t.redirect(w, r, module, path, p) {
			return
		}
	}
	if p.Gone && !p.FromHost {
		t.plain(w, http.StatusNotFound, "this file has left the repository")
		return
	}
	t.serveItself(w, r, module, path, p)
}

// describe sets the headers that tell which content this is. Digest is the old
// form (RFC 3230) of Repr-Digest (RFC 9530): aria2 checks what it got against
// it, also when it came in parts from several hosts.
func describe(h http.Header, p Published) (etag string) {
	var buf [100]byte
	etag = string(append(appendHex(append(buf[:0], '"'), p.ID[:]), '"'))
	h["Etag"] = []string{etag}
	h["Last-Modified"] = []string{p.Mtime.UTC().Format(http.TimeFormat)}
	b := append(buf[:0], "sha-256=:"...)
	b = base64.StdEncoding.AppendEncode(b, p.ID[:])
	h["Repr-Digest"] = []string{string(append(b, ':'))}
	h["Digest"] = []string{"SHA-256=" + string(b[len("sha-256=:"):])}
	return etag
}

// redirect sends the customer to a holder, false when there is none to send to.
func (t *Tracker) redirect(w http.ResponseWriter, r *http.Request, module, path string, p Published) bool {
	var namesBuf [64]string
	names, ok := t.holders(r.Context(), p.ID, namesBuf[:0])
	if !ok || len(names) == 0 {
		return false
	}
	bytes := int64(0)
	if r.Method == http.MethodGet {
		bytes = requestBytes(r, w.Header()["Etag"][0], p)
	}
	now := t.cfg.Now()
	vols := t.choose(names, p.ID, bytes, r.TLS != nil, now)
	if len(vols) == 0 {
		return false
	}
	target := t.target(vols[0], module, path, p.ID)
	if target == "" {
		return false
	}
	if len("Location: ")+len(target) > maxHeaderLine {
		t.metrics.served.WithLabelValues("long_path").Inc()
		return false
	}
	h := w.Header()
	h["Location"] = []string{target}
	// aria2 holds every answer to the first Digest that it was told: a
	// customer who is sent back, because the volunteer has something newer by
	// now, must get that.
	delete(h, "Digest")
	var links []string
	for _, v := range vols[1:] {
		if u := t.target(v, module, path, p.ID); u != "" {
			links = appendLink(links, u, "rel=duplicate")
		}
	}
	if t.cfg.PublicURL != "" {
		links = appendLink(links, t.href(module, path)+".meta4", `rel=describedby; type="application/metalink4+xml"`)
	}
	if len(links) > 0 {
		h["Link"] = links
	}
	h["Content-Length"] = []string{"0"}
	w.WriteHeader(http.StatusFound)
	t.metrics.redirects.Inc()
	t.metrics.redirectedBytes.Add(float64(bytes))
	if t.cfg.Probe != nil {
		t.prober.maybe(vols[0].name, target, p.ID, now)
	}
	return true
}

// holder is a volunteer that customers are sent to.
type holder struct{ name, url string }

// choose picks one of the holders, and up to maxDuplicates others behind it. It
// accounts for the bytes.
func (t *Tracker) choose(names []string, id content.ID, bytes int64, tls bool, now time.Time) []holder {
	var volsBuf [64]*vol
	var statesBuf [64]*balance.State
	vols, states := volsBuf[:0], statesBuf[:0]
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range names {
		v := t.vols[n]
		if t.servable(v, id, tls, now) {
			vols, states = append(vols, v), append(states, &v.state)
		}
	}
	i, ok := balance.Choose(states, now, t.rnd)
	if !ok {
		return nil
	}
	v := vols[i]
	v.state.Issue(bytes, now)
	v.redirects++
	v.issued += bytes
	t.issuedHere[v.name] += bytes
	chosen := append(make([]holder, 0, 1+maxDuplicates), holder{v.name, v.url})
	for k, off := 0, t.rnd.IntN(len(vols)); k < len(vols) && len(chosen) <= maxDuplicates; k++ {
		if o := vols[(off+k)%len(vols)]; o != v && o.state.Eligible(now) {
			chosen = append(chosen, holder{o.name, o.url})
		}
	}
	return chosen
}

// target is where a customer whom we have let into the module is sent for a
// content, "" where the volunteer would not let him in.
func (t *Tracker) target(v holder, module, path string, id content.ID) string {
	u := Target(v.url, module, path, id)
	if t.cfg.Closed == nil || !t.cfg.Closed(module) {
		return u
	}
	key, ok := t.cfg.Secrets.passKey(v.name)
	if !ok {
		return ""
	}
	return u + "&" + content.QueryPass + "=" + content.NewPass(key, module, id, t.cfg.Now().Add(content.PassTime))
}

// Target is where anybody is sent for a content.
func Target(base, module, path string, id content.ID) string {
	b := make([]byte, 0, len(base)+len(module)+len(path)+80)
	b = append(b, base...)
	b = escapePath(append(b, '/'), module)
	b = escapePath(append(b, '/'), path)
	b = append(b, "?"+QueryID+"="...)
	return string(appendHex(b, id[:]))
}

// href is the file's address at this host.
func (t *Tracker) href(module, path string) string {
	b := append([]byte(t.cfg.PublicURL), '/')
	return string(escapePath(append(escapePath(b, module), '/'), path))
}

// appendLink adds a Link header unless its line would be too long.
func appendLink(links []string, target, params string) []string {
	if len("Link: <>; ")+len(target)+len(params) > maxHeaderLine {
		return links
	}
	return append(links, "<"+target+">; "+params)
}

// serveItself lets the origin send the file, within the customer limit.
func (t *Tracker) serveItself(w http.ResponseWriter, r *http.Request, module, path string, p Published) {
	if t.serving != nil && !p.FromHost && r.Method == http.MethodGet {
		select {
		case t.serving <- struct{}{}:
			defer func() { <-t.serving }()
		default:
			w.Header().Set("Retry-After", "5")
			t.metrics.served.WithLabelValues("busy").Inc()
			t.plain(w, http.StatusServiceUnavailable, "as many customers as this host serves at a time; try again in some seconds")
			return
		}
	}
	if t.cfg.PublicURL != "" {
		if l := appendLink(nil, t.href(module, path)+".meta4", `rel=describedby; type="application/metalink4+xml"`); l != nil {
			w.Header()["Link"] = l
		}
	}
	t.metrics.served.WithLabelValues("origin").Inc()
	t.cfg.Origin.ServeFile(w, r, module, path, p)
}

// requestBytes is how much of the file the request asks for.
func requestBytes(r *http.Request, etag string, p Published) int64 {
	spec := r.Header.Get("Range")
	if spec == "" || !strings.HasPrefix(spec, "bytes=") {
		return p.Size
	}
	if ir := r.Header.Get("If-Range"); ir != "" && ir != etag {
		if d, err := http.ParseTime(ir); err != nil || !d.Equal(p.Mtime.Truncate(time.Second)) {
			return p.Size
		}
	}
	var sum int64
	for s := range strings.SplitSeq(spec[len("bytes="):], ",") {
		first, last, ok := strings.Cut(textproto.TrimString(s), "-")
		if !ok {
			return p.Size
		}
		a, errA := strconv.ParseInt(first, 10, 64)
		b, errB := strconv.ParseInt(last, 10, 64)
		switch {
		case first == "" && errB == nil && b >= 0:
			sum += min(b, p.Size)
		case errA == nil && a >= 0 && last == "":
			sum += max(0, p.Size-a)
		case errA == nil && errB == nil && a >= 0 && a <= b:
			sum += max(0, min(b, p.Size-1)-a+1)
		default:
			return p.Size
		}
		if sum >= p.Size || sum < 0 {
			return p.Size
		}
	}
	return min(sum, p.Size)
}

// notModified evaluates If-None-Match, else If-Modified-Since (RFC 9110, 13.2.2).
func notModified(r *http.Request, etag string, mtime time.Time) bool {
	if inm := r.Header["If-None-Match"]; len(inm) > 0 {
		return matches(inm, etag, true)
	}
	if ims := r.Header.Get("If-Modified-Since"); ims != "" {
		d, err := http.ParseTime(ims)
		return err == nil && !mtime.Truncate(time.Second).After(d)
	}
	return false
}

// preconditions evaluates If-Match, else If-Unmodified-Since.
func preconditions(r *http.Request, etag string, mtime time.Time) bool {
	if im := r.Header["If-Match"]; len(im) > 0 {
		return matches(im, etag, false)
	}
	if ius := r.Header.Get("If-Unmodified-Since"); ius != "" {
		d, err := http.ParseTime(ius)
		return err != nil || !mtime.Truncate(time.Second).After(d)
	}
	return true
}

func matches(lists []string, etag string, weak bool) bool {
	for _, l := range lists {
		for s := range strings.SplitSeq(l, ",") {
			s = textproto.TrimString(s)
			if weak {
				s = strings.TrimPrefix(s, "W/")
			}
			if s == "*" || s == etag {
				return true
			}
		}
	}
	return false
}

// hasKey reports whether a raw query has the parameter.
func hasKey(query, key string) bool {
	for s := range strings.SplitSeq(query, "&") {
		if k, _, _ := strings.Cut(s, "="); k == key {
			return true
		}
	}
	return false
}

// plain answers with a line of text.
func (t *Tracker) plain(w http.ResponseWriter, code int, text string) {
	h := w.Header()
	for _, k := range []string{"Etag", "Last-Modified", "Repr-Digest", "Digest", "Accept-Ranges", "Link"} {
		h.Del(k)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	t.metrics.served.WithLabelValues(fmt.Sprint(code)).Inc()
	w.WriteHeader(code)
	fmt.Fprintln(w, text)
}

func appendHex(dst, src []byte) []byte {
	const digits = "0123456789abcdef"
	for _, b := range src {
		dst = append(dst, digits[b>>4], digits[b&15])
	}
	return dst
}
