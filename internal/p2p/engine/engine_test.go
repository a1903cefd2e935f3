package engine

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/origin"
	"github.com/prsync/prsync/internal/p2p/swarmtest"
)

const mb = 1 << 20

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestSwarmSharesOneCopy(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(1, 12*mb, 300_000, 5_000, 700, 4*mb)
	h := swarmtest.NewHub(t, origin.Config{Uplink: 16 * mb}, b)
	var peers []*peer
	for range 4 {
		p := newPeer(t, Config{UploadLimit: 16 * mb})
		p.fetchAll(h.Offer(), b)
		peers = append(peers, p)
	}
	var want int64
	for _, e := range b.Pack.Entries {
		want += e.Length
	}
	for _, p := range peers {
		p.wait(30 * time.Second)
		p.check(b)
		var sum int64
		for _, n := range p.totals {
			sum += n
		}
		if sum != want {
			t.Errorf("events add up to %v = %d bytes, want %d", p.totals, sum, want)
		}
	}
	if c := h.Copies(b); c > 1.3 {
		t.Errorf("the origin sent %.2f copies, want about one", c)
	} else {
		t.Logf("the origin sent %.2f copies", c)
	}
}

// A client that wants one small content of a pack gets the pieces it needs,
// and later its neighbours without their common piece.
func TestPartialMirror(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(2, 40_000, 50_000, 60_000, 2*mb, 90_000)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	p := newPeer(t, Config{})
	p.fetch(h.Offer(), b, 1, nil)
	p.wait(20 * time.Second)
	p.check(b)
	sent := h.Origin.Sent()
	if sent > 2*b.Pack.PieceLength {
		t.Errorf("%d bytes were fetched for a content of 50000, pieces are of %d", sent, b.Pack.PieceLength)
	}
	p.fetch(h.Offer(), b, 0, nil)
	p.wait(20 * time.Second)
	p.check(b)
	if more := h.Origin.Sent() - sent; more != 0 {
		t.Errorf("%d bytes more were fetched for the neighbour in the same piece", more)
	}
	// They count for who asks for them first, as what they are.
	if want := [3]int64{byOrigin: 90_000}; p.totals != want || p.e.Stats().Bytes != want {
		t.Errorf("the events tell of %v, the engine of %v, want %v", p.totals, p.e.Stats().Bytes, want)
	}
	// The same content for a second asker is copied.
	p.d = t.TempDir()
	p.fetch(h.Offer(), b, 1, []byte("other"))
	// A file named twice while it is being fetched is fetched once.
	q := newPeer(t, Config{})
	q.fetch(h.Offer(), b, 3, nil)
	q.d = t.TempDir()
	q.fetch(h.Offer(), b, 3, nil)
	p.wait(20 * time.Second)
	q.wait(20 * time.Second)
	p.check(b)
	q.check(b)
}

// What the client has is verified and not fetched; what it wrongly claims to
// have is fetched.
func TestHave(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(4, 4*mb)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	begin := bytes.Clone(b.Content(0))
	begin[3*mb+5]++           // a lie in the last quarter
	clear(begin[mb : mb+100]) // a known hole
	p := newPeer(t, Config{})
	p.fetch(h.Offer(), b, 0, begin, content.Range{Off: 0, End: mb}, content.Range{Off: mb + 100, End: 4 * mb})
	p.wait(20 * time.Second)
	p.check(b)
	// One hole of 100 bytes, one whole piece.
	if sent, most := h.Origin.Sent(), b.Pack.PieceLength+100; sent > most {
		t.Errorf("the origin sent %d bytes, want at most %d", sent, most)
	}
	if p.totals[byLocal] < 3*mb {
		t.Errorf("sources %v: most of it was local", p.totals)
	}
}

func TestCorruptPeerIsBannedAndReported(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(5, 6*mb)
	h := swarmtest.NewHub(t, origin.Config{Uplink: 4 * mb}, b)
	liar := newPeer(t, Config{})
	stop, err := liar.e.Seed(h.Offer(), b.Pack, lies{bytes.NewReader(b.Bytes)}, func(int) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	waitFor(t, "the liar to be listed", func() bool { return h.Peers(b) == 1 })
	var peers []*peer
	for range 2 {
		p := newPeer(t, Config{})
		p.fetchAll(h.Offer(), b)
		peers = append(peers, p)
	}
	for _, p := range peers {
		p.wait(40 * time.Second)
		p.check(b)
		if p.e.Stats().BadPeers == 0 {
			t.Error("nobody was banned")
		}
	}
	_, port, _ := net.SplitHostPort(liar.e.client.ListenAddrs()[0].String())
	waitFor(t, "the liar to be reported", func() bool {
		for _, addr := range h.BadPeers() {
			if addr == "127.0.0.1:"+port {
				return true
			}
		}
		return false
	})
	for _, p := range peers {
		for _, addr := range h.BadPeers() {
			if strings.HasSuffix(addr, p.e.client.ListenAddrs()[0].String()) {
				t.Errorf("an honest peer was reported: %v", h.BadPeers())
			}
		}
	}
}

// lies changes a byte in every read.
type lies struct{ r io.ReaderAt }

func (l lies) ReadAt(b []byte, off int64) (int, error) {
	n, err := l.r.ReadAt(b, off)
	if n > 0 {
		b[n/2] ^= 1
	}
	return n, err
}

func TestDeadOriginAfterOneCopy(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(6, 5*mb, 100_000, 200_000)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	first := newPeer(t, Config{})
	first.fetchAll(h.Offer(), b)
	first.wait(20 * time.Second)
	h.OriginDead.Store(true)
	second := newPeer(t, Config{})
	second.fetchAll(h.Offer(), b)
	second.wait(20 * time.Second)
	second.check(b)
}

func TestDeadTracker(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(7, 3*mb)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	h.TrackerDead.Store(true)
	for range 2 {
		p := newPeer(t, Config{})
		p.fetchAll(h.Offer(), b)
		p.wait(30 * time.Second)
		p.check(b)
	}
}

func TestPeerThatDies(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(8, 8*mb)
	h := swarmtest.NewHub(t, origin.Config{Uplink: 4 * mb}, b)
	var peers []*peer
	for range 3 {
		p := newPeer(t, Config{UploadLimit: 4 * mb})
		p.fetchAll(h.Offer(), b)
		peers = append(peers, p)
	}
	waitFor(t, "a third to be out", func() bool { return h.Origin.Sent() > 8*mb/3 })
	peers[0].e.Close()
	peers[0].mu.Lock()
	if ev, ok := peers[0].ends[0]; !ok || ev.Err == nil {
		t.Errorf("the closed engine ended its want with %v", ev.Err)
	}
	peers[0].mu.Unlock()
	for _, p := range peers[1:] {
		p.wait(40 * time.Second)
		p.check(b)
	}
}

// A stalled want fails and tells what is right in the file.
func TestStallKeepsWhatIsValid(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(9, 8*mb)
	h := swarmtest.NewHub(t, origin.Config{Uplink: 4 * mb}, b)
	p := newPeer(t, Config{Stall: time.Second})
	p.fetch(h.Offer(), b, 0, b.Content(0)[:mb], content.Range{Off: 0, End: mb})
	waitFor(t, "some of it", func() bool { return h.Origin.Sent() > 3*mb })
	h.OriginDead.Store(true)
	h.CutConnections()
	p.wait(20 * time.Second)
	ev := p.ends[0]
	if ev.Err == nil || !strings.Contains(ev.Err.Error(), "no progress") {
		t.Fatalf("ended with %v, want no progress", ev.Err)
	}
	var valid int64
	got, err := os.ReadFile(p.f[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range ev.Valid {
		valid += r.End - r.Off
		if !bytes.Equal(got[r.Off:r.End], b.Content(0)[r.Off:r.End]) {
			t.Errorf("range %v is said to be valid and is not", r)
		}
	}
	if valid < 3*mb {
		t.Errorf("%d bytes are valid, want at least 3 MiB: %v", valid, ev.Valid)
	}
}

func TestUnknownContent(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(10, 100_000)
	other := swarmtest.NewBlob(11, 100_000)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	p := newPeer(t, Config{})
	p.fetchAll(h.Offer(), other)
	p.wait(10 * time.Second)
	if err := p.ends[0].Err; err != errNotPublished {
		t.Errorf("ended with %v", err)
	}
}

// A host whose file has changed since it was indexed must not be asked for
// ever.
func TestOriginThatLies(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(12, mb)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	b.Bytes[1000] ^= 1
	p := newPeer(t, Config{})
	p.fetchAll(h.Offer(), b)
	p.wait(30 * time.Second)
	if err := p.ends[0].Err; err != errOriginWrong {
		t.Errorf("ended with %v", err)
	}
}

// A finished file that is written to is not passed on.
func TestChangedFileIsNotServed(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(13, 2*mb)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	first := newPeer(t, Config{})
	first.fetchAll(h.Offer(), b)
	first.wait(20 * time.Second)
	time.Sleep(30 * time.Millisecond) // the clock of mtimes is coarse
	if err := os.WriteFile(first.f[0], bytes.Repeat([]byte("x"), 2*mb), 0o600); err != nil {
		t.Fatal(err)
	}
	second := newPeer(t, Config{})
	second.fetchAll(h.Offer(), b)
	second.wait(30 * time.Second)
	second.check(b)
	if n := second.e.Stats().BadPeers; n != 0 {
		t.Errorf("%d peers sent bad data", n)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	b := swarmtest.NewBlob(14, 4*mb, 4*mb)
	h := swarmtest.NewHub(t, origin.Config{Uplink: 2 * mb}, b)
	p := newPeer(t, Config{})
	w := p.fetch(h.Offer(), b, 0, nil)
	p.fetch(h.Offer(), b, 1, nil)
	waitFor(t, "some of it", func() bool { return h.Origin.Sent() > 2*mb })
	p.e.cancelWant(w, errCancelled)
	p.wait(20 * time.Second)
	if err := p.ends[0].Err; err != errCancelled {
		t.Errorf("ended with %v", err)
	}
	if err := p.ends[1].Err; err != nil {
		t.Errorf("the other ended with %v", err)
	}
}

// Files do not stay open after the engine has closed.
func TestFilesAreClosed(t *testing.T) {
	before := openFiles(t)
	b := swarmtest.NewBlob(15, mb, 1000, 2000, 3000)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	p := newPeer(t, Config{})
	p.fetchAll(h.Offer(), b)
	p.wait(20 * time.Second)
	p.e.Close()
	h.Close()
	waitFor(t, "the files to be closed", func() bool { return openFiles(t) <= before })
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc: ", err)
	}
	return len(entries)
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
