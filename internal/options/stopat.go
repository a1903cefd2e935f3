package options

import (
	"strings"
	"time"
)

// parseTime reads the time of --stop-at: [[[YY]YY-]MM-]DD[Thh:mm], [T]hh:mm or
// :mm, with "/" as good as "-". What is left out from the front makes it the
// next such time after now, in now's location. (rsync(1), --stop-at; rsync
// 3.5.0 options.c:parse_time)
func parseTime(arg string, now time.Time) (time.Time, bool) {
	date, clock := splitTime(arg)
	days, ok := numbers(date, '-')
	if !ok || len(days) > 3 || len(days) == 0 && clock == "" {
		return time.Time{}, false
	}
	hour, minute, onlyMinute, ok := parseClock(clock)
	if !ok || onlyMinute && len(days) > 0 {
		return time.Time{}, false
	}
	y, m, d := now.Year(), now.Month(), now.Day()
	switch n := len(days); n {
	case 3:
		if y, ok = fullYear(days[0], now.Year()); !ok {
			return time.Time{}, false
		}
		fallthrough
	case 2:
		m = time.Month(days[n-2])
		fallthrough
	case 1:
		d = days[n-1]
	}
	if m < 1 || m > 12 || d < 1 || d > 31 || hour > 23 || minute > 59 {
		return time.Time{}, false
	}
	at := func(y int, m time.Month, d int) time.Time {
		return time.Date(y, m, d, hour, minute, 0, 0, now.Location())
	}
	fits := func(t time.Time) bool { return t.Day() == d && t.After(now) }
	switch {
	case onlyMinute:
		t := time.Date(y, m, d, now.Hour(), minute, 0, 0, now.Location())
		if !t.After(now) {
			t = t.Add(time.Hour)
		}
		return t, true
	case len(days) == 3:
		return at(y, m, d), true
	case len(days) == 0:
		if t := at(y, m, d); t.After(now) {
			return t, true
		}
		return at(y, m, d+1), true
	case len(days) == 1:
		for i := time.Month(0); i < 12; i++ {
			if t := at(y, m+i, d); fits(t) {
				return t, true
			}
		}
	default:
		// 29 February may be eight years off.
		for i := range 9 {
			if t := at(y+i, m, d); fits(t) {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

// splitTime cuts the argument into its date and the part with colons, which
// keeps a leading ":" that stands for a missing hour.
func splitTime(arg string) (date, clock string) {
	arg = strings.ReplaceAll(arg, "/", "-")
	if i := strings.IndexAny(arg, "Tt"); i >= 0 {
		date, clock = arg[:i], arg[i+1:]
		if clock == "" && date != "" {
			return date, ""
		}
		if !strings.Contains(clock, ":") {
			clock = "?" // a T needs hours and minutes
		}
		return date, clock
	}
	if strings.Contains(arg, ":") {
		return "", arg
	}
	return arg, ""
}

func parseClock(clock string) (hour, minute int, onlyMinute, ok bool) {
	if clock == "" {
		return 0, 0, false, true
	}
	onlyMinute = clock[0] == ':'
	parts, ok := numbers(strings.TrimPrefix(clock, ":"), ':')
	switch {
	case !ok || onlyMinute && len(parts) != 1 || !onlyMinute && len(parts) != 2:
		return 0, 0, false, false
	case onlyMinute:
		return 0, parts[0], true, true
	}
	return parts[0], parts[1], false, true
}

// fullYear completes a year below 100 to one that is not over.
func fullYear(y, now int) (int, bool) {
	if y < 100 {
		y += 1900
		for y < now {
			y += 100
		}
	}
	return y, y >= 1900 && y <= 9999
}

func numbers(s string, sep byte) ([]int, bool) {
	if s == "" {
		return nil, true
	}
	var out []int
	for _, part := range strings.Split(s, string(sep)) {
		if part == "" || len(part) > 4 {
			return nil, false
		}
		n := 0
		for i := range len(part) {
			if !isDigit(part[i]) {
				return nil, false
			}
			n = n*10 + int(part[i]-'0')
		}
		out = append(out, n)
	}
	return out, true
}
