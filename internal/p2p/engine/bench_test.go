package engine

import (
	"bytes"
	"encoding/binary"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/origin"
	"github.com/prsync/prsync/internal/p2p/swarmtest"
)

// BenchmarkSwarm measures how close 8 peers come to the lower bound: every
// uplink is limited to 50 Mbit/s, so that 100 MB take at least 16 s. It reports
// the slowest peer over the bound and the copies that left the origin.
func BenchmarkSwarm(b *testing.B) {
	const uplink = 50_000_000 / 8
	small := make([]int, 2000)
	for i := range small { // 5 KB to 95 KB, 100 MB in all
		small[i] = 5_000 + i*45
	}
	for name, sizes := range map[string][]int{"one file": {100_000_000}, "2000 files": small} {
		b.Run(name, func(b *testing.B) {
			n := 8
			if s := os.Getenv("PRSYNC_BENCH_PEERS"); s != "" {
				n, _ = strconv.Atoi(s)
			}
			for range b.N {
				bl := swarmtest.NewBlob(3, sizes...)
				h := swarmtest.NewHub(b, origin.Config{Uplink: uplink}, bl)
				began := time.Now()
				var peers []*peer
				for range n {
					p := newPeer(b, Config{UploadLimit: uplink})
					p.fetchAll(h.Offer(), bl)
					peers = append(peers, p)
				}
				for _, p := range peers {
					p.wait(2 * time.Minute)
					b.Logf("%v: %.2f s, origin %.1f MB, peers %.1f MB, wasted %.1f MB", name, time.Since(began).Seconds(),
						float64(p.totals[1])/1e6, float64(p.totals[0])/1e6, float64(p.e.Stats().Wasted)/1e6)
				}
				took := time.Since(began)
				for _, p := range peers {
					p.check(bl)
					p.e.Close()
				}
				bound := float64(bl.Pack.Length) / uplink
				b.ReportMetric(took.Seconds()/bound, "×bound")
				b.ReportMetric(h.Copies(bl), "copies")
			}
		})
	}
}

// BenchmarkSeededPack tells what a pack of 1 GiB with 10,000 contents costs an
// engine that only seeds it.
func BenchmarkSeededPack(b *testing.B) {
	const packs, contents, pieces, length = 8, 10_000, 4096, 1 << 30
	h := swarmtest.NewHub(b, origin.Config{})
	p := newPeer(b, Config{})
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for range b.N {
		before := heap()
		for n := range packs {
			pack := &content.Pack{Name: "m-" + strconv.Itoa(b.N) + "-" + strconv.Itoa(n), PieceLength: length / pieces, Length: length, Pieces: make([]byte, 20*pieces)}
			for i := range contents {
				e := content.Entry{Offset: int64(i) * (length / contents), Length: length / contents}
				binary.BigEndian.PutUint64(e.ID[:], uint64(i+n*contents+1))
				pack.Entries = append(pack.Entries, e)
			}
			pack.Seal()
			stop, err := p.e.Seed(h.Offer(), pack, bytes.NewReader(nil), func(int) bool { return true })
			if err != nil {
				b.Fatal(err)
			}
			defer stop()
		}
		b.ReportMetric(float64(heap()-before)/packs/1e6, "MB/pack")
	}
}
