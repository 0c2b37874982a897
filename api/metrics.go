package api

import (
	"fmt"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
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
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.refused, held, open, s.connections.closed, &stateCollector{s: s}} {
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
