package interop

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What differs from one run of the same rsync to the next, and what stands for
// it. All other text has to agree.
var varying = []struct {
	pattern *regexp.Regexp
	as      string
}{
	{regexp.MustCompile(`^(sent) [\d.,]+[KMGT]? bytes  (received) [\d.,]+[KMGT]? bytes  [\d.,]+[KMGT]? bytes/sec`), "$1 N bytes  $2 N bytes  N bytes/sec"},
	{regexp.MustCompile(`^(DATE \[PID\] sent) [\d,]+ bytes  received [\d,]+ bytes  ([\d.,]+ bytes/sec)?`), "$1 N bytes  received N bytes  "},
	{regexp.MustCompile(`\b(total size is .*  speedup is) [\d.,]+`), "$1 N"},
	{regexp.MustCompile(`^((?:DATE \[PID\] )?Total bytes (?:sent|received)): .*`), "$1: N"},
	{regexp.MustCompile(`^((?:DATE \[PID\] )?File list (?:generation|transfer) time): .*`), "$1: N"},
	{regexp.MustCompile(`^(Number of .* in this batch): .*`), "$1: N"},
	{regexp.MustCompile(`(connection unexpectedly closed) \(\d+ bytes`), "$1 (N bytes"},
	{regexp.MustCompile(`hash_hits=\d+`), "hash_hits=N"},      // depends on the hash table
	{regexp.MustCompile(`( -\w*e[\d.]*i?LsfxCIvu)P `), "$1 "}, // our letter, see prsync-protocol(5)
	// Which file lists have arrived when a line is printed is chance.
	{regexp.MustCompile(` +[\d.,]+[kMG]?B/s +\d+:\d\d:\d\d \(xfr#(\d+), (?:to|ir)-chk=\d+/\d+\)`), " RATE TIME (xfr#$1)"},
	// The progress of a file that is not at its end, in front of what another process prints meanwhile.
	{regexp.MustCompile(`^ +[\d.,]+[KMGT]? +\d+% +[\d.,]+[kMG]?B/s +\d+:\d\d:\d\d  (\S)`), "$1"},
	{regexp.MustCompile(`\b(at) [\w./]+:?\(?\d*\)? ?\[(\w+)=[\w.-]+\]`), "$1 PLACE [$2]"},
	{regexp.MustCompile(`\b(at) [\w./]+\(\d+\) \[(\w+)\]`), "$1 PLACE [$2]"},
	{regexp.MustCompile(`\.[A-Za-z0-9]{6}"`), `.XXXXXX"`},
}

// aboutProgress matches the progress of a file that is not at its end.
var aboutProgress = regexp.MustCompile(`^ +[\d.,]+[KMGT]? +\d+% +[\d.,]+[kMG]?B/s +\d+:\d\d:\d\d *$`)

// lastProgress picks the end of an overall progress. What is before it, and
// what else is printed on the same line, is chance.
func lastProgress(all []string) []string {
	for _, l := range slices.Backward(all) {
		if strings.Contains(l, " RATE TIME (xfr#") {
			return []string{strings.TrimSpace(l)}
		}
	}
	return nil
}

// aboutMemory matches what rsync tells of its own arrays.
var aboutMemory = regexp.MustCompile(`expand file_list pointer array to`)

// aboutKilling matches what one process of rsync says when another, which has
// found the error, ends it.
var aboutKilling = regexp.MustCompile(`received SIGUSR1 \(code 19\)`)

// aboutReset matches what a daemon tells of a client that has failed and leaves
// data unread: rsync's does so by chance, ours never.
var aboutReset = regexp.MustCompile(`read error: Connection reset by peer \(104\)$`)

// aboutTrust matches a line that Debian adds to rsync.
var aboutTrust = regexp.MustCompile(`^(?:DATE \[PID\] )?refusing to follow a symlink owned by an untrusted user; `)

// logLine is what precedes the text of a line of a log file.
var logLine = regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\d+\] `)

// lines returns what a run printed, one entry per line, with what varies
// replaced. place holds names of the run's own directories.
func lines(text string, place *strings.Replacer) []string {
	text = logLine.ReplaceAllString(place.Replace(text), "DATE [PID] ")
	var out []string
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if aboutProgress.MatchString(line) || aboutMemory.MatchString(line) || aboutKilling.MatchString(line) || aboutTrust.MatchString(line) {
			continue
		}
		for _, v := range varying {
			line = v.pattern.ReplaceAllString(line, v.as)
		}
		out = append(out, line)
	}
	return out
}

// Both sides find by themselves that an option needs a newer protocol, and the
// first of them to end ends the other: whether that has said so is chance.
var (
	tooOld    = regexp.MustCompile(`requires protocol 29 or higher \(negotiated`)
	endsOfOld = regexp.MustCompile(`^rsync error: protocol incompatibility \(code 2\) at PLACE`)
)

// oneRefusal leaves the words of one side, whichever it is.
func oneRefusal(all []string) []string {
	if !slices.ContainsFunc(all, tooOld.MatchString) {
		return all
	}
	var out []string
	for _, l := range all {
		end := endsOfOld.FindString(l)
		if end != "" {
			l = end
		}
		if (end != "" || tooOld.MatchString(l)) && slices.Contains(out, l) {
			continue
		}
		out = append(out, l)
	}
	return out
}

// sameLines returns how got differs from want. Messages of several processes
// mix as they come, so that only the order within these classes is compared:
// transferred files, and deletions.
func sameLines(what string, want, got []string) []string {
	var diff []string
	want, got = oneRefusal(want), oneRefusal(got)
	missing, extra := minus(want, got), minus(got, want)
	for _, l := range missing {
		diff = append(diff, fmt.Sprintf("%s: - %q", what, l))
	}
	for _, l := range extra {
		diff = append(diff, fmt.Sprintf("%s: + %q", what, l))
	}
	if diff != nil {
		return diff
	}
	for _, class := range ordered {
		w, g := pick(class, want), pick(class, got)
		for i := range w {
			if w[i] != g[i] {
				return []string{fmt.Sprintf("%s: order: line %d of those with %q is %q, want %q", what, i+1, class, g[i], w[i])}
			}
		}
	}
	return nil
}

// Lines of these forms come in the order of the file list.
var ordered = []*regexp.Regexp{regexp.MustCompile(`^[<>]f`), regexp.MustCompile(`^\*deleting`)}

func pick(class *regexp.Regexp, all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(l string) bool { return !class.MatchString(l) })
}

// minus returns the lines of a that b does not have as often.
func minus(a, b []string) []string {
	count := map[string]int{}
	for _, l := range b {
		count[l]++
	}
	var left []string
	for _, l := range a {
		if count[l]--; count[l] < 0 {
			left = append(left, l)
		}
	}
	return left
}
