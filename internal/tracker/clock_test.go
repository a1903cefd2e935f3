package tracker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/tracker/store"
)

// lame is a store that may not answer.
type lame struct {
	store.Store
	broken bool
}

func (l *lame) Holders(ctx context.Context, id content.ID, dst []string) ([]string, error) {
	if l.broken {
		return dst, errors.New("no answer")
	}
	return l.Store.Holders(ctx, id, dst)
}

// A clock that is set back neither makes a host deaf to its volunteers nor keeps
// it from asking its store.
func TestClockSetBack(t *testing.T) {
	st := &lame{Store: store.New()}
	f := newFixture(t, func(c *Config) { c.Store = st })
	f.volunteer(t, "v1", "http://one", "a.deb")
	st.broken = true
	if w := f.do("GET", "/m/a.deb"); w.Code != 200 {
		t.Fatalf("without a store: %d", w.Code)
	}
	st.broken = false
	f.now = f.now.Add(-time.Hour)
	f.volunteer(t, "v1", "http://moved", "a.deb")
	if w := f.do("GET", "/m/a.deb"); w.Code != 302 || w.Header().Get("Location")[:13] != "http://moved/" {
		t.Errorf("status %d, sent to %q", w.Code, w.Header().Get("Location"))
	}
}
