package main

import (
	"context"
	"sync"
	"time"
)

// group runs goroutines until the first fails or the context ends.
type group struct {
	ctx  context.Context
	stop context.CancelCauseFunc
	wg   sync.WaitGroup
}

func newGroup(ctx context.Context, stop context.CancelCauseFunc) *group {
	return &group{ctx: ctx, stop: stop}
}

func (g *group) add(f func(context.Context) error) {
	g.wg.Go(func() {
		if err := f(g.ctx); err != nil {
			g.stop(err)
		}
	})
}

// wait returns why the group ended.
func (g *group) wait() error {
	g.wg.Wait()
	return context.Cause(g.ctx)
}

// sleep waits, and reports whether the context still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
