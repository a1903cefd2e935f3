package content

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/anacrolix/torrent/bencode"
	"github.com/google/go-cmp/cmp"
)

func samplePack() *Pack {
	p := &Pack{
		Name: "fedora-000012.pack", Length: 300000, PieceLength: 128 << 10,
		Pieces: bytes.Repeat([]byte{7}, 60),
		Entries: []Entry{
			{ID: ID{1}, Offset: 0, Length: 140000},
			{ID: ID{2}, Offset: 140000, Length: 1},
			{ID: ID{3}, Offset: 256 << 10, Length: 300000 - 256<<10},
		},
	}
	p.Seal()
	return p
}

func TestMetainfo(t *testing.T) {
	p := samplePack()
	b := p.Metainfo("http://c.example/announce", []string{"http://c.example/.prsync/v1/blobs/x"})
	got, err := ParseMetainfo(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, got); d != "" {
		t.Error(d)
	}
	// As any other BitTorrent client reads it.
	var m struct {
		Announce string   `bencode:"announce"`
		URLList  []string `bencode:"url-list"`
		Info     struct {
			Name    string `bencode:"name"`
			Length  int64  `bencode:"length"`
			Piece   int64  `bencode:"piece length"`
			Pieces  string `bencode:"pieces"`
			Private int    `bencode:"private"`
			Entries string `bencode:"prsync entries"`
		} `bencode:"info"`
	}
	if err := bencode.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if m.Announce == "" || len(m.URLList) != 1 || m.Info.Name != p.Name || m.Info.Length != p.Length ||
		m.Info.Piece != p.PieceLength || m.Info.Pieces != string(p.Pieces) || m.Info.Private != 1 || len(m.Info.Entries) != 3*48 {
		t.Errorf("%+v", m)
	}
	var raw struct {
		Info bencode.Bytes `bencode:"info"`
	}
	if err := bencode.Unmarshal(b, &raw); err != nil || sha1.Sum(raw.Info) != p.InfoHash {
		t.Errorf("info hash is not that of the info dictionary (%v)", err)
	}
	if string(m.Info.Entries[32:48]) != "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x22\xe0" {
		t.Errorf("first entry %q", m.Info.Entries[:48])
	}
}

func TestBadMetainfo(t *testing.T) {
	for name, spoil := range map[string]func(*Pack){
		"overlap":         func(p *Pack) { p.Entries[1].Offset = 5 },
		"outside":         func(p *Pack) { p.Entries[2].Length++ },
		"overflow":        func(p *Pack) { p.Entries[2].Length = math.MaxInt64 },
		"negative offset": func(p *Pack) { p.Entries[0].Offset = -1 },
		"empty content":   func(p *Pack) { p.Entries[1].Length = 0 },
		"piece length":    func(p *Pack) { p.PieceLength = 128<<10 + 1 },
		"no piece length": func(p *Pack) { p.PieceLength = 0 },
		"length":          func(p *Pack) { p.Length = math.MaxInt64 },
		"no length":       func(p *Pack) { p.Length = 0 },
		"pieces":          func(p *Pack) { p.Pieces = p.Pieces[:40] },
		"path for a name": func(p *Pack) { p.Name = "../x" },
		"no name":         func(p *Pack) { p.Name = "" },
		"dots":            func(p *Pack) { p.Name = ".." },
		"long name":       func(p *Pack) { p.Name = strings.Repeat("n", 201) },
	} {
		p := samplePack()
		spoil(p)
		if _, err := ParseMetainfo(p.Metainfo("", nil)); !errors.Is(err, ErrBadPack) {
			t.Errorf("%s: %v", name, err)
		}
	}
	public := bytes.Replace(samplePack().Metainfo("", nil), []byte("7:privatei1e"), []byte("7:privatei0e"), 1)
	if _, err := ParseMetainfo(public); !errors.Is(err, ErrBadPack) {
		t.Errorf("public torrent: %v", err)
	}
}

func FuzzMetainfo(f *testing.F) {
	f.Add(samplePack().Metainfo("http://a", []string{"http://b"}))
	f.Add([]byte("d4:infod6:lengthi1eee"))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := ParseMetainfo(in)
		if err != nil {
			return
		}
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		again, err := ParseMetainfo(p.Metainfo("", nil))
		if err != nil {
			t.Fatal(err)
		}
		// Keys that we do not know are lost, and the info hash with them.
		again.InfoHash = p.InfoHash
		if d := cmp.Diff(p, again); d != "" {
			t.Fatal(d)
		}
	})
}

func TestSignature(t *testing.T) {
	s := &Signature{Length: 2049, BlockLen: 1024, StrongLen: 8, Rolling: []uint32{1, 1 << 31, 3}, Strong: bytes.Repeat([]byte{9}, 24)}
	got, err := ParseSignature(s.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s, got); d != "" {
		t.Error(d)
	}
	if s.Blocks() != 3 || s.BlockSize(0) != 1024 || s.BlockSize(2) != 1 {
		t.Errorf("%d blocks, sizes %d and %d", s.Blocks(), s.BlockSize(0), s.BlockSize(2))
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"empty":           func(b []byte) []byte { return nil },
		"magic":           func(b []byte) []byte { b[0] = 'x'; return b },
		"negative length": func(b []byte) []byte { b[4] = 0x80; return b },
		"huge length":     func(b []byte) []byte { b[4] = 0x7f; return b },
		"no block length": func(b []byte) []byte { copy(b[12:], "\x00\x00\x00\x00"); return b },
		"huge block":      func(b []byte) []byte { b[12] = 0x7f; return b },
		"no strong":       func(b []byte) []byte { b[19] = 0; return b },
		"long strong":     func(b []byte) []byte { b[19] = 17; return b },
		"short":           func(b []byte) []byte { return b[:len(b)-1] },
		"long":            func(b []byte) []byte { return append(b, 0) },
	} {
		if _, err := ParseSignature(spoil(s.Encode())); !errors.Is(err, ErrBadSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSignatureBlockLen(t *testing.T) {
	for _, c := range []struct {
		length int64
		want   int32
	}{
		{0, 1024}, {1 << 20, 1024}, {1<<20 + 1<<18, 1152}, {1 << 30, 32768}, {16 << 30, 131072 + 64}, {1 << 40, 8<<20 + 64}, {math.MaxInt64, MaxSignatureBlock},
	} {
		got := SignatureBlockLen(c.length)
		if got != c.want {
			t.Errorf("%d bytes: block length %d, want %d", c.length, got, c.want)
		}
		if blocks := c.length / int64(got); blocks > 1<<17 && got < MaxSignatureBlock {
			t.Errorf("%d bytes: %d blocks", c.length, blocks)
		}
	}
}

func FuzzSignature(f *testing.F) {
	f.Add((&Signature{Length: 1025, BlockLen: 1024, StrongLen: 8, Rolling: []uint32{1, 2}, Strong: make([]byte, 16)}).Encode())
	f.Add((&Signature{BlockLen: 1024, StrongLen: 8}).Encode())
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := ParseSignature(in)
		if err == nil && !bytes.Equal(s.Encode(), in) {
			t.Fatalf("%+v", s)
		}
	})
}

func TestPackQuestions(t *testing.T) {
	p := samplePack()
	if p.NumPieces() != 3 || p.PieceSize(0) != 128<<10 || p.PieceSize(2) != 300000-256<<10 {
		t.Errorf("%d pieces, sizes %d and %d", p.NumPieces(), p.PieceSize(0), p.PieceSize(2))
	}
	if p.Find(ID{2}) != 1 || p.Find(ID{9}) != -1 {
		t.Error("Find")
	}
	for off, want := range map[int64]int{0: 0, 139999: 0, 140000: 1, 140001: 2, 299999: 2, 300000: 3} {
		if got := p.At(off); got != want {
			t.Errorf("At(%d) = %d, want %d", off, got, want)
		}
	}
	for _, length := range []int64{1, 256 << 20, 256<<20 + 1, 1 << 30, 100 << 30, 1 << 40} {
		pl := PieceLengthFor(length)
		if pl&(pl-1) != 0 || pl < 128<<10 || length/pl >= TargetPieces && pl < MaxPieceLength {
			t.Errorf("pieces of %d for %d", pl, length)
		}
	}
	if PieceLengthFor(1<<30) != 256<<10 {
		t.Error("pieces of 1 GiB")
	}
}

func TestIDs(t *testing.T) {
	id := ID{0xab, 1}
	if got, err := ParseID(id.String()); err != nil || got != id || id.IsZero() || !(ID{}).IsZero() {
		t.Error(got, err)
	}
	h := InfoHash{0xcd}
	if got, err := ParseInfoHash(h.String()); err != nil || got != h {
		t.Error(got, err)
	}
	for _, s := range []string{"", "ab", strings.Repeat("g", 64), strings.Repeat("g", 40)} {
		if _, err := ParseID(s); err == nil {
			t.Errorf("id %q", s)
		}
		if _, err := ParseInfoHash(s); err == nil {
			t.Errorf("info hash %q", s)
		}
	}
}
