package actors_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

var ctx = context.Background()

const (
	page = 2 << 20 // the simulated device's
	long = 20 * time.Second
)

// start opens a runtime that is closed, cleanly, when the test ends.
func start(t *testing.T, dev metal.Device, cfg actors.Config) *actors.Core {
	t.Helper()
	c, err := actors.Start(dev, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		within(t, func() { require.NoError(t, c.Close(ctx)) })
		require.NoError(t, dev.Close())
	})
	return c
}

// defaults are the limits that Open of package allocator sets.
func defaults() actors.Config {
	return actors.Config{MemoryLimit: actors.DefaultLimit, CacheLimit: actors.DefaultLimit}
}

func simDevice(t *testing.T) *sim.Device {
	t.Helper()
	dev, err := sim.New(sim.Config{})
	require.NoError(t, err)
	return dev
}

func newStream(t *testing.T, c *actors.Core, cfg actors.StreamConfig) *actors.Stream {
	t.Helper()
	s, err := c.NewStream(cfg)
	require.NoError(t, err)
	return s
}

func malloc(t *testing.T, s *actors.Stream, n int64) actors.Buffer {
	t.Helper()
	b, err := s.Malloc(ctx, n)
	require.NoError(t, err)
	return b
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

// identity checks what holds at every instant.
func identity(t *testing.T, c *actors.Core) {
	t.Helper()
	s := c.Snapshot()
	require.Equal(t, s.Total.Active+s.Total.Cache+s.Total.Slack, s.Total.Reserved)
	var sum [7]int64
	for _, r := range s.Streams {
		for i, n := range [7]int64{r.Requested, r.Active, r.Cache, r.Pending, r.Slack, r.Reserved, r.Buffers} {
			sum[i] += n
		}
	}
	f := s.Total
	require.Equal(t, [7]int64{f.Requested, f.Active, f.Cache, f.Pending, f.Slack, f.Reserved, f.Buffers}, sum)
}

func quietSystem(t *testing.T) *actors.System {
	t.Helper()
	sys := actors.NewSystem(zap.NewNop())
	t.Cleanup(sys.Shutdown)
	return sys
}
