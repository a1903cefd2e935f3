package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// TestHubSeed has a standard client's view of a central host with "swarm
// listen": it is listed to it, and sends a piece; prsync peers do not see it.
func TestHubSeed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr)
	l.Close()
	s := newSite(t)
	data := strings.Repeat("a central host seeds. ", 5000)
	s.write("tree/f", data)
	s.write("secret/f", data+"not everybody may read this")
	hub := s.central("swarm listen = "+at.String()+"\n"+pub+"path = "+s.path("tree")+"\n[secret]\nhosts allow = 127.0.0.1\nswarm = yes\nrescan interval = 0\npath = "+s.path("secret"),
		func(o *Options) { o.Engine = []string{os.Args[0], engineArg} })
	pack := func(module string, text string) (ih content.InfoHash) {
		s.wait("the pack of "+module, 10*time.Second, func() bool {
			id, err := content.ParseID(fmt.Sprintf("%x", sha256.Sum256([]byte(text))))
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.web.Post(hub.Bound.URL+content.PathLocate, "", bytes.NewReader((&content.LocateRequest{Module: module, IDs: id[:]}).Encode()))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			body, _ := io.ReadAll(r.Body)
			a, err := content.DecodeLocateReply(body, 1)
			if err != nil || a.Failure != "" || len(a.Pack) != 1 || a.Pack[0] < 0 {
				return false
			}
			ih = content.InfoHash([]byte(a.InfoHashes))
			return true
		})
		return ih
	}
	ih := pack("pub", data)
	port := string(binary.BigEndian.AppendUint16(net.IPv4(127, 0, 0, 1).To4(), uint16(at.Port)))
	standard := func(ih content.InfoHash) string {
		return s.get(hub.Bound.URL + "/announce?info_hash=" + url.QueryEscape(string(ih[:])) + "&peer_id=-XX0001-abcdefghijkl&port=1&left=1&compact=1").body
	}
	s.wait("the seed's announce", 20*time.Second, func() bool { return strings.Contains(standard(ih), port) })
	req := &content.AnnounceRequest{PeerID: "-PR0001-abcdefghijkl", Port: 2, Packs: []content.AnnouncePack{{InfoHash: string(ih[:]), Left: 1, Event: content.EventStarted}}}
	r, err := s.web.Post(hub.Bound.URL+"/announce", "application/x-bencode", bytes.NewReader(req.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	reply, err := content.DecodeAnnounceReply(body)
	if err != nil || r.StatusCode != http.StatusOK || len(reply.Packs) != 1 {
		t.Fatalf("%s %v %+v", r.Status, err, reply)
	}
	for _, p := range reply.Packs[0].Peers {
		if p.Port == at.Port {
			t.Errorf("prsync peers are told of the host's seed: %+v", reply.Packs[0].Peers)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if got, err := firstBlock(ctx, at.String(), ih); err != nil || string(got) != data[:len(got)] || len(got) == 0 {
		t.Errorf("the seed's first block: %d bytes, %v", len(got), err)
	}
	if got := standard(pack("secret", data+"not everybody may read this")); strings.Contains(got, port) {
		t.Errorf("a module that not everybody may read is seeded: %q", got)
	}
}

// firstBlock fetches the first 16 KiB of a torrent as a standard client does.
func firstBlock(ctx context.Context, addr string, ih content.InfoHash) ([]byte, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	hello := append([]byte("\x13BitTorrent protocol\x00\x00\x00\x00\x00\x00\x00\x00"), ih[:]...)
	if _, err := c.Write(append(hello, "-XX0001-abcdefghijkl"...)); err != nil {
		return nil, err
	}
	theirs := make([]byte, 68)
	if _, err := io.ReadFull(c, theirs); err != nil {
		return nil, err
	}
	if !bytes.Equal(theirs[28:48], ih[:]) {
		return nil, fmt.Errorf("a handshake for %x", theirs[28:48])
	}
	if _, err := c.Write([]byte{0, 0, 0, 1, 2}); err != nil { // interested
		return nil, err
	}
	for {
		var n uint32
		if err := binary.Read(c, binary.BigEndian, &n); err != nil {
			return nil, err
		}
		b := make([]byte, min(n, 1<<20))
		if _, err := io.ReadFull(c, b); err != nil {
			return nil, err
		}
		switch {
		case len(b) == 1 && b[0] == 1: // unchoke
			if _, err := c.Write([]byte{0, 0, 0, 13, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0}); err != nil {
				return nil, err
			}
		case len(b) > 9 && b[0] == 7:
			return b[9:], nil
		}
	}
}
