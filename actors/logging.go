package actors

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// later is the program's log as we use it. Most of what we log happens inside a
// turn, where no code of the program may run: it might call us. So each entry is
// written on a goroutine of its own, which Close waits for.
type later struct {
	zapcore.Core
	c *Core
}

// logLater wraps the program's logger.
func (c *Core) logLater(log *zap.Logger) *zap.Logger {
	if log == nil {
		return zap.NewNop()
	}
	return log.WithOptions(zap.WrapCore(func(k zapcore.Core) zapcore.Core { return later{k, c} }))
}

// With implements zapcore.Core.
func (l later) With(fields []zapcore.Field) zapcore.Core { return later{l.Core.With(fields), l.c} }

// Check implements zapcore.Core. The program's own check comes with the writing:
// it may be a sampler or several cores.
func (l later) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if l.Enabled(e.Level) {
		return ce.AddCore(e, l)
	}
	return ce
}

// Write implements zapcore.Core.
func (l later) Write(e zapcore.Entry, fields []zapcore.Field) error {
	l.c.background(func() {
		if ce := l.Core.Check(e, nil); ce != nil {
			ce.Write(fields...)
		}
	})
	return nil
}
