package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// raftLogger hands what the Raft library logs to slog. Once leaving is true what
// it says about connections that end is no error any more.
func raftLogger(to *slog.Logger, leaving func() bool) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Info, Output: discard{}})
	l.RegisterSink(&sink{to.With("part", "raft"), leaving})
	return l
}

type discard struct{}

// Write implements io.Writer.
func (discard) Write(p []byte) (int, error) { return len(p), nil }

type sink struct {
	to      *slog.Logger
	leaving func() bool
}

// Accept implements hclog.SinkAdapter.
func (s *sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	levels := map[hclog.Level]slog.Level{
		hclog.Info: slog.LevelDebug, hclog.Warn: slog.LevelWarn, hclog.Error: slog.LevelError,
	}
	to, ok := levels[level]
	if !ok {
		to = slog.LevelDebug - 4
	}
	if to > slog.LevelDebug && aboutConnections(args) && s.leaving() {
		to = slog.LevelDebug
	}
	s.to.Log(context.Background(), to, msg, args...) //nolint:sloglint // the library says what
}

// aboutConnections reports whether an error among the arguments is that of a
// connection, which is what a node sees that leaves, alone or with the others.
func aboutConnections(args []any) bool {
	for _, arg := range args {
		err, ok := arg.(error)
		if !ok {
			continue
		}
		var network net.Error
		if errors.As(err, &network) {
			return true
		}
		for _, known := range []error{net.ErrClosed, io.EOF, context.Canceled, raft.ErrTransportShutdown, raft.ErrRaftShutdown} {
			if errors.Is(err, known) {
				return true
			}
		}
	}
	return false
}
