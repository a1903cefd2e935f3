package redisstore

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Announces that come at the same time go to the server together: most of what
// one costs, here and there, is the system calls of its round trip. Nothing
// waits for others to come: what arrives while a round trip is on its way goes
// with the next one.

const (
	maxTrips = 2   // on their way at a time
	maxBatch = 256 // runs of a script in one
)

// batch gathers runs of one script.
type batch struct {
	c      *redis.Client
	script *redis.Script

	mu    sync.Mutex
	queue []*runs
	trips int
	wg    sync.WaitGroup
}

// runs are those of one caller.
type runs struct {
	args [][]any
	cmds []*redis.Cmd
	err  error
	done chan struct{}
}

// run runs the script once for each list of arguments and returns the answers.
func (b *batch) run(ctx context.Context, args [][]any) ([]any, error) {
	r := &runs{args: args, cmds: make([]*redis.Cmd, len(args)), done: make(chan struct{})}
	b.mu.Lock()
	b.queue = append(b.queue, r)
	if b.trips < maxTrips {
		b.trips++
		b.wg.Go(b.send)
	}
	b.mu.Unlock()
	select {
	case <-r.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r.err != nil {
		return nil, r.err
	}
	out := make([]any, len(args))
	for i, c := range r.cmds {
		// An answer of one's own that is an error is no one else's.
		if err := c.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		out[i] = c.Val()
	}
	return out, nil
}

// send makes round trips until nothing is left.
func (b *batch) send() {
	for {
		b.mu.Lock()
		n, size := 0, 0
		for n < len(b.queue) && (n == 0 || size+len(b.queue[n].args) <= maxBatch) {
			size += len(b.queue[n].args)
			n++
		}
		part := b.queue[:n:n]
		b.queue = b.queue[n:]
		if n == 0 {
			b.queue = nil
			b.trips--
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		err := b.trip(part)
		for _, r := range part {
			r.err = err
			close(r.done)
		}
	}
}

// trip makes one round trip, or two when the server has forgotten the script:
// it does when it is started again.
func (b *batch) trip(part []*runs) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for try := 0; ; try++ {
		_, err := b.c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, r := range part {
				for i := range r.cmds {
					r.cmds[i] = b.script.EvalSha(ctx, p, nil, r.args[i]...)
				}
			}
			return nil
		})
		var said redis.Error
		switch {
		case err == nil || errors.As(err, &said) && !redis.HasErrorPrefix(err, "NOSCRIPT"):
			return nil // each finds its own
		case !redis.HasErrorPrefix(err, "NOSCRIPT") || try > 0:
			return err
		}
		if err := b.script.Load(ctx, b.c).Err(); err != nil {
			return err
		}
	}
}

// close waits for what is on its way.
func (b *batch) close() { b.wg.Wait() }
