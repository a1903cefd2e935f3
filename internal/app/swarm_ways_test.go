package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The ways in which a client learns of a swarm.

// configure changes lines of the host's configuration.
func (s *site) configure(pairs ...string) {
	s.t.Helper()
	b, err := os.ReadFile(s.path("conf"))
	if err == nil {
		err = os.WriteFile(s.path("conf"), []byte(strings.NewReplacer(pairs...).Replace(string(b))), 0o644)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// secure gives the host a certificate that nobody vouches for but the file.
func (s *site) secure() (ca string) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hub"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	ca = s.path("ca.pem")
	for file, block := range map[string]*pem.Block{ca: {Type: "CERTIFICATE", Bytes: cert}, s.path("key.pem"): {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	s.web.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	s.configure("public url = http:", "tls certificate = "+ca+"\ntls key = "+s.path("key.pem")+"\npublic url = https:")
	s.http = strings.Replace(s.http, "http:", "https:", 1)
	return ca
}

// TestSwarmOverTLS lets look-ups, signatures, ranges and announces go by https.
func TestSwarmOverTLS(t *testing.T) {
	s := newSite(t)
	image := noise(1, 8*mib)
	s.write("a", image)
	ca := s.secure()
	s.start()
	if p := s.pull("c"); p.fell != 1 || !strings.Contains(p.out, "certificate") {
		t.Errorf("a certificate that nobody vouches for: %+v", p)
	}
	x := s.begin("d", "--swarm=require")
	if code := x.end(); code != 10 || !strings.Contains(x.out.String(), "certificate") {
		t.Errorf("exit code %d, not 10\n%s", code, x.out.String())
	}
	s.env = []string{"SSL_CERT_FILE=" + ca}
	if p := s.pull("d"); p.host != 8*mib || p.fell != 0 {
		t.Errorf("a certificate that the file vouches for: %+v", p)
	}
	if p := s.auto("e"); p.left != 1 {
		t.Errorf("alone: %+v", p)
	}
	copy(image[3*mib:], noise(2, mib))
	s.write("a", image)
	if err := os.Chtimes(s.path("srv/a"), time.Time{}, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	s.publish()
	if p := s.pull("d"); p.here < 6*mib || p.host+p.peers < mib || p.fell != 0 {
		t.Errorf("an update: %+v", p)
	}
}

// stock returns the real rsync.
func stock(t *testing.T) string {
	rsync, err := exec.LookPath("rsync")
	if err != nil {
		t.Skip("there is no rsync")
	}
	if out, err := exec.Command(rsync, "--version").Output(); err != nil || !strings.HasPrefix(string(out), "rsync ") {
		t.Skip("rsync is something else")
	}
	return rsync
}

// TestTrackerBesideStockSender takes file lists from rsync itself, as a daemon
// and behind a remote shell, and contents from the swarm.
func TestTrackerBesideStockSender(t *testing.T) {
	rsync := stock(t)
	s := newSite(t)
	s.write("a", noise(1, 4*mib))
	s.write("d/b", noise(2, 2*mib))
	s.write("d/small", noise(3, 100))
	s.start()
	p := port(t)
	conf := s.path("stock.conf")
	text := fmt.Sprintf("use chroot = no\naddress = 127.0.0.1\n[m]\npath = %s\n", s.path("srv"))
	if os.Geteuid() == 0 {
		text += "uid = root\ngid = root\n"
	}
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d := exec.Command(rsync, "--daemon", "--no-detach", "--port="+p, "--config="+conf)
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Process.Kill(); d.Wait() })
	for range 300 {
		if c, err := net.Dial("tcp", "127.0.0.1:"+p); err == nil {
			c.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.url = "rsync://127.0.0.1:" + p + "/m/"
	if x := s.pull("plain"); x.host+x.peers+x.here != 0 || x.received < 6*mib {
		t.Errorf("without a tracker: %+v", x)
	}
	if x := s.pull("c", "--swarm-tracker="+s.http); x.host != 6*mib || x.received > 10_000 {
		t.Errorf("from a daemon: %+v", x)
	}
	// Only a folder of the module, without its last slash.
	sub := s.command("-a", "--swarm=require", "--swarm-tracker="+s.http, "--info=swarm1", s.url+"d", s.path("sub")+"/")
	if out, err := sub.CombinedOutput(); err != nil || !strings.Contains(string(out), "2,097,152 bytes") && !strings.Contains(string(out), "2,097,152 from the host") {
		t.Errorf("a folder: %v\n%s", err, out)
	}
	shell := s.path("shell")
	if err := os.WriteFile(shell, []byte("#!/bin/sh\nshift\neval \"exec $*\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.url = "host:" + s.path("srv") + "/"
	if x := s.pull("e", "-e", shell, "--rsync-path="+rsync, "--swarm-tracker="+s.http+"/m/"); x.host != 6*mib || x.received > 10_000 {
		t.Errorf("behind a remote shell: %+v", x)
	}
	// A tracker that does not know the module, or is none.
	for tracker, args := range map[string][]string{"unknown module": {"--swarm-tracker=" + s.http + "/none/"}, "nobody": {"--swarm-tracker=http://127.0.0.1:" + port(t) + "/m/"}} {
		if x := s.pull("f", append(args, "-e", shell, "--rsync-path="+rsync)...); x.host+x.peers != 0 || !strings.Contains(x.out, "swarm: contents cannot be looked up") {
			t.Errorf("%s: %+v", tracker, x)
		}
		if err := os.RemoveAll(s.path("f")); err != nil {
			t.Fatal(err)
		}
		c := s.command(append(args, "-a", "--swarm=require", "-e", shell, "--rsync-path="+rsync, s.url, filepath.Join(s.dir, "g")+"/")...)
		out, _ := c.CombinedOutput()
		if code := c.ProcessState.ExitCode(); code != 10 {
			t.Errorf("%s: exit code %d, not 10\n%s", tracker, code, out)
		}
	}
}

// TestSwarmOfAuthUsers lets those who prove to the daemon who they are into the
// swarm of a module that others may not see.
func TestSwarmOfAuthUsers(t *testing.T) {
	s := newSite(t)
	image := noise(1, 8*mib)
	s.write("a", image)
	secrets := s.path("secrets")
	if err := os.WriteFile(secrets, []byte("ann:sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.configure("swarm = yes", "swarm = yes\nauth users = ann\nsecrets file = "+secrets)
	s.start()
	r, err := http.Get(s.http + "/m/a")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a password: %s", r.Status)
	}
	s.url = strings.Replace(s.url, "rsync://", "rsync://ann@", 1)
	s.env = []string{"RSYNC_PASSWORD=sesame"}
	if p := s.auto("alone"); p.left != 1 {
		t.Errorf("alone: %+v", p)
	}
	x := s.begin("c", "--swarm=require", "--debug=swarm")
	if code := x.end(); code != 0 || !strings.Contains(x.out.String(), "8,388,608 from the host") {
		t.Errorf("exit code %d\n%s", code, x.out.String())
	}
	if regexp.MustCompile("prsync-token:[^x]").MatchString(x.out.String()) || strings.Contains(x.out.String(), "401") {
		t.Errorf("the token is shown, or refused:\n%s", x.out.String())
	}
	copy(image[3*mib:], noise(2, mib))
	s.write("a", image)
	if err := os.Chtimes(s.path("srv/a"), time.Time{}, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	s.publish()
	if p := s.pull("c"); p.here < 6*mib || p.host+p.peers < mib || p.fell != 0 {
		t.Errorf("an update: %+v", p)
	}
	fi, err := os.Stat(s.path("state/central/token.key"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the key of tokens: %v, %v", fi, err)
	}
}
