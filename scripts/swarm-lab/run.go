package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/prsync/prsync/internal/netlab"
)

// A round is one program at one piece of work.
type round struct {
	l    *lab
	dir  string
	ours bool
	src  string // what the hub publishes
	nw   *netlab.Network
	hub  *exec.Cmd
	more []*exec.Cmd

	split bool // prsync's rsync daemon is a process of its own
}

// newRound starts a hub.
func (l *lab) newRound(ctx context.Context, ours bool, src string, hub netlab.Link, edges []netlab.Link, split bool) (*round, error) {
	dir, err := os.MkdirTemp(l.dir, "round-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	r := &round{l: l, dir: dir, ours: ours, src: src, split: split}
	if r.nw, err = netlab.New(ctx, hub, edges); err != nil {
		return nil, err
	}
	if err := r.startHub(ctx); err != nil {
		r.close()
		return nil, fmt.Errorf("hub: %w", err)
	}
	return r, nil
}

func (r *round) prsync() string { return filepath.Join(r.l.bin, "prsync") }
func (r *round) conf() string   { return filepath.Join(r.dir, "hub.conf") }
func (r *round) url() string    { return "http://" + r.nw.Hub().IP + ":8080" }

func (r *round) startHub(ctx context.Context) error {
	conf := fmt.Sprintf("use chroot = no\nlog file = %s/hub.rsyncd.log\naddress = %s\n", r.dir, r.nw.Hub().IP)
	port := 873
	if r.split {
		port = 874
	}
	if r.ours {
		conf += fmt.Sprintf("port = %d\nhttp listen = %s:8080\npublic url = %s\nstate dir = %s/hub\n", port, r.nw.Hub().IP, r.url(), r.dir)
	}
	conf += fmt.Sprintf("[mod]\npath = %s\n", r.src)
	if r.ours {
		conf += "rescan interval = 0\n"
	}
	if err := os.WriteFile(r.conf(), []byte(conf), 0o644); err != nil {
		return err
	}
	var err error
	if !r.ours {
		r.hub, err = r.service(ctx, "hub", r.l.stock, "--daemon", "--no-detach", "--config="+r.conf())
		if err != nil {
			return err
		}
		return r.await(ctx, r.l.stock, "rsync://"+r.nw.Hub().IP)
	}
	if r.hub, err = r.service(ctx, "hub", r.prsync(), "serve", "--config", r.conf()); err != nil {
		return err
	}
	if err := r.publish(ctx); err != nil || !r.split {
		return err
	}
	d, err := r.service(ctx, "daemon", r.prsync(), "--daemon", "--no-detach", "--port=873", "--config="+r.conf())
	if err != nil {
		return err
	}
	r.more = append(r.more, d)
	return r.await(ctx, r.prsync(), "rsync://"+r.nw.Hub().IP)
}

// service starts a process on the hub that stays.
func (r *round) service(ctx context.Context, name string, argv ...string) (*exec.Cmd, error) {
	cmd := r.nw.Hub().Command(ctx, argv...)
	out, err := os.Create(filepath.Join(r.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, cmd.Start()
}

// publish makes the module's present state a generation.
func (r *round) publish(ctx context.Context) error {
	return r.await(ctx, r.prsync(), "publish", "--config", r.conf(), "mod")
}

// await repeats a command on the hub until it succeeds.
func (r *round) await(ctx context.Context, argv ...string) error {
	end := time.Now().Add(2 * time.Minute)
	for {
		out, err := r.nw.Hub().Command(ctx, argv...).CombinedOutput()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(filepath.Join(r.dir, "hub.log"))
			return fmt.Errorf("%s: %w: %s\n%s", strings.Join(argv, " "), err, out, log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// close ends everything.
func (r *round) close() {
	r.nw.Close()
	for _, c := range append(r.more, r.hub) {
		if c != nil && c.Process != nil {
			c.Wait()
		}
	}
	if !r.l.keep {
		os.RemoveAll(r.dir)
	}
}

func (r *round) dest(i int) string { return filepath.Join(r.dir, fmt.Sprintf("edge%d", i+1)) }

// client is one edge's transfer.
type client struct {
	killed bool
	err    error
	took   time.Duration
	stats  stats
	cmd    *exec.Cmd
	out    *output
}

// output notes when the transfer said its last: with --swarm-linger the
// process stays.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	done time.Time
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b.Write(p)
	if o.done.IsZero() && bytes.Contains(o.b.Bytes(), []byte("total size is")) {
		o.done = time.Now()
	}
	return len(p), nil
}

// sync runs edge i's transfer of a folder ("" is all), with further arguments.
func (r *round) sync(ctx context.Context, i int, folder string, args ...string) *client {
	c := &client{out: &output{}}
	prog := r.l.stock
	if r.ours {
		prog = r.prsync()
	}
	argv := append([]string{prog, "-a", "--stats"}, args...)
	if r.ours && r.l.linger > 0 {
		argv = append(argv, "--swarm-linger="+r.l.linger.String())
	}
	if r.ours {
		argv = append(argv, strings.Fields(r.l.args)...)
	}
	dest := r.dest(i) + "/"
	if folder != "" {
		folder += "/"
		dest += folder
	}
	if c.err = os.MkdirAll(dest, 0o755); c.err != nil {
		return c
	}
	argv = append(argv, "rsync://"+r.nw.Hub().IP+"/mod/"+folder, dest)
	c.cmd = r.nw.Edges()[i].Command(ctx, argv...)
	c.cmd.Env = append(os.Environ(), "PRSYNC_STATE_DIR="+filepath.Join(r.dir, "none"))
	if r.l.trace {
		c.cmd.Env = append(c.cmd.Env, fmt.Sprintf("PRSYNC_ENGINE_TRACE=%s/edge%d.trace", r.dir, i+1))
	}
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	began := time.Now()
	c.err = c.cmd.Run()
	c.took = time.Since(began)
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if r.l.linger > 0 && !c.out.done.IsZero() {
		c.took = c.out.done.Sub(began)
	}
	text := c.out.b.String()
	c.stats = parseStats(text)
	os.WriteFile(filepath.Join(r.dir, fmt.Sprintf("edge%d.log", i+1)), []byte(text), 0o644)
	if c.err != nil {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		c.err = fmt.Errorf("edge %d: %w: %s", i+1, c.err, strings.Join(lines[max(0, len(lines)-3):], " | "))
	}
	return c
}

// compare checks what edge i has against what is published.
func (r *round) compare(ctx context.Context, i int, folder string) error {
	out, err := exec.CommandContext(ctx, "diff", "-r", filepath.Join(r.src, folder), filepath.Join(r.dest(i), folder)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("edge %d has other content: %.300s", i+1, out)
	}
	return nil
}

// dieAt ends edge i's processes when its time has come.
func (r *round) dieAt(ctx context.Context, i int, after time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(after):
		r.nw.Edges()[i].Kill()
	}
}

// loseHub kills the hub's HTTP side and tracker when so much has left it.
func (r *round) loseHub(ctx context.Context, copies int64) {
	base, err := r.nw.Hub().Sent()
	for err == nil && ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
		var now int64
		if now, err = r.nw.Hub().Sent(); now-base > copies {
			r.hub.Process.Signal(unix.SIGKILL)
			return
		}
	}
}

// median of the times, and the longest.
func times(cs []*client) (median, slowest float64) {
	var all []float64
	for _, c := range cs {
		if !c.killed {
			all = append(all, c.took.Seconds())
		}
	}
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2, all[len(all)-1]
}

// failures joins what went wrong.
func failures(cs []*client) error {
	var all []error
	for _, c := range cs {
		if !c.killed && c.err != nil {
			all = append(all, c.err)
		}
	}
	return errors.Join(all...)
}
