package session

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/rsyncproto"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
	"github.com/prsync/prsync/internal/transfer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hub stands for a host and everyone who holds what it publishes: a directory.
// Its fields say how it misbehaves.
type hub struct {
	t        *testing.T
	dir      string
	contents map[content.ID][]byte

	refuse   error              // Fetch fails
	fail     func(n int) error  // end of the n-th fetch
	valid    func(size int) int // bytes written and valid before that
	dieAfter int                // the swarm goes after so many fetches
	slow     time.Duration      // before each result
	direct   int                // so many files may go straight to the sender
	lookup   bool               // contents are looked up, not offered
	noSigs   bool
	learning sync.Mutex
	learned  map[string]content.ID

	mu      sync.Mutex
	events  chan content.Event
	wg      sync.WaitGroup
	opened  int
	lives   int
	next    *hub
	fetches int
	fetched int64 // bytes that were not there
	wants   map[uint64]content.Want
	stop    chan struct{}
	gone    chan struct{} // of dieAfter
}

func newHub(t *testing.T, dir string) *hub {
	h := &hub{t: t, dir: dir, contents: map[content.ID][]byte{}, events: make(chan content.Event), wants: map[uint64]content.Want{},
		stop: make(chan struct{}), gone: make(chan struct{}), learned: map[string]content.ID{}}
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, _ := os.ReadFile(p)
			h.contents[sha256.Sum256(b)] = b
		}
		return nil
	})
	return h
}

func (h *hub) Fetch(_ context.Context, w content.Want) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse != nil {
		return h.refuse
	}
	h.fetches++
	n := h.fetches
	if h.dieAfter > 0 && n > h.dieAfter {
		if n == h.dieAfter+1 {
			close(h.gone)
			go func() {
				h.wg.Wait()
				close(h.events)
			}()
		}
		return errors.New("the swarm engine has gone")
	}
	h.wants[w.Tag] = w
	h.wg.Add(1)
	go h.serve(n, w)
	return nil
}

// right returns the parts of what the asker says it has that are so.
func right(w content.Want, data []byte) (have []content.Range) {
	const piece = 500
	buf := make([]byte, piece)
	for _, r := range w.Have {
		for off := r.Off; off < r.End; off += piece {
			n := min(piece, r.End-off)
			if k, _ := w.File.ReadAt(buf[:n], off); int64(k) == n && bytes.Equal(buf[:n], data[off:off+n]) {
				have = append(have, content.Range{Off: off, End: off + n})
			}
		}
	}
	return have
}

// serve writes what is missing of a content.
func (h *hub) serve(n int, w content.Want) {
	defer h.wg.Done()
	if h.slow > 0 {
		select {
		case <-time.After(h.slow):
		case <-h.stop:
		}
	}
	data := h.contents[w.ID]
	end, failure := int64(len(data)), error(nil)
	if h.fail != nil {
		if failure = h.fail(n); failure != nil {
			end = int64(h.valid(len(data)))
		}
	}
	e := content.Event{Tag: w.Tag, Done: true, Err: failure}
	at := int64(0)
	for _, r := range append(right(w, data), content.Range{Off: end, End: end}) {
		if r.Off > at && at < end {
			to := min(r.Off, end)
			w.File.WriteAt(data[at:to], at)
			e.Bytes[content.FromPeers] += to - at
		}
		at = max(at, r.End)
	}
	if failure != nil && end > 0 {
		e.Valid = []content.Range{{Off: 0, End: end}}
		w.File.WriteAt(bytes.Repeat([]byte{0xEE}, int(min(1000, w.Length-end))), end) // not verified
	}
	h.mu.Lock()
	h.fetched += e.Bytes[content.FromPeers]
	_, mine := h.wants[w.Tag]
	delete(h.wants, w.Tag)
	h.mu.Unlock()
	if !mine {
		return
	}
	select {
	case h.events <- e:
	case <-h.gone:
	case <-h.stop:
	}
}

func (h *hub) Cancel(tag uint64) error      { return nil }
func (h *hub) Events() <-chan content.Event { return h.events }

// Err is what a dead engine's client says.
func (h *hub) Err() error {
	select {
	case <-h.gone:
		return errors.New("the swarm engine has gone")
	default:
		return nil
	}
}

// open starts the hub again when it has died.
func (h *hub) open(context.Context) (transfer.Swarm, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.opened++; h.opened > 1 {
		next := newHub(h.t, h.dir)
		if h.opened > h.lives {
			return nil, errors.New("cannot start another")
		}
		h.next = next
		return next, nil
	}
	return h, nil
}

func (h *hub) Stats() content.SwarmStats { return content.SwarmStats{Peers: 1} }
func (h *hub) close() {
	close(h.stop)
	h.wg.Wait()
	if h.next != nil {
		h.next.close()
	}
}

func (h *hub) signature(_ context.Context, id content.ID) (*content.Signature, error) {
	if h.noSigs {
		return nil, errors.New("no such signature")
	}
	return sign(h.contents[id]), nil
}

// sign is what a host's index does.
func sign(data []byte) *content.Signature {
	s := &content.Signature{Length: int64(len(data)), BlockLen: content.SignatureBlockLen(int64(len(data))), StrongLen: content.SignatureStrongLen}
	sums := checksum.Config{Kind: checksum.XXH128}
	for len(data) > 0 {
		b := data[:min(len(data), int(s.BlockLen))]
		data = data[len(b):]
		s.Rolling = append(s.Rolling, checksum.Rolling(b))
		s.Strong = append(s.Strong, sums.Block(nil, b)[:s.StrongLen]...)
	}
	return s
}

// contentID is what a publishing sender tells.
func (h *hub) contentID(dir string, f *flist.File) *[32]byte {
	b, err := os.ReadFile(filepath.Join(dir, f.Name()))
	if err != nil {
		return nil
	}
	id := sha256.Sum256(b)
	if _, ok := h.contents[content.ID(id)]; !ok {
		return nil
	}
	return &id
}

func (h *hub) lookUp(_ context.Context, items []content.LookupItem) ([]content.ID, error) {
	ids := make([]content.ID, len(items))
	for i, it := range items {
		st, err := os.Stat(filepath.Join(h.dir, it.Path))
		if err != nil || st.Size() != it.Size || st.ModTime().Unix() != it.Mtime {
			continue
		}
		b, _ := os.ReadFile(filepath.Join(h.dir, it.Path))
		ids[i] = sha256.Sum256(b)
	}
	return ids, nil
}

// outcome is what a run did.
type outcome struct {
	err      error
	out      string
	toServer int64 // bytes on the connection
	toClient int64
	streams  [2][]byte // to the server, to the client
}

// tap records what passes.
type tap struct {
	io.Writer
	n   int64
	rec bytes.Buffer
}

func (t *tap) Write(p []byte) (int, error) {
	n, err := t.Writer.Write(p)
	t.n += int64(n)
	t.rec.Write(p[:n])
	return n, err
}

// pull runs a client that receives from src into dst, and its server, with the
// swarm of h unless that is nil.
func pull(t *testing.T, h *hub, src, dst string, args ...string) outcome {
	t.Helper()
	return pullAs(t, h, true, src, dst, args...)
}

// pullAs is pull with a client that is stock unless knows is set.
func pullAs(t *testing.T, h *hub, knows bool, src, dst string, args ...string) outcome {
	t.Helper()
	env := options.Env{Getenv: func(string) string { return "" }, ReadFile: os.ReadFile, Now: time.Now}
	o, operands, err := options.Parse(append(args, "host:"+src+"/", dst+"/"), env)
	if err != nil {
		t.Fatal(err)
	}
	offer := ""
	if h != nil && knows && OffersSwarm(o, false) {
		offer = string(rune(rsyncproto.OfferLetter))
	}
	words := o.ServerArgs(false, o.Protocol, offer)
	so, _, err := options.ParseServer(append(words[1:], ".", src+"/"), env)
	if err != nil {
		t.Fatal(err)
	}
	_ = operands
	toC, fromS := wire.Pipe()
	toS, fromC := wire.Pipe()
	closeAll := func() { toC.Close(); fromS.Close(); toS.Close(); fromC.Close() }
	defer closeAll()
	var out bytes.Buffer
	senv := Env{Cwd: "/", Umask: 022, EUID: uint32(os.Geteuid()), PID: 1, Now: time.Now, Getenv: env.Getenv, Stdin: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Names: meta.NewSystemNames()}
	cenv := senv
	cenv.Out, cenv.Err = &out, &out
	up, down := &tap{Writer: fromC}, &tap{Writer: fromS}
	server := Params{Opts: so, Server: true, Sender: true, In: toS, Out: down, Close: closeAll, Args: []string{src + "/"}, Env: senv}
	client := Params{Opts: o, In: toC, Out: up, Close: closeAll, Args: []string{dst + "/"}, Env: cenv}
	if h != nil {
		client.Learn = &transfer.Learn{
			Wants: func(string) bool { return true },
			Note: func(path string, _ fsroot.Stat, id content.ID) {
				h.learning.Lock()
				h.learned[path] = id
				h.learning.Unlock()
			},
		}
		if !h.lookup {
			server.Publish = &Publisher{Offer: content.Offer{URL: "http://hub.example", Module: "m", Generation: 7}, ContentID: h.contentID}
		}
		client.Swarm = func(offer *content.Offer) (*transfer.SwarmConfig, error) {
			if offer == nil && !h.lookup {
				return nil, errNoOffer
			}
			cfg := &transfer.SwarmConfig{Open: h.open, Signature: h.signature}
			if h.direct > 0 {
				var left atomic.Int64
				left.Store(int64(h.direct))
				cfg.Direct = func(int64) bool { return left.Add(-1) >= 0 }
			}
			if h.lookup {
				cfg.Lookup = h.lookUp
			}
			return cfg, nil
		}
		defer h.close()
	}
	done := make(chan error, 1)
	go func() {
		err := Run(context.Background(), server)
		fromS.Close()
		toS.Close()
		done <- err
	}()
	err = Run(context.Background(), client)
	if err != nil {
		closeAll()
	}
	<-done
	return outcome{err: err, out: out.String(), toServer: up.n, toClient: down.n, streams: [2][]byte{up.rec.Bytes(), down.rec.Bytes()}}
}

// entry is what two trees are compared by.
type entry struct {
	Mode  fs.FileMode
	Size  int64
	Mtime int64
	Sum   string
	Links uint64
}

func snapshot(t *testing.T, dir string) map[string]entry {
	t.Helper()
	tree := map[string]entry{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		fi, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{Mode: fi.Mode(), Mtime: fi.ModTime().UnixNano()}
		if fi.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			e.Size, e.Sum = fi.Size(), fmt.Sprintf("%x", sha256.Sum256(b))
			e.Links = uint64(fi.Sys().(*syscall.Stat_t).Nlink)
		}
		if e.Mtime > recently {
			e.Mtime = 0 // the time of the run
		}
		tree[rel] = e
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// recently is after every time that the tests set.
const recently = 1750000000e9

// noise returns bytes that do not compress or repeat.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

func write(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		p := filepath.Join(dir, n)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, files[n], 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1700000000+int64(len(files[n])), 123456789)
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if fi, e := d.Info(); err == nil && e == nil {
			rel, _ := filepath.Rel(from, p)
			os.Chmod(filepath.Join(to, rel), fi.Mode().Perm())
			os.Chtimes(filepath.Join(to, rel), fi.ModTime(), fi.ModTime())
		}
		return nil
	})
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// quickDir is a temporary directory in memory where there is such a place.
func quickDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "swarm")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// update is a source, and a destination with an earlier state of it.
func update(t *testing.T) (src, dst string) {
	t.Helper()
	dir := quickDir(t)
	src, dst = filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	image := noise(1, 2*mib)
	changed := bytes.Clone(image)
	copy(changed[700*kib:], noise(2, 20*kib))
	changed = append(changed[:1500*kib], append([]byte("inserted"), changed[1500*kib:]...)...)
	disk := noise(10, 3*mib)
	disk2 := bytes.Clone(disk)
	copy(disk2[mib:], noise(11, mib))
	big := noise(3, mib)
	write(t, src, map[string][]byte{
		"image": changed, "disk": disk2, "new/a": noise(4, 600*kib), "new/copy of a": noise(4, 600*kib), "new/small": noise(5, 10*kib),
		"renamed": big, "same": noise(6, 500*kib), "zero": nil, "one": {1}, "sub/zeros": make([]byte, 700*kib),
		"rotated.1": noise(8, 450*kib), "rotated": noise(9, 450*kib),
	})
	write(t, dst, map[string][]byte{
		"image": image, "disk": disk, "old name": big, "same": noise(6, 500*kib), "gone": noise(7, 300*kib), "rotated": noise(8, 450*kib),
	})
	at := time.Unix(1600000000, 0)
	for _, d := range []string{"", "new", "sub"} {
		os.Chtimes(filepath.Join(src, d), at, at)
	}
	os.Chtimes(filepath.Join(dst, "image"), at, at)
	os.Chtimes(filepath.Join(dst, "disk"), at, at)
	os.Chtimes(filepath.Join(dst, "rotated"), at, at)
	return src, dst
}

// TestSwarmIsLikeRsync compares trees and printed lines of runs with and
// without a swarm.
func TestSwarmIsLikeRsync(t *testing.T) {
	flaky := func(h *hub) {
		h.fail = func(n int) error {
			if n%2 == 1 {
				return errors.New("no peers")
			}
			return nil
		}
		h.valid = func(size int) int { return size / 2 }
	}
	hubs := []struct {
		name string
		set  func(h *hub)
	}{
		{"instant", func(h *hub) {}},
		{"slow", func(h *hub) { h.slow = 30 * time.Millisecond }},
		{"no signatures", func(h *hub) { h.noSigs = true }},
		{"half of it, then failing", flaky},
		{"nothing at all", func(h *hub) {
			h.fail = func(int) error { return errors.New("stalled") }
			h.valid = func(int) int { return 0 }
		}},
		{"refusing", func(h *hub) { h.refuse = errors.New("no swarm is known") }},
		{"dying", func(h *hub) { h.dieAfter = 2 }},
		{"dying and coming back", func(h *hub) { h.dieAfter, h.lives, h.slow = 2, 2, 20*time.Millisecond }},
		{"looked up", func(h *hub) { h.lookup = true }},
	}
	flags := [][]string{
		{"-a"}, {"-a", "--delete"}, {"-rt", "--delete-after"}, {"-aH", "--delete-delay", "--fuzzy"}, {"-ac"}, {"-aS"},
		{"-a", "--no-inc-recursive"}, {"-a", "--backup", "--suffix=.old"}, {"-a", "--partial-dir=.part"}, {"-a", "--delay-updates"},
		{"-a", "-W"}, {"-r"}, {"-a", "--temp-dir=/tmp"}, {"-aR"}, {"-a", "--existing"}, {"-az"}, {"-a", "--chmod=F600"}, {"-aX"},
		{"-a", "--inplace"}, {"-a", "--append"}, {"-an"}, {"-a", "--preallocate"}, {"-a", "--link-dest=../other"},
	}
	for k, hb := range hubs {
		t.Run(hb.name, func(t *testing.T) {
			for i, fl := range flags {
				if hb.name != "instant" && i >= 3 && i%len(hubs) != k {
					continue // each of the others with every eighth
				}
				t.Run(strings.Join(fl, " "), func(t *testing.T) {
					src, dst := update(t)
					plain := dst + ".plain"
					copyTree(t, dst, plain)
					args := append([]string{"--out-format=%i %n %l", "--swarm-min-size=100K"}, fl...)
					want := pull(t, nil, src, plain, args...)
					h := newHub(t, src)
					hb.set(h)
					got := pull(t, h, src, dst, args...)
					if exitcode.Of(got.err, 99) != exitcode.Of(want.err, 99) {
						t.Errorf("error %v, without swarm %v", got.err, want.err)
					}
					if d := cmp.Diff(snapshot(t, plain), snapshot(t, dst)); d != "" {
						t.Errorf("tree differs (-plain +swarm):\n%s", d)
					}
					if d := cmp.Diff(lines(want.out), lines(got.out)); d != "" {
						t.Errorf("output differs (-plain +swarm):\n%s", d)
					}
				})
			}
		})
	}
}

// lines sorts what was printed: the swarm's files come when they are there.
func lines(s string) []string {
	l := strings.Split(strings.ReplaceAll(s, "dst.plain", "dst"), "\n")
	sort.Strings(l)
	return l
}

func TestReuse(t *testing.T) {
	for _, args := range [][]string{{"-a"}, {"-a", "--delete"}, {"-a", "--delete-before"}, {"-a", "--delete", "--no-inc-recursive"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			src, dst := update(t)
			h := newHub(t, src)
			got := pull(t, h, src, dst, append(args, "--swarm-min-size=100K", "--stats")...)
			if got.err != nil {
				t.Fatal(got.err)
			}
			// new/a once, sub/zeros, rotated, and what changed in disk; what
			// changed in image is cheaper as a delta.
			most := int64(600*kib + 700*kib + 450*kib + mib + 20*kib)
			if h.fetched > most || got.toClient > 60*kib {
				t.Errorf("fetched %d bytes, at most %d would do; %d over the connection\n%s", h.fetched, most, got.toClient, got.out)
			}
			for _, n := range []string{"image", "disk"} {
				if d := cmp.Diff(snapshot(t, src)[n].Sum, snapshot(t, dst)[n].Sum); d != "" {
					t.Errorf("%s: %s", n, d)
				}
			}
			if h.learned[filepath.Join(dst, "disk")].IsZero() || h.learned[filepath.Join(dst, "renamed")].IsZero() {
				t.Errorf("not learned: %v", h.learned)
			}
		})
	}
}

func TestRequire(t *testing.T) {
	src, dst := update(t)
	h := newHub(t, src)
	h.fail = func(int) error { return errors.New("no progress for 20 s") }
	h.valid = func(int) int { return 0 }
	got := pull(t, h, src, dst, "-a", "--swarm=require")
	if exitcode.Of(got.err, 99) != exitcode.SocketIO || !strings.Contains(got.err.Error(), "no progress for 20 s") {
		t.Errorf("failing swarm: %v", got.err)
	}
	if left, _ := filepath.Glob(filepath.Join(dst, ".*.*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	src, dst = update(t)
	if got = pull(t, nil, src, dst, "-a", "--swarm=require"); exitcode.Of(got.err, 99) != exitcode.SocketIO {
		t.Errorf("stock sender: %v", got.err)
	}
	if got = pull(t, nil, src, dst, "-a", "--swarm=require", "--inplace"); exitcode.Of(got.err, 99) != exitcode.Syntax {
		t.Errorf("with --inplace: %v", got.err)
	}
}

func TestRemoveSourceFiles(t *testing.T) {
	src, dst := update(t)
	h := newHub(t, src)
	if got := pull(t, h, src, dst, "-a", "--remove-source-files"); got.err != nil {
		t.Fatal(got.err)
	}
	for n, e := range snapshot(t, src) {
		if e.Mode.IsRegular() {
			t.Errorf("%s is still there", n)
		}
	}
}

// TestFallBackKeepsWhatCame asks the sender only for what the swarm did not
// deliver.
func TestFallBackKeepsWhatCame(t *testing.T) {
	for _, args := range [][]string{{"-a"}, {"-a", "--partial-dir=.part"}, {"-a", "--temp-dir=/dev/shm"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			dir := quickDir(t)
			src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
			write(t, src, map[string][]byte{"f": noise(1, 4*mib)})
			os.Mkdir(dst, 0o755)
			h := newHub(t, src)
			h.fail = func(int) error { return errors.New("no peers") }
			h.valid = func(size int) int { return size * 3 / 4 }
			got := pull(t, h, src, dst, args...)
			if got.err != nil || got.toClient > mib+mib/4 {
				t.Errorf("%v; %d bytes over the connection, 1 MiB was missing", got.err, got.toClient)
			}
			if d := cmp.Diff(snapshot(t, src)["f"], snapshot(t, dst)["f"]); d != "" {
				t.Error(d)
			}
			if n := len(snapshot(t, dst)); n != 2 {
				t.Errorf("%d entries in the destination", n)
			}
		})
	}
}

// TestStockClientSeesNothing compares the stream of a publishing server with
// that of one that does not publish.
func TestStockClientSeesNothing(t *testing.T) {
	src, dst := update(t)
	copyTree(t, dst, dst+".plain")
	args := []string{"-a", "--delete", "--checksum-seed=7"}
	want := pullAs(t, nil, false, src, dst+".plain", args...)
	got := pullAs(t, newHub(t, src), false, src, dst, args...)
	if want.err != nil || got.err != nil {
		t.Fatal(want.err, got.err)
	}
	for i := range want.streams {
		w, g := unframe(t, want.streams[i]), unframe(t, got.streams[i])
		if !bytes.Equal(w, g) {
			t.Errorf("streams of %d and %d bytes differ", len(w), len(g))
		}
	}
	if d := cmp.Diff(snapshot(t, dst+".plain"), snapshot(t, dst)); d != "" {
		t.Error(d)
	}
}

// unframe returns what a stream says, without the frames that it is cut into
// as time will have it, and without the statistics at its end.
func unframe(t *testing.T, b []byte) []byte {
	t.Helper()
	for start := range min(len(b), 300) {
		said := append([]byte(nil), b[:start]...)
		at := start
		for at+4 <= len(b) {
			h := binary.LittleEndian.Uint32(b[at:])
			n, tag := int(h&0xFFFFFF), h>>24
			if tag < 7 || tag > 110 || at+4+n > len(b) {
				break
			}
			if tag == 7 {
				said = append(said, b[at+4:at+4+n]...)
			}
			at += 4 + n
		}
		if at == len(b) {
			return said[:max(0, len(said)-40)]
		}
	}
	t.Fatal("no frames in the stream")
	return nil
}

// TestSmallChangedFiles leaves them to the sender, whose sums need no round
// trip for each; new ones go by the swarm.
func TestSmallChangedFiles(t *testing.T) {
	dir := quickDir(t)
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	old, files := map[string][]byte{}, map[string][]byte{}
	for i := range 5 {
		name := fmt.Sprint("changed", i)
		old[name] = noise(uint64(i), 40*kib)
		files[name] = append([]byte("inserted"), old[name]...)
		files[fmt.Sprint("new", i)] = noise(uint64(10+i), 40*kib)
	}
	write(t, src, files)
	write(t, dst, old)
	h := newHub(t, src)
	got := pull(t, h, src, dst, "-a", "-I")
	if got.err != nil {
		t.Fatal(got.err)
	}
	if h.fetches != 5 || h.fetched != 5*40*kib || got.toClient > 40*kib {
		t.Errorf("%d fetches of %d bytes, want the 5 new files; %d bytes over the connection", h.fetches, h.fetched, got.toClient)
	}
	if d := cmp.Diff(snapshot(t, src), snapshot(t, dst)); d != "" {
		t.Error(d)
	}
}
