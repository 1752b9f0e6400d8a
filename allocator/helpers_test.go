package allocator_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
	"github.com/metalloc/metalloc/telemetry"
)

var ctx = context.Background()

const (
	page = 2 << 20 // the simulated device's default
	long = 20 * time.Second
)

// open starts a runtime that must close cleanly when the test ends.
func open(t *testing.T, dev metal.Device, opts ...allocator.Option) *allocator.Runtime {
	t.Helper()
	rt, err := allocator.Open(dev, opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, rt.Close(ctx))
		require.NoError(t, dev.Close())
		total := rt.Snapshot().Total
		require.Equal(t, [3]int64{}, [3]int64{total.Active, total.Cache, total.Reserved})
	})
	return rt
}

func simDevice(t *testing.T, cfg sim.Config) *sim.Device {
	t.Helper()
	dev, err := sim.New(cfg)
	require.NoError(t, err)
	return dev
}

func openSim(t *testing.T, cfg sim.Config, opts ...allocator.Option) (*allocator.Runtime, *sim.Device) {
	t.Helper()
	dev := simDevice(t, cfg)
	return open(t, dev, opts...), dev
}

func newStream(t *testing.T, rt *allocator.Runtime, opts ...allocator.StreamOption) *allocator.Stream {
	t.Helper()
	s, err := rt.NewStream(opts...)
	require.NoError(t, err)
	return s
}

func malloc(t *testing.T, s *allocator.Stream, n int64) allocator.Buffer {
	t.Helper()
	b, err := s.Malloc(ctx, n)
	require.NoError(t, err)
	return b
}

func free(t *testing.T, bs ...allocator.Buffer) {
	t.Helper()
	require.NoError(t, allocator.FreeAll(bs))
}

// identity checks what holds at every instant.
func identity(t require.TestingT, rt *allocator.Runtime) telemetry.Snapshot {
	s := rt.Snapshot()
	type sums struct{ Requested, Active, Cache, Pending, Slack, Reserved, Buffers, Mallocs, Frees, Misses int64 }
	var sum sums
	for _, r := range s.Streams {
		sum.Requested += r.Requested
		sum.Active += r.Active
		sum.Cache += r.Cache
		sum.Pending += r.Pending
		sum.Slack += r.Slack
		sum.Reserved += r.Reserved
		sum.Buffers += r.Buffers
		sum.Mallocs += r.Mallocs
		sum.Frees += r.Frees
		sum.Misses += r.Misses
		if r.Requested < 0 || r.Active < r.Requested || r.Cache < r.Pending || r.Pending < 0 || r.Slack < 0 || r.Buffers < 0 ||
			r.Reserved != r.Active+r.Cache+r.Slack || r.Peak < 0 {
			require.Failf(t, "a row that can't be", "%+v", r)
		}
	}
	f := s.Total
	if total := (sums{
		f.Requested, f.Active, f.Cache, f.Pending, f.Slack, f.Reserved, f.Buffers, f.Mallocs, f.Frees, f.Misses,
	}); sum != total || f.Reserved != f.Active+f.Cache+f.Slack {
		require.Failf(t, "rows are not the total", "%+v\n%+v", sum, total)
	}
	return s
}

// rowOf finds a stream's row by name; "" is what no open stream owns.
func rowOf(t *testing.T, rt *allocator.Runtime, name string) telemetry.Figures {
	t.Helper()
	for _, r := range rt.Snapshot().Streams {
		if r.Name == name {
			return r.Figures
		}
	}
	t.Fatalf("no row %q", name)
	return telemetry.Figures{}
}

// within fails the test when f hangs.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(long):
		t.Fatal("hangs")
	}
}

// eventually waits for what other goroutines bring about.
func eventually(t *testing.T, what func() bool) {
	t.Helper()
	require.Eventually(t, what, long, time.Millisecond)
}
