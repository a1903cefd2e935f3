package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/prsync/prsync/internal/netlab"
	"github.com/prsync/prsync/internal/tracker/sim"
)

// real runs the policy with real processes: a central host, volunteers behind
// shaped links and customers, each in a network namespace of its own. Rates
// and sizes are a fraction of the simulated ones, so that times are the same.
// Under the other policies customers choose the volunteer themselves, as from
// a list of mirrors, and ask it for the same URL that a redirect has.
type real struct {
	bin, dir  string
	scale     float64 // simulated over real rates and sizes
	equal     bool
	trace     *sim.Steady
	workloads []int

	nw    *netlab.Network
	procs []*exec.Cmd
	ids   []string // of the files
}

// outcome is one run with real processes.
type outcome struct {
	mean, p95, utilMean, utilMax float64
	byHost, requests, failed     int
}

const (
	realVolunteers = 8
	httpPort       = "8080"
)

// realPolicies are those that can be run with real customers.
var realPolicies = []string{"prsync", "random", "static weights"}

func (r *real) run(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root: run it with sudo")
	}
	if r.dir, err = os.MkdirTemp("", "prsync-load-lab-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	if err := os.Chmod(r.dir, 0o755); err != nil {
		return err
	}
	if r.bin == "" {
		r.bin = filepath.Join(r.dir, "bin")
		build := exec.CommandContext(ctx, "go", "build", "-o", r.bin+"/", "./cmd/...")
		build.Stderr, build.Env = os.Stderr, append(os.Environ(), "CGO_ENABLED=0")
		if err := build.Run(); err != nil {
			return fmt.Errorf("building prsync in the source tree: %w", err)
		}
	}
	if r.bin, err = filepath.Abs(r.bin); err != nil {
		return err
	}
	if err := r.tree(); err != nil {
		return err
	}
	netlab.SweepStale()
	// The hub's link is not what is measured; the last node is the customers'.
	links := make([]netlab.Link, realVolunteers+1)
	for v, up := range r.trace.Uplinks {
		links[v].Up = 8 * up / r.scale
	}
	if r.nw, err = netlab.New(ctx, netlab.Link{}, links); err != nil {
		return err
	}
	defer r.close()
	if err := r.start(ctx); err != nil {
		return err
	}
	name := "unequal"
	if r.equal {
		name = "equal"
	}
	fmt.Printf("%s uplinks, %d volunteers, %.0f Mbit/s together, %.0f s a run: simulated and with real processes\n", name, realVolunteers, r.sum()*8/1e6, r.trace.Duration)
	fmt.Printf("%14s %8s %8s %15s %15s %13s %13s %7s %7s\n", "policy", "workload", "requests", "mean s sim/real", "p95 s sim/real", "util sim/real", "max/mean", "by host", "gave up")
	for _, p := range realPolicies {
		for _, w := range r.workloads {
			s := r.trace.Run(p, r.equal, w)
			o, err := r.once(ctx, p, w)
			if err != nil {
				return err
			}
			fmt.Printf("%14s %6d %% %8d %7.3f/%7.3f %7.3f/%7.3f %6.2f/%6.2f %6.2f/%6.2f %7d %7d\n", p, w, o.requests, s.Mean, o.mean, s.P95, o.p95,
				s.UtilMean, o.utilMean, s.Spread(), o.utilMax/o.utilMean, o.byHost, o.failed)
		}
	}
	return nil
}

// sum is the real uplinks' sum, bytes per second.
func (r *real) sum() (s float64) {
	for _, u := range r.trace.Uplinks {
		s += u / r.scale
	}
	return s
}

func fileName(i int) string { return fmt.Sprintf("f%03d", i) }

func (r *real) tree() error {
	dir := filepath.Join(r.dir, "tree")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	src := rand.NewChaCha8([32]byte{1})
	for i, size := range r.trace.Sizes {
		b := make([]byte, max(1, int(size/r.scale)))
		src.Read(b)
		if err := os.WriteFile(filepath.Join(dir, fileName(i)), b, 0o644); err != nil {
			return err
		}
		id := sha256.Sum256(b)
		r.ids = append(r.ids, hex.EncodeToString(id[:]))
	}
	return nil
}

func (r *real) url() string { return "http://" + r.nw.Hub().IP + ":" + httpPort }

// start starts the hosts and waits until every volunteer gets customers.
func (r *real) start(ctx context.Context) error {
	var secrets bytes.Buffer
	for v := range realVolunteers {
		fmt.Fprintf(&secrets, "edge%d:s%d\n", v, v)
	}
	path := func(p string) string { return filepath.Join(r.dir, p) }
	if err := os.WriteFile(path("secrets"), secrets.Bytes(), 0o600); err != nil {
		return err
	}
	conf := fmt.Sprintf("use chroot = no\nlog file = %[1]s/rsyncd.log\nhttp listen = %[2]s:%[3]s\npublic url = %[4]s\nstate dir = %[1]s/hub\nvolunteer secrets file = %[1]s/secrets\n"+
		"[m]\nredirect min size = 1\nrescan interval = 0\npath = %[1]s/tree\n", r.dir, r.nw.Hub().IP, httpPort, r.url())
	if err := r.service(ctx, r.nw.Hub(), "hub", "serve", conf); err != nil {
		return err
	}
	for v := range realVolunteers {
		e := r.nw.Edges()[v]
		conf := fmt.Sprintf("http listen = %s:%s\ncentral url = %s\nvolunteer name = edge%d\nvolunteer secret = s%d\nstate dir = %s\nuplink = %.0f\n[m]\nrescan interval = 0\npath = %s\n",
			e.IP, httpPort, r.url(), v, v, path(e.Name), r.trace.Uplinks[v]/r.scale, path("tree"))
		if err := r.service(ctx, e, e.Name, "volunteer", conf); err != nil {
			return err
		}
	}
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		out, err := r.nw.Hub().Command(ctx, filepath.Join(r.bin, "prsync"), "status", "--json", r.url()).Output()
		var s struct {
			Volunteers []struct {
				State    string
				Contents int
			}
		}
		if err == nil && json.Unmarshal(out, &s) == nil {
			n := 0
			for _, v := range s.Volunteers {
				if v.State == "ready" && v.Contents == len(r.ids) {
					n++
				}
			}
			if n == realVolunteers {
				return nil
			}
		}
		if ctx.Err() != nil || time.Now().After(end) {
			log, _ := os.ReadFile(path("hub.log"))
			return fmt.Errorf("the volunteers are not ready: %s\n%s", out, log)
		}
	}
}

func (r *real) service(ctx context.Context, n *netlab.Node, name, command, conf string) error {
	file := filepath.Join(r.dir, name+".conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(r.dir, name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := n.Command(ctx, filepath.Join(r.bin, "prsync"), command, "--config", file)
	cmd.Stdout, cmd.Stderr = log, log
	r.procs = append(r.procs, cmd)
	return cmd.Start()
}

func (r *real) close() {
	r.nw.Close()
	for _, c := range r.procs {
		c.Wait()
	}
}

// once lets the customers of a workload come.
func (r *real) once(ctx context.Context, policy string, workload int) (o outcome, err error) {
	rnd := rand.New(rand.NewPCG(1, uint64(workload)))
	choose := func() int { return rnd.IntN(realVolunteers) }
	if policy == "static weights" {
		choose = func() int {
			x := rnd.Float64() * r.sum() * r.scale
			for v, u := range r.trace.Uplinks {
				if x -= u; x < 0 {
					return v
				}
			}
			return realVolunteers - 1
		}
	}
	visits := r.trace.At(workload)
	plan := make([]errand, len(visits))
	for i, v := range visits {
		plan[i] = errand{At: v.At, Rate: v.Rate / r.scale, SHA256: r.ids[v.File], URL: r.url() + "/m/" + fileName(v.File)}
		if policy != "prsync" {
			e := r.nw.Edges()[choose()]
			plan[i].URL = "http://" + e.IP + ":" + httpPort + "/m/" + fileName(v.File) + "?id=" + r.ids[v.File]
		}
	}
	input, err := json.Marshal(plan)
	if err != nil {
		return o, err
	}
	before, err := r.drained(ctx)
	if err != nil {
		return o, err
	}
	self, err := os.Executable()
	if err != nil {
		return o, err
	}
	began := time.Now()
	cmd := r.nw.Edges()[realVolunteers].Command(ctx, self, customersArg)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return o, fmt.Errorf("customers: %w", err)
	}
	span := max(time.Since(began).Seconds(), r.trace.Duration)
	var results []errandResult
	if err := json.Unmarshal(out, &results); err != nil {
		return o, err
	}
	after, err := r.sent()
	if err != nil {
		return o, err
	}
	for v := range before {
		u := (after[v] - before[v]) / (r.trace.Uplinks[v] / r.scale * span)
		o.utilMean += u / realVolunteers
		o.utilMax = max(o.utilMax, u)
	}
	var times []float64
	for _, e := range results {
		if e.Error != "" {
			// One who gave up waited that long at least.
			if o.failed++; e.Seconds < patience.Seconds()/2 {
				return o, fmt.Errorf("a customer failed: %s", e.Error)
			}
			e.Seconds = patience.Seconds()
		}
		if e.From == r.nw.Hub().IP+":"+httpPort {
			o.byHost++
		}
		times = append(times, e.Seconds)
		o.mean += e.Seconds
	}
	o.requests = len(results)
	if len(times) == 0 {
		return o, errors.New("no customer got its file")
	}
	slices.Sort(times)
	o.mean /= float64(len(times))
	o.p95 = times[len(times)*95/100]
	return o, nil
}

// drained waits until nothing of a run before is on its way any more, and
// until the host has heard so.
func (r *real) drained(ctx context.Context) (sent []float64, err error) {
	for last := []float64(nil); ctx.Err() == nil; last = sent {
		if sent, err = r.sent(); err != nil {
			return nil, err
		}
		quiet := last != nil
		for v := range last {
			quiet = quiet && sent[v]-last[v] < 16<<10 // announces
		}
		if quiet {
			return sent, nil
		}
		time.Sleep(6 * time.Second) // more than an announce interval
	}
	return nil, ctx.Err()
}

// sent are the bytes that left each volunteer, with all headers.
func (r *real) sent() (all []float64, err error) {
	for v := range realVolunteers {
		n, err := r.nw.Edges()[v].Sent()
		if err != nil {
			return nil, err
		}
		all = append(all, float64(n))
	}
	return all, nil
}
