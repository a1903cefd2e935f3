package tracker

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// maxListed is how many holders a metalink or a mirror list names.
const maxListed = 40

// serveDerived answers for a path that is no file: FILE.meta4 and FILE.torrent
// of a file that is one.
func (t *Tracker) serveDerived(w http.ResponseWriter, r *http.Request, module, name string) {
	for _, suffix := range []string{".meta4", ".torrent"} {
		base, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		p, err := t.cfg.Catalog.File(module, base)
		if err != nil {
			break
		}
		if suffix == ".meta4" {
			t.serveMetalink(w, r, module, base, p)
			return
		}
		if h, ok := t.cfg.Catalog.PackOf(module, p.ID); ok {
			// The torrent is that of the pack the file is part of.
			w.Header().Set("Location", content.PathPack+h.String()+".torrent")
			t.metrics.served.WithLabelValues("torrent").Inc()
			w.WriteHeader(http.StatusFound)
			return
		}
	}
	t.plain(w, http.StatusNotFound, "no such file")
}

// metalink is RFC 5854, as far as used.
type metalink struct {
	XMLName   xml.Name     `xml:"urn:ietf:params:xml:ns:metalink metalink"`
	Generator string       `xml:"generator"`
	Published string       `xml:"published,omitempty"`
	Origin    *metaOrigin  `xml:"origin,omitempty"`
	File      metalinkFile `xml:"file"`
}

type metaOrigin struct {
	Dynamic bool   `xml:"dynamic,attr"`
	URL     string `xml:",chardata"`
}

type metalinkFile struct {
	Name string     `xml:"name,attr"`
	Size int64      `xml:"size"`
	Hash metaHash   `xml:"hash"`
	Meta []metaMeta `xml:"metaurl"`
	URLs []metaURL  `xml:"url"`
}

type metaHash struct {
	Type  string `xml:"type,attr"`
	Value string `xml:",chardata"`
}

type metaMeta struct {
	MediaType string `xml:"mediatype,attr"`
	Name      string `xml:"name,attr,omitempty"`
	URL       string `xml:",chardata"`
}

type metaURL struct {
	Priority int    `xml:"priority,attr"`
	URL      string `xml:",chardata"`
}

// serveMetalink describes the file by RFC 5854: holders first, the one a
// redirect would choose at the head, this host last.
func (t *Tracker) serveMetalink(w http.ResponseWriter, r *http.Request, module, name string, p Published) {
	m := metalink{
		Generator: t.cfg.Software,
		Published: p.Mtime.UTC().Format(time.RFC3339),
		File: metalinkFile{
			Name: path.Base(name), Size: p.Size,
			Hash: metaHash{"sha-256", p.ID.String()},
		},
	}
	self := t.selfURL(r, module, name)
	m.Origin = &metaOrigin{true, self + ".meta4"}
	for i, u := range t.targets(r, module, name, p) {
		m.File.URLs = append(m.File.URLs, metaURL{i + 1, u})
	}
	if !p.Gone {
		m.File.URLs = append(m.File.URLs, metaURL{min(999999, len(m.File.URLs)+1), self + "?" + OriginQuery})
	}
	out, err := xml.MarshalIndent(&m, "", " ")
	if err != nil {
		t.plain(w, http.StatusInternalServerError, "the metalink cannot be written")
		return
	}
	w.Header().Set("Content-Type", "application/metalink4+xml")
	w.Header().Set("Cache-Control", "no-cache")
	t.metrics.served.WithLabelValues("metalink").Inc()
	t.write(w, r, append([]byte(xml.Header), append(out, '\n')...))
}

// selfURL is the file's address at this host, by the configured public URL or
// else as the customer wrote the host's name.
func (t *Tracker) selfURL(r *http.Request, module, name string) string {
	if t.cfg.PublicURL != "" {
		return t.href(module, name)
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	b := append([]byte(scheme), template.URLQueryEscaper(r.Host)...)
	b = []byte(strings.ReplaceAll(string(b), "%3A", ":"))
	return string(escapePath(append(escapePath(append(b, '/'), module), '/'), name))
}

// targets returns where eligible holders serve the content, best first.
func (t *Tracker) targets(r *http.Request, module, name string, p Published) []string {
	m, _ := t.cfg.Catalog.Module(module)
	if !m.Redirect || p.FromHost {
		return nil
	}
	names, ok := t.holders(r.Context(), p.ID, nil)
	if !ok {
		return nil
	}
	var urls []string
	for _, v := range t.ranked(names, p, r.TLS != nil, t.cfg.Now()) {
		if u := t.target(holder{v.Name, v.URL}, module, name, p.ID); u != "" && len(urls) < maxListed {
			urls = append(urls, u)
		}
	}
	return urls
}

// mirror is one line of a mirror list.
type mirror struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// Cost is how many seconds the policy expects the file to take there.
	Cost    float64 `json:"cost_seconds"`
	Syncing bool    `json:"syncing,omitempty"`
}

// serveMirrorList lists who holds the file, in JSON or HTML by Accept.
func (t *Tracker) serveMirrorList(w http.ResponseWriter, r *http.Request, module, name string, p Published) {
	names, ok := t.holders(r.Context(), p.ID, nil)
	if !ok {
		t.plain(w, http.StatusServiceUnavailable, "the tracker store does not answer")
		return
	}
	list := t.ranked(names, p, false, t.cfg.Now())
	for i, v := range list {
		list[i].URL = t.target(holder{v.Name, v.URL}, module, name, p.ID)
	}
	list = slices.DeleteFunc(list, func(v mirror) bool { return v.URL == "" })
	data := struct {
		Module     string   `json:"module"`
		Path       string   `json:"path"`
		ID         string   `json:"sha256"`
		Size       int64    `json:"size"`
		Mtime      string   `json:"mtime"`
		Generation int64    `json:"generation"`
		Origin     string   `json:"origin"`
		Mirrors    []mirror `json:"mirrors"`
	}{module, name, p.ID.String(), p.Size, p.Mtime.UTC().Format(time.RFC3339), p.Generation, t.selfURL(r, module, name), list}
	if data.Mirrors == nil {
		data.Mirrors = []mirror{}
	}
	w.Header().Set("Vary", "Accept")
	w.Header().Set("Cache-Control", "no-cache")
	t.metrics.served.WithLabelValues("mirrorlist").Inc()
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "application/json")
		out, _ := json.MarshalIndent(data, "", "  ")
		t.write(w, r, append(out, '\n'))
		return
	}
	t.html(w, r, mirrorPage, data)
}

// serveDir lists a directory of the current generation.
func (t *Tracker) serveDir(w http.ResponseWriter, r *http.Request, m Module, dir string, slash bool) {
	entries, err := t.cfg.Catalog.List(m.Name, dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			t.plain(w, http.StatusNotFound, "no such file or directory")
			return
		}
		t.cfg.Log.Error("catalog", "module", m.Name, "path", dir, "error", err)
		t.plain(w, http.StatusInternalServerError, "the index of this module cannot be read")
		return
	}
	if !slash {
		// The trailing slash makes relative links in the listing right.
		last := m.Name
		if dir != "" {
			last = path.Base(dir)
		}
		w.Header().Set("Location", string(escapePath([]byte("./"), last))+"/")
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	type line struct {
		Href, Name, Size, Mtime string
	}
	data := struct {
		Module, Dir string
		Generation  int64
		Lines       []line
	}{m.Name, dir, m.Generation, make([]line, 0, len(entries))}
	sortEntries(entries)
	for _, e := range entries {
		l := line{Href: string(escapePath([]byte("./"), e.Name)), Name: e.Name, Size: "-", Mtime: "-"}
		if e.Dir { // the catalog has no times of directories
			l.Href += "/"
			l.Name += "/"
		} else {
			l.Size, l.Mtime = fmt.Sprint(e.Size), e.Mtime.UTC().Format("2006-01-02 15:04")
		}
		data.Lines = append(data.Lines, l)
	}
	t.metrics.served.WithLabelValues("listing").Inc()
	t.html(w, r, listingPage, data)
}

func (t *Tracker) html(w http.ResponseWriter, r *http.Request, page *template.Template, data any) {
	var b strings.Builder
	if err := page.Execute(&b, data); err != nil {
		t.cfg.Log.Error("page", "error", err)
		t.plain(w, http.StatusInternalServerError, "the page cannot be written")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pagePolicy)
	t.write(w, r, []byte(b.String()))
}

// pagePolicy allows a page nothing but its own inline style.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"

func (t *Tracker) write(w http.ResponseWriter, r *http.Request, body []byte) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

const pageHead = `<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:1rem auto;max-width:60rem;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.15rem .8rem .15rem 0;vertical-align:top}td:first-child{overflow-wrap:anywhere}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}small{opacity:.7}</style>`

var listingPage = template.Must(template.New("listing").Parse(pageHead + `<title>{{.Module}}/{{.Dir}}</title>
<h1>{{.Module}}/{{.Dir}}</h1>
<table><tr><th>Name<th class="n">Size<th class="n">Modified (UTC)</tr>
<tr><td><a href="../">../</a><td><td></tr>
{{range .Lines}}<tr><td><a href="{{.Href}}">{{.Name}}</a><td class="n">{{.Size}}<td class="n">{{.Mtime}}</tr>
{{end}}</table><p><small>Generation {{.Generation}}</small></p></html>
`))

var mirrorPage = template.Must(template.New("mirrors").Parse(pageHead + `<title>{{.Path}}: mirrors</title>
<h1>{{.Path}}</h1>
<p>{{.Size}} bytes, module {{.Module}}, generation {{.Generation}}<br>SHA-256 <code style="overflow-wrap:anywhere">{{.ID}}</code></p>
{{if .Mirrors}}<table><tr><th>Volunteer<th class="n">Expected</tr>
{{range .Mirrors}}<tr><td><a href="{{.URL}}">{{.Name}}</a>{{if .Syncing}} <small>synchronizing</small>{{end}}<td class="n">{{printf "%.2f" .Cost}} s</tr>
{{end}}</table>{{else}}<p>No volunteer holds this content now; the central host serves it.</p>{{end}}
<p><a href="{{.Origin}}">From the central host</a></p></html>
`))
