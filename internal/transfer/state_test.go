package transfer

import "testing"

// Items come out of a queue in order, one by one or all at once, whatever is put
// in meanwhile.
func TestQueue(t *testing.T) {
	q := newQueue[int]()
	put, got := 0, 0
	want := func(v int) {
		t.Helper()
		if v != got {
			t.Fatalf("%d came, want %d", v, got)
		}
		got++
	}
	for round := range 200 {
		for range round % 7 {
			q.put(put)
			put++
		}
		for range round % 5 {
			if v, ok := q.next(); ok {
				want(v)
			} else if got != put {
				t.Fatalf("nothing after %d of %d", got, put)
			}
		}
		if round%50 == 49 {
			for _, v := range q.take(nil) {
				want(v)
			}
		}
	}
	if got != put {
		t.Errorf("%d of %d came", got, put)
	}
	if v, ok := q.next(); ok {
		t.Errorf("%d is left", v)
	}
}
