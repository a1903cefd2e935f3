package origin_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/origin"
	"github.com/prsync/prsync/internal/p2p/swarmtest"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// serve returns a function that asks for a range, with a claim, as a peer.
func serve(t *testing.T, b *swarmtest.Blob, cfg origin.Config) func(rng, claim, peer string) *http.Response {
	h := origin.New(func(ih content.InfoHash) (*content.Pack, io.ReaderAt, error) {
		if ih != b.Pack.InfoHash {
			return nil, nil, origin.ErrUnknownPack
		}
		return b.Pack, b.Reader(), nil
	}, cfg)
	return func(rng, claim, peer string) *http.Response {
		r := httptest.NewRequest("GET", content.PathBlob+b.Pack.InfoHash.String(), nil)
		if rng != "" {
			r.Header.Set("Range", rng)
		}
		if claim != "" {
			r.Header.Set(origin.HeaderClaim, claim)
			r.Header.Set(origin.HeaderPeer, peer)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
}

func TestRanges(t *testing.T) {
	b := swarmtest.NewBlob(1, 300_000)
	ask := serve(t, b, origin.Config{})
	n := int64(len(b.Bytes))
	for _, c := range []struct {
		rng      string
		status   int
		off, end int64
	}{
		{"", 200, 0, n},
		{"bytes=0-0", 206, 0, 1},
		{"bytes=100-199", 206, 100, 200},
		{"bytes=299990-", 206, 299990, n},
		{"bytes=299990-999999", 206, 299990, n},
		{"bytes=-10", 206, n - 10, n},
		{"bytes=-999999", 206, 0, n},
		{"bytes=300000-", 416, 0, 0},
		{"bytes=5-4", 416, 0, 0},
		{"bytes=0-1,5-6", 416, 0, 0},
		{"lines=0-1", 416, 0, 0},
		{"bytes=-0", 416, 0, 0},
		{"bytes=x", 416, 0, 0},
	} {
		resp := ask(c.rng, "", "")
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != c.status {
			t.Errorf("%q: status %d, want %d", c.rng, resp.StatusCode, c.status)
			continue
		}
		if c.status == 416 {
			continue
		}
		if !bytes.Equal(body, b.Bytes[c.off:c.end]) {
			t.Errorf("%q: wrong bytes", c.rng)
		}
		want := ""
		if c.status == 206 {
			want = fmt.Sprintf("bytes %d-%d/%d", c.off, c.end-1, n)
		}
		if got := resp.Header.Get("Content-Range"); got != want {
			t.Errorf("%q: Content-Range %q, want %q", c.rng, got, want)
		}
	}
}

func TestClaims(t *testing.T) {
	b := swarmtest.NewBlob(2, 1<<20) // 8 pieces
	pl := b.Pack.PieceLength
	now := &clock{time.Unix(1000, 0)}
	ask := serve(t, b, origin.Config{Now: now.Now, Fresh: 20 * time.Second, Idle: 300 * time.Millisecond})
	pieces := func(from, to int64) string { return fmt.Sprintf("bytes=%d-%d", from*pl, to*pl-1) }
	for _, c := range []struct {
		after   time.Duration
		rng     string
		claim   string
		peer    string
		status  int
		granted int64 // pieces
	}{
		{0, pieces(2, 3), "own", "a", 206, 1},
		{0, pieces(2, 3), "own", "b", 409, 0},   // out
		{0, pieces(2, 3), "own", "a", 206, 1},   // its own again
		{0, pieces(0, 4), "own", "b", 206, 2},   // up to the one that is out
		{0, pieces(0, 1), "spare", "c", 409, 0}, // busy with first copies
		{0, pieces(5, 6), "spare", "c", 206, 1}, // which this is
		{0, pieces(0, 1), "must", "c", 206, 1},
		{0, pieces(0, 1), "", "", 206, 1},                    // a web seed
		{time.Second, pieces(1, 2), "spare", "c", 409, 0},    // others have not gone out
		{time.Second, pieces(1, 2), "spare", "c", 206, 1},    // nobody wants them
		{30 * time.Second, pieces(2, 3), "own", "b", 206, 1}, // long ago
	} {
		now.now = now.now.Add(c.after)
		resp := ask(c.rng, c.claim, c.peer)
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != c.status || c.status == 206 && int64(len(body)) != c.granted*pl {
			t.Errorf("%s %s of %s: status %d with %d bytes, want %d with %d pieces",
				c.claim, c.rng, c.peer, resp.StatusCode, len(body), c.status, c.granted)
		}
		if c.status == 409 && (len(body) != 1 || resp.Header.Get("Retry-After") == "") {
			t.Errorf("a refusal with the bit field %x, Retry-After %q", body, resp.Header.Get("Retry-After"))
		}
	}
	// Pieces 0, 1, 2 and 5 went out; only 2 lately.
	resp := ask(pieces(2, 3), "own", "c")
	if body, _ := io.ReadAll(resp.Body); !bytes.Equal(body, []byte{0x20}) {
		t.Errorf("out are %08b, want piece 2", body)
	}
}

func TestUnknownPackAndLimits(t *testing.T) {
	b := swarmtest.NewBlob(3, 1000)
	h := origin.New(func(content.InfoHash) (*content.Pack, io.ReaderAt, error) {
		return nil, nil, origin.ErrUnknownPack
	}, origin.Config{})
	for path, want := range map[string]int{
		content.PathBlob + b.Pack.InfoHash.String(): 404,
		content.PathBlob + "zz":                     404,
		content.PathBlob:                            404,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("%s: status %d, want %d", path, w.Code, want)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", content.PathBlob, nil))
	if w.Code != 405 {
		t.Errorf("POST: status %d", w.Code)
	}
}

// What went out to a peer that has left the swarm is not out any more.
func TestLeft(t *testing.T) {
	b := swarmtest.NewBlob(4, 1<<20)
	now := &clock{time.Unix(1000, 0)}
	h := origin.New(func(content.InfoHash) (*content.Pack, io.ReaderAt, error) {
		return b.Pack, bytes.NewReader(b.Bytes), nil
	}, origin.Config{Now: now.Now})
	claim := func(piece int64, peer, claim string) int {
		r := httptest.NewRequest("GET", content.PathBlob+b.Pack.InfoHash.String(), nil)
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", piece*b.Pack.PieceLength, (piece+1)*b.Pack.PieceLength-1))
		r.Header.Set(origin.HeaderClaim, claim)
		r.Header.Set(origin.HeaderPeer, hex.EncodeToString([]byte(peer)))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	ask := func(piece int64, peer string) int { return claim(piece, peer, origin.ClaimOwn) }
	h.Left(b.Pack.InfoHash, "a") // of a pack that nobody has asked for
	for _, c := range []struct {
		piece  int64
		peer   string
		left   string
		status int
	}{
		{0, "a", "", 206}, {1, "b", "", 206},
		{0, "c", "", 409}, {0, "c", "b", 409}, // another has left
		{0, "c", "a", 206}, // its piece, again
		{0, "d", "a", 409}, // which c has now
		{1, "d", "", 206},
	} {
		if c.left != "" {
			h.Left(b.Pack.InfoHash, c.left)
		}
		if got := ask(c.piece, c.peer); got != c.status {
			t.Errorf("piece %d for %s after %q left: %d, want %d", c.piece, c.peer, c.left, got, c.status)
		}
	}
	// When all is out, what a peer that left had got is sent again beside
	// second copies, not before them.
	for i := range int64(b.Pack.NumPieces()) {
		ask(i, "e")
	}
	now.now = now.now.Add(time.Minute / 4)
	h.Left(b.Pack.InfoHash, "d")
	if got := ask(1, "f"); got != 206 {
		t.Errorf("the piece of one that left: %d", got)
	}
	if got := claim(2, "g", origin.ClaimSpare); got != 206 {
		t.Errorf("a second copy right after it: %d", got)
	}
}

// Of a piece that a content has left nobody gets more than the parts beside it,
// and it does not keep anyone from the pieces before and after it.
func TestGone(t *testing.T) {
	b := swarmtest.NewBlob(9, 300_000, 50_000, 60_000, 400_000)
	ask := serve(t, b, origin.Config{})
	pl, e := b.Pack.PieceLength, b.Pack.Entries
	b.Remove(1)
	broken := e[1].Offset / pl
	whole := func(first, n int64) string { return fmt.Sprintf("bytes=%d-%d", first*pl, (first+n)*pl-1) }
	for _, c := range []struct {
		rng, claim string
		status     int
		want       []byte
	}{
		{whole(0, 4), origin.ClaimOwn, 206, b.Bytes[:broken*pl]},
		{whole(broken, 2), origin.ClaimOwn, 410, nil},
		{whole(broken, 1), origin.ClaimSpare, 410, nil},
		{whole(broken, 1), origin.ClaimMust, 410, nil},
		{fmt.Sprintf("bytes=%d-%d", e[2].Offset, e[2].Offset+e[2].Length-1), origin.ClaimPart, 206, b.Content(2)},
		{fmt.Sprintf("bytes=%d-%d", e[1].Offset, e[1].Offset+e[1].Length-1), origin.ClaimPart, 410, nil},
		{whole(e[3].Offset/pl, 1), origin.ClaimOwn, 206, b.Bytes[e[3].Offset:][:pl]},
	} {
		resp := ask(c.rng, c.claim, "")
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != c.status || !bytes.Equal(body, c.want) {
			t.Errorf("%s %s: status %d, %d bytes; want %d, %d bytes", c.claim, c.rng, resp.StatusCode, len(body), c.status, len(c.want))
		}
	}
}
