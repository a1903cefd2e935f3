package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// How often the memory of the processes is looked at: more often at first, as
// some runs are short. The kernel's own record (ru_maxrss) is of no use: it
// starts with that of the process that forked.
const (
	firstLook = time.Millisecond
	lookEvery = 20 * time.Millisecond
)

// memory samples the proportional set size of process trees, so that pages
// that forked processes share count once, and keeps the largest sum.
type memory struct {
	mu    sync.Mutex
	roots []int
	peak  float64
	done  chan struct{}
	wg    sync.WaitGroup
	once  sync.Once
}

func newMemory() *memory {
	m := &memory{done: make(chan struct{})}
	m.wg.Add(1)
	go m.loop()
	return m
}

func (m *memory) add(pid int) {
	m.mu.Lock()
	m.roots = append(m.roots, pid)
	m.mu.Unlock()
}

// stop ends the sampling and returns the peak in KiB.
func (m *memory) stop() float64 {
	m.once.Do(func() { close(m.done) })
	m.wg.Wait()
	return m.peak
}

func (m *memory) loop() {
	defer m.wg.Done()
	for pause := firstLook; ; pause = min(pause*5/4, lookEvery) {
		select {
		case <-m.done:
			return
		case <-time.After(pause):
		}
		m.mu.Lock()
		roots := append([]int(nil), m.roots...)
		m.mu.Unlock()
		sum := 0.0
		for _, pid := range roots {
			sum += tree(pid)
		}
		m.peak = max(m.peak, sum)
	}
}

// tree is the memory of a process and its descendants.
func tree(pid int) float64 {
	proc := "/proc/" + strconv.Itoa(pid)
	sum := 0.0
	if text, err := os.ReadFile(proc + "/smaps_rollup"); err == nil {
		for line := range bytes.Lines(text) {
			if rest, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
				kb, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(rest)), "kB")), 64)
				sum += kb
			}
		}
	}
	tasks, _ := os.ReadDir(proc + "/task")
	for _, t := range tasks {
		text, _ := os.ReadFile(proc + "/task/" + t.Name() + "/children")
		for child := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				sum += tree(n)
			}
		}
	}
	return sum
}
