package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/tracing"
)

// values are the samples of a collector, by name and labels, sums and buckets left out.
func values(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, r.Register(c))
	families, err := r.Gather()
	require.NoError(t, err)
	list := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			words := []string{strings.TrimPrefix(f.GetName(), "keysteward_")}
			for _, l := range m.GetLabel() {
				words = append(words, l.GetValue())
			}
			name := strings.Join(words, " ")
			switch {
			case m.GetHistogram() != nil:
				list[name] = float64(m.GetHistogram().GetSampleCount())
			case m.GetCounter() != nil:
				list[name] = m.GetCounter().GetValue()
			default:
				list[name] = m.GetGauge().GetValue()
			}
		}
	}
	return list
}

func TestNodeIsMeasured(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.done("before")
	leader := c.leader()
	others := c.others(leader)
	leader.Report(others[0].ID(), Heard{Applied: leader.Status().AppliedIndex - 1})
	leader.Forget(others[1].ID())
	require.NoError(t, leader.Barrier(t.Context()))
	require.NoError(t, leader.raft.Snapshot().Error())

	v := values(t, leader.Metrics())
	require.GreaterOrEqual(t, v["commands_total set_member done"], 1.0)
	require.InDelta(t, v["commit_duration_seconds"], v["apply_duration_seconds"], 0)
	require.GreaterOrEqual(t, v["commit_duration_seconds"], 1.0)
	require.InDelta(t, 1, v["read_barrier_duration_seconds"], 0)
	require.InDelta(t, 1, v["snapshot_duration_seconds done"], 0)
	require.Positive(t, v["snapshot_size_bytes"])
	require.Positive(t, v["snapshot_index"])
	require.InDelta(t, float64(time.Now().Unix()), v["snapshot_timestamp_seconds"], 60)
	require.Positive(t, v["log_entries"])
	require.Positive(t, v["data_size_bytes log"])
	require.Positive(t, v["data_size_bytes snapshots"])
	require.InDelta(t, 3, v["members yes"], 0)
	require.Zero(t, v["members no"])
	require.GreaterOrEqual(t, v["member_lag_entries "+others[0].ID()], 1.0)
	require.InDelta(t, 1, v["member_silent "+others[1].ID()], 0)
	require.NotContains(t, v, "member_lag_entries "+others[1].ID(), "who is silent does not tell")
	require.InDelta(t, float64(leader.session.Load().Number()), v["session"], 0)
	require.Zero(t, v["leader_contact_age_seconds"])
	require.LessOrEqual(t, float64(leader.View().Meta().GetAppliedIndex()), v["commit_index"])

	follower := values(t, others[0].Metrics())
	require.NotContains(t, strings.Join(keysOf(follower), " "), "member_", "only a leader knows")
	require.GreaterOrEqual(t, follower["leader_changes_total"], 1.0)
	require.Zero(t, follower["commit_duration_seconds"])
	elections := 0.0
	for _, m := range c.members {
		elections += testutil.ToFloat64(m.metrics.candidacies)
	}
	require.GreaterOrEqual(t, elections, 1.0)
	require.NoError(t, leader.raft.LeadershipTransfer().Error())
	eventually(t, "the change is counted", func() bool { return testutil.ToFloat64(others[0].metrics.leaderChanges) >= 2 })
}

func keysOf(m map[string]float64) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	return list
}

func TestOutcomesAreCounted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"done":        {nil, outcomeDone},
		"refused":     {refused(&fsm.Refusal{Code: fsm.NotFound}), outcomeRefused},
		"stale":       {refused(&fsm.Refusal{Code: fsm.StaleSession}), outcomeNever},
		"not leader":  {ErrNotLeader, outcomeNever},
		"too large":   {ErrTooLarge, outcomeNever},
		"gave up":     {fmt.Errorf("nothing was proposed: %w", context.Canceled), outcomeNever},
		"not known":   {fmt.Errorf("%w: %w", ErrUnknownOutcome, raft.ErrLeadershipLost), outcomeUnknown},
		"not awaited": {fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Canceled), outcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, outcomeOf(c.err))
		})
	}
	require.Equal(t, "sign_deposits", kindOf(&fsmpb.Command{Body: &fsmpb.Command_SignDeposits{}}))
	require.Equal(t, "none", kindOf(&fsmpb.Command{}))
	require.Equal(t, "none", kindOf(nil))
}

// A command that was asked for by a request has a line, spans in the request's trace, and
// is remembered for what duties do for it.
func TestCommandIsFollowed(t *testing.T) {
	t.Parallel()
	spans, origins := tracetest.NewSpanRecorder(), tracing.NewOrigins()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	c := newCluster(t, 1, func(m *member) {
		m.cfg.Tracer, m.cfg.Origins, m.cfg.RequestLevel = tracer, origins, slog.LevelInfo
	})
	leader := c.leader()
	require.Empty(t, spans.Ended(), "what nobody asked for begins no trace")
	ctx, request := tracer.Start(t.Context(), "request")
	cmd := &fsmpb.Command{RequestId: "r1", Body: &fsmpb.Command_Allocate{Allocate: &fsmpb.Allocate{
		Pod: &fsmpb.Pod{Namespace: "a", Name: "b", Uid: "u"}, Keys: 1,
	}}}
	_, err := leader.Propose(ctx, cmd)
	require.NoError(t, err)
	require.NoError(t, leader.Barrier(ctx))
	request.End()

	names := map[string]sdktrace.ReadOnlySpan{}
	for _, s := range spans.Ended() {
		require.Equal(t, request.SpanContext().TraceID(), s.SpanContext().TraceID())
		names[s.Name()] = s
	}
	require.ElementsMatch(t, []string{"request", "propose", "queue", "commit", "apply", "barrier"}, keysOfSpans(names))
	for _, step := range []string{"queue", "commit", "apply"} {
		require.Equal(t, names["propose"].SpanContext().SpanID(), names[step].Parent().SpanID())
	}
	require.Equal(t, names["queue"].EndTime(), names["commit"].StartTime())
	require.Equal(t, names["commit"].EndTime(), names["apply"].StartTime())
	require.False(t, names["commit"].EndTime().Before(names["commit"].StartTime()))

	got := origins.Of(tracing.Pod("a/b"))
	require.Equal(t, "r1", got.RequestID)
	require.Equal(t, names["propose"].SpanContext().SpanID(), got.Span.SpanID())
	leader.journal.mu.Lock()
	defer leader.journal.mu.Unlock()
	require.Regexp(t, `level=INFO msg=command kind=allocate request_id=r1 outcome=done session=\d+ took=\S+ index=\d+ term=\d+ trace_id=`+
		request.SpanContext().TraceID().String(), leader.journal.buf.String())
	require.NotContains(t, leader.journal.buf.String(), "kind=set_member", "nobody asked for that")
}

func keysOfSpans(m map[string]sdktrace.ReadOnlySpan) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	return list
}

// A span of a command that failed says how, and nothing of what it was told.
func TestSpanOfARefusal(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	c := newCluster(t, 1, func(m *member) { m.cfg.Tracer = tracer })
	ctx := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled,
	}))
	_, err := c.leader().Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_RevokeToken{RevokeToken: &fsmpb.RevokeToken{Id: "geheim"}}})
	var refusal *fsm.Refusal
	require.ErrorAs(t, err, &refusal)
	for _, s := range spans.Ended() {
		if s.Name() == "propose" {
			require.Equal(t, "refused", s.Status().Description)
		}
		require.NotContains(t, fmt.Sprint(s), "geheim")
	}
	require.NotEmpty(t, spans.Ended())
}

func TestDataSizes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, size := range map[string]int{"raft/000002.log": 10, "snapshots/1-2-3/state.bin": 20, "snapshots/1-2-3/meta.json": 3, "deposit-events.db": 5, "node-id": 1} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, make([]byte, size), 0o600))
	}
	require.Equal(t, map[string]int64{"log": 10, "snapshots": 23, "deposit-events": 5, "other": 1}, dataSizes(dir))
	require.Equal(t, map[string]int64{"log": 0, "snapshots": 0, "deposit-events": 0, "other": 0}, dataSizes(filepath.Join(dir, "nowhere")))
}

func TestSnapshotTime(t *testing.T) {
	t.Parallel()
	at, ok := snapshotTime("2-345-1700000000123")
	require.True(t, ok)
	require.Equal(t, int64(1700000000123), at.UnixMilli())
	_, ok = snapshotTime("nonsense")
	require.False(t, ok)
}
