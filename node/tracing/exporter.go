package tracing

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/protobuf/proto"
)

// exporter sends spans by OTLP over HTTP, as protobuf. Spans that are not taken are given up: they
// are counted, and the log says when that begins and ends.
type exporter struct {
	settings *settings
	client   *http.Client
	log      *slog.Logger
	spans    *prometheus.CounterVec
	failing  bool // ExportSpans is called by one goroutine at a time
}

var _ sdktrace.SpanExporter = (*exporter)(nil)

func newExporter(s *settings, log *slog.Logger) (*exporter, error) {
	transport := &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13},
		IdleConnTimeout: time.Minute,
	}
	if s.caFile != "" {
		pem, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, fmt.Errorf("%w: OTEL_EXPORTER_OTLP_CERTIFICATE: %w", ErrConfig, err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: OTEL_EXPORTER_OTLP_CERTIFICATE: %s holds no PEM certificate", ErrConfig, s.caFile)
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	return &exporter{
		settings: s, log: log,
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		spans: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keysteward_trace_spans_total", Help: "Spans that were sent to the receiver of traces, and that it did not take.",
		}, []string{"result"}),
	}, nil
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	body, err := proto.Marshal(traces(spans))
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	err = e.deliver(ctx, body)
	result := "sent"
	if err != nil {
		result = "lost"
	}
	e.spans.WithLabelValues(result).Add(float64(len(spans)))
	if failing := err != nil; failing != e.failing {
		e.failing = failing
		if failing {
			e.log.Warn("the receiver of traces does not take spans; they are lost meanwhile", "reason", err)
		} else {
			e.log.Info("the receiver of traces takes spans again")
		}
	}
	return nil // it was told
}

// tries and the first pause bound how long one batch is tried.
const (
	tries      = 4
	firstPause = 500 * time.Millisecond
	maxPause   = 10 * time.Second
)

// deliver posts a batch, and again where the receiver asks for that.
func (e *exporter) deliver(ctx context.Context, body []byte) error {
	pause := firstPause
	for n := 1; ; n++ {
		again, after, err := e.post(ctx, body)
		if err == nil || !again || n == tries || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(min(max(pause, after), maxPause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
		pause *= 2
	}
}

// post reports whether the same may be tried again, and after how long at the earliest.
func (e *exporter) post(ctx context.Context, body []byte) (again bool, after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.settings.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.settings.url, bytes.NewReader(body))
	if err != nil {
		return false, 0, errors.New("the endpoint is no URL") // which may hold a password
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	for name, value := range e.settings.headers {
		request.Header.Set(name, value)
	}
	response, err := e.client.Do(request)
	if err != nil {
		return true, 0, fmt.Errorf("%s: %w", request.URL.Host, errors.Unwrap(err)) // without the URL
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	switch response.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return false, 0, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	if s, err := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 16); err == nil {
		after = time.Duration(s) * time.Second
	}
	return again, after, fmt.Errorf("%s answers %s", request.URL.Host, response.Status)
}

// Shutdown implements sdktrace.SpanExporter.
func (e *exporter) Shutdown(context.Context) error {
	e.client.CloseIdleConnections()
	return nil
}
