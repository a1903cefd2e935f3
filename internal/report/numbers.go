package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Number formats n as -h does: 0 plain, 1 with separators, 2 in units of
// 1000, 3 in units of 1024. rsync 3.5.0 lib/compat.c:do_big_num.
func Number(n int64, human int) string {
	if human > 1 {
		mult := 1000.0
		if human > 2 {
			mult = 1024
		}
		if f := float64(n); f >= mult || f <= -mult {
			f /= mult
			units := "KMGTP"
			for len(units) > 1 && (f >= mult || f <= -mult) {
				f /= mult
				units = units[1:]
			}
			return fmt.Sprintf("%.2f%c", f, units[0])
		}
	}
	s := strconv.FormatInt(n, 10)
	if human == 0 {
		return s
	}
	return group(s)
}

// group puts a comma before every third digit from the end.
func group(s string) string {
	neg := strings.HasPrefix(s, "-")
	if neg {
		s = s[1:]
	}
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	if neg {
		return "-" + b.String()
	}
	return b.String()
}

// Decimal formats f with digits behind the point, and as Number does when it is
// 1000 or more: the whole part is then cut off, not rounded, as rsync does it.
// rsync 3.5.0 lib/compat.c:do_big_dnum.
func Decimal(f float64, human, digits int) string {
	s := strconv.FormatFloat(f, 'f', digits, 64)
	if human == 0 || !(f >= 1000 || f <= -1000) || math.IsInf(f, 0) {
		return s
	}
	n := Number(int64(f), human)
	if last := n[len(n)-1]; last < '0' || last > '9' {
		return n // in units
	}
	_, frac, _ := strings.Cut(s, ".")
	if frac == "" {
		return n
	}
	return n + "." + frac
}

// TimeString formats a local time as "2026/11/23 12:00:00".
// rsync 3.5.0 util1.c:timestring, which has room for 19 bytes and for years of
// 32 bits.
func TimeString(t time.Time) string {
	const maxTime = 67768036191676799 // the last second of such a year
	if s := t.Unix(); s > maxTime || s < -maxTime {
		return "(time out of range)"
	}
	return fmt.Sprintf("%4d%s", t.Year(), t.Format("/01/02 15:04:05"))[:19]
}

// ModeString formats a file mode as ls does: "drwxr-xr-x".
// rsync 3.5.0 lib/permstring.c.
func ModeString(mode uint32) string {
	b := []byte("----------")
	for i := range 9 {
		if mode&(1<<(8-i)) != 0 {
			b[i+1] = "rwxrwxrwx"[i]
		}
	}
	set := func(bit uint32, at int, x uint32, yes, no byte) {
		if mode&bit != 0 {
			b[at] = no
			if mode&x != 0 {
				b[at] = yes
			}
		}
	}
	set(unix.S_ISUID, 3, 0100, 's', 'S')
	set(unix.S_ISGID, 6, 0010, 's', 'S')
	set(unix.S_ISVTX, 9, 0001, 't', 'T')
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		b[0] = 'd'
	case unix.S_IFLNK:
		b[0] = 'l'
	case unix.S_IFBLK:
		b[0] = 'b'
	case unix.S_IFCHR:
		b[0] = 'c'
	case unix.S_IFSOCK:
		b[0] = 's'
	case unix.S_IFIFO:
		b[0] = 'p'
	}
	return string(b)
}
