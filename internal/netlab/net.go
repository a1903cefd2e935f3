// Package netlab makes networks of namespaces with shaped access links, for
// the labs below scripts. It needs root, ip and tc.
//
//	hub ──┐
//	edge1 ┼─ switch    each in a namespace, with a link of its own
//	edge2 ┘
package netlab

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

// prefix is that of our namespaces' names; process id, number of the network
// and node follow.
const prefix = "prsynclab"

// A Network is a switch with nodes, each in a namespace of its own.
type Network struct {
	Nodes []*Node // the hub first

	id     string // prefix of its namespaces
	relays sync.WaitGroup
	ends   []*os.File // of relays
}

// Node is the hub or an edge.
type Node struct {
	Name  string
	IP    string
	Inode uint64 // of the namespace
	ns    string
	link  Link
}

// Link is a node's access link: rates in bits per second, 0 for unlimited; RTT
// is the round-trip time between two nodes with such links.
type Link struct {
	Up, Down float64
	RTT      time.Duration
}

var networks int

// New makes a network with a hub and n edges.
func New(ctx context.Context, hub Link, edges []Link) (*Network, error) {
	networks++
	nw := &Network{id: fmt.Sprintf("%s-%d-%d-", prefix, os.Getpid(), networks)}
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
		nw.Close()
		return nil, err
	}
	return nw, nil
}

// add makes a node and plugs it in.
func (nw *Network) add(ctx context.Context, sw, name, ip string, l Link) error {
	n := &Node{Name: name, ns: nw.id + name, IP: ip, link: l}
	nw.Nodes = append(nw.Nodes, n)
	if err := tool(ctx, "", "ip", "netns", "add", n.ns); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join("/run/netns", n.ns), &st); err != nil {
		return fmt.Errorf("namespace %s: %w", n.ns, err)
	}
	n.Inode = st.Ino
	port := "p" + name
	if l.RTT > 0 {
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
	if err := shape(ctx, n.ns, "v", l.Up); err != nil {
		return err
	}
	return shape(ctx, sw, port, l.Down)
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

// Sent counts the bytes that left a node, with all headers.
func (n *Node) Sent() (int64, error) {
	out, err := exec.Command("tc", "-n", n.ns, "-s", "-j", "qdisc", "show", "dev", "v", "root").Output()
	if err != nil {
		return 0, fmt.Errorf("tc -s qdisc: %w", err)
	}
	var q []struct {
		Bytes int64 `json:"bytes"`
	}
	if err := json.Unmarshal(out, &q); err != nil || len(q) == 0 {
		return 0, fmt.Errorf("tc -s qdisc of %s: %q", n.Name, out)
	}
	return q[0].Bytes, nil
}

// Hub is the node in the middle.
func (nw *Network) Hub() *Node { return nw.Nodes[0] }

// Edges are all nodes but the hub.
func (nw *Network) Edges() []*Node { return nw.Nodes[1:] }

// Close ends every process in the network and removes it.
func (nw *Network) Close() {
	for _, n := range nw.Nodes {
		n.Kill()
	}
	for _, f := range nw.ends {
		f.Close()
	}
	nw.relays.Wait()
	removeNamespaces(nw.id)
}

// Kill ends the processes of a node.
func (n *Node) Kill() {
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

func removeNamespaces(start string) {
	all, _ := os.ReadDir("/run/netns")
	for _, e := range all {
		if strings.HasPrefix(e.Name(), start) {
			exec.Command("ip", "netns", "del", e.Name()).Run()
		}
	}
}

// SweepStale removes what a run left that was killed.
func SweepStale() {
	all, _ := os.ReadDir("/run/netns")
	for _, e := range all {
		rest, ours := strings.CutPrefix(e.Name(), prefix+"-")
		pid, _, _ := strings.Cut(rest, "-")
		if n, err := strconv.Atoi(pid); !ours || err != nil || unix.Kill(n, 0) == nil {
			continue
		}
		(&Node{ns: e.Name()}).Kill()
		exec.Command("ip", "netns", "del", e.Name()).Run()
	}
}

// Command is one that runs on the node.
func (n *Node) Command(ctx context.Context, argv ...string) *exec.Cmd {
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
