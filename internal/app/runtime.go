package app

import (
	"runtime"
	"runtime/debug"
)

// spareHeap is what a heap that has been collected may grow by before the next
// collection: little, since lists use their entries again, and much enough for
// the cost to vanish. minGrowth, in percent, is the share from which large heaps
// are collected.
const (
	spareHeap = 3 << 19
	minGrowth = 50
)

// firstHeap, in percent of the runtime's least heap of 4 MiB, is where the first
// collection begins: a run that does little comes to its end before.
const firstHeap = 100

// roles is how many goroutines of a transfer may be at work at once: sender,
// generator, receiver and one that flushes or collects.
const roles = 4

// tuneRuntime fits the runtime to a process that runs one transfer. The roles
// spend their time in system calls: with fewer processors than roles each of
// them would wait, on returning from one, for the scheduler to find it room.
func tuneRuntime() {
	if runtime.GOMAXPROCS(0) < roles {
		runtime.GOMAXPROCS(roles)
	}
	debug.SetGCPercent(firstHeap)
	watchCollections(new(collection), firstHeap)
}

// collection is unreachable, so that its finalizer runs after the next
// collection; it is large enough not to share its memory with others.
type collection struct{ _ [64]byte }

// watchCollections fits the share that the heap may grow by to what is alive
// after every collection; percent is the one in force.
func watchCollections(c *collection, percent uint64) {
	runtime.SetFinalizer(c, func(c *collection) {
		// runtime/metrics would say what is alive, but costs every start 0.1 ms.
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if live := m.NextGC * 100 / (100 + percent); live > 0 {
			percent = max(minGrowth, min(spareHeap*100/live, 400))
			debug.SetGCPercent(int(percent))
		}
		watchCollections(c, percent)
	})
}
