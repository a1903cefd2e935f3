package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sample is one run.
type sample struct {
	wall float64 // s
	cpu  float64 // s, user and system of all processes
	rss  float64 // KiB, the peaks of all processes added up
}

// modulePrefix stands for the daemon's module, whose path is "/".
const modulePrefix = "\x00module"

// measure runs a client and, if far is not "", a daemon for it.
func (b *bench) measure(exe string, args []string, far string) (sample, error) {
	mem := newMemory()
	defer mem.stop()
	var daemon *exec.Cmd
	if far != "" {
		port, d, err := b.daemon(far)
		if err != nil {
			return sample{}, err
		}
		daemon = d
		mem.add(d.Process.Pid)
		for i, a := range args {
			if rest, ok := strings.CutPrefix(a, modulePrefix); ok {
				args[i] = fmt.Sprintf("rsync://127.0.0.1:%d/bench%s", port, strings.TrimPrefix(rest, b.dir))
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.limit)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Stderr = &stderr
	begin := time.Now()
	err := cmd.Start()
	if err == nil {
		mem.add(cmd.Process.Pid)
		err = cmd.Wait()
	}
	s := sample{wall: time.Since(begin).Seconds()}
	if daemon != nil {
		daemon.Process.Signal(unix.SIGTERM)
		daemon.Wait()
	}
	if err != nil {
		return s, fmt.Errorf("%s %s: %w\n%s", exe, strings.Join(args, " "), err, stderr.Bytes())
	}
	s.cpu = cpu(cmd.ProcessState) + orphans()
	s.rss = mem.stop()
	if daemon != nil {
		s.cpu += cpu(daemon.ProcessState)
	}
	return s, nil
}

func cpu(p *os.ProcessState) float64 { return (p.UserTime() + p.SystemTime()).Seconds() }

// orphans reaps what was left to us, and returns its CPU time.
func orphans() (sum float64) {
	for {
		var ws unix.WaitStatus
		var ru unix.Rusage
		pid, err := unix.Wait4(-1, &ws, 0, &ru)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return sum
		}
		sum += float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e9
	}
}

// quiet runs a command that is not measured.
func (b *bench) quiet(exe string, args ...string) error {
	if out, err := exec.Command(exe, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", exe, err, out)
	}
	return nil
}

// listens reports whether somebody listens on a port of 127.0.0.1. It does not
// connect: the daemon's process for that would be part of what is measured.
func listens(port int) bool {
	text, _ := os.ReadFile("/proc/net/tcp")
	const listening = "0A"
	want := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], want) && f[3] == listening {
			return true
		}
	}
	return false
}

// daemon starts a daemon that serves the data directory, and waits for it to listen.
func (b *bench) daemon(exe string) (int, *exec.Cmd, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	conf := filepath.Join(b.dir, "rsyncd.conf")
	text := "use chroot = no\nreverse lookup = no\n"
	if os.Geteuid() == 0 {
		text += "uid = 0\ngid = 0\n"
	}
	text += "log file = " + filepath.Join(b.dir, "rsyncd.log") + "\n[bench]\npath = " + b.dir + "\nread only = no\nmax connections = 0\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return 0, nil, err
	}
	cmd := exec.Command(exe, "--daemon", "--no-detach", "--config="+conf, "--address=127.0.0.1", "--port="+strconv.Itoa(port))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if listens(port) {
			return port, cmd, nil
		}
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			cmd.Wait()
			return 0, nil, fmt.Errorf("%s --daemon does not listen: %s", exe, stderr.Bytes())
		}
	}
}
