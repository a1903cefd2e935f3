package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// aloneRounds is how often each way is taken.
const aloneRounds = 5

// aloneRatio is what one edge alone may take, in times of the plain transfer.
const aloneRatio = 1.1

// alone lets one edge pull over loopback: without the swarm, as it sees fit,
// and by the swarm whatever it takes. The ways take turns; medians count.
func alone(ctx context.Context, l *lab, s scenario) error {
	for _, w := range []struct {
		name string
		size int64
		make func(size int64) func(dir string) error
	}{{"one file", 500e6, one}, {"many files", 100e6, many}} {
		ratio, err := l.alone(ctx, s.name+", "+w.name, w.make(int64(l.scale*float64(w.size))))
		if err != nil {
			return err
		}
		if ratio > aloneRatio {
			l.miss(s.name, "%s: %.2f times as long as without the swarm, aimed at %.2f", w.name, ratio, aloneRatio)
		}
	}
	return nil
}

func (l *lab) alone(ctx context.Context, name string, fill func(dir string) error) (ratio float64, err error) {
	dir, err := os.MkdirTemp(l.dir, "alone-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	src := filepath.Join(dir, "src")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(src, 0o755), fill(src)); err != nil {
		return 0, err
	}
	rsync, web, err := twoPorts()
	if err != nil {
		return 0, err
	}
	conf := filepath.Join(dir, "hub.conf")
	text := fmt.Sprintf("address = 127.0.0.1\nport = %d\nuse chroot = no\nlog file = %s/rsyncd.log\nhttp listen = 127.0.0.1:%d\nstate dir = %s/hub\n[mod]\npath = %s\nrescan interval = 0\n",
		rsync, dir, web, dir, src)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return 0, err
	}
	prsync := filepath.Join(l.bin, "prsync")
	hub := exec.CommandContext(ctx, prsync, "serve", "--config", conf)
	if err := hub.Start(); err != nil {
		return 0, err
	}
	defer func() {
		hub.Process.Kill()
		hub.Wait()
	}()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.CommandContext(ctx, prsync, "publish", "--config", conf, "mod").CombinedOutput()
		if err == nil {
			break
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return 0, fmt.Errorf("publish: %w: %s", err, out)
		}
	}
	ways := []string{"off", "auto", "require"}
	took := map[string][]float64{}
	load0 := load()
	for range aloneRounds {
		for _, way := range ways {
			dest := filepath.Join(dir, "dest")
			if err := os.RemoveAll(dest); err != nil {
				return 0, err
			}
			cmd := exec.CommandContext(ctx, prsync, "-a", "--swarm="+way, "rsync://127.0.0.1:"+strconv.Itoa(rsync)+"/mod/", dest+"/")
			cmd.Env = append(os.Environ(), "PRSYNC_STATE_DIR="+filepath.Join(dir, "none"))
			began := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				return 0, fmt.Errorf("--swarm=%s: %w: %s", way, err, out)
			}
			took[way] = append(took[way], time.Since(began).Seconds())
			if out, err := exec.CommandContext(ctx, "diff", "-r", src, dest).CombinedOutput(); err != nil {
				return 0, fmt.Errorf("--swarm=%s: other content: %.300s", way, out)
			}
		}
	}
	median := func(way string) float64 {
		slices.Sort(took[way])
		return took[way][aloneRounds/2]
	}
	off, auto, require := median("off"), median("auto"), median("require")
	fmt.Printf("%-24s off %.2f s, auto %.2f s (%.2f), require %.2f s (%.2f); load %s–%s\n",
		name, off, auto, auto/off, require, require/off, load0, load())
	return auto / off, nil
}

// twoPorts returns two free ports of loopback.
func twoPorts() (a, b int, err error) {
	var ports [2]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, 0, err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports[0], ports[1], nil
}
