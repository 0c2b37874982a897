package beacon

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	good := Config{URL: "https://user:word@beacon.example:5052/key/", Network: testNetwork}
	require.NoError(t, good.Check())
	full := good.complete()
	require.Equal(t, "https://user:word@beacon.example:5052/key", full.URL)
	require.Equal(t, 384*time.Second, full.Every)
	for name, change := range map[string]func(*Config){
		"no URL":        func(c *Config) { c.URL = "" },
		"no scheme":     func(c *Config) { c.URL = "beacon.example:5052" },
		"other scheme":  func(c *Config) { c.URL = "ws://beacon.example" },
		"no host":       func(c *Config) { c.URL = "http:///x" },
		"query":         func(c *Config) { c.URL += "?a=b" },
		"malformed":     func(c *Config) { c.URL = "http://[::1" },
		"no network":    func(c *Config) { c.Network.ChainID = 0 },
		"negative time": func(c *Config) { c.Every = -1 },
	} {
		c := good
		change(&c)
		_, err := New(c)
		require.ErrorIs(t, err, ErrConfig, name)
		require.NotContains(t, err.Error(), "word", name)
	}
	registry := prometheus.NewRegistry()
	good.Metrics = registry
	_, err := New(good)
	require.NoError(t, err)
	_, err = New(good)
	require.Error(t, err, "metrics are registered once")
}

// direct is a transport that calls a handler: a bubble of synctest has no network.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

func TestRunSweepsOncePerEpochAndTellsTroubleOnce(t *testing.T) {
	t.Parallel()
	published() // reads a file, which a bubble would wait for
	synctest.Test(t, func(t *testing.T) {
		c, keys := newCluster(t, 1)
		s := &server{t: t, validators: map[validator.PublicKey]*staked{}, asked: map[string]int{}, switches: switches{network: testNetwork, isSyncing: true}}
		j := &journal{}
		registry := prometheus.NewRegistry()
		d, err := New(Config{
			URL: "http://beacon.example", Network: testNetwork, HTTP: &http.Client{Transport: direct{s}},
			Logger: slog.New(slog.NewTextHandler(j, nil)), Metrics: registry,
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx, c) }()

		synctest.Wait()
		require.Equal(t, 1, s.count("/syncing"), "at once")
		time.Sleep(3 * Epoch) //nolint:forbidigo // the clock of the bubble
		synctest.Wait()
		require.Equal(t, 3, s.count("/syncing"))
		require.Equal(t, 1, strings.Count(j.String(), "could not all be looked at"), j)
		require.InDelta(t, 0, testutil.ToFloat64(d.metrics.up.WithLabelValues()), 0)
		require.InDelta(t, 1, testutil.ToFloat64(d.metrics.trouble.WithLabelValues("syncing")), 0)

		s.stake(keys[0], "exited_unslashed")
		s.set(func(s *server) { s.isSyncing = false })
		time.Sleep(Epoch) //nolint:forbidigo // as above
		synctest.Wait()
		require.Equal(t, fsm.RetiredExited, c.reason(keys[0]))
		require.Equal(t, 1, strings.Count(j.String(), "looked at again"))
		require.InDelta(t, 1, testutil.ToFloat64(d.metrics.up.WithLabelValues()), 0)
		require.Zero(t, testutil.CollectAndCount(d.metrics.trouble))
		cancel()
		require.NoError(t, <-done)
		require.Zero(t, testutil.CollectAndCount(d.metrics.up), "only a leader exports values")
	})
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint64{`"0"`: 0, `7`: 7, `"18446744073709551615"`: math.MaxUint64} {
		var n number
		require.NoError(t, json.Unmarshal([]byte(text), &n))
		require.EqualValues(t, want, n)
	}
	for _, text := range []string{`"-1"`, `""`, `"0x1"`, `"1e3"`, `1.5`, `"18446744073709551616"`, `[]`, `"\u0031"`} {
		require.Error(t, json.Unmarshal([]byte(text), new(number)), text)
	}
}

// FuzzAnswer: no answer panics, and none is read as the end of a validator that
// says it has no epoch for that.
func FuzzAnswer(f *testing.F) {
	v := &staked{effective: 32e9}
	for _, status := range []string{"exited_unslashed", "active_ongoing", "withdrawal_done"} {
		f.Add(encode(v.response("0x"+strings.Repeat("ab", 48), status)))
	}
	f.Add([]byte(`{}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"index":"1","status":"exited_slashed","validator":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, v, err := parseSeen(raw)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(v.Status), maxStatus)
		if v.reason() != "" {
			require.NotEqual(t, farFuture, *v.Validator.ExitEpoch)
			require.NotEqual(t, farFuture, *v.Validator.WithdrawableEpoch)
		}
		_ = v.record(nil)
	})
}

var _ io.Writer = (*journal)(nil)
