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
// some runs are short. The record that wait4 returns (ru_maxrss) is of no use:
// it starts with that of the process that forked.
const (
	firstLook = time.Millisecond
	lookEvery = 20 * time.Millisecond
)

// memory follows process trees and notes the peak of every process's resident
// set. Pages that forked processes share count in each of them.
type memory struct {
	mu    sync.Mutex
	roots []int
	peak  map[int]float64 // by pid, KiB
	done  chan struct{}
	wg    sync.WaitGroup
	once  sync.Once
}

func newMemory() *memory {
	m := &memory{peak: map[int]float64{}, done: make(chan struct{})}
	m.wg.Add(1)
	go m.loop()
	return m
}

func (m *memory) add(pid int) {
	m.mu.Lock()
	m.roots = append(m.roots, pid)
	m.mu.Unlock()
}

// stop ends the sampling and returns the sum of the peaks in KiB.
func (m *memory) stop() (sum float64) {
	m.once.Do(func() { close(m.done) })
	m.wg.Wait()
	for _, kb := range m.peak {
		sum += kb
	}
	return sum
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
		for _, pid := range roots {
			m.look(pid)
		}
	}
}

// look notes the peak of a process, as the kernel keeps it, and of its
// descendants.
func (m *memory) look(pid int) {
	proc := "/proc/" + strconv.Itoa(pid)
	if text, err := os.ReadFile(proc + "/status"); err == nil {
		for line := range bytes.Lines(text) {
			if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
				if f := strings.Fields(string(rest)); len(f) > 0 {
					kb, _ := strconv.ParseFloat(f[0], 64)
					m.peak[pid] = max(m.peak[pid], kb)
				}
			}
		}
	}
	tasks, _ := os.ReadDir(proc + "/task")
	for _, t := range tasks {
		text, _ := os.ReadFile(proc + "/task/" + t.Name() + "/children")
		for child := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				m.look(n)
			}
		}
	}
}
