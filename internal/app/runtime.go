package app

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// spareHeap is what the heap may grow by before it is collected, however small
// it is: the runtime's own measure, a share of what is alive, collects a
// transfer's few live MiB hundreds of times. minGrowth, in percent, is the
// share from which large heaps are collected.
const (
	spareHeap = 8 << 20
	minGrowth = 50
)

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
	debug.SetGCPercent(spareHeap / (4 << 20) * 100) // of the least heap, 4 MiB
	watchCollections(new(collection))
}

// collection is unreachable, so that its finalizer runs after the next
// collection; it is large enough not to share its memory with others.
type collection struct{ _ [64]byte }

func watchCollections(c *collection) {
	runtime.SetFinalizer(c, func(c *collection) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if n := live[0].Value.Uint64(); n > 0 {
			debug.SetGCPercent(int(max(minGrowth, min(spareHeap*100/n, 400))))
		}
		watchCollections(c)
	})
}
