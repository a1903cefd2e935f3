package host

import (
	"testing"
	"time"
)

// TestSeedLimit: an engine has what HTTP leaves, and half of the uplink as soon
// as somebody there has to wait.
func TestSeedLimit(t *testing.T) {
	l := seedLimit{all: 1000, now: 1000}
	for i, c := range []struct {
		web   int64
		short bool
		want  int64
	}{
		{0, false, 1000}, {200, false, 800}, {100, false, 850}, {900, true, 500}, {900, false, 500},
		{0, false, 550}, {0, false, 600}, {0, true, 500},
	} {
		if got, _ := l.next(c.web, c.short); got != c.want {
			t.Errorf("step %d: %d, want %d", i, got, c.want)
		}
	}
	for range 20 {
		l.next(0, false)
	}
	if l.told != 1000 {
		t.Errorf("%d long after the last customer, want all", l.told)
	}
}

// TestUplinkDebit: what the engine has sent is not sent again to others, even
// if it is more than fits in the limiter's burst.
func TestUplinkDebit(t *testing.T) {
	u := newUplink(1 << 20)
	u.debit(5 << 20)
	if left := u.limiter.TokensAt(time.Now()); left > -3<<20 {
		t.Errorf("%.0f bytes may be sent at once after 5 MiB of which 1 MiB was free", left)
	}
}
