package sim

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Table prints the results, one line each.
func Table(w io.Writer, rs []Result) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "policy\tworkload\trequests\tmean s\tp50 s\tp95 s\tslowdown\tutil mean\tutil max\tmax/mean\tby host\tmean/20%\tp95/20%\t")
	for _, r := range rs {
		base := find(rs, r.Policy, r.Equal, 20)
		fmt.Fprintf(tw, "%s\t%d %%\t%d\t%.3f\t%.3f\t%.3f\t%.2f\t%.3f\t%.3f\t%.2f\t%.2f %%\t%.2f\t%.2f\t\n",
			r.Policy, r.Workload, r.Requests, r.Mean, r.P50, r.P95, r.Slowdown, r.UtilMean, r.UtilMax, r.Spread(), 100*r.Origin,
			r.Mean/base.Mean, r.P95/base.P95)
	}
	tw.Flush()
}

func find(rs []Result, policy string, equal bool, workload int) Result {
	for _, r := range rs {
		if r.Policy == policy && r.Equal == equal && r.Workload == workload {
			return r
		}
	}
	return Result{}
}

// The targets: response times stay even from 20 to 100 % workload, and the
// load is shared evenly.
const (
	MaxGrowth = 1.3 // of mean and 95th percentile from 20 to 100 %
	MaxSpread = 1.2 // maximum over mean utilization at 100 %
)

// Targets returns what our policy misses.
func Targets(rs []Result) (missed []string) {
	for _, equal := range []bool{true, false} {
		lo, hi := find(rs, "prsync", equal, 20), find(rs, "prsync", equal, 100)
		check := func(what string, got, limit float64) {
			if !(got <= limit) {
				missed = append(missed, fmt.Sprintf("equal uplinks %v: %s is %.2f, the limit %.2f", equal, what, got, limit))
			}
		}
		check("growth of the mean", hi.Mean/lo.Mean, MaxGrowth)
		check("growth of the 95th percentile", hi.P95/lo.P95, MaxGrowth)
		check("maximum over mean utilization", hi.Spread(), MaxSpread)
		for _, other := range []string{"random", "static weights"} {
			o := find(rs, other, equal, 100)
			check("mean response time over that of "+other, hi.Mean/o.Mean, 0.95)
			check("95th percentile over that of "+other, hi.P95/o.P95, 0.95)
		}
	}
	return missed
}
