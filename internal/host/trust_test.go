package host

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
)

func TestTrust(t *testing.T) {
	s := newSite(t)
	for _, f := range []string{"open/file", "open/secret.key", "far/file", "near/file", "named/file"} {
		s.write(f, "in "+f)
	}
	s.write("named.secrets", "ann:sesame\n")
	if err := os.Chmod(s.path("named.secrets"), 0o600); err != nil {
		t.Fatal(err)
	}
	module := func(name, more string) string {
		return "[" + name + "]\npath = " + s.path(strings.TrimSuffix(name, "-off")) + "\n" + more + "\n"
	}
	named := "auth users = ann\nsecrets file = " + s.path("named.secrets") + "\n"
	hub := s.central(module("open", "exclude = *.key")+
		module("near-off", "hosts allow = 127.0.0.1")+module("near", "hosts allow = 127.0.0.1\nswarm = yes")+
		module("far", "hosts deny = 127.0.0.1\nswarm = yes")+
		module("named-off", named)+module("named", named+"swarm = yes"), nil)
	url := hub.Bound.URL
	s.wait("first scans", 5*time.Second, func() bool {
		return s.get(url+"/open/file").code == 200 && s.get(url+"/near/file").code == 200 && s.get(url+"/named/file").code == http.StatusUnauthorized &&
			strings.Contains(hub.log.String(), "module=far generation=1") && strings.Contains(hub.log.String(), "module=named generation=1")
	})
	with := func(path, user, secret string) int {
		req, _ := http.NewRequest(http.MethodGet, url+path, nil)
		req.SetBasicAuth(user, secret)
		a, err := s.do(req, s.web)
		if err != nil {
			t.Fatal(err)
		}
		return a.code
	}
	for path, want := range map[string]int{
		"/open/secret.key": 404, "/near-off/file": 404, "/named-off/file": 404, "/far/file": 403, "/far/": 403,
		"/named/": 401, "/far/none": 403,
	} {
		if got := s.get(url + path).code; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	for _, c := range []struct {
		user, secret string
		want         int
	}{{"ann", "sesame", 200}, {"ann", "wrong", 401}, {"bob", "sesame", 401}, {"edge1", "s1", 200}} {
		if got := with("/named/file", c.user, c.secret); got != c.want {
			t.Errorf("%s:%s gets %d, want %d", c.user, c.secret, got, c.want)
		}
	}
	if page := s.get(url + "/status.json").body; strings.Contains(page, `"far"`) || strings.Contains(page, `"named"`) || !strings.Contains(page, `"near"`) {
		t.Errorf("the status page shows modules that the reader may not see: %s", page)
	}
	// The same rules hold for the swarm.
	locate := func(module, text string) answer {
		id := content.ID(sha256.Sum256([]byte(text)))
		req, _ := http.NewRequest(http.MethodPost, url+content.PathLocate, strings.NewReader(string((&content.LocateRequest{Module: module, IDs: id[:]}).Encode())))
		a, err := s.do(req, s.web)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	found := func(a answer) content.InfoHash {
		r, err := content.DecodeLocateReply([]byte(a.body), 1)
		if a.code != 200 || err != nil || r.Pack[0] < 0 {
			return content.InfoHash{}
		}
		return content.InfoHash([]byte(r.InfoHashes))
	}
	if h := found(locate("open", "in open/file")); h == (content.InfoHash{}) {
		t.Error("an open module's content is in no pack")
	}
	if h := found(locate("open", "in open/secret.key")); h != (content.InfoHash{}) {
		t.Error("an excluded file's content is in a pack")
	}
	for module, want := range map[string]int{"far": 403, "named": 401, "near-off": 404, "none": 404} {
		if a := locate(module, "x"); a.code != want {
			t.Errorf("locate in %s: %d, want %d", module, a.code, want)
		}
	}
	// By the files in the state directory: which pack the module far has.
	packs, err := os.ReadDir(s.path("hub/central/index/far/packs"))
	if err != nil || len(packs) != 1 {
		t.Fatal(packs, err)
	}
	for _, p := range []string{content.PathBlob + packs[0].Name(), content.PathPack + packs[0].Name() + ".torrent"} {
		if a := s.get(url + p); a.code != http.StatusForbidden {
			t.Errorf("%s: %d, want 403", p, a.code)
		}
	}
	if fi, err := os.Stat(s.path("hub/central/index/far")); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("index of a restricted module: %v, %v", fi.Mode(), err)
	}
	// A password is not to be guessed.
	for range maxFailed {
		with("/named/file", "ann", "guess")
	}
	if got := with("/named/file", "ann", "sesame"); got != http.StatusTooManyRequests {
		t.Errorf("after many wrong passwords: %d", got)
	}
}

func TestSwarmRequests(t *testing.T) {
	s := newSite(t)
	text := strings.Repeat("some content of a file\n", 10000)
	s.write("tree/file", text)
	hub := s.central(pub+"path = "+s.path("tree"), nil)
	url := hub.Bound.URL
	s.wait("first scan", 5*time.Second, func() bool { return s.get(url+"/pub/file").code == 200 })
	id := content.ID(sha256.Sum256([]byte(text)))
	post := func(path string, body []byte) answer {
		req, _ := http.NewRequest(http.MethodPost, url+path, strings.NewReader(string(body)))
		a, err := s.do(req, s.web)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	mtime, err := os.Stat(s.path("tree/file"))
	if err != nil {
		t.Fatal(err)
	}
	a := post(content.PathLookup, (&content.LookupRequest{Module: "pub", Items: []content.LookupItem{
		{Path: "file", Size: int64(len(text)), Mtime: mtime.ModTime().Unix()}, {Path: "none", Size: 1}}}).Encode())
	look, err := content.DecodeLookupReply([]byte(a.body), 2)
	if err != nil || look.Generation != 1 || content.ID(look.IDs[:32]) != id || !(content.ID(look.IDs[32:])).IsZero() {
		t.Fatalf("lookup: %+v, %v", look, err)
	}
	a = post(content.PathLocate, (&content.LocateRequest{Module: "pub", IDs: id[:]}).Encode())
	loc, err := content.DecodeLocateReply([]byte(a.body), 1)
	if err != nil || loc.Pack[0] != 0 {
		t.Fatalf("locate: %+v, %v", loc, err)
	}
	ih := content.InfoHash([]byte(loc.InfoHashes))
	a = s.get(url + content.PathPack + ih.String() + ".torrent")
	p, err := content.ParseMetainfo([]byte(a.body))
	if err != nil || p.InfoHash != ih || !strings.Contains(a.body, url+"/announce") {
		t.Fatalf("torrent: %v", err)
	}
	e := p.Entries[p.Find(id)]
	if a = s.get(url + content.PathBlob + ih.String()); a.code != 200 || a.body[e.Offset:e.Offset+e.Length] != text {
		t.Fatalf("blob: %d, %d bytes", a.code, len(a.body))
	}
	a = s.get(url + content.PathSignature + id.String())
	if sig, err := content.ParseSignature([]byte(a.body)); err != nil || sig.Length != int64(len(text)) {
		t.Fatalf("signature: %v", err)
	}
	if a = s.get(url + "/pub/file.torrent"); a.code != http.StatusFound || a.header.Get("Location") != content.PathPack+ih.String()+".torrent" {
		t.Errorf("file.torrent: %d %s", a.code, a.header.Get("Location"))
	}
	for path, want := range map[string]int{
		content.PathBlob + "xyz": 404, content.PathBlob + strings.Repeat("0", 40): 404, content.PathPack + ih.String(): 404,
		content.PathPack + strings.Repeat("0", 40) + ".torrent": 404, content.PathSignature + "..": 404, content.PathSignature + strings.Repeat("0", 64): 404,
		content.PathLookup: 405, "/.prsync/": 404, "/.prsync/v1/none": 404, "/pub/..%2f..%2fetc/passwd": 400, "/pub/%2e%2e/x": 400,
	} {
		if a := s.get(url + path); a.code != want {
			t.Errorf("GET %s: %d, want %d", path, a.code, want)
		}
	}
	for path, limit := range map[string]int{content.PathLookup: content.MaxLookupRequest, content.PathLocate: content.MaxLocateRequest} {
		for body, want := range map[string]int{"": 400, "garbage": 400, "d6:module3:pub": 400, strings.Repeat("x", limit+1): 413} {
			if a := post(path, []byte(body)); a.code != want {
				t.Errorf("POST %s of %d bytes: %d, want %d", path, len(body), a.code, want)
			}
		}
	}
}

// testCertificate writes a self-signed certificate for 127.0.0.1.
func testCertificate(s *site, name string) *x509.Certificate {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(name+".crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	s.write(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	c, _ = x509.ParseCertificate(der)
	return c
}

func TestTLS(t *testing.T) {
	s := newSite(t)
	s.write("tree/file", "content")
	s.write("edge1.d/file", "content")
	s.write("edge2.d/file", "content")
	roots := x509.NewCertPool()
	roots.AddCert(testCertificate(s, "hub"))
	roots.AddCert(testCertificate(s, "edge"))
	s.web.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	keys := func(name string) string {
		return "tls certificate = " + s.path(name+".crt") + "\ntls key = " + s.path(name+".key") + "\n"
	}
	trust := func(o *Options) { o.RootCAs = roots }
	hub := s.central(keys("hub")+pub+"path = "+s.path("tree"), trust)
	if !strings.HasPrefix(hub.Bound.URL, "https://127.0.0.1:") {
		t.Fatalf("url %s", hub.Bound.URL)
	}
	// One volunteer speaks https, the other would be a step down.
	e1 := s.volunteer(1, hub.Bound.URL, keys("edge"), trust)
	s.volunteer(2, hub.Bound.URL, "", trust)
	s.wait("both hold it", 10*time.Second, func() bool { return s.holders(hub, "pub/file") == "edge1 edge2" })
	s.wait("redirect", 10*time.Second, func() bool { return s.get(hub.Bound.URL+"/pub/file").code == http.StatusFound })
	for range 10 {
		if loc := s.get(hub.Bound.URL + "/pub/file").header.Get("Location"); !strings.HasPrefix(loc, "https://"+e1.Bound.HTTP.String()) {
			t.Fatalf("an https customer is sent to %s", loc)
		}
	}
	if body, _, err := s.fetch(hub.Bound.URL + "/pub/file"); err != nil || body != "content" {
		t.Errorf("%q, %v", body, err)
	}
	// A host that cannot prove who it is gets no announce.
	e3 := s.volunteer(3, hub.Bound.URL, "", nil)
	s.wait("the refusal", 5*time.Second, func() bool { return strings.Contains(e3.log.String(), "certificate") })
	if strings.Contains(s.get(hub.Bound.URL+"/status.json").body, "edge3") {
		t.Error("a volunteer announced to a host with an unknown certificate")
	}
	// A new certificate takes a reload only.
	renewed := testCertificate(s, "hub")
	hub.reload <- os.Interrupt
	only := x509.NewCertPool()
	only.AddCert(renewed)
	fresh := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: only}, DisableKeepAlives: true}}
	s.wait("new certificate", 5*time.Second, func() bool {
		resp, err := fresh.Get(hub.Bound.URL + "/metrics")
		if err != nil {
			return false
		}
		io.Copy(io.Discard, resp.Body)
		return resp.Body.Close() == nil
	})
	if _, err := s.tryStart("bad", anyPort+"tls key = /x\n", Serve, nil); err == nil || !strings.Contains(err.Error(), "go together") {
		t.Errorf("a key without a certificate: %v", err)
	}
}
