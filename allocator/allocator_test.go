package allocator_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/host"
	"github.com/metalloc/metalloc/metal/sim"
)

var ctx = context.Background()

func openSim(t *testing.T, cfg sim.Config, opts ...allocator.Option) (*allocator.Runtime, *sim.Device) {
	t.Helper()
	dev, err := sim.New(cfg)
	require.NoError(t, err)
	rt, err := allocator.Open(dev, opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, rt.Close(ctx))
		require.NoError(t, dev.Close())
	})
	return rt, dev
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

// identity checks what holds at every instant, and gives the picture.
func identity(t *testing.T, rt *allocator.Runtime) {
	t.Helper()
	s := rt.Snapshot()
	require.Equal(t, s.Total.Active+s.Total.Cache+s.Total.Slack, s.Total.Reserved)
	var active, cache, slack, reserved, requested int64
	for _, r := range s.Streams {
		active += r.Active
		cache += r.Cache
		slack += r.Slack
		reserved += r.Reserved
		requested += r.Requested
	}
	require.Equal(t, []int64{s.Total.Active, s.Total.Cache, s.Total.Slack, s.Total.Reserved, s.Total.Requested},
		[]int64{active, cache, slack, reserved, requested})
}

func TestFirstLight(t *testing.T) {
	dev, err := host.Open()
	require.NoError(t, err)
	rt, err := allocator.Open(dev)
	require.NoError(t, err)
	s := newStream(t, rt)
	b := malloc(t, s, 1000)
	require.EqualValues(t, 1000, b.Size())
	require.EqualValues(t, 1024, b.Capacity())
	require.Len(t, b.Bytes(), 1000)
	b.Bytes()[999] = 7
	require.EqualValues(t, 1024, rt.ActiveMemory())
	require.EqualValues(t, 2<<20, rt.ReservedMemory())
	identity(t, rt)
	require.NoError(t, b.Free())
	require.Nil(t, b.Bytes())
	require.ErrorIs(t, b.Free(), allocator.ErrDoubleFree)
	require.EqualValues(t, 0, rt.ActiveMemory())
	require.EqualValues(t, 2<<20, rt.CacheMemory())
	require.EqualValues(t, 1024, rt.PeakMemory())
	require.NoError(t, rt.Close(ctx))
	require.EqualValues(t, 0, rt.ReservedMemory())
	require.EqualValues(t, 1024, rt.PeakMemory())
	require.NoError(t, dev.Close())
	_, err = s.Malloc(ctx, 1)
	require.ErrorIs(t, err, allocator.ErrClosed)
}

func TestCloseWithLiveBuffers(t *testing.T) {
	dev, err := sim.New(sim.Config{})
	require.NoError(t, err)
	rt, err := allocator.Open(dev)
	require.NoError(t, err)
	s := newStream(t, rt, allocator.WithName("left"))
	b, c := malloc(t, s, 4<<20), malloc(t, s, 100)
	require.NoError(t, c.Free())
	var leak *allocator.LeakError
	require.ErrorAs(t, rt.Close(ctx), &leak)
	require.EqualValues(t, 1, leak.Buffers)
	require.EqualValues(t, 4<<20, leak.Bytes)
	require.ErrorIs(t, dev.Close(), metal.ErrBusy)
	require.EqualValues(t, 4<<20, rt.ActiveMemory())
	require.NoError(t, b.Free())
	require.ErrorIs(t, b.Free(), allocator.ErrDoubleFree)
	require.NoError(t, rt.Close(ctx))
	require.NoError(t, rt.Close(ctx))
	require.NoError(t, dev.Close())
	identity(t, rt)
}

func TestRefusalNamesHolders(t *testing.T) {
	rt, _ := openSim(t, sim.Config{}, allocator.WithMemoryLimit(8<<20), allocator.WithPolicy(allocator.Refuse))
	a, b := newStream(t, rt, allocator.WithName("a")), newStream(t, rt, allocator.WithName("b"))
	x := malloc(t, a, 6<<20)
	_, err := b.Malloc(ctx, 4<<20)
	var ae *allocator.AllocError
	require.ErrorAs(t, err, &ae)
	require.ErrorIs(t, err, allocator.ErrLimitExceeded)
	require.False(t, errors.Is(err, allocator.ErrOutOfMemory))
	require.Contains(t, err.Error(), `"a"`)
	identity(t, rt)
	require.NoError(t, x.Free())
	y := malloc(t, b, 4<<20) // a's cache has to go first
	require.LessOrEqual(t, rt.ReservedMemory(), int64(8<<20))
	require.NoError(t, y.Free())
	identity(t, rt)
}
