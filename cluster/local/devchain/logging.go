package devchain

import (
	"context"
	"log/slog"

	"github.com/ethereum/go-ethereum/log"
)

// warnings passes on records of level warn and above.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

// Handle drops two warnings that mean nothing here. Every new folder causes the first: the
// database looks for a head block before the genesis block is written. The second comes up to ten
// times after a kill, which loses nothing.
func (w warnings) Handle(ctx context.Context, record slog.Record) error {
	switch record.Message {
	case "Head block is not reachable", "Unclean shutdown detected":
		return nil
	default:
		return w.Handler.Handle(ctx, record)
	}
}

func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

func (w warnings) WithGroup(name string) slog.Handler {
	return warnings{w.Handler.WithGroup(name)}
}

// gethLogger hides the concrete type of go-ethereum's logger: log.SetDefault would
// otherwise make it the default of package slog as well, which is not ours to change.
type gethLogger struct{ log.Logger }

// captureGethLog leads what go-ethereum logs, in the whole process, into logger.
func captureGethLog(logger *slog.Logger) log.Logger {
	geth := gethLogger{log.NewLogger(warnings{logger.With("from", "go-ethereum").Handler()})}
	log.SetDefault(geth)
	return geth
}
