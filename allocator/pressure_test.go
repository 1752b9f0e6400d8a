package allocator_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/sim"
)

// underPressure opens a runtime whose one hook can be changed.
func underPressure(t *testing.T, opts ...allocator.Option) (*allocator.Runtime, *atomic.Pointer[func(int64) int64]) {
	t.Helper()
	var hook atomic.Pointer[func(int64) int64]
	rt, _ := openSim(t, sim.Config{}, append(opts, allocator.WithMemoryLimit(8*mib), allocator.WithPolicy(allocator.Refuse),
		allocator.OnPressure(func(need int64) int64 { return (*hook.Load())(need) }))...)
	return rt, &hook
}

// Whatever a hook does, the malloc ends, and so does Close.
func TestHooksMisbehave(t *testing.T) {
	for name, hook := range map[string]func(*allocator.Runtime, *allocator.Stream) int64{
		"panics":   func(*allocator.Runtime, *allocator.Stream) int64 { panic("hook blew up") },
		"ends":     func(*allocator.Runtime, *allocator.Stream) int64 { runtime.Goexit(); return 0 },
		"negative": func(*allocator.Runtime, *allocator.Stream) int64 { return -1 << 62 },
		"lies":     func(*allocator.Runtime, *allocator.Stream) int64 { return 1 << 62 },
		"mallocs what is refused too": func(_ *allocator.Runtime, s *allocator.Stream) int64 {
			_, err := s.Malloc(ctx, 64*mib)
			require.ErrorIs(t, err, allocator.ErrLimitExceeded)
			return 0
		},
		"mallocs and frees": func(_ *allocator.Runtime, s *allocator.Stream) int64 {
			if b, err := s.Malloc(ctx, 1); err == nil {
				_ = b.Free()
			}
			return 0
		},
		"clears": func(rt *allocator.Runtime, s *allocator.Stream) int64 {
			_, _ = rt.ClearCache()
			_, _ = s.ClearCache()
			_ = rt.Snapshot()
			return 0
		},
		"sets limits": func(rt *allocator.Runtime, s *allocator.Stream) int64 {
			_, _ = rt.SetMemoryLimit(4 * mib)
			_, _ = s.SetMemoryLimit(4 * mib)
			_, _ = rt.SetCacheLimit(0)
			return 0
		},
		"closes the stream": func(_ *allocator.Runtime, s *allocator.Stream) int64 { _ = s.Close(ctx); return 0 },
		"closes, in vain": func(rt *allocator.Runtime, _ *allocator.Stream) int64 {
			c, cancel := context.WithCancel(ctx)
			cancel()
			require.ErrorIs(t, rt.Close(c), context.Canceled)
			return 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			rt, f := underPressure(t)
			s := newStream(t, rt)
			var asked atomic.Int64
			do := func(int64) int64 {
				asked.Add(1)
				return hook(rt, s)
			}
			f.Store(&do)
			kept := malloc(t, s, 5*mib)
			within(t, func() {
				_, err := s.Malloc(ctx, 6*mib)
				require.Error(t, err)
				_, err = kept.Grow(ctx, 64*mib)
				require.Error(t, err)
				out := make([]allocator.Buffer, 2)
				require.Error(t, s.MallocAll(ctx, []int64{1, 9 * mib}, out))
			})
			require.Positive(t, asked.Load())
			require.Less(t, asked.Load(), int64(100), "a hook that asks itself comes to an end")
			identity(t, rt)
			free(t, kept)
			within(t, func() { require.NoError(t, rt.Close(ctx)) })
		})
	}
}

// Close waits for a hook; the malloc that it was asked for ends with ErrClosed.
func TestCloseWaitsForHooks(t *testing.T) {
	rt, f := underPressure(t)
	s := newStream(t, rt)
	asked, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var over atomic.Bool
	do := func(int64) int64 {
		once.Do(func() { close(asked) })
		<-goOn
		over.Store(true)
		return 0
	}
	f.Store(&do)
	failed := make(chan error)
	go func() {
		_, err := s.Malloc(ctx, 9*mib)
		failed <- err
	}()
	<-asked
	c, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, rt.Close(c), context.Canceled)
	closed := make(chan bool)
	go func() {
		_ = rt.Close(ctx)
		closed <- over.Load()
	}()
	close(goOn)
	require.True(t, <-closed)
	require.ErrorIs(t, <-failed, allocator.ErrClosed)
}

// Nobody is asked for a malloc that its caller has given up.
func TestNoHookForAnEndedContext(t *testing.T) {
	var asked atomic.Int64
	rt, dev := openSim(t, sim.Config{Memory: 8 * mib},
		allocator.OnPressure(func(int64) int64 { asked.Add(1); return 0 }))
	s := newStream(t, rt)
	arrived, goOn := make(chan struct{}), make(chan struct{})
	dev.Hook(func(c sim.Call) {
		if c == sim.CallCreate {
			dev.Hook(nil)
			close(arrived)
			<-goOn
		}
	})
	dev.FailNext(sim.CallCreate, 1, nil)
	dev.FailNext(sim.CallCreate, 2, nil)
	c, cancel := context.WithCancel(ctx)
	failed := make(chan error)
	go func() {
		_, err := s.Malloc(c, mib)
		failed <- err
	}()
	<-arrived
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	close(goOn)
	eventually(t, func() bool { return dev.Calls()[sim.CallCreate] >= 2 })
	require.NoError(t, rt.Close(ctx))
	require.Zero(t, asked.Load())
}

// What a Grow needs is what it adds.
func TestHookOfAGrow(t *testing.T) {
	rt, f := underPressure(t)
	s := newStream(t, rt)
	b, err := s.MallocWith(ctx, 4*mib, allocator.MallocOptions{Room: 32 * mib})
	require.NoError(t, err)
	var need atomic.Int64
	do := func(n int64) int64 { need.Store(n); return 0 }
	f.Store(&do)
	_, err = b.Grow(ctx, 9*mib)
	require.ErrorIs(t, err, allocator.ErrLimitExceeded)
	require.EqualValues(t, 5*mib, need.Load())
	free(t, b)
}
