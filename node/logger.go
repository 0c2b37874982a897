package node

import (
	"context"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger hands what the Raft library logs to slog.
func raftLogger(to *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Info, Output: discard{}})
	l.RegisterSink(sink{to.With("part", "raft")})
	return l
}

type discard struct{}

// Write implements io.Writer.
func (discard) Write(p []byte) (int, error) { return len(p), nil }

type sink struct{ to *slog.Logger }

// Accept implements hclog.SinkAdapter.
func (s sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	levels := map[hclog.Level]slog.Level{
		hclog.Info: slog.LevelDebug, hclog.Warn: slog.LevelWarn, hclog.Error: slog.LevelError,
	}
	to, ok := levels[level]
	if !ok {
		to = slog.LevelDebug - 4
	}
	s.to.Log(context.Background(), to, msg, args...) //nolint:sloglint // the library says what
}
