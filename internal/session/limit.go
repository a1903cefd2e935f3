package session

import (
	"context"
	"io"

	"golang.org/x/time/rate"
)

// limited is a writer with a rate limit.
type limited struct {
	w     io.Writer
	lim   *rate.Limiter
	burst int
}

func (l *limited) Write(p []byte) (int, error) {
	done := 0
	for len(p) > 0 {
		k := min(len(p), l.burst)
		if err := l.lim.WaitN(context.Background(), k); err != nil {
			return done, err
		}
		n, err := l.w.Write(p[:k])
		done += n
		if err != nil {
			return done, err
		}
		p = p[k:]
	}
	return done, nil
}
