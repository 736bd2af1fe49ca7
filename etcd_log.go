package distributed

import (
	"context"
	"fmt"
	"log/slog"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// clientLogger returns the logger for the etcd client: the user's, if config has
// one, or else log.
func clientLogger(config clientv3.Config, log *slog.Logger) *zap.Logger {
	if config.Logger != nil {
		return config.Logger
	}
	return zapTo(log)
}

// buildLogger makes what the user has configured, once: it may open files.
func (p *etcdProvider) buildLogger() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.config.Logger != nil || p.config.LogConfig == nil {
		return nil
	}
	logger, err := p.config.LogConfig.Build()
	if err != nil {
		return fmt.Errorf("%w: WithETCDConfig: LogConfig: %w", ErrInvalidConfig, err)
	}
	p.config.Logger = logger
	return nil
}

// zapTo returns a zap logger that writes to l, for the etcd client.
func zapTo(l *slog.Logger) *zap.Logger { return zap.New(slogCore{l.With("component", "etcd-client")}) }

// slogCore is a zapcore.Core on top of a slog.Logger. All comes at Debug: what the
// client says, it says at each attempt, and we report the change.
type slogCore struct{ log *slog.Logger }

func (c slogCore) Enabled(zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slog.LevelDebug)
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
	c.log.Log(context.Background(), slog.LevelDebug, e.Message, slogArgs(fields)...)
	return nil
}

func (c slogCore) Sync() error { return nil }

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
