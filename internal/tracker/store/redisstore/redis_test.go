package redisstore_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/tracker/store"
	"github.com/prsync/prsync/internal/tracker/store/redisstore"
	"github.com/prsync/prsync/internal/tracker/store/storetest"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server starts a Redis or Valkey of its own on a unix socket.
func server(tb testing.TB) (url string) {
	tb.Helper()
	bin := ""
	for _, n := range []string{"valkey-server", "redis-server"} {
		if p, err := exec.LookPath(n); err == nil {
			bin = p
			break
		}
	}
	if bin == "" {
		tb.Skip("needs redis-server or valkey-server (apt-get install redis-server)")
	}
	sock := filepath.Join(tb.TempDir(), "s")
	cmd := exec.Command(bin, "--port", "0", "--unixsocket", sock, "--save", "", "--dir", filepath.Dir(sock))
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	url = "unix://" + sock
	for end := time.Now().Add(10 * time.Second); ; {
		s, err := redisstore.Open(context.Background(), url)
		if err == nil {
			s.Close()
			return url
		}
		if time.Now().After(end) {
			tb.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // polling for the server's readiness
	}
}

func open(tb testing.TB, url string) *redisstore.Store {
	tb.Helper()
	s, err := redisstore.Open(context.Background(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func flush(tb testing.TB, url string) {
	opt, err := redis.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	c := redis.NewClient(opt)
	defer c.Close()
	if err := c.FlushAll(context.Background()).Err(); err != nil {
		tb.Fatal(err)
	}
}

func TestRedis(t *testing.T) {
	url := server(t)
	storetest.Run(t, func(t *testing.T) store.Store {
		flush(t, url)
		return open(t, url)
	})
}

func TestTwoHosts(t *testing.T) {
	url := server(t)
	storetest.RunShared(t, func(t *testing.T) (a, b store.Store) { return open(t, url), open(t, url) })
}

func TestUnreachable(t *testing.T) {
	_, err := redisstore.Open(t.Context(), "unix://"+filepath.Join(t.TempDir(), "none"))
	if err == nil {
		t.Fatal("opened a store that is not there")
	}
	if _, err = redisstore.Open(t.Context(), "http://x"); err == nil {
		t.Fatal("took an http URL")
	}
}

// BenchmarkAnnounces has 64 callers announce at a time, as many connections of
// peers do, and reports the processor time of this process and of the server.
func BenchmarkAnnounces(b *testing.B) {
	url := server(b)
	s := open(b, url)
	opt, err := redis.ParseURL(url)
	if err != nil {
		b.Fatal(err)
	}
	c := redis.NewClient(opt)
	defer c.Close()
	cpu := func() (here, there time.Duration) {
		var own unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err != nil {
			b.Fatal(err)
		}
		here = time.Duration(own.Utime.Nano() + own.Stime.Nano())
		for _, line := range strings.Fields(c.Info(b.Context(), "cpu").Val()) {
			if v, ok := strings.CutPrefix(line, "used_cpu_sys:"); ok {
				d, _ := time.ParseDuration(v + "s")
				there += d
			} else if v, ok := strings.CutPrefix(line, "used_cpu_user:"); ok {
				d, _ := time.ParseDuration(v + "s")
				there += d
			}
		}
		return here, there
	}
	now := time.Now()
	b.SetParallelism(32)
	here, there := cpu()
	b.RunParallel(func(pb *testing.PB) {
		for n := 0; pb.Next(); n++ {
			id := fmt.Sprintf("-PR0001-%012d", n%40)
			u := store.Update{Peer: store.Peer{ID: id, IP: "10.0.0.1", Port: 6881, Left: 5}, TTL: time.Minute, Want: 50}
			if _, err := s.Announce(b.Context(), []store.Update{u}, now); err != nil {
				b.Error(err)
				return
			}
		}
	})
	h, t := cpu()
	b.ReportMetric(float64((h-here).Microseconds())/float64(b.N), "µs-here/op")
	b.ReportMetric(float64((t-there).Microseconds())/float64(b.N), "µs-there/op")
}

func BenchmarkRedis(b *testing.B) {
	url := server(b)
	storetest.Bench(b, func(b *testing.B) store.Store { return open(b, url) }, 20_000)
}
