// Package storetest is the conformance suite of tracker stores: what it checks
// is what store.Store promises.
package storetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker/store"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ID returns a content id for a number.
func ID(n int) (id content.ID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	id[0], id[1] = byte(n*131), byte(n>>5)
	return id
}

// IDs concatenates the ids of the numbers from a up to b.
func IDs(a, b int) []byte {
	var out []byte
	for n := a; n < b; n++ {
		id := ID(n)
		out = append(out, id[:]...)
	}
	return out
}

// Hash returns an info hash for a number.
func Hash(n int) (h content.InfoHash) {
	binary.BigEndian.PutUint64(h[:], uint64(n)*0x9e3779b97f4a7c15)
	return h
}

func peer(n int, left int64) store.Peer {
	return store.Peer{ID: fmt.Sprintf("-PS0001-%012d", n), IP: fmt.Sprintf("10.0.%d.%d", n>>8, n&255), Port: uint16(1000 + n), Left: left}
}

// Run checks a store; open returns an empty one and closes it by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		f    func(*testing.T, store.Store)
	}{
		{"peers", testPeers}, {"peers expire", testExpiry}, {"many peers", testManyPeers},
		{"same id, other address", testSpoof}, {"scrape", testScrape}, {"volunteers", testVolunteers},
		{"holdings", testHoldings}, {"holdings anew", testAnew}, {"forget", testForget},
		{"more than 64 volunteers", testWide}, {"issued", testIssued}, {"sweep", testSweep},
		{"concurrent", testConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, open(t)) })
	}
}

func announce(t *testing.T, s store.Store, now time.Time, u store.Update) store.Swarm {
	t.Helper()
	if u.TTL == 0 {
		u.TTL = time.Minute
	}
	out, err := s.Announce(t.Context(), []store.Update{u}, now)
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func ids(s store.Swarm) (out []string) {
	for _, p := range s.Peers {
		out = append(out, p.ID)
	}
	slices.Sort(out)
	return out
}

func testPeers(t *testing.T, s store.Store) {
	h := Hash(1)
	a, b, c := peer(1, 100), peer(2, 0), peer(3, 50)
	c.Paused = true
	announce(t, s, epoch, store.Update{InfoHash: h, Peer: a, Want: 10})
	announce(t, s, epoch, store.Update{InfoHash: h, Peer: b, Want: 10})
	got := announce(t, s, epoch, store.Update{InfoHash: h, Peer: c, Want: 10})
	if want := []string{a.ID, b.ID, c.ID}; !slices.Equal(ids(got), want) || got.Complete != 1 || got.Incomplete != 2 || got.Known {
		t.Fatalf("third of three peers got %q, %d complete, %d incomplete, known %v", ids(got), got.Complete, got.Incomplete, got.Known)
	}
	if got.Peers[0].ID != a.ID || got.Peers[0].Seed() || !got.Peers[1].Seed() || !got.Peers[2].Seed() {
		t.Errorf("the downloading one must come first: %+v", got.Peers)
	}
	if got := announce(t, s, epoch, store.Update{InfoHash: Hash(3), Peer: c, Want: 1}); got.Incomplete != 1 || got.Complete != 0 {
		t.Errorf("a paused peer alone: %+v", got)
	}
	if other := announce(t, s, epoch, store.Update{InfoHash: Hash(2), Peer: a, Want: 10}); len(other.Peers) != 1 {
		t.Errorf("another swarm sees %d peers", len(other.Peers))
	}
	a.Left, a.Downloaded = 0, 100
	got = announce(t, s, epoch, store.Update{InfoHash: h, Peer: a, Want: 0})
	if !got.Known || got.Prev.Left != 100 || got.Prev.IP != a.IP || len(got.Peers) != 0 || got.Complete != 2 {
		t.Errorf("completed: %+v", got)
	}
	got = announce(t, s, epoch, store.Update{InfoHash: h, Peer: a, Stopped: true, Want: 10})
	if slices.Contains(ids(got), a.ID) || got.Complete != 1 {
		t.Errorf("stopped peer is still there: %q, %d complete", ids(got), got.Complete)
	}
	// What others see of a peer changes with its next announce.
	b.Port++
	announce(t, s, epoch, store.Update{InfoHash: h, Peer: b, Want: 10})
	got = announce(t, s, epoch.Add(50*time.Second), store.Update{InfoHash: h, Peer: c, Want: 10})
	if i := slices.IndexFunc(got.Peers, func(p store.Peer) bool { return p.ID == b.ID }); i < 0 || got.Peers[i].Port != b.Port {
		t.Errorf("after a change of port: %+v", got.Peers)
	}
	// Who announces goes on, who does not expires, also for an asker who has just seen both.
	announce(t, s, epoch.Add(50*time.Second), store.Update{InfoHash: h, Peer: b, Want: 10})
	d := peer(4, 9)
	announce(t, s, epoch.Add(20*time.Second), store.Update{InfoHash: h, Peer: d, Want: 10})
	if got = announce(t, s, epoch.Add(70*time.Second), store.Update{InfoHash: h, Peer: c, Want: 10}); !slices.Equal(ids(got), []string{b.ID, c.ID, d.ID}) {
		t.Errorf("at 70 s: %q", ids(got))
	}
	if got = announce(t, s, epoch.Add(90*time.Second), store.Update{InfoHash: h, Peer: c, Want: 10}); !slices.Equal(ids(got), []string{b.ID, c.ID}) {
		t.Errorf("at 90 s: %q", ids(got))
	}
	announce(t, s, epoch.Add(90*time.Second), store.Update{InfoHash: h, Peer: d, Stopped: true})
	noPort := peer(9, 7)
	noPort.Port = 0
	if got = announce(t, s, epoch, store.Update{InfoHash: h, Peer: noPort, Want: 10}); !slices.Contains(ids(got), noPort.ID) {
		t.Error("a downloading peer without a port shares the origin's pieces but is not listed")
	}
	noPort.Left = 0
	if got = announce(t, s, epoch, store.Update{InfoHash: h, Peer: noPort, Want: 10}); slices.Contains(ids(got), noPort.ID) {
		t.Error("a seed that cannot be connected to is listed")
	}
}

func testExpiry(t *testing.T, s store.Store) {
	announce(t, s, epoch, store.Update{InfoHash: Hash(1), Peer: peer(1, 5), TTL: 10 * time.Second})
	announce(t, s, epoch, store.Update{InfoHash: Hash(1), Peer: peer(2, 0), TTL: 10 * time.Second})
	q := store.Update{InfoHash: Hash(1), Peer: peer(3, 5), Want: 10}
	if got := announce(t, s, epoch.Add(9*time.Second), q); len(got.Peers) != 3 {
		t.Errorf("%d peers before the end of their time", len(got.Peers))
	}
	if got := announce(t, s, epoch.Add(11*time.Second), q); len(got.Peers) != 1 {
		t.Errorf("%d peers after the end of their time", len(got.Peers))
	}
}

func testManyPeers(t *testing.T, s store.Store) {
	h := Hash(1)
	var first []string
	for n := range 60 {
		announce(t, s, epoch, store.Update{InfoHash: h, Peer: peer(n, 5)})
	}
	seen := map[string]bool{}
	for n := range 60 {
		announce(t, s, epoch, store.Update{InfoHash: h, Peer: peer(100+n, 0)})
	}
	for n := range 40 {
		got := announce(t, s, epoch, store.Update{InfoHash: h, Peer: peer(n, 5), Want: 20})
		if len(got.Peers) != 20 {
			t.Fatalf("%d peers, want 20", len(got.Peers))
		}
		var down []string
		for _, p := range got.Peers {
			if p.Seed() {
				seen[p.ID] = true
			} else {
				down = append(down, p.ID)
			}
		}
		if first == nil {
			first = down
		}
		if len(down) == 0 || !slices.Equal(first, down) {
			t.Fatalf("askers see different downloading peers:\n%q\n%q", first, down)
		}
	}
	if len(seen) < 30 {
		t.Errorf("only %d of 60 seeds were ever named in 40 answers", len(seen))
	}
}

func testSpoof(t *testing.T, s store.Store) {
	a := peer(1, 5)
	announce(t, s, epoch, store.Update{InfoHash: Hash(1), Peer: a})
	liar := a
	liar.IP = "192.0.2.66"
	announce(t, s, epoch, store.Update{InfoHash: Hash(1), Peer: liar, Stopped: true})
	got := announce(t, s, epoch, store.Update{InfoHash: Hash(1), Peer: peer(2, 5), Want: 10})
	if !slices.Contains(ids(got), a.ID) {
		t.Error("another address could remove a peer")
	}
}

func testScrape(t *testing.T, s store.Store) {
	announce(t, s, epoch, store.Update{InfoHash: Hash(1), Peer: peer(1, 5)})
	announce(t, s, epoch, store.Update{InfoHash: Hash(1), Peer: peer(1, 0)})
	announce(t, s, epoch, store.Update{InfoHash: Hash(1), Peer: peer(2, 5)})
	got, err := s.Scrape(t.Context(), []content.InfoHash{Hash(1), Hash(7)}, epoch)
	if err != nil || len(got) != 2 || got[0] != (store.Counts{Complete: 1, Incomplete: 1, Downloaded: 1}) || got[1] != (store.Counts{}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func put(t *testing.T, s store.Store, name string, now time.Time) int64 {
	t.Helper()
	v, err := s.PutVolunteer(t.Context(), store.Volunteer{Name: name, URL: "http://" + name, Seen: now})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func update(t *testing.T, s store.Store, name string, h content.Holdings) int64 {
	t.Helper()
	v, err := s.Update(t.Context(), name, &h)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func holders(t *testing.T, s store.Store, n int) []string {
	t.Helper()
	h, err := s.Holders(t.Context(), ID(n), nil)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(h)
	return h
}

func wantHolders(t *testing.T, s store.Store, n int, want ...string) {
	t.Helper()
	if got := holders(t, s, n); !slices.Equal(got, want) {
		t.Errorf("content %d is held by %q, want %q", n, got, want)
	}
}

func volunteer(t *testing.T, s store.Store, name string) store.Volunteer {
	t.Helper()
	all, err := s.Volunteers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("no volunteer %s in %v", name, all)
	return store.Volunteer{}
}

func testVolunteers(t *testing.T, s store.Store) {
	put(t, s, "b", epoch)
	put(t, s, "a", epoch)
	v := store.Volunteer{
		Name: "b", URL: "https://b.example", Addr: "10.1.1.1", Seen: epoch.Add(time.Minute),
		Load: content.Load{Customers: 3, CustomerRate: 4, PeerRate: 5, Syncing: 1, Uplink: 6, Served: 7},
		// These are the store's own.
		Version: 99, Contents: 99, More: true, First: epoch.Add(time.Hour),
	}
	if _, err := s.PutVolunteer(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	got := volunteer(t, s, "b")
	if got.URL != v.URL || got.Addr != v.Addr || got.Load != v.Load || !got.Seen.Equal(v.Seen) ||
		got.Version != 0 || got.Contents != 0 || got.More || !got.First.Equal(epoch) || got.Stopped || !got.Confirmed {
		t.Errorf("got %+v", got)
	}
	all, _ := s.Volunteers(t.Context())
	if len(all) != 2 || all[0].Name != "a" || all[1].Name != "b" {
		t.Errorf("not sorted: %+v", all)
	}
	if err := s.Stop(t.Context(), "b"); err != nil || !volunteer(t, s, "b").Stopped {
		t.Errorf("stop: %v", err)
	}
	if err := s.Stop(t.Context(), "nobody"); err != nil {
		t.Errorf("stop of an unknown one: %v", err)
	}
	put(t, s, "b", epoch)
	if volunteer(t, s, "b").Stopped {
		t.Error("still stopped after another announce")
	}
}

func testHoldings(t *testing.T, s store.Store) {
	if _, err := s.Update(t.Context(), "a", &content.Holdings{Version: 1}); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("holdings of an unknown volunteer: %v", err)
	}
	put(t, s, "a", epoch)
	put(t, s, "b", epoch)
	if v := update(t, s, "a", content.Holdings{Base: 0, Version: 7, Added: IDs(0, 10), More: 1}); v != 7 {
		t.Fatalf("version %d", v)
	}
	if g := volunteer(t, s, "a"); g.Contents != 10 || g.Version != 7 || !g.More {
		t.Errorf("%+v", g)
	}
	update(t, s, "b", content.Holdings{Base: 0, Version: 1, Added: IDs(5, 15)})
	wantHolders(t, s, 2, "a")
	wantHolders(t, s, 7, "a", "b")
	wantHolders(t, s, 12, "b")
	wantHolders(t, s, 99)
	if v := update(t, s, "a", content.Holdings{Base: 7, Version: 8, Added: IDs(9, 12), Dropped: IDs(0, 3)}); v != 8 {
		t.Fatalf("version %d", v)
	}
	wantHolders(t, s, 2)
	wantHolders(t, s, 10, "a", "b")
	if g := volunteer(t, s, "a"); g.Contents != 9 || g.More {
		t.Errorf("%+v", g)
	}
	// A delta against anything else changes nothing and tells the version.
	if v := update(t, s, "a", content.Holdings{Base: 7, Version: 9, Dropped: IDs(0, 20)}); v != 8 {
		t.Errorf("stale delta: version %d", v)
	}
	wantHolders(t, s, 10, "a", "b")
	// Dropping what is not held and adding what is are not counted.
	update(t, s, "a", content.Holdings{Base: 8, Version: 10, Added: IDs(10, 12), Dropped: IDs(100, 103)})
	if g := volunteer(t, s, "a"); g.Contents != 9 {
		t.Errorf("%+v", g)
	}
	if v := put(t, s, "a", epoch.Add(time.Second)); v != 10 {
		t.Errorf("put tells version %d", v)
	}
	if _, err := s.Update(t.Context(), "a", &content.Holdings{Base: 10, Version: 11, Added: make([]byte, 33)}); err == nil {
		t.Error("33 bytes of ids were taken")
	}
}

func testAnew(t *testing.T, s store.Store) {
	put(t, s, "a", epoch)
	update(t, s, "a", content.Holdings{Version: 1, Added: IDs(0, 10)})
	update(t, s, "a", content.Holdings{Base: 0, Version: 1, Added: IDs(5, 6)})
	wantHolders(t, s, 3)
	wantHolders(t, s, 5, "a")
	if g := volunteer(t, s, "a"); g.Contents != 1 {
		t.Errorf("%+v", g)
	}
}

func testForget(t *testing.T, s store.Store) {
	put(t, s, "a", epoch)
	put(t, s, "b", epoch)
	update(t, s, "a", content.Holdings{Version: 1, Added: IDs(0, 10)})
	update(t, s, "b", content.Holdings{Version: 1, Added: IDs(0, 10)})
	if err := s.Forget(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	wantHolders(t, s, 3, "b")
	// A newcomer must not inherit anything, before or after a sweep.
	for _, name := range []string{"c", "d", "e"} {
		put(t, s, name, epoch)
		update(t, s, name, content.Holdings{Version: 1, Added: IDs(20, 21)})
		wantHolders(t, s, 3, "b")
		if err := s.Sweep(t.Context(), time.Hour, epoch); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "a", epoch)
	wantHolders(t, s, 3, "b")
	wantHolders(t, s, 20, "c", "d", "e")
	if g := volunteer(t, s, "a"); g.Version != 0 || g.Contents != 0 {
		t.Errorf("%+v", g)
	}
}

func testWide(t *testing.T, s store.Store) {
	var want []string
	for n := range 130 {
		name := fmt.Sprintf("v%03d", n)
		put(t, s, name, epoch)
		update(t, s, name, content.Holdings{Version: 1, Added: IDs(n, n+2)})
		if n == 69 || n == 70 {
			want = append(want, name)
		}
	}
	wantHolders(t, s, 70, want...)
	wantHolders(t, s, 130, "v129")
}

func testIssued(t *testing.T, s store.Store) {
	put(t, s, "a", epoch)
	for i := range 3 {
		got, err := s.Issued(t.Context(), map[string]int64{"a": 5, "nobody": 7})
		if err != nil || len(got) != 1 || got["a"] != int64(5*(i+1)) {
			t.Fatalf("%v, %v", got, err)
		}
	}
}

func testSweep(t *testing.T, s store.Store) {
	put(t, s, "old", epoch)
	put(t, s, "new", epoch.Add(time.Hour))
	update(t, s, "old", content.Holdings{Version: 1, Added: IDs(0, 3)})
	announce(t, s, epoch, store.Update{InfoHash: Hash(1), Peer: peer(1, 5)})
	announce(t, s, epoch.Add(time.Hour), store.Update{InfoHash: Hash(1), Peer: peer(2, 5)})
	if err := s.Sweep(t.Context(), 30*time.Minute, epoch.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	all, _ := s.Volunteers(t.Context())
	if len(all) != 1 || all[0].Name != "new" {
		t.Errorf("%+v", all)
	}
	wantHolders(t, s, 1)
	if c, _ := s.Scrape(t.Context(), []content.InfoHash{Hash(1)}, epoch); c[0].Incomplete != 1 {
		t.Errorf("%+v", c)
	}
}

func testConcurrent(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			ctx := context.Background()
			name := fmt.Sprintf("v%d", n)
			if _, err := s.PutVolunteer(ctx, store.Volunteer{Name: name, Seen: epoch}); err != nil {
				t.Error(err)
			}
			for v := range int64(10) {
				if _, err := s.Update(ctx, name, &content.Holdings{Base: v, Version: v + 1, Added: IDs(int(v), int(v)+3)}); err != nil {
					t.Error(err)
				}
				if _, err := s.Holders(ctx, ID(int(v)), nil); err != nil {
					t.Error(err)
				}
				if _, err := s.Announce(ctx, []store.Update{{InfoHash: Hash(n % 3), Peer: peer(n, v), Want: 5, TTL: time.Minute}}, epoch); err != nil {
					t.Error(err)
				}
				if _, err := s.Issued(ctx, map[string]int64{name: 1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for n := range 12 {
		if got := holders(t, s, n); len(got) != 8 {
			t.Errorf("content %d has %d holders, want 8", n, len(got))
		}
	}
	totals, err := s.Issued(t.Context(), nil)
	if err != nil || totals["v0"] != 10 {
		t.Errorf("%v, %v", totals, err)
	}
}

// RunShared checks that two hosts on one store see each other's announces at
// once; open returns two stores on the same state.
func RunShared(t *testing.T, open func(t *testing.T) (a, b store.Store)) {
	a, b := open(t)
	put(t, a, "v", epoch)
	update(t, a, "v", content.Holdings{Version: 1, Added: IDs(0, 5)})
	wantHolders(t, b, 3, "v")
	update(t, b, "v", content.Holdings{Base: 1, Version: 2, Dropped: IDs(3, 4)})
	wantHolders(t, a, 3)
	put(t, b, "w", epoch)
	update(t, b, "w", content.Holdings{Version: 1, Added: IDs(3, 4)})
	wantHolders(t, a, 3, "w")
	announce(t, a, epoch, store.Update{InfoHash: Hash(1), Peer: peer(1, 5)})
	if got := announce(t, b, epoch, store.Update{InfoHash: Hash(1), Peer: peer(2, 5), Want: 9}); len(got.Peers) != 2 {
		t.Errorf("the other host sees %d peers", len(got.Peers))
	}
	if _, err := a.Issued(t.Context(), map[string]int64{"v": 5}); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Issued(t.Context(), map[string]int64{"v": 1}); err != nil || got["v"] != 6 {
		t.Errorf("%v, %v", got, err)
	}
	// One host goes away; the other goes on.
	a.Close()
	wantHolders(t, b, 3, "w")
	if v := put(t, b, "v", epoch); v != 2 {
		t.Errorf("version %d after a host went away", v)
	}
}

// Bench measures the operations that every redirect and announce needs, with
// contents held by 40 volunteers.
func Bench(b *testing.B, open func(b *testing.B) store.Store, contents int) {
	s := open(b)
	ctx := context.Background()
	for v := range 40 {
		name := fmt.Sprintf("v%02d", v)
		if _, err := s.PutVolunteer(ctx, store.Volunteer{Name: name, Seen: epoch}); err != nil {
			b.Fatal(err)
		}
		var version int64
		for from := 0; from < contents; from += content.MaxAnnounceIDs {
			h := content.Holdings{Base: version, Version: version + 1, Added: IDs(from, min(contents, from+content.MaxAnnounceIDs))}
			var err error
			if version, err = s.Update(ctx, name, &h); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("holders", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			var dst [64]string
			for n := 0; pb.Next(); n++ {
				if h, err := s.Holders(ctx, ID(n*7919%contents), dst[:0]); err != nil || len(h) != 40 {
					b.Errorf("%d holders, %v", len(h), err)
					return
				}
			}
		})
	})
	b.Run("announce", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for n := 0; pb.Next(); n++ {
				u := store.Update{InfoHash: Hash(n % 100), Peer: peer(n%500, 5), TTL: time.Minute, Want: 50}
				if _, err := s.Announce(ctx, []store.Update{u}, epoch); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}
