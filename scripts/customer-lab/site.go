package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// module is the repository's name at the central host.
const module = "lab"

// site are the running hosts.
type site struct {
	l     *lab
	port  string // of rsync
	url   string // of the central host
	hub   *process
	edges []*edge
}

// edge is one volunteer.
type edge struct {
	*process
	mirror, state string
}

// process is a service, started again after it was killed.
type process struct {
	argv []string
	log  string
	env  []string
	url  string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
	read int64 // bytes of the log that requests has counted
	n    int
}

func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Stderr, cmd.Env = log, append(os.Environ(), p.env...)
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.done = cmd, done
	return nil
}

// end signals the process and waits for its end.
func (p *process) end(sig syscall.Signal) {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	if cmd != nil {
		cmd.Process.Signal(sig)
		<-done
	}
}

// ready waits until the service answers.
func (p *process) ready(ctx context.Context) error {
	for deadline := time.Now().Add(30 * time.Second); ; {
		resp, err := http.Get(p.url + "/metrics")
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return nil
		}
		p.mu.Lock()
		done := p.done
		p.mu.Unlock()
		select {
		case <-done:
			b, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s ended: %s", strings.Join(p.argv, " "), lastLines(string(b), 5))
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready: %w", strings.Join(p.argv, " "), err)
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// requests counts the customers' requests in the log so far.
func (p *process) requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, err := os.Open(p.log)
	if err != nil {
		return p.n
	}
	defer f.Close()
	if _, err := f.Seek(p.read, io.SeekStart); err != nil {
		return p.n
	}
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return p.n // the last line is not complete
		}
		p.read += int64(len(line))
		if strings.Contains(line, " msg=request ") && strings.Contains(line, " path=/"+module+"/") {
			p.n++
		}
	}
}

// ports returns ports where nothing listens now.
func ports(n int) (list []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, err
		}
		list = append(list, port)
	}
	return list, nil
}

// newSite starts the hosts, publishes, and lets every volunteer have a copy.
func newSite(ctx context.Context, l *lab) (_ *site, err error) {
	free, err := ports(2 + l.volunteers)
	if err != nil {
		return nil, err
	}
	prsync := filepath.Join(l.bin, "prsync")
	s := &site{l: l, port: free[0], url: "http://127.0.0.1:" + free[1]}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	var secrets bytes.Buffer
	for i := range l.volunteers {
		fmt.Fprintf(&secrets, "edge%d:secret%d\n", i+1, i+1)
	}
	if err := os.WriteFile(filepath.Join(l.dir, "secrets"), secrets.Bytes(), 0o600); err != nil {
		return nil, err
	}
	conf := filepath.Join(l.dir, "central.conf")
	if err := write(conf, fmt.Appendf(nil, `address = 127.0.0.1
port = %s
use chroot = no
log file = %[2]s/rsyncd.log
http listen = 127.0.0.1:%[3]s
public url = %[4]s
state dir = %[2]s/central
volunteer secrets file = %[2]s/secrets
[%[5]s]
path = %[6]s
redirect min size = 16K
rescan interval = 0
`, s.port, l.dir, free[1], s.url, module, l.repo.tree)); err != nil {
		return nil, err
	}
	s.hub = &process{argv: []string{prsync, "serve", "--debug", "--config", conf}, log: filepath.Join(l.dir, "central.log"), url: s.url}
	if err := s.hub.start(); err != nil {
		return nil, err
	}
	if err := s.hub.ready(ctx); err != nil {
		return nil, err
	}
	if err := s.publish(ctx); err != nil {
		return nil, err
	}
	l.repo.visible()
	for i := range l.volunteers {
		name := fmt.Sprintf("edge%d", i+1)
		e := &edge{mirror: filepath.Join(l.dir, name+".d"), state: filepath.Join(l.dir, name)}
		conf := filepath.Join(l.dir, name+".conf")
		if err := os.Mkdir(e.mirror, 0o755); err != nil {
			return nil, err
		}
		if err := write(conf, fmt.Appendf(nil, "http listen = 127.0.0.1:%s\ncentral url = %s\nvolunteer name = %s\nvolunteer secret = secret%d\nstate dir = %s\n[%s]\npath = %s\n",
			free[2+i], s.url, name, i+1, e.state, module, e.mirror)); err != nil {
			return nil, err
		}
		e.process = &process{argv: []string{prsync, "volunteer", "--debug", "--config", conf}, log: filepath.Join(l.dir, name+".log"), url: "http://127.0.0.1:" + free[2+i]}
		s.edges = append(s.edges, e)
		if err := e.start(); err != nil {
			return nil, err
		}
		if err := e.ready(ctx); err != nil {
			return nil, err
		}
		if err := s.sync(ctx, e); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// publish says that the tree is complete. A host that is being restarted is
// waited for.
func (s *site) publish(ctx context.Context) error {
	for deadline := time.Now().Add(60 * time.Second); ; {
		_, err := output(ctx, filepath.Join(s.l.bin, "prsync"), "publish", "--config", filepath.Join(s.l.dir, "central.conf"), module)
		if err == nil || ctx.Err() != nil || !s.l.restart || time.Now().After(deadline) {
			return err
		}
		sleep(ctx, 50*time.Millisecond)
	}
}

// sync is a volunteer's cron job.
func (s *site) sync(ctx context.Context, e *edge) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.l.bin, "prsync"), "-a", "--delete", "rsync://127.0.0.1:"+s.port+"/"+module+"/", e.mirror+"/")
	cmd.Env = append(os.Environ(), "PRSYNC_STATE_DIR="+e.state)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 24 {
		return nil // files vanished while they were being sent, which is daily life
	}
	if err != nil {
		return fmt.Errorf("sync of %s: %w: %s", e.mirror, err, lastLines(string(out), 5))
	}
	return nil
}

// restart kills the central host and starts it again. It returns how long it
// took from the start until a customer was redirected.
func (s *site) restart(ctx context.Context) (time.Duration, error) {
	s.hub.end(syscall.SIGKILL)
	began := time.Now()
	if err := s.hub.start(); err != nil {
		return 0, err
	}
	if err := s.hub.ready(ctx); err != nil {
		return 0, err
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for time.Since(began) < time.Minute {
		for _, p := range s.l.repo.paths() {
			if !strings.HasSuffix(p, ".deb") {
				continue
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodHead, s.url+"/"+module+"/"+p, nil)
			if err != nil {
				return 0, err
			}
			req.Header.Set("User-Agent", "lab")
			resp, err := client.Do(req)
			if err != nil {
				return 0, err
			}
			resp.Body.Close()
			if resp.StatusCode == http.StatusFound {
				return time.Since(began), nil
			}
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return 0, ctx.Err()
		}
	}
	return 0, errors.New("no redirect within a minute of a restart")
}

// stop ends all services in an orderly way, close for good.
func (s *site) stop() {
	for _, e := range s.edges {
		if e.process != nil {
			e.end(syscall.SIGTERM)
		}
	}
	if s.hub != nil {
		s.hub.end(syscall.SIGTERM)
	}
}

func (s *site) close() { s.stop() }

// request is one line of a host's log.
type request struct {
	path, to, agent string
	status          int
	broken          bool
}

// readRequests calls f for each customer's request in a log.
func readRequests(file string, f func(request)) error {
	log, err := os.Open(file)
	if err != nil {
		return err
	}
	defer log.Close()
	sc := bufio.NewScanner(log)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := sc.Text()
		if !strings.Contains(line, " msg=request ") || !strings.Contains(line, " path=/"+module+"/") {
			continue
		}
		var r request
		r.path = strings.TrimPrefix(field(line, "path"), "/"+module+"/")
		r.to, r.agent, r.broken = field(line, "to"), field(line, "agent"), field(line, "broken") == "true"
		r.status, _ = strconv.Atoi(field(line, "status"))
		f(r)
	}
	return sc.Err()
}

// field is a value of a line of log/slog's text form.
func field(line, key string) string {
	_, v, ok := strings.Cut(line, " "+key+"=")
	if !ok {
		return ""
	}
	if strings.HasPrefix(v, `"`) {
		if q, err := strconv.QuotedPrefix(v); err == nil {
			s, _ := strconv.Unquote(q)
			return s
		}
	}
	v, _, _ = strings.Cut(v, " ")
	return v
}
