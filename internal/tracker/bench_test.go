package tracker

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker/store/storetest"
)

// bigCatalog has a million files f/N with the contents of storetest.ID(N).
type bigCatalog struct{ catalog }

const million = 1_000_000

func (bigCatalog) File(_, path string) (Published, error) {
	var n int
	if _, err := fmt.Sscanf(path, "f/%d", &n); err != nil {
		return Published{}, err
	}
	return Published{ID: storetest.ID(n % million), Size: 1 << 20, Mtime: now0}, nil
}

// crowded is a tracker with a million files on 40 volunteers.
func crowded(b *testing.B) *fixture {
	b.Helper()
	f := newFixture(b, func(c *Config) { c.Catalog, c.Now = bigCatalog{}, nil })
	f.now = time.Now()
	for v := range 40 {
		f.volunteer(b, fmt.Sprintf("e%d", v), fmt.Sprintf("http://edge%d.example:8080", v))
		for base := int64(0); base < 5; base++ {
			h := &content.Holdings{Base: base + 1, Version: base + 2, Added: storetest.IDs(int(base)*200000, int(base+1)*200000)}
			if got, err := f.st.Update(b.Context(), fmt.Sprintf("e%d", v), h); err != nil || got != base+2 {
				b.Fatal(got, err)
			}
		}
		f.mu.Lock()
		f.vols[fmt.Sprintf("e%d", v)].state.Interval = time.Hour
		f.mu.Unlock()
	}
	return f
}

// BenchmarkCrowded measures redirects and announces with a million files on
// 40 volunteers: by the handler alone, and over loopback with keep-alive,
// where client and server share the processors.
func BenchmarkCrowded(b *testing.B) {
	f := crowded(b)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	heap := float64(m.HeapAlloc) / (1 << 20)
	srv := httptest.NewServer(f)
	defer srv.Close()
	h := hash(1)
	announce := (&content.AnnounceRequest{PeerID: peerA, Port: 5, Packs: []content.AnnouncePack{{InfoHash: string(h[:]), Left: 5}}}).Encode()

	b.Run("redirect/handler", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for n := 0; pb.Next(); n++ {
				w := httptest.NewRecorder()
				f.ServeHTTP(w, httptest.NewRequest("GET", fmt.Sprintf("/m/f/%d", n*7919%million), nil))
				if w.Code != 302 {
					b.Fatal(w.Code)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "redirects/s")
		b.ReportMetric(heap, "MiB")
	})
	keepAlive := func(b *testing.B, want int, request func(n int) string) {
		b.RunParallel(func(pb *testing.PB) {
			c, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			r := bufio.NewReader(c)
			for n := 0; pb.Next(); n++ {
				io.WriteString(c, request(n))
				resp, err := http.ReadResponse(r, nil)
				if err != nil || resp.StatusCode != want {
					b.Error(err, resp)
					return
				}
				io.Copy(io.Discard, resp.Body)
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	}
	b.Run("redirect/loopback", func(b *testing.B) {
		b.SetParallelism(8)
		keepAlive(b, 302, func(n int) string {
			return fmt.Sprintf("GET /m/f/%d HTTP/1.1\r\nHost: x\r\n\r\n", n*7919%million)
		})
	})
	b.Run("announce/loopback", func(b *testing.B) {
		b.SetParallelism(8)
		keepAlive(b, 200, func(int) string {
			return fmt.Sprintf("POST /announce HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(announce), announce)
		})
	})
}
