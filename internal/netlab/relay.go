package netlab

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A relay is a link that takes time: a tap device at either end, and a process
// (this one) that copies frames from one to the other late. The devices carry
// unsegmented frames with their virtio header, which goes along unchanged, so
// that the copying costs little.

// relay makes the link between a node, where the device is v, and a port of
// the switch.
func (nw *Network) relay(sw, port string, n *Node) error {
	a, err := tap(n.ns, "v")
	if err != nil {
		return err
	}
	nw.ends = append(nw.ends, a)
	b, err := tap(sw, port)
	if err != nil {
		return err
	}
	nw.ends = append(nw.ends, b)
	// Two links make a way, and two ways a round trip.
	nw.late(a, b, n.link.RTT/4)
	nw.late(b, a, n.link.RTT/4)
	return nil
}

// tap makes a tap device in a namespace.
func tap(ns, name string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		// The thread has changed its namespace and ends with the goroutine.
		runtime.LockOSThread()
		f, err := func() (*os.File, error) {
			h, err := os.Open(filepath.Join("/run/netns", ns))
			if err != nil {
				return nil, err
			}
			defer h.Close()
			if err := unix.Setns(int(h.Fd()), unix.CLONE_NEWNET); err != nil {
				return nil, fmt.Errorf("setns: %w", err)
			}
			fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
			if err != nil {
				return nil, fmt.Errorf("/dev/net/tun: %w", err)
			}
			req, err := unix.NewIfreq(name)
			if err != nil {
				return nil, err
			}
			req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
			if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
				unix.Close(fd)
				return nil, fmt.Errorf("TUNSETIFF: %w", err)
			}
			if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4); err != nil {
				unix.Close(fd)
				return nil, fmt.Errorf("TUNSETOFFLOAD: %w", err)
			}
			return os.NewFile(uintptr(fd), "tap"), nil
		}()
		done <- result{f, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, fmt.Errorf("tap device %s in %s: %w", name, ns, r.err)
	}
	return r.f, nil
}

// maxFrame is the largest unsegmented frame with its headers.
const maxFrame = 65536 + 128

// late copies frames from one end to the other, each after the delay, until
// the ends are closed.
func (nw *Network) late(from, to *os.File, delay time.Duration) {
	type frame struct {
		due time.Time
		b   []byte
	}
	queue := make(chan frame, 8192)
	nw.relays.Add(2)
	go func() {
		defer nw.relays.Done()
		defer close(queue)
		buf := make([]byte, maxFrame)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			select {
			case queue <- frame{time.Now().Add(delay), append([]byte(nil), buf[:n]...)}:
			default: // as a full queue of a router
			}
		}
	}()
	go func() {
		defer nw.relays.Done()
		for f := range queue {
			time.Sleep(time.Until(f.due))
			to.Write(f.b) // a device that is down takes nothing
		}
	}()
}
