package actors_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// callingBack is a program's log that calls the runtime it is told about.
type callingBack struct {
	zapcore.LevelEnabler
	runtime *atomic.Pointer[actors.Core]
	written *atomic.Int64
}

func (l callingBack) With([]zapcore.Field) zapcore.Core { return l }

func (l callingBack) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return ce.AddCore(e, l)
}

func (l callingBack) Write(zapcore.Entry, []zapcore.Field) error {
	if c := l.runtime.Load(); c != nil {
		_ = c.ActiveMemory()
		_ = c.Snapshot()
		_, _ = c.ClearCache()
		_, _ = c.SetWiredLimit(0)
	}
	l.written.Add(1)
	return nil
}

func (l callingBack) Sync() error { return nil }

// Whatever is logged, from whichever turn: the log may call the runtime. That
// nothing goes on after Close is goleak's to tell.
func TestLogCallsTheRuntime(t *testing.T) {
	var rt atomic.Pointer[actors.Core]
	var written atomic.Int64
	dev := &marker{Device: simDevice(t)}
	cfg := defaults()
	cfg.Logger = zap.New(callingBack{zapcore.DebugLevel, &rt, &written})
	within(t, func() {
		c, err := actors.Start(dev, cfg)
		require.NoError(t, err)
		rt.Store(c)
		q, err := dev.NewQueue()
		require.NoError(t, err)
		s := newStream(t, c, actors.StreamConfig{})
		side := newStream(t, c, actors.StreamConfig{Queue: q.Handle()})
		logs := func(what string, f func()) {
			before := written.Load()
			f()
			require.Eventually(t, func() bool { return written.Load() > before }, long, time.Millisecond, what)
		}
		free := func(b actors.Buffer) { require.NoError(t, b.Free()) }
		logs("unmap refused", func() {
			free(malloc(t, s, page))
			dev.FailNext(sim.CallUnmap, 1, metal.ErrDeviceLost)
			_, _ = c.ClearCache()
		})
		logs("release refused", func() {
			free(malloc(t, s, page))
			dev.FailNext(sim.CallRelease, 1, metal.ErrDeviceLost)
			_, _ = c.ClearCache()
		})
		logs("over the limit", func() {
			b := malloc(t, s, page)
			_, _ = c.SetMemoryLimit(0)
			free(b)
			_, _ = c.SetMemoryLimit(actors.DefaultLimit)
		})
		logs("a mark that can't be watched", func() {
			free(malloc(t, side, page))
			q.Submit()
			free(malloc(t, side, page))
			dev.notify.Store(1)
			_, _ = c.ClearCache()
		})
		logs("a queue that has failed", func() {
			b := malloc(t, s, page)
			q.Submit()
			require.NoError(t, b.RecordUse(side))
			q.Fail(metal.ErrDeviceLost)
			free(b)
		})
		require.NoError(t, c.Close(ctx))
		require.NoError(t, dev.Close())
	})
}
