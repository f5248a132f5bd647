package main

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/watcher"
)

// metrics are what Prometheus reads: what the ledger holds at that moment, and
// how the polls of this process went.
type metrics struct {
	registry *prometheus.Registry
	polls    *prometheus.CounterVec
	changes  prometheus.Counter
}

func newMetrics(l *ledger.Ledger) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		polls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ingot_polls_total", Help: "Looks at repositories, by outcome.",
		}, []string{"outcome"}),
		changes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ingot_changes_total", Help: "Heads that moved and were accepted by this process.",
		}),
	}
	m.registry.MustRegister(
		m.polls, m.changes, &ledgerMetrics{ledger: l},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

func (m *metrics) polled(o watcher.Observation) {
	outcome := "ok"
	if o.Err != nil {
		outcome = "error"
	}
	m.polls.WithLabelValues(outcome).Inc()
	m.changes.Add(float64(o.Polled.Accepted))
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// ledgerMetrics counts in the ledger when it is asked.
type ledgerMetrics struct{ ledger *ledger.Ledger }

var (
	buildsDesc  = prometheus.NewDesc("ingot_builds", "Builds in the ledger, by state.", []string{"state"}, nil)
	queuedDesc  = prometheus.NewDesc("ingot_oldest_queued_seconds", "Age of the oldest build that waits for a worker.", nil, nil)
	owedDesc    = prometheus.NewDesc("ingot_reports_waiting", "Reports that the code host has not got yet.", nil, nil)
	failingDesc = prometheus.NewDesc("ingot_reports_failing", "Of those, the ones whose last delivery failed.", nil, nil)
)

func (c *ledgerMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{buildsDesc, queuedDesc, owedDesc, failingDesc} {
		out <- d
	}
}

func (c *ledgerMetrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	counts, err := c.ledger.Counts(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(buildsDesc, err)
		return
	}
	for state, n := range counts.Builds {
		out <- prometheus.MustNewConstMetric(buildsDesc, prometheus.GaugeValue, float64(n), string(state))
	}
	var age float64
	if !counts.OldestQueued.IsZero() {
		age = time.Since(counts.OldestQueued).Seconds()
	}
	out <- prometheus.MustNewConstMetric(queuedDesc, prometheus.GaugeValue, age)
	out <- prometheus.MustNewConstMetric(owedDesc, prometheus.GaugeValue, float64(counts.ReportsWaiting))
	out <- prometheus.MustNewConstMetric(failingDesc, prometheus.GaugeValue, float64(counts.ReportsFailing))
}
