// Command redirect-bench measures redirects and announces of a real "prsync
// serve" with a million files and forty volunteers, by wrk, beside nginx that
// answers every request with one and the same 302:
//
//	go run ./scripts/redirect-bench [--files 1000000] [--store memory]
//
// The volunteers are played by this program: they state that they hold
// everything, announce as volunteers do, and answer the host's probes. All
// processes share the machine's processors.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/content"
)

type bench struct {
	files, volunteers, connections, peers int
	store, bin, parent, wrkCommand        string
	seconds                               int

	dir, url string
	hub      *exec.Cmd
	edges    string // base of the volunteers' URLs
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("redirect-bench: ")
	var b bench
	flag.IntVar(&b.files, "files", 1_000_000, "files published")
	flag.IntVar(&b.volunteers, "volunteers", 40, "volunteers that hold all of them")
	flag.IntVar(&b.connections, "connections", 64, "keep-alive connections of wrk")
	flag.IntVar(&b.peers, "peers", 40, "different peers that announce, all in one swarm")
	flag.IntVar(&b.seconds, "seconds", 10, "of each measurement")
	flag.StringVar(&b.store, "store", "memory", "tracker store; \"redis\" starts a redis-server")
	flag.StringVar(&b.bin, "bin", "", "`directory` with prsync's programs; default is to build them")
	flag.StringVar(&b.wrkCommand, "wrk", "wrk", "`command` that is wrk, with what is to stand before it")
	flag.StringVar(&b.parent, "dir", "", "parent `directory` of the data; default is $TMPDIR")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx); err != nil {
		log.Fatal(err)
	}
}

func (b *bench) run(ctx context.Context) (err error) {
	if _, err := exec.LookPath(strings.Fields(b.wrkCommand + " -")[0]); err != nil {
		return fmt.Errorf("%w (apt-get install wrk)", err)
	}
	if b.dir, err = os.MkdirTemp(b.parent, "prsync-redirects-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.bin == "" {
		b.bin = b.path("bin")
		build := exec.CommandContext(ctx, "go", "build", "-o", b.bin+"/", "./cmd/...")
		build.Stderr, build.Env = os.Stderr, append(os.Environ(), "CGO_ENABLED=0")
		if err := build.Run(); err != nil {
			return fmt.Errorf("building prsync in the source tree: %w", err)
		}
	}
	began := time.Now()
	ids, err := b.tree()
	if err != nil {
		return err
	}
	fmt.Printf("%d files written in %.0f s\n", b.files, time.Since(began).Seconds())
	if b.store == "redis" {
		end, err := b.redis(ctx)
		if err != nil {
			return err
		}
		defer end()
	}
	began = time.Now()
	if err := b.serve(ctx); err != nil {
		return err
	}
	defer func() {
		b.hub.Process.Signal(syscall.SIGTERM)
		b.hub.Wait()
	}()
	fmt.Printf("published in %.0f s, %s\n", time.Since(began).Seconds(), b.memory())
	began = time.Now()
	if err := b.announce(ctx, ids); err != nil {
		return err
	}
	fmt.Printf("%d volunteers stated %d contents each in %.0f s, %s\n", b.volunteers, b.files, time.Since(began).Seconds(), b.memory())

	hash, err := b.pack()
	if err != nil {
		return err
	}
	location := b.location(0)
	if location == "" {
		return fmt.Errorf("%s/m/%s is not redirected", b.url, name(0))
	}
	fmt.Printf("a redirect leads to %s\n\n%-44s %10s %10s %10s %8s\n", location, "", "requests/s", "p50", "p99", "errors")
	end, err := b.nginx(ctx, location)
	if err != nil {
		fmt.Println("nginx is left out:", err)
	} else {
		b.wrk(ctx, "nginx, one 302 for everything", end.url, `request = function() return wrk.format("GET", "/") end`, "302")
		end.stop()
	}
	b.wrk(ctx, "redirects, any of the files", b.url, fmt.Sprintf(`
request = function() local n = math.random(0, %d); return wrk.format("GET", string.format("/m/d%%d/f%%d", math.floor(n / 1000), n)) end`, b.files-1), "302")
	b.wrk(ctx, "redirects, 1 % of the files", b.url, fmt.Sprintf(`
request = function() local n = math.random(0, %d); return wrk.format("GET", string.format("/m/d%%d/f%%d", math.floor(n / 1000), n)) end`, max(0, b.files/100-1)), "302")
	b.wrk(ctx, fmt.Sprintf("announces of %d peers, one pack each", b.peers), b.url, b.announceScript(hash), "200")
	fmt.Printf("\nthe host at the end: %s\n", b.memory())
	return nil
}

func (b *bench) path(p string) string { return filepath.Join(b.dir, p) }

func name(n int) string { return fmt.Sprintf("d%d/f%d", n/1000, n) }

// tree writes the files and returns their content ids, concatenated.
func (b *bench) tree() (ids []byte, err error) {
	for n := range b.files {
		file := b.path("tree/" + name(n))
		if n%1000 == 0 {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return nil, err
			}
		}
		text := fmt.Appendf(nil, "content of file number %d\n", n)
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return nil, err
		}
		id := sha256.Sum256(text)
		ids = append(ids, id[:]...)
	}
	return ids, nil
}

func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (b *bench) redis(ctx context.Context) (end func(), err error) {
	sock := b.path("redis.sock")
	cmd := exec.CommandContext(ctx, "redis-server", "--port", "0", "--unixsocket", sock, "--save", "", "--dir", b.dir)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b.store = "unix://" + sock
	for range 100 {
		if _, err := os.Stat(sock); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() }, nil
}

// serve starts the host and publishes.
func (b *bench) serve(ctx context.Context) error {
	http, err := free()
	if err != nil {
		return err
	}
	rsync, err := free()
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(rsync)
	b.url = "http://" + http
	var secrets bytes.Buffer
	for v := range b.volunteers {
		fmt.Fprintf(&secrets, "edge%d:s%d\n", v, v)
	}
	if err := os.WriteFile(b.path("secrets"), secrets.Bytes(), 0o600); err != nil {
		return err
	}
	conf := fmt.Sprintf("address = 127.0.0.1\nport = %s\nuse chroot = no\nlog file = %s\nhttp listen = %s\npublic url = %s\nstate dir = %s\nvolunteer secrets file = %s\ntracker store = %s\n"+
		"[m]\nredirect min size = 1\nrescan interval = 0\npath = %s\n", port, b.path("rsyncd.log"), http, b.url, b.path("state"), b.path("secrets"), b.store, b.path("tree"))
	if err := os.WriteFile(b.path("conf"), []byte(conf), 0o644); err != nil {
		return err
	}
	out, err := os.Create(b.path("log"))
	if err != nil {
		return err
	}
	defer out.Close()
	b.hub = exec.Command(filepath.Join(b.bin, "prsync"), "serve", "--config", b.path("conf"))
	b.hub.Stderr = out
	if err := b.hub.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		got, err := exec.CommandContext(ctx, filepath.Join(b.bin, "prsync"), "publish", "--config", b.path("conf"), "m").CombinedOutput()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return fmt.Errorf("publish: %w: %s", err, got)
		}
	}
}

// memory is what the host's process has in use, and its most.
func (b *bench) memory() string {
	s, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.hub.Process.Pid))
	get := func(key string) int {
		_, rest, _ := strings.Cut(string(s), key+":")
		n, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
		return n >> 10
	}
	return fmt.Sprintf("%d MiB resident of which %d MiB are file pages, at most %d MiB", get("VmRSS"), get("RssFile"), get("VmHWM"))
}

// announce plays the volunteers until ctx ends; it returns when every one has
// stated what it holds.
func (b *bench) announce(ctx context.Context, ids []byte) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.edges = "http://" + l.Addr().String()
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.URL.Query().Get("id"); id != "" {
			w.Header().Set("ETag", `"`+id+`"`)
		}
	}))
	for v := range b.volunteers {
		version := int64(0)
		for rest := ids; len(rest) > 0; {
			part := rest[:min(len(rest), content.MaxAnnounceIDs/2*len(content.ID{}))]
			rest = rest[len(part):]
			h := &content.Holdings{Base: version, Version: version + 1, Added: part}
			if len(rest) > 0 {
				h.More = 1
			}
			if version, err = b.post(ctx, v, h); err != nil {
				return err
			}
		}
		go func() {
			for tick := time.Tick(2 * time.Second); ; {
				select {
				case <-ctx.Done():
					return
				case <-tick:
					b.post(ctx, v, nil)
				}
			}
		}()
	}
	for end := time.Now().Add(30 * time.Second); b.location(0) == ""; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("no volunteer gets customers")
		}
	}
	return nil
}

// post announces one volunteer.
func (b *bench) post(ctx context.Context, v int, h *content.Holdings) (version int64, err error) {
	req := &content.AnnounceRequest{
		PeerID: fmt.Sprintf("-PR0000-%012d", v), Name: fmt.Sprintf("edge%d", v), URL: fmt.Sprintf("%s/e%d", b.edges, v), Holdings: h,
		Load: &content.Load{Uplink: 25e6},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+"/announce", bytes.NewReader(req.Encode()))
	if err != nil {
		return 0, err
	}
	r.SetBasicAuth(req.Name, fmt.Sprintf("s%d", v))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	reply, err := content.DecodeAnnounceReply(body)
	if err == nil && reply.Failure != "" {
		err = fmt.Errorf("announce: %s", reply.Failure)
	}
	if err != nil {
		return 0, err
	}
	return reply.Holdings, nil
}

var direct = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// location is where file n is redirected to.
func (b *bench) location(n int) string {
	resp, err := direct.Get(b.url + "/m/" + name(n))
	if err != nil {
		return ""
	}
	resp.Body.Close()
	return resp.Header.Get("Location")
}

// pack is the info hash of a pack that the host publishes.
func (b *bench) pack() ([]byte, error) {
	resp, err := direct.Get(b.url + "/m/" + name(0) + ".torrent")
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	m := regexp.MustCompile(`[0-9a-f]{40}`).FindString(resp.Header.Get("Location"))
	if m == "" {
		return nil, fmt.Errorf("no pack: %s", resp.Status)
	}
	h, err := content.ParseInfoHash(m)
	return h[:], err
}

// announceScript lets every request be one of the peers.
func (b *bench) announceScript(hash []byte) string {
	const mark = "-PR0000-############"
	req := &content.AnnounceRequest{PeerID: mark, Port: 6881, Packs: []content.AnnouncePack{{InfoHash: string(hash), Left: 12345, Downloaded: 1000}}}
	before, after, _ := strings.Cut(string(req.Encode()), mark)
	quote := func(s string) string {
		var q strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&q, "\\%03d", s[i])
		}
		return `"` + q.String() + `"`
	}
	return fmt.Sprintf(`local n = 0
request = function() n = n + 1; return wrk.format("POST", "/announce", nil, %s .. string.format("-PR0000-%%012d", n %% %d) .. %s) end`,
		quote(before), b.peers, quote(after))
}

// wrk measures and prints a line. want is the status that every answer has.
func (b *bench) wrk(ctx context.Context, what, url, script, want string) {
	file := b.path("script.lua")
	script += `
local threads = {}
function setup(t) table.insert(threads, t) end
function init(args) bad = 0 end
function response(status) if status ~= ` + want + ` then bad = bad + 1 end end
function done(summary, latency)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  for _, t in ipairs(threads) do bad = bad + t:get("bad") end
  io.write(string.format("RESULT %.0f %.2f %.2f %d\n", summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000, bad))
end
`
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		log.Print(err)
		return
	}
	argv := append(strings.Fields(b.wrkCommand), "-t2", "-c"+strconv.Itoa(b.connections), "-d"+strconv.Itoa(b.seconds), "-s", file, url)
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	m := regexp.MustCompile(`RESULT (\S+) (\S+) (\S+) (\S+)`).FindSubmatch(out)
	if err != nil || m == nil {
		fmt.Printf("%-44s wrk: %v\n%s\n", what, err, out)
		return
	}
	fmt.Printf("%-44s %10s %7s ms %7s ms %8s\n", what, m[1], m[2], m[3], m[4])
}

type server struct {
	url  string
	stop func()
}

// nginx starts one that answers with the same redirect always.
func (b *bench) nginx(ctx context.Context, location string) (*server, error) {
	bin, err := exec.LookPath("nginx")
	if err != nil {
		return nil, fmt.Errorf("%w (apt-get install nginx-light)", err)
	}
	addr, err := free()
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/nginx.pid; error_log %[1]s/nginx.log;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 100000000; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
 server { listen %[2]s; location / { return 302 %[3]s; } } }
`, b.dir, addr, location)
	if err := os.WriteFile(b.path("nginx.conf"), []byte(conf), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, bin, "-c", b.path("nginx.conf"))
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{"http://" + addr, func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() }}
	for range 100 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return s, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.stop()
	text, _ := os.ReadFile(b.path("nginx.log"))
	return nil, fmt.Errorf("nginx does not start: %s", text)
}
