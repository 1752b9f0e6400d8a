package allocator_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/sim"
)

// A ctx that has ended doesn't matter to a malloc that needs no wait.
func TestHitWithEndedContext(t *testing.T) {
	rt, _ := openSim(t, sim.Config{})
	s := newStream(t, rt)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	free(t, malloc(t, s, 1000))
	b, err := s.Malloc(ended, 1000)
	require.NoError(t, err)
	free(t, b)
	b, err = s.Malloc(nil, 1000) //nolint:staticcheck // nil is taken for Background
	require.NoError(t, err)
	free(t, b)
	b, err = s.Malloc(ended, 0)
	require.NoError(t, err)
	free(t, b)
	require.ErrorIs(t, s.Close(ended), context.Canceled)
	require.ErrorIs(t, rt.Close(ended), context.Canceled)
}

// A miss whose ctx ends while the device is slow returns; what the device gives
// in the end is cache.
func TestMissIsAbandoned(t *testing.T) {
	for name, c := range map[string]struct {
		call sim.Call
		rt   func(t *testing.T) (*allocator.Runtime, hooked)
	}{
		"create": {sim.CallCreate, pagedHooked}, "map": {sim.CallMap, pagedHooked}, "reserve": {sim.CallReserve, pagedHooked},
		"alloc": {sim.CallAlloc, func(t *testing.T) (*allocator.Runtime, hooked) {
			dev, err := sim.NewSegments(sim.Config{})
			require.NoError(t, err)
			return open(t, dev), dev
		}},
	} {
		t.Run(name, func(t *testing.T) {
			rt, dev := c.rt(t)
			s := newStream(t, rt)
			release := block(dev, c.call)
			defer release()
			some, cancel := context.WithCancelCause(ctx)
			result := make(chan error)
			go func() {
				b, err := s.Malloc(some, 16<<20)
				if b != (allocator.Buffer{}) {
					t.Error("a buffer with an error")
				}
				result <- err
			}()
			eventually(t, func() bool { return dev.Calls()[c.call] == 1 })
			cancel(nil)
			err := <-result
			require.ErrorIs(t, err, context.Canceled)
			var ae *allocator.AllocError
			require.ErrorAs(t, err, &ae)
			require.Zero(t, rt.ActiveMemory())
			release()
			eventually(t, func() bool { return rt.CacheMemory() == 16<<20 })
			total := identity(t, rt).Total
			require.EqualValues(t, 0, total.Mallocs)
			require.Zero(t, total.Peak)
			before := dev.Calls()
			free(t, malloc(t, s, 16<<20))
			require.Equal(t, before, dev.Calls(), "a hit")
		})
	}
}

type hooked interface {
	Hook(func(sim.Call))
	Calls() map[sim.Call]int64
}

func pagedHooked(t *testing.T) (*allocator.Runtime, hooked) { return openSim(t, sim.Config{}) }

// While a device call blocks, everything that needs no device goes on.
func TestDeviceCallBlocksNobodyElse(t *testing.T) {
	rt, dev := openSim(t, sim.Config{})
	s, other := newStream(t, rt), newStream(t, rt)
	held := []allocator.Buffer{malloc(t, other, 512), malloc(t, s, 512)} // so that the miss doesn't move their pages
	free(t, malloc(t, other, 2000), malloc(t, s, 2000))
	release := block(dev, sim.CallCreate)
	defer release()
	missed := make(chan allocator.Buffer)
	go func() {
		b, err := s.Malloc(ctx, 5*page)
		if err != nil {
			t.Error(err)
		}
		missed <- b
	}()
	eventually(t, func() bool { return dev.Calls()[sim.CallCreate] == 3 })
	within(t, func() {
		for _, st := range []*allocator.Stream{s, other} { // also on the stream of the miss
			b := malloc(t, st, 2000)
			require.EqualValues(t, 512+2048, st.ActiveMemory())
			require.EqualValues(t, 2*512+2048, rt.ActiveMemory())
			free(t, b)
			require.EqualValues(t, 2048, st.CacheMemory())
			require.EqualValues(t, page, st.ReservedMemory())
			require.NotZero(t, st.PeakMemory())
			st.ResetPeakMemory()
		}
		require.EqualValues(t, 2*page, rt.ReservedMemory())
		require.EqualValues(t, 2*2048, rt.CacheMemory())
		rt.ResetPeakMemory()
		require.Zero(t, rt.PeakMemory())
		_, err := rt.SetMemoryLimit(1 << 30) // nothing to trim
		require.NoError(t, err)
		require.EqualValues(t, 1<<30, rt.MemoryLimit())
		_, err = rt.SetCacheLimit(1 << 30)
		require.NoError(t, err)
		require.EqualValues(t, 1<<30, rt.CacheLimit())
		require.Zero(t, rt.WiredLimit())
		identity(t, rt)
		free(t, malloc(t, newStream(t, rt), 0))
	})
	release()
	free(t, append(held, <-missed)...)
}

// The device fails in the middle of a miss of several pages.
func TestMissFailsHalfway(t *testing.T) {
	for n := 1; n <= 4; n++ {
		for _, call := range []sim.Call{sim.CallReserve, sim.CallCreate, sim.CallMap} {
			rt, dev := openSim(t, sim.Config{})
			s := newStream(t, rt)
			x := malloc(t, s, 2*page)
			y := malloc(t, s, page)
			free(t, x)
			before := identity(t, rt).Total
			dev.FailNext(call, n, allocator.ErrDeviceLost)
			b, err := s.Malloc(ctx, 2<<30) // another range; 2 pages move
			if err != nil {
				require.ErrorIs(t, err, allocator.ErrDeviceLost)
				after := identity(t, rt).Total
				require.Equal(t, before.Active, after.Active)
				require.Equal(t, before.Peak, after.Peak)
				require.LessOrEqual(t, after.Reserved, before.Reserved)
				b = malloc(t, s, 2<<30)
			}
			free(t, b, y)
			identity(t, rt)
		}
	}
}

// The device says no, but meanwhile somebody frees what fits: that is taken, and
// the device's error forgotten.
func TestHitAfterOutOfMemory(t *testing.T) {
	rt, dev := openSim(t, sim.Config{})
	s := newStream(t, rt)
	held := []allocator.Buffer{malloc(t, s, 1<<20-512), malloc(t, s, 1<<20-512)}
	b := malloc(t, s, 1024) // the page is full now
	require.EqualValues(t, page, rt.ReservedMemory())
	require.Zero(t, rt.Snapshot().Total.Slack)
	dev.FailNext(sim.CallCreate, 1, nil)
	creates := dev.Calls()[sim.CallCreate]
	release := block(dev, sim.CallCreate)
	defer release()
	got := make(chan allocator.Buffer)
	go func() {
		b, err := s.Malloc(ctx, 1000)
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	eventually(t, func() bool { return dev.Calls()[sim.CallCreate] == creates+1 })
	free(t, b)
	release()
	free(t, append(held, <-got)...)
	require.Zero(t, rt.ActiveMemory())
}
