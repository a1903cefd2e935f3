package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/netlab"
)

// samplePeriod is how often processes are looked at. What ends between two
// looks is counted as of the last.
const samplePeriod = 250 * time.Millisecond

// ticks per second of /proc/PID/stat.
const clockTicks = 100

// sampler watches the processes of a network.
type sampler struct {
	nodes map[uint64]*netlab.Node // by namespace
	stop  chan struct{}
	done  sync.WaitGroup
	procs map[int]process
}

// process is what is known of one.
type process struct {
	node *netlab.Node
	name string
	cpu  float64 // s
	peak int64   // KiB
}

func watch(nw *netlab.Network) *sampler {
	s := &sampler{nodes: map[uint64]*netlab.Node{}, stop: make(chan struct{}), procs: map[int]process{}}
	for _, n := range nw.Nodes {
		s.nodes[n.Inode] = n
	}
	s.done.Go(func() {
		t := time.NewTicker(samplePeriod)
		defer t.Stop()
		for {
			s.look()
			select {
			case <-s.stop:
				return
			case <-t.C:
			}
		}
	})
	return s
}

func (s *sampler) look() {
	all, _ := os.ReadDir("/proc")
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		ns, err := os.Readlink("/proc/" + e.Name() + "/ns/net")
		if err != nil {
			continue
		}
		ino, _ := strconv.ParseUint(strings.Trim(ns, "net:[]"), 10, 64)
		n := s.nodes[ino]
		if n == nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		status, err2 := os.ReadFile("/proc/" + e.Name() + "/status")
		if err != nil || err2 != nil {
			continue
		}
		p := process{node: n}
		open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
		p.name = string(stat[open+1 : end])
		if f := strings.Fields(string(stat[end+1:])); len(f) > 12 {
			user, _ := strconv.Atoi(f[11])
			system, _ := strconv.Atoi(f[12])
			p.cpu = float64(user+system) / clockTicks
		}
		for line := range strings.Lines(string(status)) {
			if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				p.peak, _ = strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			}
		}
		s.procs[pid] = p
	}
}

// summary ends the watch and tells, of the hub and of the mean edge, the CPU
// time and the largest process of each name.
func (s *sampler) summary(edges int) (hub, edge string) {
	close(s.stop)
	s.done.Wait()
	type usage struct {
		cpu  float64
		peak map[string]int64
	}
	h, e := usage{peak: map[string]int64{}}, usage{peak: map[string]int64{}}
	for _, p := range s.procs {
		u, share := &e, float64(max(1, edges))
		if p.node.Name == "hub" {
			u, share = &h, 1
		}
		if p.name == "ip" {
			continue
		}
		u.cpu += p.cpu / share
		u.peak[p.name] = max(u.peak[p.name], p.peak)
	}
	text := func(u usage) string {
		names := make([]string, 0, len(u.peak))
		for n := range u.peak {
			names = append(names, n)
		}
		slices.Sort(names)
		for i, n := range names {
			names[i] = fmt.Sprintf("%s %d MB", n, u.peak[n]>>10)
		}
		return fmt.Sprintf("%.1f s, %s", u.cpu, strings.Join(names, ", "))
	}
	return text(h), text(e)
}

// stats are what a client's --stats tells, in bytes.
type stats struct {
	literal, peers, host, here, wasted, uploaded int64
	fellBack                                     string
	bad                                          int64 // peers dropped for bad data
}

// parseStats reads the output of a run with --stats.
func parseStats(out string) (st stats) {
	number := func(s string) int64 {
		s = strings.ReplaceAll(strings.TrimSpace(s), ",", "")
		if i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
			s = s[:i]
		}
		n, _ := strconv.ParseInt(s, 10, 64)
		return n
	}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "Literal data":
			st.literal = number(value)
		case "Swarm bytes from peers":
			st.peers = number(value)
		case "Swarm bytes from host":
			st.host = number(value)
		case "Swarm bytes found here":
			st.here = number(value)
		case "Swarm bytes wasted":
			st.wasted = number(value)
		case "Swarm bytes uploaded":
			st.uploaded = number(value)
		case "Swarm files":
			_, back, _ := strings.Cut(value, "fell back: ")
			st.fellBack = strings.Trim(back, ")\n")
		case "Swarm peers":
			_, bad, _ := strings.Cut(value, ", ")
			st.bad = number(bad)
		}
	}
	return st
}

// fromHub is the payload that the hub sent: ranges, and what came by the
// connection.
func (st stats) fromHub() int64 { return st.literal - st.peers }
