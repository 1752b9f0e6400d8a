package replay

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

// device is what the tests use of both devices.
type device interface {
	metal.Device
	metal.Meter
}

// onDevices opens one of each kind, 64 MiB with pages of 2 MiB where it has pages,
// and checks at the end that a replay leaves nothing behind.
func onDevices(t *testing.T, test func(t *testing.T, dev device)) {
	t.Helper()
	for kind, open := range map[string]func() (device, error){
		"sim":  func() (device, error) { return sim.New(sim.Config{Memory: 64 * mib}) },
		"host": func() (device, error) { return host.Open(host.WithMemory(64 * mib)) },
	} {
		t.Run(kind, func(t *testing.T) {
			dev, err := open()
			require.NoError(t, err)
			test(t, dev)
			usage, err := dev.Usage()
			require.NoError(t, err)
			require.Zero(t, usage.Taken, "memory not given back")
			require.NoError(t, dev.Close())
		})
	}
}

func TestFigures(t *testing.T) {
	// Two streams; block 1 is never freed, block 2 never completed.
	s := newStory(0, 42).
		alloc(0, 1000).alloc(1, 3*mib).foreign().free(0).alloc(1, 700).alloc(0, 512).requested(2).free(3)
	onDevices(t, func(t *testing.T, dev device) {
		r, err := Run(t.Context(), dev, &s.History)
		require.NoError(t, err)
		info := dev.Info()
		require.Equal(t, info.Kind, r.Device)
		require.Equal(t, info.PageSize, r.PageSize)
		require.Equal(t, []int{len(s.Events), 4, 3, 1, 2}, []int{r.Events, r.Mallocs, r.Frees, r.Skipped, r.Streams})
		require.EqualValues(t, 3*mib+700+512, max(r.RequestedPeak, 3*mib+1000))
		require.EqualValues(t, 3*mib+1024+512, r.ActivePeak)
		require.EqualValues(t, 3*mib, r.ActiveEnd)
		require.Equal(t, [2]int64{1, 1}, [2]int64{r.LiveEnd, r.PendingEnd})
		require.GreaterOrEqual(t, r.ReservedPeak, r.ActiveEnd+r.CacheEnd+r.SlackEnd)
		require.InDelta(t, float64(r.ReservedPeak)/float64(r.RequestedPeak), r.Ratio, 0.001)
		require.Positive(t, r.Misses)
		require.NotEmpty(t, r.DeviceCalls)
		require.Positive(t, r.WallNS)
		require.InDelta(t, float64(r.WallNS)/7, r.NSPerOp, 0.001)

		require.Len(t, r.PerStream, 2)
		for i := range r.PerStream {
			require.Positive(t, r.PerStream[i].ReservedPeak)
			r.PerStream[i].ReservedPeak = 0
		}
		require.Equal(t, []StreamResult{
			{Stream: 0, Mallocs: 2, Frees: 2, RequestedPeak: 1000, ActivePeak: 1024},
			{Stream: 42, Mallocs: 2, Frees: 1, RequestedPeak: 3*mib + 700, ActivePeak: 3*mib + 1024, LiveEnd: 1},
		}, r.PerStream)
	})
}

func TestEmptyHistory(t *testing.T) {
	onDevices(t, func(t *testing.T, dev device) {
		r, err := Run(t.Context(), dev, &newStory().History)
		require.NoError(t, err)
		require.Zero(t, r.ReservedPeak)
		require.Zero(t, r.Ratio)
		require.Zero(t, r.NSPerOp)
	})
}

// A block is not handed out again before its free_completed.
func TestLateFreeKeepsItsMemory(t *testing.T) {
	const size = 8 * mib
	atOnce := newStory(0).alloc(0, size).free(0).alloc(0, size).free(1)
	late := newStory(0).alloc(0, size).requested(0).alloc(0, size).completed(0).alloc(0, size).free(1).free(2)
	onDevices(t, func(t *testing.T, dev device) {
		r, err := Run(t.Context(), dev, &atOnce.History)
		require.NoError(t, err)
		require.EqualValues(t, size, r.ReservedPeak)
		r, err = Run(t.Context(), dev, &late.History)
		require.NoError(t, err)
		require.EqualValues(t, 2*size, r.ReservedPeak, "block 1 has memory of its own, block 2 has that of block 0")
		require.EqualValues(t, 2*size, r.ActivePeak)
	})
}

func TestTooMuch(t *testing.T) {
	s := newStory(0).foreign().alloc(0, 40*mib).alloc(0, 40*mib).free(1).free(0)
	onDevices(t, func(t *testing.T, dev device) {
		r, err := Run(t.Context(), dev, &s.History)
		require.Nil(t, r)
		require.ErrorIs(t, err, allocator.ErrOutOfMemory)
		require.ErrorContains(t, err, "event 2 (alloc of 41943040 bytes)")
	})
}

func TestLargerThanTheDevice(t *testing.T) {
	s := newStory(0).alloc(0, 65*mib)
	onDevices(t, func(t *testing.T, dev device) {
		r, err := Run(t.Context(), dev, &s.History)
		require.Nil(t, r)
		require.Error(t, err)
		require.True(t, errors.Is(err, allocator.ErrTooLarge) || errors.Is(err, allocator.ErrOutOfMemory), err)
		require.ErrorContains(t, err, "event 0 (alloc of 68157440 bytes)")
	})
}

func TestMemoryLimit(t *testing.T) {
	s := newStory(0).alloc(0, 10*mib).alloc(0, 10*mib).free(1).free(0)
	onDevices(t, func(t *testing.T, dev device) {
		_, err := Run(t.Context(), dev, &s.History, allocator.WithMemoryLimit(16*mib), allocator.WithPolicy(allocator.Refuse))
		require.ErrorIs(t, err, allocator.ErrLimitExceeded)
		_, err = Run(t.Context(), dev, &s.History, allocator.WithMemoryLimit(16*mib))
		require.NoError(t, err)
	})
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := newStory(0).alloc(0, mib).free(0)
	onDevices(t, func(t *testing.T, dev device) {
		_, err := Run(ctx, dev, &s.History)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestBadOption(t *testing.T) {
	onDevices(t, func(t *testing.T, dev device) {
		_, err := Run(t.Context(), dev, &newStory(0).History, allocator.WithMemoryLimit(-1))
		require.ErrorIs(t, err, allocator.ErrInvalidSize)
	})
}

// Late frees need queues; a device without them is told so before anything runs.
func TestDeviceWithoutQueues(t *testing.T) {
	dev, err := sim.New(sim.Config{Memory: 64 * mib})
	require.NoError(t, err)
	plain := struct {
		metal.Device
		metal.Pager
	}{dev, dev}
	_, err = Run(t.Context(), plain, &newStory(0).alloc(0, 1).free(0).History)
	require.NoError(t, err)
	_, err = Run(t.Context(), plain, &newStory(0).alloc(0, 1).requested(0).alloc(0, 1).completed(0).History)
	require.ErrorIs(t, err, metal.ErrUnsupported)
	require.NoError(t, dev.Close())
}
