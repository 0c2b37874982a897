package api

import (
	"fmt"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// metrics counts requests, and reads the state whenever it is asked.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	refused  *prometheus.CounterVec
}

func newMetrics(s *Server) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keysteward_http_requests_total", Help: "Requests by route, method and status.",
		}, []string{"route", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "keysteward_http_request_duration_seconds", Help: "Time until the answer was sent, held requests included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}, []string{"route", "method"}),
	}
	m.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keysteward_refused_callers_total", Help: "Requests that were refused because of who sent them, or how often, by reason.",
	}, []string{"reason"})
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keysteward_http_held_requests", Help: "Requests that are held while keys are on their way.",
	}, func() float64 { return float64(s.holds.held()) })
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keysteward_http_connections", Help: "Connections that are open.",
	}, s.connections.count)
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.refused, held, open, s.connections.closed, stateCollector{s}} {
		if err := s.cfg.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("register: %w", err)
		}
	}
	return m, nil
}

// request counts one request. What has no route is not named: paths and methods
// that strangers make up would fill the memory.
func (m *metrics) request(e echo.Context, took time.Duration) {
	r := routeOf(e)
	m.requests.WithLabelValues(r.path, r.method, strconv.Itoa(e.Response().Status)).Inc()
	m.duration.WithLabelValues(r.path, r.method).Observe(took.Seconds())
}

func (s *Server) showMetrics(*call) (answer, error) {
	return answer{handler: promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{})}, nil
}

var (
	descKeys      = describe("keys", "Keys by state.", "state")
	descDeposits  = describe("deposits", "Deposits by state.", "state")
	descWaiting   = describe("deposits_waiting", "1 while deposits wait, by reason.", "reason")
	descSpares    = describe("spare_keys", "Keys that no request reserves: free, on their way, planned, and how many are wanted in all.", "state")
	descToday     = describe("deposits_signed_today", "Deposits signed within the last 24 hours of cluster time.")
	descTime      = describe("cluster_time_seconds", "Cluster time, in which rests and leases count.")
	descSealed    = describe("sealed", "1 while this node has no usable key-encryption key.")
	descDataKey   = describe("seal_data_key_age_seconds", "How long the data key that seals has been in use, in cluster time.")
	descOutdated  = describe("seal_outdated_records", "Secrets that are sealed under older data keys, and are being sealed again.")
	descLeader    = describe("leader", "1 while this node leads.")
	descApplied   = describe("applied_index", "Raft index of the state of this node.")
	descTolerance = describe("failure_tolerance", "How many voters may be lost before the cluster stops; the leader leaves out those that do not answer it.")
	descAudit     = describe("audit_last_seq", "Sequence number of the newest audit record.")
	descAuditKept = describe("audit_records", "Audit records that are kept in the state.")
	descReady     = describe("ready", "1 while a check of /readyz is well, for each check.", "check")
	descRestore   = describe("restore_open", "1 while a restored backup is not confirmed: no key changes its holder and no deposit is signed.")
	descLacking   = describe("restore_missing", "What has to be found out before a restored backup can be confirmed, by kind.", "code")
	descBuild     = describe("build_info", "1; the version of the program.", "version")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("keysteward_"+name, help, labels, nil)
}

// stateCollector reads status and state at the moment of a scrape.
type stateCollector struct{ s *Server }

// Describe implements prometheus.Collector.
func (stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descKeys, descDeposits, descWaiting, descSpares, descToday, descTime, descSealed, descDataKey, descOutdated, descLeader, descApplied, descTolerance, descAudit, descAuditKept, descReady, descRestore, descLacking, descBuild,
	} {
		ch <- d
	}
}

// collectRestore tells of a restore that is open.
func (stateCollector) collectRestore(view *fsm.View, gauge func(*prometheus.Desc, float64, ...string)) {
	open := 0.0
	if view.RestoreOpen() {
		open = 1
	}
	gauge(descRestore, open)
	lacking := make(map[string]int)
	for _, m := range view.RestoreMissing() {
		lacking[m.Code]++
	}
	for code, n := range lacking {
		gauge(descLacking, float64(n), code)
	}
}

// Collect implements prometheus.Collector.
func (c stateCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	status, view := c.s.node.Status(), c.s.node.View()
	m := view.Meta()
	for state, n := range keyCounts(m) {
		gauge(descKeys, float64(n), state)
	}
	for state, n := range depositCounts(m) {
		gauge(descDeposits, float64(n), state)
	}
	c.collectRestore(view, gauge)
	if code := view.DepositStatus().GetCode(); code != "" {
		gauge(descWaiting, 1, code)
	}
	spares := view.Spares()
	for state, n := range map[string]int{"wanted": spares.Wanted, "free": spares.Free, "on-their-way": spares.OnTheirWay, "planned": spares.Planned} {
		gauge(descSpares, float64(n), state)
	}
	gauge(descToday, float64(paceOf(view).SignedToday))
	_, isSealed := c.s.vault.Sealed()
	gauge(descTime, float64(m.GetClusterTimeMs())/1000)
	gauge(descSealed, oneIf(isSealed))
	outdated, age := sealAges(m)
	gauge(descDataKey, age)
	gauge(descOutdated, outdated)
	gauge(descLeader, oneIf(status.IsLeader))
	gauge(descApplied, float64(m.GetAppliedIndex()))
	gauge(descTolerance, float64(status.FailureTolerance()))
	gauge(descAudit, float64(m.GetNextAudit()))
	gauge(descAuditKept, float64(m.GetNextAudit()-view.AuditAnchor().Seq))
	for _, check := range c.s.node.Checks() {
		gauge(descReady, oneIf(check.OK), check.Name)
	}
	gauge(descBuild, 1, c.s.cfg.Version)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// sealAges are how many secrets are under older data keys, and how old, in seconds,
// the one is that seals.
func sealAges(m *fsmpb.Meta) (outdated, age float64) {
	s := m.GetSeal()
	for _, t := range s.GetTerms() {
		if t.GetTerm() < s.GetCurrentTerm() {
			outdated += float64(t.GetRecords())
		}
	}
	if s != nil {
		age = float64(m.GetClusterTimeMs()-s.GetSinceMs()) / 1000
	}
	return outdated, age
}
