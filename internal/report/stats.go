package report

import (
	"fmt"
	"strings"
	"time"
)

// Counts are numbers of entries by type.
type Counts struct{ Total, Dirs, Links, Devices, Specials int }

// Add counts an entry of a type given by its flags of kind.
func (c *Counts) Add(dir, link, device, special bool) {
	c.Total++
	switch {
	case dir:
		c.Dirs++
	case link:
		c.Links++
	case device:
		c.Devices++
	case special:
		c.Specials++
	}
}

// Stats is what --stats prints.
type Stats struct {
	Files, Created, Deleted Counts
	Transferred             int
	TotalSize               int64
	TransferredSize         int64
	Literal, Matched        int64
	FlistSize               int64
	FlistBuild, FlistXfer   int64 // milliseconds
	Written, Read           int64 // bytes on the wire
}

func (c *Counts) line(title string, f Numbers, human int) string {
	var parts []string
	reg := c.Total - c.Dirs - c.Links - c.Devices - c.Specials
	for _, p := range []struct {
		name string
		n    int
	}{{"reg", reg}, {"dir", c.Dirs}, {"link", c.Links}, {"dev", c.Devices}, {"special", c.Specials}} {
		if p.n != 0 {
			parts = append(parts, p.name+": "+f.Number(int64(p.n), human))
		}
	}
	s := title + ": " + f.Number(int64(c.Total), human)
	if c.Total != 0 {
		s += " (" + strings.Join(parts, ", ") + ")"
	}
	return s + "\n"
}

// Summary prints the statistics at the end of a run. note is " (DRY RUN)",
// " (BATCH ONLY)" or "". rsync 3.5.0 main.c:output_summary.
func (l *Log) Summary(s *Stats, human, protocol int, elapsed time.Duration, note string) {
	f := l.cfg.Numbers
	num := func(n int64) string { return f.Number(n, human) }
	comma := min(human, 1) // counts have separators at most
	if l.Info(InfoStats, 2) {
		l.Printf(Client, "\n")
		l.Write(Info, s.Files.line("Number of files", f, comma))
		if protocol >= 29 {
			l.Write(Info, s.Created.line("Number of created files", f, comma))
		}
		if protocol >= 31 {
			l.Write(Info, s.Deleted.line("Number of deleted files", f, comma))
		}
		l.Printf(Info, "Number of regular files transferred: %s\n", f.Number(int64(s.Transferred), comma))
		l.Printf(Info, "Total file size: %s bytes\n", num(s.TotalSize))
		l.Printf(Info, "Total transferred file size: %s bytes\n", num(s.TransferredSize))
		l.Printf(Info, "Literal data: %s bytes\n", num(s.Literal))
		l.Printf(Info, "Matched data: %s bytes\n", num(s.Matched))
		l.Printf(Info, "File list size: %s\n", num(s.FlistSize))
		if s.FlistBuild != 0 {
			l.Printf(Info, "File list generation time: %s seconds\n", f.Decimal(float64(s.FlistBuild)/1000, comma, 3))
			l.Printf(Info, "File list transfer time: %s seconds\n", f.Decimal(float64(s.FlistXfer)/1000, comma, 3))
		}
		l.Printf(Info, "Total bytes sent: %s\n", num(s.Written))
		l.Printf(Info, "Total bytes received: %s\n", num(s.Read))
	}
	if l.Info(InfoStats, 1) {
		l.Printf(Client, "\n")
		l.Printf(Info, "sent %s bytes  received %s bytes  %s bytes/sec\n",
			num(s.Written), num(s.Read), f.Decimal(float64(s.Written+s.Read)/(0.5+elapsed.Seconds()), human, 2))
		l.Printf(Info, "total size is %s  speedup is %s%s\n",
			num(s.TotalSize), f.Decimal(float64(s.TotalSize)/float64(max(1, s.Written+s.Read)), comma, 2), note)
	}
}

// ListLine formats an entry of a listing (--list-only).
// rsync 3.5.0 generator.c:list_file_entry.
func (f Numbers) ListLine(mode uint32, size, mtime int64, atime *int64, name, link string, human int) string {
	width := 11
	if human > 0 {
		width = 14
	}
	var b strings.Builder
	t := TimeString(time.Unix(mtime, 0))
	fmt.Fprintf(&b, "%s %*s %s", ModeString(mode), width, f.Number(size, human), t)
	if atime != nil {
		at := ""
		if ModeString(mode)[0] != 'd' {
			at = TimeString(time.Unix(*atime, 0))
		}
		fmt.Fprintf(&b, "%*s", len(t)+1, at)
	}
	b.WriteByte(' ')
	b.WriteString(name)
	if link != "" {
		b.WriteString(" -> " + link)
	}
	b.WriteByte('\n')
	return b.String()
}
