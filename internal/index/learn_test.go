package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/prsync/prsync/internal/content"
)

// learnedOf returns what a transfer would tell of a file.
func (m *module) learnedOf(path string) Learned {
	m.t.Helper()
	full := filepath.Join(m.dir, path)
	b, err := os.ReadFile(full)
	if err != nil {
		m.t.Fatal(err)
	}
	fi, err := os.Lstat(full)
	if err != nil {
		m.t.Fatal(err)
	}
	st, ok := StatOf(fi)
	if !ok {
		m.t.Fatalf("%s is no regular file", path)
	}
	return Learned{Path: path, Stat: st, ID: sha256.Sum256(b)}
}

func TestLearn(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	m.write("known", noise(1, 1000))
	m.scan(false)
	m.write("d/new", noise(2, 2000))
	m.write("unheard of", noise(3, 3000))
	m.write("changed since", noise(4, 4000))
	stale := m.learnedOf("changed since")
	m.write("changed since", noise(5, 5000))
	gone := m.learnedOf("known")
	gone.Path = "never was"
	if err := Learn(m.st, []Learned{m.learnedOf("d/new"), stale, gone}); err != nil {
		t.Fatal(err)
	}
	g, err := m.Absorb(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// The stale record leads to a read, the unknown file is not looked for.
	if g.Number != 2 || g.ReadFiles != 1 || g.ReadBytes != 5000 || g.Entries != 3 {
		t.Errorf("%+v", g)
	}
	if e, err := m.reader().Lookup("d/new"); err != nil || e.ID != sha256.Sum256(noise(2, 2000)) {
		t.Errorf("%+v, %v", e, err)
	}
	if fi, err := os.Stat(filepath.Join(m.st, learnedName)); err != nil || fi.Size() != 0 {
		t.Errorf("the journal was not emptied: %v, %v", fi, err)
	}
	if g := m.scan(false); g.ReadFiles != 1 {
		t.Errorf("%+v", g)
	}
	verify(t, m.Index, m.dir, false)
	if g, err := m.Absorb(context.Background()); err != nil || g.Changed {
		t.Errorf("nothing to absorb: %+v, %v", g, err)
	}
}

func TestLearnedIsBelievedByScan(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	m.write("f", noise(1, 1000))
	l := m.learnedOf("f")
	l.ID = content.ID{42}
	if err := Learn(m.st, []Learned{l}); err != nil {
		t.Fatal(err)
	}
	if g := m.scan(false); g.ReadFiles != 0 {
		t.Errorf("%+v", g)
	}
	if e, err := m.reader().Lookup("f"); err != nil || e.ID != (content.ID{42}) {
		t.Errorf("%+v, %v", e, err)
	}
	// Packs need every byte: what is published is read.
	m2 := newModule(t, Config{})
	m2.write("f", noise(1, 1000))
	l = m2.learnedOf("f")
	l.ID = content.ID{42}
	if err := Learn(m2.st, []Learned{l}); err != nil {
		t.Fatal(err)
	}
	if g := m2.scan(true); g.ReadFiles != 1 {
		t.Errorf("%+v", g)
	}
	verify(t, m2.Index, m2.dir, true)
}

func TestJournalSurvivesATornWrite(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	m.write("a", noise(1, 1000))
	m.write("b", noise(2, 1000))
	if err := Learn(m.st, []Learned{m.learnedOf("a")}); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(m.st, learnedName), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := m.learnedOf("b")
	f.Write(appendLearned(nil, &b)[:40])
	f.Close()
	if g := m.scan(false); g.ReadFiles != 1 || g.Entries != 2 {
		t.Errorf("%+v", g)
	}
}

func TestLearnWhileScanning(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	const writers, each = 4, 25
	for w := range writers {
		for i := range each {
			m.write(fmt.Sprintf("%d-%d", w, i), noise(w*1000+i, 10))
		}
	}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				if err := Learn(m.st, []Learned{m.learnedOf(fmt.Sprintf("%d-%d", w, i))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 {
		m.scan(false)
	}
	all.Wait()
	m.scan(false)
	verify(t, m.Index, m.dir, false)
	if l, err := readLearned(m.Index.root); err != nil || l.size != 0 {
		t.Errorf("%d bytes of journal are left, %v", l.size, err)
	}
}

// TestChanges follows the holdings from every version to the newest, as a host
// that acknowledged that version would.
func TestChanges(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	held := map[int64]map[content.ID]bool{0: {}}
	var version int64
	for i := range 8 {
		m.write(fmt.Sprint("f", i), noise(i, 100))
		m.write("rewritten", noise(100+i%3, 100))
		if i%2 == 1 {
			m.remove(fmt.Sprint("f", i-1))
		}
		version = m.scan(false).Number
		held[version] = map[content.ID]bool{}
		for _, id := range brute(t, m.dir) {
			held[version][id] = true
		}
	}
	for since, before := range held {
		ch, err := m.Changes(since)
		if err != nil || ch.Since != since || ch.Version != version {
			t.Fatalf("since %d: %+v, %v", since, ch, err)
		}
		got := maps.Clone(before)
		for _, id := range ch.Added {
			if got[id] {
				t.Errorf("since %d: %s is added again", since, id)
			}
			got[id] = true
		}
		for _, id := range ch.Dropped {
			if !got[id] {
				t.Errorf("since %d: %s is dropped, but was not there", since, id)
			}
			delete(got, id)
		}
		if !maps.Equal(got, held[version]) {
			t.Errorf("since %d: %d contents, want %d", since, len(got), len(held[version]))
		}
	}
	for _, since := range []int64{version + 1, -1} {
		if ch, err := m.Changes(since); err != nil || ch.Since != 0 || len(ch.Added) != len(held[version]) {
			t.Errorf("since %d, which never was: %+v, %v", since, ch, err)
		}
	}
	os.Remove(filepath.Join(m.st, deltaName(4)))
	if ch, err := m.Changes(3); err != nil || ch.Since != 0 {
		t.Errorf("with a delta missing: %+v, %v", ch, err)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	m.write("a", noise(1, 1000))
	m.write("b", nil)
	m.write("c", noise(2, 1000))
	m.scan(true)
	r := m.reader()
	q := &content.LookupRequest{Items: []content.LookupItem{{Path: "zz"}}}
	want := make([]byte, 32)
	for _, p := range []string{"c", "a", "b", "c", "c"} {
		e, err := r.Lookup(p)
		if err != nil {
			t.Fatal(err)
		}
		q.Items = append(q.Items, content.LookupItem{Path: p, Size: e.Size, Mtime: floorSecond(e.Mtime)})
		want = append(want, e.ID[:]...)
	}
	wrong := q.Items[2]
	wrong.Mtime++
	q.Items = append(q.Items, wrong)
	want = append(want, make([]byte, 32)...)
	a, err := r.AnswerLookup(q)
	if err != nil || a.Generation != 1 || !bytes.Equal(a.IDs, want) {
		t.Errorf("%+v, %v", a, err)
	}
	l, err := r.AnswerLocate(&content.LocateRequest{IDs: want})
	if err != nil || len(l.InfoHashes) != 20 || !slices.Equal(l.Pack, []int{-1, 0, 0, -1, 0, 0, -1}) {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := content.DecodeLocateReply(l.Encode(), 7); err != nil {
		t.Error(err)
	}
}

// TestBlobOfAnotherHost reads what a partial mirror holds of a pack that
// another host made.
func TestBlobOfAnotherHost(t *testing.T) {
	t.Parallel()
	host, mirror := newModule(t, Config{}), newModule(t, Config{})
	host.write("a", noise(1, 5000))
	host.write("b", noise(2, 5000))
	host.scan(true)
	mirror.write("elsewhere/b", noise(2, 5000))
	mirror.scan(false)
	tree := brute(t, host.dir)
	at, err := host.Locate([]content.ID{tree["a"], tree["b"]})
	if err != nil {
		t.Fatal(err)
	}
	p, err := host.Pack(at[0].Pack)
	if err != nil {
		t.Fatal(err)
	}
	r, err := mirror.Blob(p)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := make([]byte, 5000)
	if _, err := r.ReadAt(b, at[1].Offset); err != nil || !bytes.Equal(b, noise(2, 5000)) {
		t.Error(err)
	}
	if _, err := r.ReadAt(b, at[0].Offset); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	held := mirror.reader()
	if held.Holds(tree["a"]) || !held.Holds(tree["b"]) {
		t.Error("Holds")
	}
}

func TestPublishingAfterHolding(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	m.write("a", noise(1, 50000))
	m.write("b", noise(2, 50000))
	m.scan(false)
	if g, err := m.Rescan(context.Background(), true, []string{"a"}); err != nil || g.ReadFiles != 2 || g.Added+g.Dropped != 0 {
		t.Errorf("%+v, %v", g, err)
	}
	verify(t, m.Index, m.dir, true)
	if g := m.scan(false); !g.Changed || g.ReadFiles != 0 || g.Packs != 0 {
		t.Errorf("%+v", g)
	}
	verify(t, m.Index, m.dir, false)
}

func TestClosedReader(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	m.write("a", noise(1, 1000))
	m.scan(true)
	r := m.reader()
	for range r.Entries("") {
		r.Close() // what runs goes on, nothing new starts
		if _, err := r.Lookup("a"); !errors.Is(err, errClosed) {
			t.Error(err)
		}
	}
	if _, err := r.Packs(); !errors.Is(err, errClosed) {
		t.Error(err)
	}
}

func FuzzLearned(f *testing.F) {
	good := appendLearned(nil, &Learned{Path: "a/b", Stat: Stat{1, 2, 3, 4}, ID: content.ID{5}})
	f.Add(good)
	f.Add(append(good, good[:50]...))
	f.Fuzz(func(t *testing.T, in []byte) {
		for len(in) > 0 {
			l, n := parseLearned(in)
			if n == 0 {
				return
			}
			if again := appendLearned(nil, &l); !bytes.Equal(again, in[:n]) {
				t.Fatalf("%+v", l)
			}
			in = in[n:]
		}
	})
}

func FuzzDelta(f *testing.F) {
	f.Add(encodeDelta([]content.ID{{1}, {2}}, []content.ID{{3}}))
	f.Add(encodeDelta(nil, nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		added, dropped, err := decodeDelta(in)
		if err == nil && !bytes.Equal(encodeDelta(added, dropped), in) {
			t.Fatal(added, dropped)
		}
	})
}
