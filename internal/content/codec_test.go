package content

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var twenty = strings.Repeat("p", 20)

func fullRequest() *AnnounceRequest {
	return &AnnounceRequest{
		PeerID: twenty, Port: 6881, IP: "192.0.2.7",
		Packs: []AnnouncePack{
			{InfoHash: twenty, Left: 5, Uploaded: 6, Downloaded: 7, Origin: 2, Event: EventPaused, Corrupt: 1, BadPeers: []string{"192.0.2.9:1"}},
			{InfoHash: twenty},
		},
		Name: "edge1", URL: "http://edge1.example:8080",
		Holdings: &Holdings{Base: 1, Version: 2, Added: make([]byte, 64), Dropped: make([]byte, 32), More: 1},
		Load:     &Load{Customers: 1, CustomerRate: 2, PeerRate: 3, Syncing: 1, Uplink: 4, Served: 5},
		Stopping: 1,
	}
}

func fullReply() *AnnounceReply {
	return &AnnounceReply{
		Interval: 60, MinInterval: 5, Holdings: 3, You: "192.0.2.7",
		Packs: []ReplyPack{{InfoHash: twenty, Complete: 1, Incomplete: 2, Peers: []ReplyPeer{
			{PeerID: twenty, IP: "192.0.2.8", Port: 1, Seed: 1}, {PeerID: twenty, IP: "2001:db8::1", Port: 2},
		}}, {InfoHash: twenty, Unknown: 1}},
	}
}

func TestMessagesSurvive(t *testing.T) {
	lookup := &LookupRequest{Module: "m", Items: []LookupItem{{"a/b", 3, 1700000000}, {"\xff\n", 0, -1}}}
	lookupReply := &LookupReply{Generation: 4, IDs: make([]byte, 64)}
	locate := &LocateRequest{Module: "m", IDs: make([]byte, 96)}
	locateReply := &LocateReply{InfoHashes: make([]byte, 40), Pack: []int{1, -1, 0}}
	check := func(want, got any, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		} else if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	q, err := DecodeAnnounceRequest(fullRequest().Encode())
	check(fullRequest(), q, err)
	a, err := DecodeAnnounceReply(fullReply().Encode())
	check(fullReply(), a, err)
	lq, err := DecodeLookupRequest(lookup.Encode())
	check(lookup, lq, err)
	la, err := DecodeLookupReply(lookupReply.Encode(), 2)
	check(lookupReply, la, err)
	cq, err := DecodeLocateRequest(locate.Encode())
	check(locate, cq, err)
	ca, err := DecodeLocateReply(locateReply.Encode(), 3)
	check(locateReply, ca, err)
	fa, err := DecodeLocateReply((&LocateReply{Failure: "no"}).Encode(), 3)
	if err != nil || fa.Failure != "no" {
		t.Error(fa, err)
	}
}

func TestKeysOnTheWire(t *testing.T) {
	// Other implementers rely on these bytes.
	got := string((&AnnounceRequest{PeerID: twenty, Packs: []AnnouncePack{{InfoHash: twenty, Left: 7, Event: EventStarted}}}).Encode())
	want := "d5:packsld5:event7:started9:info_hash20:" + twenty + "4:lefti7eee7:peer_id20:" + twenty + "4:porti0ee"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAnnounceLimits(t *testing.T) {
	for name, spoil := range map[string]func(*AnnounceRequest){
		"short peer id":    func(m *AnnounceRequest) { m.PeerID = "x" },
		"port":             func(m *AnnounceRequest) { m.Port = 65536 },
		"negative port":    func(m *AnnounceRequest) { m.Port = -1 },
		"ip":               func(m *AnnounceRequest) { m.IP = "localhost" },
		"name":             func(m *AnnounceRequest) { m.Name = strings.Repeat("n", MaxAnnounceNameLen+1) },
		"name with colon":  func(m *AnnounceRequest) { m.Name = "a:b" },
		"url":              func(m *AnnounceRequest) { m.URL = "http://" + strings.Repeat("u", 300) },
		"url with newline": func(m *AnnounceRequest) { m.URL = "http://a\r\nX: y" },
		"packs":            func(m *AnnounceRequest) { m.Packs = make([]AnnouncePack, MaxAnnouncePacks+1) },
		"info hash":        func(m *AnnounceRequest) { m.Packs[0].InfoHash = "h" },
		"left":             func(m *AnnounceRequest) { m.Packs[0].Left = -1 },
		"event":            func(m *AnnounceRequest) { m.Packs[0].Event = "exploded" },
		"bad peers":        func(m *AnnounceRequest) { m.Packs[0].BadPeers = make([]string, maxBadPeers+1) },
		"bad peer":         func(m *AnnounceRequest) { m.Packs[0].BadPeers = []string{strings.Repeat("b", 65)} },
		"ids":              func(m *AnnounceRequest) { m.Holdings.Added = make([]byte, 32*(MaxAnnounceIDs+1)) },
		"half an id":       func(m *AnnounceRequest) { m.Holdings.Dropped = make([]byte, 16) },
		"version":          func(m *AnnounceRequest) { m.Holdings.Version = -1 },
		"load":             func(m *AnnounceRequest) { m.Load.Uplink = -1 },
	} {
		m := fullRequest()
		spoil(m)
		if _, err := DecodeAnnounceRequest(m.Encode()); !errors.Is(err, ErrBadMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReplyLimits(t *testing.T) {
	for name, spoil := range map[string]func(*AnnounceReply){
		"failure":  func(m *AnnounceReply) { m.Failure = strings.Repeat("f", maxFailureLen+1) },
		"interval": func(m *AnnounceReply) { m.Interval = -1 },
		"you":      func(m *AnnounceReply) { m.You = strings.Repeat("y", 65) },
		"peers":    func(m *AnnounceReply) { m.Packs[0].Peers = make([]ReplyPeer, MaxAnnouncePeers+1) },
		"peer ip":  func(m *AnnounceReply) { m.Packs[0].Peers[0].IP = "nowhere" },
		"peer id":  func(m *AnnounceReply) { m.Packs[0].Peers[0].PeerID = "" },
		"hash":     func(m *AnnounceReply) { m.Packs[0].InfoHash = "" },
	} {
		m := fullReply()
		spoil(m)
		if _, err := DecodeAnnounceReply(m.Encode()); !errors.Is(err, ErrBadMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecodeLocateReply((&LocateReply{InfoHashes: make([]byte, 20), Pack: []int{1}}).Encode(), 1); err == nil {
		t.Error("a pack beyond the list is accepted")
	}
	if _, err := DecodeLookupReply((&LookupReply{IDs: make([]byte, 32)}).Encode(), 2); err == nil {
		t.Error("too few ids are accepted")
	}
}

// hostile inputs are small and claim much.
var hostile = map[string]string{
	"nothing":             "",
	"a list":              "le",
	"an integer":          "i1e",
	"two messages":        "dede",
	"ends early":          "d5:packsl",
	"huge string":         "d5:packs999999999999999999999:xe",
	"string past the end": "d7:peer_id99:xe",
	"endless integer":     "d4:porti" + strings.Repeat("9", 100) + "ee",
	"bare integer":        "d4:portie",
	"deep":                "d1:x" + strings.Repeat("l", 1000) + strings.Repeat("e", 1001),
	"many structs":        "d5:packsl" + strings.Repeat("de", 1<<20) + "ee",
	"many unknown values": "d1:xl" + strings.Repeat("0:", 1<<21) + "ee",
	"unbalanced":          "dee",
}

// mistyped are known keys of an announce with values of another type.
var mistyped = map[string]string{
	"integer for string":  "d7:peer_idi1ee",
	"dictionary for list": "d5:packsd1:a1:bee",
	"integer for struct":  "d8:holdingsi1ee",
	"list for struct":     "d8:holdingsllllleeeeee",
}

func TestHostileMessages(t *testing.T) {
	for name, in := range hostile {
		for i, decode := range decoders {
			if err := decode([]byte(in)); err == nil {
				t.Errorf("%s: decoder %d accepts it", name, i)
			}
		}
	}
	for name, in := range mistyped {
		if _, err := DecodeAnnounceRequest([]byte(in)); !errors.Is(err, ErrBadMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The bound on values comes before the decoder's allocations.
	in := []byte(hostile["many structs"])
	if n := testing.AllocsPerRun(1, func() { DecodeAnnounceRequest(in) }); n > 100 {
		t.Errorf("%v allocations for a message that is refused", n)
	}
}

var decoders = []func([]byte) error{
	func(b []byte) error { _, err := DecodeAnnounceRequest(b); return err },
	func(b []byte) error { _, err := DecodeAnnounceReply(b); return err },
	func(b []byte) error { _, err := DecodeLookupRequest(b); return err },
	func(b []byte) error { _, err := DecodeLookupReply(b, 1); return err },
	func(b []byte) error { _, err := DecodeLocateRequest(b); return err },
	func(b []byte) error { _, err := DecodeLocateReply(b, 1); return err },
	func(b []byte) error { _, err := ParseMetainfo(b); return err },
}

// fuzzMessage wants what decodes to survive encoding and decoding.
func fuzzMessage[M interface{ Encode() []byte }](f *testing.F, seed M, decode func([]byte) (M, error)) {
	f.Add(seed.Encode())
	for _, in := range hostile {
		if len(in) < 2000 {
			f.Add([]byte(in))
		}
	}
	for _, in := range mistyped {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := decode(in)
		if err != nil {
			return
		}
		again, err := decode(m.Encode())
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		if !bytes.Equal(again.Encode(), m.Encode()) {
			t.Fatalf("%+v became %+v", m, again)
		}
	})
}

func FuzzAnnounceRequest(f *testing.F) { fuzzMessage(f, fullRequest(), DecodeAnnounceRequest) }
func FuzzAnnounceReply(f *testing.F)   { fuzzMessage(f, fullReply(), DecodeAnnounceReply) }
func FuzzLookupRequest(f *testing.F) {
	fuzzMessage(f, &LookupRequest{Module: "m", Items: []LookupItem{{"a", 1, 2}}}, DecodeLookupRequest)
}
func FuzzLookupReply(f *testing.F) {
	fuzzMessage(f, &LookupReply{IDs: make([]byte, 32)}, func(b []byte) (*LookupReply, error) { return DecodeLookupReply(b, 1) })
}
func FuzzLocateRequest(f *testing.F) {
	fuzzMessage(f, &LocateRequest{Module: "m", IDs: make([]byte, 32)}, DecodeLocateRequest)
}
func FuzzLocateReply(f *testing.F) {
	fuzzMessage(f, &LocateReply{InfoHashes: make([]byte, 20), Pack: []int{0}}, func(b []byte) (*LocateReply, error) { return DecodeLocateReply(b, 1) })
}

func TestOwner(t *testing.T) {
	ids := make([]string, 8)
	for i := range ids {
		ids[i] = fmt.Sprintf("%020d", i)
	}
	const pieces = 8000
	share := make([]int, len(ids))
	moved := 0
	for p := range pieces {
		o := Owner(InfoHash{1}, p, ids)
		share[o]++
		// Without the last peer only its own pieces change hands.
		if q := Owner(InfoHash{1}, p, ids[:7]); q != o {
			moved++
			if o != 7 {
				t.Fatalf("piece %d went from %d to %d", p, o, q)
			}
		}
	}
	for i, n := range share {
		if n < pieces/8*8/10 || n > pieces/8*12/10 {
			t.Errorf("peer %d owns %d of %d pieces", i, n, pieces)
		}
	}
	if moved != share[7] {
		t.Errorf("%d pieces moved, %d were owned", moved, share[7])
	}
	if Owner(InfoHash{}, 0, nil) != -1 {
		t.Error("an owner among nobody")
	}
}
