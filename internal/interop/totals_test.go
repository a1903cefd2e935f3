package interop

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Bytes that passed between the two sides, as --stats, -v, a log file and a
// daemon's log tell them. All but the headers of frames, 4 bytes each, is
// determined; how many frames carry it depends on who waits for whom.
var total = regexp.MustCompile(`(?m)^(?:DATE \[PID\] )?(?:Total bytes (?:sent|received): ([\d,]+)$|sent ([\d,]+) bytes  received ([\d,]+) bytes\b)`)

// totals returns the numbers in the order of the text. Those that are rounded
// for people are left out, and those of a run that has told, and counted, what
// rsync does with its memory.
func totals(text string) []int64 {
	if aboutMemory.MatchString(text) || strings.Contains(text, "heap statistics:") {
		return nil
	}
	var all []int64
	for _, m := range total.FindAllStringSubmatch(logLine.ReplaceAllString(text, "DATE [PID] "), -1) {
		for _, digits := range m[1:] {
			if digits != "" {
				n, _ := strconv.ParseInt(strings.ReplaceAll(digits, ",", ""), 10, 64) // digits only
				all = append(all, n)
			}
		}
	}
	return all
}

// packs matches the options of a run whose data is compressed, and so as long
// as the compressor at work makes it.
var packs = regexp.MustCompile(`(?:^| )(?:-\w*z|--zc|--\w*-?compress)`)

// reportsSearch matches the options of a run whose sender reports on its search just
// before it tells its totals: the report has been written by then, or not.
var reportsSearch = regexp.MustCompile(`(?:^| )-\w*vv`)

// frames is how many frames more, or fewer, one side may take for what passes.
const frames = 1000

// goodbye is the length of a sender's last word, in its frame. A server that
// receives has read it with what is before it, or not, when it logs its total.
const goodbye = 5

// sameTotals returns how the numbers in got differ from want. They may have
// maybe bytes more or less.
func (s *scenario) sameTotals(want, got []int64, maybe int64) []string {
	if len(want) != len(got) { // lines that are missing are told elsewhere
		return nil
	}
	var diff []string
	for i, w := range want {
		g := got[i]
		off := max(w-g, g-w)
		known := off%4 == 0 || reportsSearch.MatchString(s.options()) || maybe > 0 && ((w-g+maybe)%4 == 0 || (w-g-maybe)%4 == 0)
		if packs.MatchString(s.options()) {
			if off > w/5+4*frames {
				diff = append(diff, fmt.Sprintf("total of bytes: %d, want about %d", g, w))
			}
		} else if !known || off > 4*frames {
			diff = append(diff, fmt.Sprintf("total of bytes: %d, want %d and headers of frames", g, w))
		}
	}
	return diff
}
