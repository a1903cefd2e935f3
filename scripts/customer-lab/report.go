package main

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// report is what came of a run.
type report struct {
	publications, syncs, syncErrors atomic.Int64
	took                            time.Duration

	mu        sync.Mutex
	visits    map[string]int
	lostOnes  map[string]int
	failed    []string
	nFailed   int
	restarts  []time.Duration
	requests  int
	redirects int
	byTool    map[string]int
	statuses  map[int]int
	unknown   map[string]int // 404 for what never was published
	edges     map[string]int // requests at volunteers
	sentBack  int
}

// maxFailures are told one by one.
const maxFailures = 20

func newReport() *report {
	return &report{visits: map[string]int{}, lostOnes: map[string]int{}, byTool: map[string]int{}, statuses: map[int]int{}, unknown: map[string]int{}, edges: map[string]int{}}
}

func (r *report) visit(tool string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.visits[tool]++
}

func (r *report) lost(tool string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lostOnes[tool]++
}

func (r *report) fail(tool string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nFailed++
	if len(r.failed) < maxFailures {
		r.failed = append(r.failed, fmt.Sprintf("%s %s: %v", time.Now().Format("15:04:05.000"), tool, err))
	}
}

func (r *report) failures() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nFailed
}

func (r *report) restarted(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restarts = append(r.restarts, took)
}

// readLogs adds what the hosts logged.
func (l *lab) readLogs() {
	r := l.report
	name := func(agent string) string {
		for n, t := range tools {
			if strings.Contains(agent, t.agent) {
				return n
			}
		}
		return "other"
	}
	err := readRequests(l.site.hub.log, func(q request) {
		r.requests++
		r.byTool[name(q.agent)]++
		r.statuses[q.status]++
		switch {
		case q.status == 302 && q.to != "":
			r.redirects++
		case q.status == 404 && !l.repo.known(q.path):
			r.unknown[q.path]++
		case q.status == 404:
			r.fail("central host", fmt.Errorf("404 for %s", q.path))
		}
		if q.broken && !l.restart {
			r.fail("central host", fmt.Errorf("the answer for %s was cut off", q.path))
		}
	})
	if err != nil {
		r.fail("log", err)
	}
	for _, e := range l.site.edges {
		n := filepath.Base(e.state)
		if err := readRequests(e.log, func(q request) {
			r.edges[n]++
			if q.status == 302 {
				r.sentBack++
			} else if q.status >= 400 {
				r.fail(n, fmt.Errorf("%d for %s", q.status, q.path))
			}
		}); err != nil {
			r.fail("log", err)
		}
	}
}

// print writes the figures.
func (r *report) print(w io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(w, "%d requests at the central host in %.0f s, %d of them redirected; %d publications, %d syncs of volunteers (%d failed)\n",
		r.requests, r.took.Seconds(), r.redirects, r.publications.Load(), r.syncs.Load(), r.syncErrors.Load())
	for _, t := range slices.Sorted(maps.Keys(r.byTool)) {
		fmt.Fprintf(w, "  %-8s %5d requests, %4d visits", t, r.byTool[t], r.visits[t])
		if n := r.lostOnes[t]; n > 0 {
			fmt.Fprintf(w, ", %d met no host", n)
		}
		fmt.Fprintln(w)
	}
	for _, s := range slices.Sorted(maps.Keys(r.statuses)) {
		fmt.Fprintf(w, "  status %d: %d\n", s, r.statuses[s])
	}
	for _, e := range slices.Sorted(maps.Keys(r.edges)) {
		fmt.Fprintf(w, "  %s answered %d\n", e, r.edges[e])
	}
	fmt.Fprintf(w, "  sent back by volunteers: %d\n", r.sentBack)
	for _, p := range slices.Sorted(maps.Keys(r.unknown)) {
		fmt.Fprintf(w, "  asked for, never published: %s (%d)\n", p, r.unknown[p])
	}
	if len(r.restarts) > 0 {
		slices.Sort(r.restarts)
		fmt.Fprintf(w, "  %d restarts after kill -9, redirects again after %.2f s (median), %.2f s (longest)\n",
			len(r.restarts), r.restarts[len(r.restarts)/2].Seconds(), r.restarts[len(r.restarts)-1].Seconds())
	}
	fmt.Fprintf(w, "failures: %d\n", r.nFailed)
	for _, f := range r.failed {
		fmt.Fprintln(w, "  "+f)
	}
}
