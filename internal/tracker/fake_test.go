package tracker

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker/store"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func idOf(s string) content.ID { return sha256.Sum256([]byte(s)) }

func hash(n byte) (h content.InfoHash) { h[0], h[19] = n, n; return h }

// catalog is a module "m" with files by path; a file's content is its path.
type catalog map[string]Published

func (c catalog) Modules() []Module {
	return []Module{{Name: "m", Generation: 4, Files: int64(len(c)), Redirect: true, Published: now0}}
}
func (c catalog) Module(name string) (Module, bool) { return c.Modules()[0], name == "m" }
func (c catalog) Contents() int64                   { return int64(len(c)) }
func (c catalog) Pack(h content.InfoHash) (string, bool) {
	return "m", h[0] != 0 && h[0] == h[19] && h[1] == 0
}
func (c catalog) PackOf(_ string, id content.ID) (content.InfoHash, bool) { return hash(3), true }
func (c catalog) File(module, path string) (Published, error) {
	if p, ok := c[path]; ok && module == "m" {
		return p, nil
	}
	for n := range c {
		if strings.HasPrefix(n, path+"/") {
			return Published{}, ErrIsDir
		}
	}
	return Published{}, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
}
func (c catalog) List(_, dir string) ([]Entry, error) {
	if dir != "" && dir != "sub" {
		return nil, fs.ErrNotExist
	}
	return []Entry{{Name: "z<i>.txt", Size: 5, Mtime: now0}, {Name: "b%2f", Dir: true}}, nil
}

// origin answers with the path, or holds the request until released.
type origin struct{ hold chan struct{} }

func (o origin) ServeFile(w http.ResponseWriter, r *http.Request, module, path string, p Published) {
	if o.hold != nil {
		<-o.hold
	}
	http.ServeContent(w, r, "", p.Mtime, strings.NewReader("origin:"+path))
}

type fixture struct {
	*Tracker
	now time.Time
	st  store.Store
}

func newFixture(tb testing.TB, change func(*Config)) *fixture {
	tb.Helper()
	f := &fixture{now: now0, st: store.New()}
	secrets := filepath.Join(tb.TempDir(), "secrets")
	if err := os.WriteFile(secrets, []byte("# volunteers\nv1:s1\nv2:s2\nv3:s:3\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	sec, err := LoadSecrets(secrets)
	if err != nil {
		tb.Fatal(err)
	}
	cat := catalog{}
	for _, p := range []string{"a.deb", "b.deb", "only-host", "sub/dir/c d+e;\"<x>\n.rpm"} {
		cat[p] = Published{ID: idOf(p), Size: 1000, Mtime: now0.Add(-time.Hour), Generation: 4}
	}
	cat["small"] = Published{ID: idOf("small"), Size: 10, Mtime: now0, Generation: 4, FromHost: true}
	cat["gone"] = Published{ID: idOf("gone"), Size: 10, Mtime: now0, Generation: 3, Gone: true}
	cat["long/"+strings.Repeat("x", 300)] = Published{ID: idOf("a.deb"), Size: 10, Mtime: now0}
	cfg := Config{Catalog: cat, Origin: origin{}, Store: f.st, Secrets: sec, PublicURL: "http://central", Now: func() time.Time { return f.now }, Software: "prsync test"}
	if change != nil {
		change(&cfg)
	}
	if f.Tracker, err = New(cfg); err != nil {
		tb.Fatal(err)
	}
	return f
}

// volunteer announces a volunteer that holds the contents.
func (f *fixture) volunteer(tb testing.TB, name, url string, held ...string) {
	tb.Helper()
	h := &content.Holdings{Version: 1}
	for _, p := range held {
		id := idOf(p)
		h.Added = append(h.Added, id[:]...)
	}
	req := &content.AnnounceRequest{PeerID: "-PS0001-" + strings.Repeat(name, 6), Name: name, URL: url, Holdings: h, Load: &content.Load{Uplink: 1e7}}
	if _, code, err := f.Announce(tb.Context(), req, netip.MustParseAddr("10.0.0.1"), name, nil, f.now); err != nil || code != 200 {
		tb.Fatal(code, err)
	}
}

func (f *fixture) do(method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}
