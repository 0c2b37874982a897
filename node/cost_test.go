package node

import (
	"log/slog"
	"testing"
	"time"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/tracing"
)

// BenchmarkProposed is what it costs to measure a command, without a tracer.
func BenchmarkProposed(b *testing.B) {
	n := &Node{cfg: Config{Origins: tracing.NewOrigins(), RequestLevel: slog.LevelDebug}, log: slog.New(slog.NewTextHandler(discard{}, nil)), metrics: newMetrics()}
	s := newSession(n, 7)
	cmd := &fsmpb.Command{RequestId: "r1", Body: &fsmpb.Command_Allocate{Allocate: &fsmpb.Allocate{Pod: &fsmpb.Pod{Namespace: "a", Name: "b"}}}}
	b.ReportAllocs()
	for b.Loop() {
		ctx, span := tracing.Continue(b.Context(), n.cfg.Tracer, "propose")
		s.proposed(ctx, span, cmd, time.Now(), outcome{way: passage{index: 1}})
	}
}
