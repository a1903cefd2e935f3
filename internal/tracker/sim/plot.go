package sim

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Plot draws mean and 95th percentile of the response time, the utilization of
// the volunteers' uplinks (mean, and dashed the busiest one's) and its spread
// against workload, as SVG. Response times are on a logarithmic axis: some
// policies leave any other one.
func Plot(rs []Result, title string) []byte {
	const width, height, gap, top, left = 250, 230, 70, 84, 60
	panels := []struct {
		name string
		log  bool
		f    func(Result) float64
		max  func(Result) float64 // dashed; may be nil
	}{
		{"mean response time, s", true, func(r Result) float64 { return r.Mean }, nil},
		{"95th percentile, s", true, func(r Result) float64 { return r.P95 }, nil},
		{"utilization, mean and busiest (dashed)", false, func(r Result) float64 { return r.UtilMean }, func(r Result) float64 { return r.UtilMax }},
		{"maximum / mean utilization", false, Result.Spread, nil},
	}
	colours := map[string]string{"prsync": "#1668b8", "oracle": "#1d7a3c", "random": "#b3261e", "round robin": "#8a6100", "static weights": "#7a3ea8"}
	var b strings.Builder
	w, h := left+len(panels)*(width+gap), top+height+50
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12"><rect width="100%%" height="100%%" fill="#fff"/>`, w, h)
	fmt.Fprintf(&b, `<text x="%d" y="22" font-size="15" font-weight="bold">%s</text>`, left, html.EscapeString(title))
	for k, name := range Policies {
		x := left + k*130
		fmt.Fprintf(&b, `<path d="M%d 38h18" stroke="%s" stroke-width="2"/><text x="%d" y="42">%s</text>`, x, colours[name], x+24, name)
	}
	for k, p := range panels {
		lo, hi := math.Inf(1), math.Inf(-1)
		for _, r := range rs {
			lo, hi = min(lo, p.f(r)), max(hi, p.f(r))
			if p.max != nil {
				hi = max(hi, p.max(r))
			}
		}
		scale := func(v float64) float64 { return v }
		if p.log {
			scale = math.Log10
			lo, hi = math.Pow(10, math.Floor(math.Log10(lo))), math.Pow(10, math.Ceil(math.Log10(hi)))
		} else {
			lo, hi = math.Floor(lo), math.Ceil(hi)
		}
		x0, y0 := float64(left+k*(width+gap)), float64(top+height)
		px := func(workload int) float64 { return x0 + width*float64(workload-20)/(MaxWorkload-20) }
		py := func(v float64) float64 { return y0 - height*(scale(v)-scale(lo))/(scale(hi)-scale(lo)) }
		tick := func(v float64) {
			fmt.Fprintf(&b, `<path d="M%.1f %.1fh%d" stroke="#ddd"/><text x="%.1f" y="%.1f" text-anchor="end">%g</text>`, x0, py(v), width, x0-6, py(v)+4, v)
		}
		if p.log {
			for v := lo; v <= hi*1.001; v *= 10 {
				tick(v)
			}
		} else {
			for v := lo; v <= hi+0.001; v += (hi - lo) / 4 {
				tick(v)
			}
		}
		for wl := 20; wl <= MaxWorkload; wl += 20 {
			fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">%d</text>`, px(wl), y0+18, wl)
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">workload, %%</text><text x="%.1f" y="%d" font-weight="bold">%s</text>`, x0+width/2, y0+38, x0, top-12, p.name)
		for _, name := range Policies {
			line := func(f func(Result) float64, style string) {
				var d strings.Builder
				for _, r := range rs {
					if r.Policy == name {
						fmt.Fprintf(&d, "%.1f,%.1f ", px(r.Workload), py(f(r)))
					}
				}
				fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" %s points="%s"/>`, colours[name], style, strings.TrimSpace(d.String()))
			}
			line(p.f, "")
			if p.max != nil {
				line(p.max, `stroke-dasharray="5 3"`)
			}
		}
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}
