package report

import (
	"os"
	"runtime"
)

// Heap gives the block of memory figures that --info=stats3 asks every role
// for, under the C library's names; those without an equivalent in Go are 0.
// rsync 3.5.0 main.c:show_malloc_stats.
func (l *Log) Heap() {
	if !l.Info(InfoStats, 3) {
		return
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	side := ""
	if l.cfg.Server {
		side = "server "
	}
	if l.cfg.Daemon {
		side += "daemon "
	}
	l.Printf(Client, "\n")
	l.Printf(Info, "rsync[%d] (%s%s) heap statistics:\n", os.Getpid(), side, l.who)
	for _, f := range []struct {
		name, what string
		n          uint64
	}{
		{"arena", "bytes from sbrk", m.HeapSys},
		{"ordblks", "chunks not in use", 0},
		{"smblks", "free fastbin blocks", 0},
		{"hblks", "chunks from mmap", 0},
		{"hblkhd", "bytes from mmap", m.Sys - m.HeapSys},
		{"allmem", "bytes from sbrk + mmap", m.Sys},
		{"usmblks", "always 0", 0},
		{"fsmblks", "bytes in freed fastbin blocks", 0},
		{"uordblks", "bytes used", m.HeapAlloc},
		{"fordblks", "bytes free", m.HeapSys - m.HeapAlloc},
		{"keepcost", "bytes in releasable chunk", m.HeapIdle - m.HeapReleased},
	} {
		l.Printf(Info, "  %-11s%10d   (%s)\n", f.name+":", f.n, f.what)
	}
}
