package tracker

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// metrics are the host's Prometheus metrics, in a registry of their own.
type metrics struct {
	registry        *prometheus.Registry
	handler         http.Handler
	redirects       prometheus.Counter
	redirectedBytes prometheus.Counter
	served          *prometheus.CounterVec
	announces       *prometheus.CounterVec
	refused         *prometheus.CounterVec
	probes          *prometheus.CounterVec
	storeErrors     prometheus.Counter
}

func newMetrics(t *Tracker) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "prsync", Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "prsync", Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		registry:        prometheus.NewRegistry(),
		redirects:       counter("redirects_total", "Customers redirected to a volunteer."),
		redirectedBytes: counter("redirected_bytes_total", "Bytes that redirected customers asked for."),
		served:          vec("served_total", "Answers other than a redirect, by kind: origin (a file from this host), not_modified, listing, metalink, mirrorlist, torrent, busy, long_path, or a status code.", "kind"),
		announces:       vec("announces_total", "Announces taken, by form: prsync (POST) or bep3 (GET).", "form"),
		refused:         vec("announces_refused_total", "Announces and scrapes refused, by status code; 200 is a failure reason to a standard client.", "code"),
		probes:          vec("probes_total", "Probes of volunteers, by result: ok, failed, or missing (it lacks a content it announced).", "result"),
		storeErrors:     counter("store_errors_total", "Failed operations of the tracker store."),
	}
	m.registry.MustRegister(m.redirects, m.redirectedBytes, m.served, m.announces, m.refused, m.probes, m.storeErrors,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), volunteerMetrics{t})
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return m
}

// Registry lets the host add metrics of its other parts.
func (t *Tracker) Registry() *prometheus.Registry { return t.metrics.registry }

// count reads a counter.
func (m *metrics) count(c prometheus.Counter) int64 {
	var d dto.Metric
	if c.Write(&d) != nil {
		return 0
	}
	return int64(d.GetCounter().GetValue())
}

// volunteerMetrics collects the state of volunteers at scrape time.
type volunteerMetrics struct{ t *Tracker }

var (
	descUp          = prometheus.NewDesc("prsync_volunteer_up", "1 while the volunteer gets customers.", []string{"volunteer"}, nil)
	descOutstanding = prometheus.NewDesc("prsync_volunteer_outstanding_bytes", "Bytes redirected to the volunteer and, by the model, not served yet.", []string{"volunteer"}, nil)
	descUtilization = prometheus.NewDesc("prsync_volunteer_utilization_ratio", "Modelled share of the volunteer's uplink in use, 0 to 1.", []string{"volunteer"}, nil)
	descIssued      = prometheus.NewDesc("prsync_volunteer_redirected_bytes_total", "Bytes redirected to the volunteer by this host.", []string{"volunteer"}, nil)
	descSeen        = prometheus.NewDesc("prsync_volunteer_last_announce_timestamp_seconds", "Time of the volunteer's last announce.", []string{"volunteer"}, nil)
	descSwarm       = prometheus.NewDesc("prsync_swarm_bytes_total", "Bytes that peers reported, by kind: downloaded (all), origin (of these, from this host), uploaded, corrupt.", []string{"kind"}, nil)
	descPublished   = prometheus.NewDesc("prsync_module_generation", "Current generation of the module.", []string{"module"}, nil)
	descFiles       = prometheus.NewDesc("prsync_module_files", "Files in the module's current generation.", []string{"module"}, nil)
)

// Describe implements prometheus.Collector.
func (volunteerMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descUp, descOutstanding, descUtilization, descIssued, descSeen, descSwarm, descPublished, descFiles} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c volunteerMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, label)
	}
	total := func(d *prometheus.Desc, v int64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), label)
	}
	t := c.t
	now := t.cfg.Now()
	t.mu.Lock()
	for n, v := range t.vols {
		up := 0.0
		if v.state.Eligible(now) && !v.stopped && v.url != "" {
			up = 1
		}
		gauge(descUp, up, n)
		gauge(descOutstanding, v.state.Outstanding(now), n)
		gauge(descUtilization, v.state.Utilization(now), n)
		total(descIssued, v.issued, n)
		gauge(descSeen, float64(v.seen.Unix()), n)
	}
	t.mu.Unlock()
	t.totals.mu.Lock()
	total(descSwarm, t.totals.downloaded, "downloaded")
	total(descSwarm, t.totals.origin, "origin")
	total(descSwarm, t.totals.uploaded, "uploaded")
	total(descSwarm, t.totals.corrupt, "corrupt")
	t.totals.mu.Unlock()
	for _, m := range t.cfg.Catalog.Modules() {
		gauge(descPublished, float64(m.Generation), m.Name)
		gauge(descFiles, float64(m.Files), m.Name)
	}
}
