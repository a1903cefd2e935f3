package web

import (
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"time"
)

//go:embed status.html
var pageSource string

var page = template.Must(template.New("status").Funcs(template.FuncMap{
	"bytes": Bytes, "rate": Rate, "ago": func(now, t time.Time) string { return Ago(now.Sub(t)) }, "since": since,
	"count": Count, "plots": plots, "date": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") },
	"percent": func(f float64) string { return fmt.Sprintf("%.0f", 100*f) },
	"class":   stateClass, "means": stateMeans,
	"host": func(url string) string { return strings.TrimPrefix(url, "http://") },
}).Parse(pageSource))

// stateClass is the colour of a volunteer's state.
func stateClass(state string) string {
	switch state {
	case "ready":
		return "ok"
	case "syncing", "seed only", "expected":
		return "mid"
	}
	return "bad"
}

// stateMeans says what a volunteer's state is, "" for one that gets customers.
func stateMeans(state string) string {
	switch state {
	case "seed only":
		return "takes no customers: it has announced no address for them"
	case "unreachable":
		return "announces itself, but its address for customers does not answer"
	case "late":
		return "has not announced itself lately"
	case "stopped":
		return "has said goodbye"
	case "expected":
		return "known from before this host started, and not heard of since"
	case "lost":
		return "has not been heard of for long"
	}
	return ""
}

// since formats how long ago something was.
func since(now, t time.Time) string {
	if t.IsZero() {
		return "not yet"
	}
	return Ago(now.Sub(t)) + " ago"
}

// Bytes formats a number of bytes with a binary unit.
func Bytes(n int64) string {
	f, u := float64(n), 0
	for f >= 999.5 && u < 6 {
		f /= 1024
		u++
	}
	if u == 0 {
		return fmt.Sprintf("%d B", n)
	}
	if f < 9.95 {
		return fmt.Sprintf("%.1f %ciB", f, " KMGTPE"[u])
	}
	return fmt.Sprintf("%.0f %ciB", f, " KMGTPE"[u])
}

// Rate formats bytes per second.
func Rate(n int64) string {
	if n == 0 {
		return "–"
	}
	return Bytes(n) + "/s"
}

// Count groups the digits of a number by thousands.
func Count(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// Ago formats a time span in its largest unit.
func Ago(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	case d < 20000*24*time.Hour:
		return fmt.Sprintf("%d d", int(d.Hours()/24))
	}
	return "never"
}
