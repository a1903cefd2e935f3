package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Names of our namespaces: prefix, process id, number of the network, node.
const nsPrefix = "prsynclab"

// A network is a switch with nodes, each in a namespace of its own.
type network struct {
	id     string // prefix of its namespaces
	nodes  []*node
	relays sync.WaitGroup
	ends   []*os.File // of relays
}

// node is the hub or an edge.
type node struct {
	name string
	ns   string
	ip   string
	link link
	ino  uint64 // of the namespace
}

// link is a node's access link: rates in bits per second, 0 for unlimited; rtt
// is the round-trip time between two nodes with such links.
type link struct {
	up, down float64
	rtt      time.Duration
}

var networks int

// newNetwork makes a network with a hub and n edges.
func newNetwork(ctx context.Context, hub link, edges []link) (*network, error) {
	networks++
	nw := &network{id: fmt.Sprintf("%s-%d-%d-", nsPrefix, os.Getpid(), networks)}
	sw := nw.id + "switch"
	err := tool(ctx, "", "ip", "netns", "add", sw)
	if err == nil {
		err = tool(ctx, "link add br0 type bridge\nlink set br0 up\n", "ip", "-n", sw, "-batch", "-")
	}
	if err == nil {
		err = nw.add(ctx, sw, "hub", "10.213.0.1", hub)
	}
	for i, l := range edges {
		if err == nil {
			err = nw.add(ctx, sw, fmt.Sprintf("edge%d", i+1), fmt.Sprintf("10.213.1.%d", i+1), l)
		}
	}
	if err != nil {
		nw.close()
		return nil, err
	}
	return nw, nil
}

// add makes a node and plugs it in.
func (nw *network) add(ctx context.Context, sw, name, ip string, l link) error {
	n := &node{name: name, ns: nw.id + name, ip: ip, link: l}
	nw.nodes = append(nw.nodes, n)
	if err := tool(ctx, "", "ip", "netns", "add", n.ns); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join("/run/netns", n.ns), &st); err != nil {
		return fmt.Errorf("namespace %s: %w", n.ns, err)
	}
	n.ino = st.Ino
	port := "p" + name
	if l.rtt > 0 {
		if err := nw.relay(sw, port, n); err != nil {
			return err
		}
	} else if err := tool(ctx, "", "ip", "link", "add", "v", "netns", n.ns, "type", "veth", "peer", "name", port, "netns", sw); err != nil {
		return err
	}
	if err := tool(ctx, fmt.Sprintf("addr add %s/16 dev v\nlink set v up\nlink set lo up\n", ip), "ip", "-n", n.ns, "-batch", "-"); err != nil {
		return err
	}
	if err := tool(ctx, fmt.Sprintf("link set %s master br0\nlink set %s up\n", port, port), "ip", "-n", sw, "-batch", "-"); err != nil {
		return err
	}
	if err := shape(ctx, n.ns, "v", l.up); err != nil {
		return err
	}
	return shape(ctx, sw, port, l.down)
}

// shape limits what leaves by a device. A queue of 100 ms is what access
// routers have.
func shape(ctx context.Context, ns, dev string, rate float64) error {
	if rate <= 0 {
		return tool(ctx, "", "tc", "-n", ns, "qdisc", "add", "dev", dev, "root", "pfifo", "limit", "1000")
	}
	return tool(ctx, "", "tc", "-n", ns, "qdisc", "add", "dev", dev, "root", "tbf",
		"rate", strconv.FormatInt(int64(rate), 10)+"bit", "burst", "64kb", "latency", "100ms")
}

// sent counts the bytes that left a node, with all headers.
func (n *node) sent() (int64, error) {
	out, err := exec.Command("tc", "-n", n.ns, "-s", "-j", "qdisc", "show", "dev", "v", "root").Output()
	if err != nil {
		return 0, fmt.Errorf("tc -s qdisc: %w", err)
	}
	var q []struct {
		Bytes int64 `json:"bytes"`
	}
	if err := json.Unmarshal(out, &q); err != nil || len(q) == 0 {
		return 0, fmt.Errorf("tc -s qdisc of %s: %q", n.name, out)
	}
	return q[0].Bytes, nil
}

func (nw *network) hub() *node     { return nw.nodes[0] }
func (nw *network) edges() []*node { return nw.nodes[1:] }

// close ends every process in the network and removes it.
func (nw *network) close() {
	for _, n := range nw.nodes {
		n.kill()
	}
	for _, f := range nw.ends {
		f.Close()
	}
	nw.relays.Wait()
	removeNamespaces(nw.id)
}

// kill ends the processes of a node.
func (n *node) kill() {
	for range 50 {
		pids := processes(n.ns)
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// processes are those in a namespace.
func processes(ns string) (pids []int) {
	out, _ := exec.Command("ip", "netns", "pids", ns).Output()
	for _, f := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(f); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

func removeNamespaces(prefix string) {
	all, _ := os.ReadDir("/run/netns")
	for _, e := range all {
		if strings.HasPrefix(e.Name(), prefix) {
			exec.Command("ip", "netns", "del", e.Name()).Run()
		}
	}
}

// sweepStale removes what a run left that was killed.
func sweepStale() {
	all, _ := os.ReadDir("/run/netns")
	for _, e := range all {
		rest, ours := strings.CutPrefix(e.Name(), nsPrefix+"-")
		pid, _, _ := strings.Cut(rest, "-")
		if n, err := strconv.Atoi(pid); !ours || err != nil || unix.Kill(n, 0) == nil {
			continue
		}
		(&node{ns: e.Name()}).kill()
		exec.Command("ip", "netns", "del", e.Name()).Run()
	}
}

// command is one that runs on the node.
func (n *node) command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.ns}, argv...)...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// tool runs a system tool.
func tool(ctx context.Context, input string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", strings.Join(argv, " "), err), errors.New(strings.TrimSpace(out.String())))
	}
	return nil
}
