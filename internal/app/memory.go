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

// spareCollections makes a process that runs one transfer collect its heap
// after every spareHeap bytes.
func spareCollections() {
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
