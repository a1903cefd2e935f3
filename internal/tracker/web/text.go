package web

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"
)

// RenderStatus writes the status for a terminal of the given width in columns,
// 0 for no limit; narrow ones get fewer columns.
func RenderStatus(w io.Writer, s *Status, width int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  up %s\n", or(s.Software, "prsync"), s.URL, Ago(s.Now.Sub(s.Started)))
	fmt.Fprintf(&b, "%d of %d volunteers in contact", s.UpCount(), len(s.Volunteers))
	for _, t := range s.Troubles() {
		fmt.Fprintf(&b, ", %d %s", t.Count, t.State)
	}
	fmt.Fprintf(&b, "; %s contents published\n", Count(s.Contents))
	fmt.Fprintf(&b, "%s customers redirected (%s), %s files from this host\n", Count(s.Redirects), Bytes(s.RedirectedBytes), Count(s.Served))
	fmt.Fprintf(&b, "%.0f %% swarm share of %s synchronized\n\n", 100*s.Swarm.Share(), Bytes(s.Swarm.Downloaded))
	wide := width == 0 || width >= 100
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "VOLUNTEER\tSTATE\tSEEN\tHOLDS\tLOAD\t")
	if wide {
		fmt.Fprint(tw, "CUSTOMERS\tTO CUSTOMERS\tTO PEERS\tUPLINK\tREDIRECTED\t")
	}
	fmt.Fprintln(tw)
	for i := range s.Volunteers {
		v := &s.Volunteers[i]
		fmt.Fprintf(tw, "%s\t%s\t%s\t%.0f %%\t%.0f %%\t", cut(printable(v.Name), width, maxVolunteer), v.State, Ago(s.Now.Sub(v.Seen)), 100*s.Part(v.Contents), 100*v.Utilization)
		if wide {
			fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t", v.Load.Customers, Rate(v.Load.CustomerRate), Rate(v.Load.PeerRate), Rate(v.Load.Uplink), Bytes(v.Redirected))
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
	for _, m := range s.Legend() {
		fmt.Fprintf(&b, "%s: %s\n", m.State, m.Means)
	}
	b.WriteByte('\n')
	tw = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "MODULE\tGENERATION\tFILES\tSIZE\tPUBLISHED\t\n")
	var doing strings.Builder // what there is no column for
	for i := range s.Modules {
		m := &s.Modules[i]
		indexing := printable(m.Indexing)
		if !wide && indexing != "" {
			fmt.Fprintf(&doing, "%s: %s\n", printable(m.Name), indexing)
			indexing = ""
		}
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\t%s\n", cut(printable(m.Name), width, maxModule), m.Generation, Count(m.Files), Bytes(m.Bytes), since(s.Now, m.Published), indexing)
	}
	tw.Flush()
	b.WriteString(doing.String())
	if s.Search != nil {
		renderSearch(&b, s.Search, width)
	}
	for line := range strings.Lines(b.String()) {
		line = strings.TrimRight(line, " \n")
		if r := []rune(line); width > 0 && len(r) > width {
			line = string(r[:width])
		}
		if _, err := io.WriteString(w, line+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// Columns that all but the name take in the tables of narrow terminals.
const (
	maxVolunteer = 36
	maxModule    = 46
	leastName    = 10
)

// cut shortens a name to what others leave of a narrow terminal.
func cut(name string, width, others int) string {
	r := []rune(name)
	if n := max(width-others, leastName); width > 0 && width < 100 && len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return name
}

// renderSearch writes who holds a file, names in lines of the width.
func renderSearch(b *strings.Builder, s *Search, width int) {
	fmt.Fprintf(b, "\n%s: ", printable(s.Query))
	if !s.Found {
		b.WriteString("not published\n")
		return
	}
	fmt.Fprintf(b, "%s, %s", Bytes(s.Size), s.Mtime.UTC().Format("2006-01-02 15:04 MST"))
	if s.Gone {
		b.WriteString(", has left the tree")
	}
	fmt.Fprintf(b, "\nsha256 %s\n", s.ID)
	switch {
	case s.FromHost:
		b.WriteString("always served by the central host\n")
	case len(s.Holders) == 0:
		b.WriteString("no volunteer holds it; the central host serves it\n")
	default:
		line := "held by"
		for i, h := range s.Holders {
			h = " " + printable(h)
			if i < len(s.Holders)-1 {
				h += ","
			}
			if width > 0 && utf8.RuneCountInString(line+h) > width {
				b.WriteString(line + "\n")
				line = "  "
			}
			line += h
		}
		b.WriteString(line + "\n")
	}
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return printable(s)
}

// printable replaces what could control a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
