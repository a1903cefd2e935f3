package web

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"
)

// plot is one small line plot of the page.
type plot struct {
	Title, Last, Top, From string
	Lines                  []line
	Legend                 bool
}

type line struct {
	Name, Class string
	Points      template.HTMLAttr
	Area        template.HTMLAttr // below the line
}

const plotWidth, plotHeight = 300.0, 90.0

// plots draws the history: what changed between two samples for counters, the
// value for the rest.
func plots(s *Status) []plot {
	h := s.History
	if len(h) < 2 {
		return nil
	}
	per := func(f func(*Sample) int64) []float64 { // per second
		out := make([]float64, len(h))
		for i := 1; i < len(h); i++ {
			if dt := h[i].Time.Sub(h[i-1].Time).Seconds(); dt > 0 {
				out[i] = max(0, float64(f(&h[i])-f(&h[i-1]))/dt)
			}
		}
		out[0] = out[1]
		return out
	}
	value := func(f func(*Sample) int64) []float64 {
		out := make([]float64, len(h))
		for i := range h {
			out[i] = float64(f(&h[i]))
		}
		return out
	}
	share := make([]float64, len(h))
	down, origin := per(func(s *Sample) int64 { return s.Downloaded }), per(func(s *Sample) int64 { return s.Origin })
	for i := range h {
		if down[i] > 0 {
			share[i] = 100 * max(0, down[i]-origin[i]) / down[i]
		}
	}
	span := "last " + Ago(h[len(h)-1].Time.Sub(h[0].Time)+time.Second)
	rate := func(f float64) string { return Bytes(int64(f)) + "/s" }
	number := func(f float64) string { return Count(int64(math.Ceil(f))) }
	return []plot{
		draw("Volunteers send", span, rate, series{"to customers", value(func(s *Sample) int64 { return s.CustomerRate })}, series{"to peers", value(func(s *Sample) int64 { return s.PeerRate })}),
		draw("Customers per second", span, frequency, series{"redirected", per(func(s *Sample) int64 { return s.Redirects })}, series{"served by this host", per(func(s *Sample) int64 { return s.Served })}),
		draw("Swarm share", span, func(f float64) string { return fmt.Sprintf("%.0f %%", f) }, series{"", share}),
		draw("Volunteers in contact", span, number, series{"", value(func(s *Sample) int64 { return s.Up })}),
	}
}

// frequency formats a number per second.
func frequency(f float64) string {
	if f >= 100 {
		return Count(int64(math.Round(f)))
	}
	return fmt.Sprintf("%.2g", f)
}

type series struct {
	name   string
	values []float64
}

// draw scales the series into a plot from zero to the common maximum.
func draw(title, span string, format func(float64) string, all ...series) plot {
	p := plot{Title: title, From: span, Legend: len(all) > 1}
	top := 0.0
	for _, s := range all {
		for _, v := range s.values {
			top = max(top, v)
		}
	}
	p.Top = format(top)
	if top == 0 {
		top = 1
	}
	var last []string
	for i, s := range all {
		var b strings.Builder
		for k, v := range s.values {
			x := plotWidth * float64(k) / float64(len(s.values)-1)
			fmt.Fprintf(&b, "%.1f,%.1f ", x, plotHeight-1-(plotHeight-4)*v/top)
		}
		points := strings.TrimSpace(b.String())
		p.Lines = append(p.Lines, line{
			s.name, fmt.Sprintf("l%d", i), template.HTMLAttr(fmt.Sprintf(`points="%s"`, points)),
			template.HTMLAttr(fmt.Sprintf(`points="0,%g %s %g,%g"`, plotHeight, points, plotWidth, plotHeight)),
		})
		last = append(last, format(s.values[len(s.values)-1]))
	}
	p.Last = strings.Join(last, " · ")
	return p
}
