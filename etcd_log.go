package distributed

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo returns a zap logger that writes to l, for the etcd client.
func zapTo(l *slog.Logger) *zap.Logger { return zap.New(slogCore{l.With("component", "etcd-client")}) }

// slogCore is a zapcore.Core on top of a slog.Logger.
type slogCore struct{ log *slog.Logger }

func (c slogCore) Enabled(level zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slogLevel(level))
}

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.log.With(slogArgs(fields)...)}
}

func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Log(context.Background(), slogLevel(e.Level), e.Message, slogArgs(fields)...)
	return nil
}

func (c slogCore) Sync() error { return nil }

// slogLevel gives the etcd client's levels less weight: what it warns of, it
// retries, and says so at each attempt. The library itself reports the change.
func slogLevel(l zapcore.Level) slog.Level {
	if l >= zapcore.ErrorLevel {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func slogArgs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	args := make([]any, 0, len(enc.Fields))
	for k, v := range enc.Fields {
		args = append(args, slog.Any(k, v))
	}
	return args
}
