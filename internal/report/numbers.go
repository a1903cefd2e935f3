package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Numbers writes numbers as a locale does. The zero value is the C locale's.
type Numbers struct{ point func() string }

// LocaleNumbers returns the Numbers of a locale with such a decimal point, which
// is asked for once, when the first number is written.
func LocaleNumbers(point func() string) Numbers { return Numbers{sync.OnceValue(point)} }

// Point returns the decimal point.
func (f Numbers) Point() string {
	if f.point == nil {
		return "."
	}
	return f.point()
}

// separator stands between thousands: rsync knows two kinds of locales.
// rsync 3.5.0 lib/compat.c:get_number_separator.
func (f Numbers) separator() byte {
	if f.Point() == "." {
		return ','
	}
	return '.'
}

// fixed is C's %.*f.
func (f Numbers) fixed(v float64, digits int) string {
	return strings.Replace(strconv.FormatFloat(v, 'f', digits, 64), ".", f.Point(), 1)
}

// Number formats n as -h does: 0 plain, 1 with separators, 2 in units of
// 1000, 3 in units of 1024. rsync 3.5.0 lib/compat.c:do_big_num.
func (f Numbers) Number(n int64, human int) string {
	if human > 1 {
		mult := 1000.0
		if human > 2 {
			mult = 1024
		}
		if v := float64(n); v >= mult || v <= -mult {
			v /= mult
			units := "KMGTP"
			for len(units) > 1 && (v >= mult || v <= -mult) {
				v /= mult
				units = units[1:]
			}
			return f.fixed(v, 2) + units[:1]
		}
	}
	s := strconv.FormatInt(n, 10)
	if human == 0 {
		return s
	}
	return f.group(s)
}

// group puts a separator before every third digit from the end.
func (f Numbers) group(s string) string {
	neg := strings.HasPrefix(s, "-")
	if neg {
		s = s[1:]
	}
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(f.separator())
		}
		b.WriteRune(c)
	}
	if neg {
		return "-" + b.String()
	}
	return b.String()
}

// Decimal formats v with digits behind the point, and as Number does when it is
// 1000 or more: the whole part is then cut off, not rounded, as rsync does it.
// rsync 3.5.0 lib/compat.c:do_big_dnum.
func (f Numbers) Decimal(v float64, human, digits int) string {
	s := f.fixed(v, digits)
	if human == 0 || !(v >= 1000 || v <= -1000) || math.IsInf(v, 0) {
		return s
	}
	n := f.Number(int64(v), human)
	if last := n[len(n)-1]; last < '0' || last > '9' {
		return n // in units
	}
	_, frac, _ := strings.Cut(s, f.Point())
	if frac == "" {
		return n
	}
	return n + f.Point() + frac
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
