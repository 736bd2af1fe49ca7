package distributed

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// clientLogger returns the logger for the etcd client: the user's, if there is one,
// or else that of req. The client logs from wherever it likes, as in a heartbeat.
func clientLogger(user *zap.Logger, req LeaseRequest) *zap.Logger {
	if user == nil {
		return zapTo(req.Logger)
	}
	tell := req.tell
	if tell == nil {
		tell = func(f func()) { f() }
	}
	return zap.New(userCore{core: user.Core(), tell: tell}).Named(user.Name())
}

// userCore hands entries to tell, which alone calls the core of the user's logger.
type userCore struct {
	core zapcore.Core
	tell func(func())
	with []zapcore.Field
}

func (c userCore) Enabled(zapcore.Level) bool { return true }

func (c userCore) With(fields []zapcore.Field) zapcore.Core {
	c.with = append(slices.Clip(c.with), encoded(fields)...)
	return c
}

func (c userCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return ce.AddCore(e, c)
}

func (c userCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	fields = append(slices.Clip(c.with), encoded(fields)...)
	c.tell(func() {
		if ce := c.core.Check(e, nil); ce != nil {
			ce.Write(fields...)
		}
	})
	return nil
}

func (c userCore) Sync() error { return nil } // the client does not ask for it

// encoded are fields as they are now: what they refer to may change.
func encoded(fields []zapcore.Field) []zapcore.Field {
	now := make([]zapcore.Field, 0, len(fields))
	for k, v := range values(fields) {
		now = append(now, zap.Any(k, v))
	}
	return now
}

func values(fields []zapcore.Field) map[string]any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	return enc.Fields
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
	args := make([]any, 0, len(fields))
	for k, v := range values(fields) {
		args = append(args, slog.Any(k, v))
	}
	return args
}
