package meta

import "github.com/prsync/prsync/internal/fsroot"

// MaxNsec is the largest number of nanoseconds that a peer may send.
const MaxNsec = 999_999_999

// SameTime compares two times within --modify-window
// (rsync 3.5.0 util1.c:same_time): 0 compares seconds, a negative window
// nanoseconds too, a positive one allows that many seconds.
func SameTime(a, b fsroot.Timespec, window int) bool {
	switch {
	case window < 0:
		return a == b
	case window == 0:
		return a.Sec == b.Sec
	}
	// Seconds of a peer span all of int64: their distance may not fit in one.
	lo, hi := min(a.Sec, b.Sec), max(a.Sec, b.Sec)
	return uint64(hi)-uint64(lo) <= uint64(window)
}
