package tracing

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ErrConfig says that spans can not be sent as the flags and variables ask.
var ErrConfig = errors.New("tracing")

// settings are where and how spans are sent, as the variables of the OpenTelemetry specification
// say ("OpenTelemetry Protocol Exporter").
type settings struct {
	url     string
	headers map[string]string
	timeout time.Duration
	caFile  string
}

const (
	tracesPath     = "/v1/traces"
	defaultTimeout = 10 * time.Second
)

// readSettings returns nil where no spans are to be sent. The endpoint goes before the
// variables.
func readSettings(endpoint string, env func(string) string) (*settings, error) {
	of := func(name string) string { // for traces alone, or for all signals
		if v := env("OTEL_EXPORTER_OTLP_TRACES_" + name); v != "" {
			return v
		}
		return env("OTEL_EXPORTER_OTLP_" + name)
	}
	s := &settings{timeout: defaultTimeout, caFile: of("CERTIFICATE")}
	switch {
	case strings.EqualFold(env("OTEL_SDK_DISABLED"), "true"), env("OTEL_TRACES_EXPORTER") == "none":
		return nil, nil //nolint:nilnil // nil is off
	case endpoint != "":
		s.url = joined(endpoint)
	case env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "":
		s.url = env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") // as it is, says the specification
	case env("OTEL_EXPORTER_OTLP_ENDPOINT") != "":
		s.url = joined(env("OTEL_EXPORTER_OTLP_ENDPOINT"))
	default:
		return nil, nil //nolint:nilnil // nil is off
	}
	if u, err := url.Parse(s.url); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%w: the endpoint must be an http or https URL with a host", ErrConfig) // it may hold a password
	}
	if p := of("PROTOCOL"); p != "" && p != "http/protobuf" {
		return nil, fmt.Errorf("%w: protocol %q: only http/protobuf is spoken", ErrConfig, p)
	}
	if text := of("TIMEOUT"); text != "" {
		ms, err := strconv.ParseUint(text, 10, 31)
		if err != nil || ms == 0 {
			return nil, fmt.Errorf("%w: time-out %q: want milliseconds", ErrConfig, text)
		}
		s.timeout = time.Duration(ms) * time.Millisecond
	}
	var err error
	s.headers, err = parseHeaders(of("HEADERS"))
	return s, err
}

func joined(base string) string { return strings.TrimSuffix(base, "/") + tracesPath }

// parseHeaders reads name=value,…, percent-encoded. What is wrong is not repeated: it is most
// likely an API key.
func parseHeaders(text string) (map[string]string, error) {
	headers := make(map[string]string)
	for _, pair := range strings.Split(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		decoded, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !ok || name == "" || err != nil {
			return nil, fmt.Errorf("%w: OTEL_EXPORTER_OTLP_HEADERS: want NAME=VALUE,…", ErrConfig)
		}
		headers[name] = decoded
	}
	return headers, nil
}
