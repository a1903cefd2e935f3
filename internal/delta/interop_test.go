package delta

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/delta/compress"
)

// A file that `rsync --write-batch` wrote is the protocol stream as the sender
// recorded it: three of them are kept for each way to encode tokens. The tests
// decode these, and splice tokens of our own into such a file for
// `rsync --read-batch` to decode.

var update = flag.Bool("update", false, "record the batch files in testdata anew with the rsync in $PATH")

const batchSeed = 32761

type batchCase struct {
	choice   string
	protocol int
	block    int
	sum      string
}

func (c batchCase) String() string {
	return fmt.Sprintf("%s-%d-%d-%s", c.choice, c.protocol, c.block, c.sum)
}

var batchCases = []batchCase{
	{"none", 32, 700, "md5"},
	{"none", 29, 700, ""},
	{"zlib", 32, 700, "xxh128"},
	{"zlib", 31, 100_000, "md5"},
	{"zlib", 30, 100_000, "md5"}, // repeats data past 65535 bytes of a block
	{"zlib", 29, 700, ""},
	{"zlibx", 32, 700, "sha1"},
	{"lz4", 32, 700, "xxh3"},
	{"zstd", 32, 700, "xxh64"},
	{"zstd", 31, 2000, "md4"},
}

func (c batchCase) sums() checksum.Config {
	kind, ok := checksum.ByName(c.sum)
	if !ok {
		kind = checksum.Default(c.protocol)
	}
	return checksum.Config{Kind: kind, Seed: batchSeed, ProperSeedOrder: c.protocol >= 30, Protocol: c.protocol}
}

func (c batchCase) compress() compress.Config {
	choice, _ := compress.ByName(c.choice)
	choice, level := choice.Resolve(compress.LevelUnset)
	return compress.Config{Choice: choice, Level: level, Protocol: c.protocol}
}

func (c batchCase) head(t *testing.T, old []byte) SumHead {
	head, err := SumSizes(int64(len(old)), SizeConfig{
		Protocol: c.protocol, BlockSize: int32(c.block), DigestLen: c.sums().Len(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// options are what both rsyncs of a batch must be told.
func (c batchCase) options() []string {
	args := []string{"-rI", "--no-whole-file", "--checksum-seed=" + strconv.Itoa(batchSeed), "--protocol=" + strconv.Itoa(c.protocol)}
	if c.sum != "" {
		args = append(args, "--checksum-choice="+c.sum)
	}
	switch {
	case c.choice == "none":
	case c.protocol < 30:
		args = append(args, "-z")
	default:
		args = append(args, "-z", "--compress-choice="+c.choice)
	}
	return args
}

type pair struct {
	name     string
	old, src []byte
}

// words is text that compresses about as well as prose.
func words(seed uint64, n int) []byte {
	dict := []string{"alpha ", "beta ", "gamma ", "delta ", "package ", "stream ", "token ", "window "}
	r := rand.New(rand.NewPCG(seed, 2))
	var b []byte
	for len(b) < n {
		b = append(b, dict[r.IntN(len(dict))]...)
		b = strconv.AppendUint(b, r.Uint64(), 36)
	}
	return b[:n]
}

// batchFiles are the files of every batch: one edited, one wholly new, one that
// has not changed.
func batchFiles() []pair {
	old := words(1, 300_000)
	src := bytes.Clone(words(2, 5000))
	src = append(src, old[:100_000]...)
	src = append(src, old[60_000:67_000]...) // what the deflate window may hold
	src = append(src, words(3, 9000)...)
	src = append(src, noise(9, 20_000)...)
	src = append(src, old[100_000:200_000]...)
	src = append(src, old[195_000:199_500]...)
	src = append(src, old[100_000:]...)
	return []pair{
		{"a", old, src},
		{"b", words(4, 1000), words(5, 1<<16)},
		{"c", old[:30_001], old[:30_001]},
	}
}

// writeFiles puts the old or new contents under dir.
func writeFiles(t *testing.T, dir string, contents func(pair) []byte) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range batchFiles() {
		name := filepath.Join(dir, p.name)
		if err := os.WriteFile(name, contents(p), 0o644); err != nil {
			t.Fatal(err)
		}
		when := time.Unix(1_700_000_000, 0)
		if err := os.Chtimes(name, when, when); err != nil {
			t.Fatal(err)
		}
	}
}

func oldBytes(p pair) []byte { return p.old }
func newBytes(p pair) []byte { return p.src }

// rsync runs the real thing.
func rsync(t *testing.T, dir string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "rsync", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("rsync %q: %v\n%s", args, err, out)
	}
}

// remoteShell writes a "remote shell" that runs its command here.
func remoteShell(t *testing.T, dir, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "sh"), []byte("#!/bin/sh\nshift\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func needRsync(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("rsync"); err != nil {
		t.Skip("needs rsync in $PATH")
	}
}

// writeBatch has rsync write the batch of c.
func writeBatch(t *testing.T, c batchCase) []byte {
	dir := t.TempDir()
	writeFiles(t, filepath.Join(dir, "src"), newBytes)
	writeFiles(t, filepath.Join(dir, "dst"), oldBytes)
	remoteShell(t, dir, `exec "$@"`)
	args := append(c.options(), "-e", "./sh", "--block-size="+strconv.Itoa(c.block), "--write-batch=batch", "src/", "localhost:"+dir+"/dst/")
	rsync(t, dir, args...)
	b, err := os.ReadFile(filepath.Join(dir, "batch"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cutBatch returns the parts of a batch before, between and after the token
// streams of its files: each part but the last ends in a sum head, each but the
// first begins with a file sum. The files end in the state of cfg's reader.
func cutBatch(t *testing.T, c batchCase, batch []byte, each func(p pair, head SumHead, r compress.Reader)) (parts [][]byte) {
	t.Helper()
	feed := &cursor{b: batch}
	r, err := compress.NewReader(feed, c.compress())
	if err != nil {
		t.Fatal(err)
	}
	from := 0
	for _, p := range batchFiles() {
		head := c.head(t, p.old)
		wire := make([]byte, 16)
		for i, v := range []int32{head.Count, head.BlockLen, head.S2Len, head.Remainder} {
			binary.LittleEndian.PutUint32(wire[4*i:], uint32(v))
		}
		at := bytes.Index(batch[feed.n:], wire)
		if at < 0 {
			t.Fatalf("no sum head %+v of file %s after byte %d", head, p.name, feed.n)
		}
		feed.n += at + len(wire)
		parts = append(parts, batch[from:feed.n])
		each(p, head, r)
		from = feed.n
		want := c.sums().NewFile()
		want.Write(p.src)
		if got := batch[feed.n:][:want.Len()]; !bytes.Equal(got, want.Sum(nil)) {
			t.Fatalf("file %s: sum on the wire %x, ours %x", p.name, got, want.Sum(nil))
		}
	}
	return append(parts, batch[from:])
}

// cursor reads b and shows how far.
type cursor struct {
	b []byte
	n int
}

func (c *cursor) Read(p []byte) (int, error) {
	if c.n == len(c.b) {
		return 0, io.EOF
	}
	n := copy(p, c.b[c.n:])
	c.n += n
	return n, nil
}

// receive rebuilds a file from its tokens.
func receive(t *testing.T, p pair, head SumHead, r compress.Reader) {
	t.Helper()
	dst := &file{}
	a := NewApplier(dst, ApplyConfig{Head: head, Basis: NewWindow(&file{p.old}, int64(len(p.old)))})
	for {
		tok, err := r.Next()
		if err != nil {
			t.Fatalf("file %s, byte %d: %v", p.name, a.Offset(), err)
		}
		if tok.End {
			break
		}
		if len(tok.Literal) > 0 {
			err = a.Literal(tok.Literal)
		} else {
			var b []byte
			if b, err = a.Block(tok.Block); err == nil {
				err = r.Matched(b)
			}
		}
		if err != nil {
			t.Fatalf("file %s, byte %d: %v", p.name, a.Offset(), err)
		}
	}
	if !bytes.Equal(dst.b, p.src) {
		t.Fatalf("file %s: %d bytes differ from the %d sent at %d", p.name, len(dst.b), len(p.src), diffAt(dst.b, p.src))
	}
}

// TestReadRecorded decodes what rsync encoded.
func TestReadRecorded(t *testing.T) {
	for _, c := range batchCases {
		t.Run(c.String(), func(t *testing.T) {
			name := filepath.Join("testdata", c.String()+".batch")
			if *update {
				needRsync(t)
				if err := os.WriteFile(name, writeBatch(t, c), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			batch, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			cutBatch(t, c, batch, func(p pair, head SumHead, r compress.Reader) { receive(t, p, head, r) })
		})
	}
}

// encode searches every file and returns the token stream of each.
func encode(t *testing.T, c batchCase, cfg compress.Config) (streams [][]byte) {
	t.Helper()
	var wire bytes.Buffer
	w, err := compress.NewWriter(&wire, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var s Searcher
	for _, p := range batchFiles() {
		if s, ok := w.(compress.Skipper); ok {
			s.Skip(p.name == "b")
		}
		sig := signature(t, p.old, c.head(t, p.old), c.sums())
		stats, err := s.Search(NewWindow(&file{p.src}, int64(len(p.src))), sig, SearchConfig{Sums: c.sums()}, w)
		if err == nil {
			err = w.End()
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.name != "b" && stats.Matched < stats.Literal {
			t.Errorf("file %s: %+v", p.name, stats)
		}
		streams = append(streams, bytes.Clone(wire.Bytes()))
		wire.Reset()
	}
	return streams
}

// splice puts our streams in the place of those of a batch.
func splice(t *testing.T, c batchCase, batch []byte, streams [][]byte) []byte {
	parts := cutBatch(t, c, batch, func(p pair, head SumHead, r compress.Reader) { receive(t, p, head, r) })
	var b []byte
	for i, part := range parts {
		b = append(b, part...)
		if i < len(streams) {
			b = append(b, streams[i]...)
		}
	}
	return b
}

// TestWriteForRsync has rsync decode what we encode, at every level.
func TestWriteForRsync(t *testing.T) {
	needRsync(t)
	for _, c := range batchCases {
		cfg := c.compress()
		levels := []int{cfg.Level}
		switch cfg.Choice {
		case compress.Zlib, compress.Zlibx:
			levels = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
		case compress.Zstd:
			levels = []int{-5, 1, 3, 6, 19}
		}
		for _, cfg.Level = range levels {
			t.Run(fmt.Sprintf("%s/%d", c, cfg.Level), func(t *testing.T) {
				batch, err := os.ReadFile(filepath.Join("testdata", c.String()+".batch"))
				if err != nil {
					t.Fatal(err)
				}
				dir := t.TempDir()
				streams := encode(t, c, cfg)
				if err := os.WriteFile(filepath.Join(dir, "batch"), splice(t, c, batch, streams), 0o644); err != nil {
					t.Fatal(err)
				}
				writeFiles(t, filepath.Join(dir, "dst"), oldBytes)
				rsync(t, dir, append(c.options(), "--read-batch=batch", "dst/")...)
				for _, p := range batchFiles() {
					got, err := os.ReadFile(filepath.Join(dir, "dst", p.name))
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(got, p.src) {
						t.Errorf("file %s: rsync rebuilt %d bytes that differ from the %d sent at %d", p.name, len(got), len(p.src), diffAt(got, p.src))
					}
				}
			})
		}
	}
}

// TestSumsLikeRsync looks for our sums of a file in what a real generator sends.
func TestSumsLikeRsync(t *testing.T) {
	needRsync(t)
	for _, tt := range []struct {
		sum      string
		protocol int
	}{
		{"xxh128", 32}, {"xxh3", 32}, {"xxh64", 32}, {"md5", 32}, {"md4", 32}, {"sha1", 32},
		{"md5", 30}, {"", 29}, {"", 27},
	} {
		for _, seed := range []int{-77, 1 << 30} {
			dir := t.TempDir()
			writeFiles(t, filepath.Join(dir, "src"), newBytes)
			writeFiles(t, filepath.Join(dir, "dst"), oldBytes)
			remoteShell(t, dir, "exec 3<&0\nmkfifo pipe\ntee sent <&3 >pipe &\n\"$@\" <pipe\nkill $!")
			c := batchCase{choice: "none", protocol: tt.protocol, sum: tt.sum}
			args := []string{"-I", "--no-whole-file", "--protocol=" + strconv.Itoa(tt.protocol), "-e", "./sh", "-B", "300", "--checksum-seed=" + strconv.Itoa(seed)}
			if tt.sum != "" {
				args = append(args, "--checksum-choice="+tt.sum)
			}
			rsync(t, dir, append(args, "localhost:"+dir+"/src/b", "dst/")...)
			sent, err := os.ReadFile(filepath.Join(dir, "sent"))
			if err != nil {
				t.Fatal(err)
			}
			sums := c.sums()
			sums.Seed = int32(seed)
			old := batchFiles()[1].old
			head, err := SumSizes(int64(len(old)), SizeConfig{Protocol: tt.protocol, BlockSize: 300, DigestLen: sums.Len()})
			if err != nil {
				t.Fatal(err)
			}
			var want bytes.Buffer
			if err := Sign(NewWindow(&file{old}, int64(len(old))), head, sums, &want); err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(sent, want.Bytes()) {
				t.Errorf("%q, protocol %d, seed %d: rsync does not send our sums %x", tt.sum, tt.protocol, seed, want.Bytes())
			}
		}
	}
}
