package sim

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTargets is the short form of scripts/load-lab: the ends of the range.
func TestTargets(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	lab := NewLab(2008)
	var rs []Result
	for _, equal := range []bool{true, false} {
		for _, p := range []string{"prsync", "static weights"} {
			rs = append(rs, lab.Run(p, equal, 20), lab.Run(p, equal, 100))
		}
		// random with unequal uplinks never recovers: a lower workload is enough.
		r := lab.Run("random", equal, 40)
		r.Workload = 100
		if equal {
			r = lab.Run("random", equal, 100)
		}
		rs = append(rs, r)
	}
	for _, m := range Targets(rs) {
		t.Error(m)
	}
	var table bytes.Buffer
	Table(&table, rs)
	if n := strings.Count(table.String(), "\n"); n != len(rs)+1 {
		t.Errorf("table of %d lines", n)
	}
	d := xml.NewDecoder(bytes.NewReader(Plot(rs, "a < b")))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestMissedTargetsAreSeen(t *testing.T) {
	rs := []Result{
		{Policy: "prsync", Equal: true, Workload: 20, Mean: 1, P95: 1, UtilMean: 1, UtilMax: 1},
		{Policy: "prsync", Equal: true, Workload: 100, Mean: 2, P95: 1, UtilMean: 1, UtilMax: 1},
	}
	if m := Targets(rs); len(m) == 0 || !strings.Contains(m[0], "growth of the mean is 2.00") {
		t.Errorf("%q", m)
	}
}

// TestServer checks max-min fairness and completion times by hand.
func TestServer(t *testing.T) {
	s := &server{uplink: 10e6, next: math.Inf(1)}
	s.arrive(0, 2e6, 0) // alone: its downlink of 2 MB/s, 1 s
	if got := s.next; math.Abs(got-1) > 1e-9 {
		t.Fatalf("alone it takes %g s", got)
	}
	s.arrive(0.5, 100e6, 2) // up to 12.5 MB/s: gets the 8 that the first leaves
	if s.rate != [3]float64{2e6, 0, 8e6} {
		t.Fatalf("rates %v", s.rate)
	}
	if got := s.speed(2); got != 4e6 {
		t.Errorf("one more would get %g", got)
	}
	if j, class := s.complete(); class != 0 || j.start != 0 || math.Abs(s.at-1) > 1e-9 {
		t.Errorf("first ends at %g", s.at)
	}
	// 4 MB done by now, 96 MB at the uplink's 10 MB/s.
	if j, _ := s.complete(); math.Abs(s.at-10.6) > 1e-6 || j.size != 100e6 || math.Abs(s.served-102e6) > 1 {
		t.Errorf("second ends at %g, served %g", s.at, s.served)
	}
}

// TestPlot draws a small lab: every policy has a line in every panel.
func TestPlot(t *testing.T) {
	var rs []Result
	for i, p := range Policies {
		for w := 20; w <= MaxWorkload; w += 20 {
			rs = append(rs, Result{Policy: p, Workload: w, Mean: float64(w * (i + 1)), P95: float64(w * (i + 2)), UtilMean: float64(w) / 200, UtilMax: float64(w) / 150})
		}
	}
	svg := string(Plot(rs, "a <title>"))
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
	}
	if n, want := strings.Count(svg, "<polyline"), 5*len(Policies); n != want || strings.Contains(svg, "NaN") {
		t.Errorf("%d lines, want %d", n, want)
	}
	if dir := os.Getenv("PRSYNC_TEST_PAGES"); dir != "" { // for looking at it
		os.WriteFile(filepath.Join(dir, "plot.svg"), []byte(svg), 0o644)
	}
}
