package p2p_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p"
	"github.com/prsync/prsync/internal/p2p/engine"
	"github.com/prsync/prsync/internal/p2p/origin"
	"github.com/prsync/prsync/internal/p2p/swarmtest"
)

// roleVariable makes the test binary an engine process.
const roleVariable = "PRSYNC_TEST_ENGINE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "child":
		if err := engine.RunChild(context.Background(), os.NewFile(3, "socket")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "deaf": // takes the socket and never answers
		select {}
	}
	goleak.VerifyTestMain(m)
}

func spawn(t *testing.T, cfg p2p.Config) *p2p.Client {
	t.Helper()
	t.Setenv(roleVariable, "child")
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	c, err := p2p.Spawn(context.Background(), []string{os.Args[0]}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// fetch asks for every content of the blob and returns the files by tag.
func fetch(t *testing.T, c *p2p.Client, h *swarmtest.Hub, b *swarmtest.Blob) map[uint64]string {
	t.Helper()
	if err := c.SetOffer(h.Offer()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[uint64]string{}
	for i, e := range b.Pack.Entries {
		name := filepath.Join(dir, fmt.Sprint(i))
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[uint64(i)] = name
		if err := c.Fetch(t.Context(), content.Want{Tag: uint64(i), ID: e.ID, Length: e.Length, File: f}); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// collect returns the last event of each of n contents.
func collect(t *testing.T, c *p2p.Client, n int) map[uint64]content.Event {
	t.Helper()
	ends := map[uint64]content.Event{}
	timeout := time.After(30 * time.Second)
	for len(ends) < n {
		select {
		case ev, ok := <-c.Events():
			if !ok {
				t.Fatalf("the events ended after %d of %d contents", len(ends), n)
			}
			if ev.Done {
				ends[ev.Tag] = ev
			}
		case <-timeout:
			t.Fatalf("%d of %d contents after 30 s", len(ends), n)
		}
	}
	return ends
}

func check(t *testing.T, b *swarmtest.Blob, files map[uint64]string) {
	t.Helper()
	for tag, name := range files {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, b.Content(int(tag))) {
			t.Errorf("content %d is wrong", tag)
		}
	}
}

func TestSpawnAndFetch(t *testing.T) {
	b := swarmtest.NewBlob(1, 3<<20, 10_000, 500)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	first, second := spawn(t, p2p.Config{}), spawn(t, p2p.Config{Linger: time.Hour})
	if first.PID() == os.Getpid() || len(first.PeerID()) != 20 || first.Port() == 0 {
		t.Errorf("pid %d, peer id %q, port %d", first.PID(), first.PeerID(), first.Port())
	}
	files := fetch(t, first, h, b)
	for tag, ev := range collect(t, first, len(files)) {
		if ev.Err != nil {
			t.Errorf("content %d: %v", tag, ev.Err)
		}
	}
	check(t, b, files)
	// The engine goes on seeding from the descriptors, whatever the files are
	// called by now.
	for _, name := range files {
		if err := os.Rename(name, name+".final"); err != nil {
			t.Fatal(err)
		}
	}
	h.OriginDead.Store(true)
	files = fetch(t, second, h, b)
	for tag, ev := range collect(t, second, len(files)) {
		if ev.Err != nil {
			t.Errorf("content %d from a peer: %v", tag, ev.Err)
		}
	}
	check(t, b, files)
	deadline := time.Now().Add(5 * time.Second)
	for second.Stats().Bytes[content.FromPeers] < 3<<20 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if s := second.Stats(); s.Bytes[content.FromPeers] < 3<<20 {
		t.Errorf("statistics %+v: everything came from a peer", s)
	}
	// Closing the first ends its process; the second would linger for an hour,
	// were it not killed.
	first.Close()
	if err := syscall.Kill(first.PID(), 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the engine is still there: %v", err)
	}
	syscall.Kill(second.PID(), syscall.SIGKILL)
	closed := make(chan struct{})
	go func() { second.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("Close lingers with a dead engine")
	}
	if h.Stops() == 0 {
		t.Error("the first engine did not say goodbye")
	}
}

// kill -9 of the engine ends every want with an error, soon.
func TestKilledEngine(t *testing.T) {
	b := swarmtest.NewBlob(2, 8<<20, 1<<20, 1<<20)
	h := swarmtest.NewHub(t, origin.Config{Uplink: 2 << 20}, b)
	c := spawn(t, p2p.Config{})
	files := fetch(t, c, h, b)
	for h.Origin.Sent() < 1<<20 {
		time.Sleep(5 * time.Millisecond)
	}
	syscall.Kill(c.PID(), syscall.SIGKILL)
	failed := 0
	for _, ev := range collect(t, c, len(files)) {
		if errors.Is(ev.Err, p2p.ErrEngineGone) {
			failed++
		}
	}
	if failed == 0 {
		t.Error("no want failed")
	}
	if _, ok := <-c.Events(); ok {
		t.Error("the events go on")
	}
	if err := c.Fetch(t.Context(), content.Want{Length: 1, File: os.Stdin}); !errors.Is(err, p2p.ErrEngineGone) {
		t.Errorf("Fetch: %v", err)
	}
}

func TestEngineThatDoesNotStart(t *testing.T) {
	if _, err := p2p.Spawn(t.Context(), []string{"/bin/false"}, p2p.Config{}); err == nil {
		t.Error("/bin/false is an engine")
	}
	if _, err := p2p.Spawn(t.Context(), []string{"/nonexistent/engine"}, p2p.Config{}); err == nil {
		t.Error("a missing program is an engine")
	}
	t.Setenv(roleVariable, "deaf")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := p2p.Spawn(ctx, []string{os.Args[0]}, p2p.Config{}); err == nil {
		t.Error("a deaf program is an engine")
	}
	t.Setenv(roleVariable, "child")
	if _, err := p2p.Spawn(t.Context(), []string{os.Args[0]}, p2p.Config{Listen: "nonsense"}); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("an engine that shall listen at nonsense: %v", err)
	}
}

// A volunteer's engine serves its host, which seeds, and transfers.
func TestSharedEngineSeedsAndFetches(t *testing.T) {
	b := swarmtest.NewBlob(3, 2<<20, 70_000, 3000)
	h := swarmtest.NewHub(t, origin.Config{}, b)
	h.OriginDead.Store(true)
	socket := filepath.Join(t.TempDir(), "engine")
	host := spawn(t, p2p.Config{Socket: socket, Keep: time.Minute})
	dir := t.TempDir()
	var mu sync.Mutex
	byID, opens := map[content.ID]string{}, 0
	for i := range b.Pack.Entries {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, b.Content(i), 0o600); err != nil {
			t.Fatal(err)
		}
		byID[sha256.Sum256(b.Content(i))] = name
	}
	err := host.Seed(h.Offer(), b.Pack, func(int) bool { return true }, func(id content.ID) (*os.File, error) {
		mu.Lock()
		defer mu.Unlock()
		opens++
		return os.Open(byID[id])
	})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the volunteer to be listed", func() bool { return h.Peers(b) == 1 })
	reply, err := host.Announce(t.Context(), h.Offer(), "secret", &content.AnnounceRequest{
		Name: "edge1", URL: "http://edge1", Load: &content.Load{Customers: 3},
	})
	if err != nil || reply.Interval == 0 {
		t.Errorf("announce: %+v, %v", reply, err)
	}

	other := spawn(t, p2p.Config{})
	files := fetch(t, other, h, b)
	for tag, ev := range collect(t, other, len(files)) {
		if ev.Err != nil {
			t.Errorf("content %d: %v", tag, ev.Err)
		}
	}
	check(t, b, files)
	mu.Lock()
	if opens == 0 || opens > 20 {
		t.Errorf("%d files were opened for 3 contents", opens)
	}
	mu.Unlock()

	// A transfer on the volunteer's machine gets what the host holds.
	local := dial(t, socket)
	files = fetch(t, local, h, b)
	for tag, ev := range collect(t, local, len(files)) {
		if ev.Err != nil {
			t.Errorf("content %d: %v", tag, ev.Err)
		}
	}
	check(t, b, files)
}

func dial(t *testing.T, socket string) *p2p.Client {
	t.Helper()
	c, err := p2p.Dial(t.Context(), socket, p2p.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
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
